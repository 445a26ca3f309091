"""What setting up tells the person who runs it."""

from dataclasses import dataclass
from enum import StrEnum

CURE = (
    "Label Studio refuses private and loopback addresses by default. On Label Studio's side set "
    "SSRF_PROTECTION_ENABLED=false (for webhooks) and ML_BLOCK_LOCAL_IP=false (for live suggestions), or tighter, for "
    "both: USE_DEFAULT_BANNED_SUBNETS=false and USER_ADDITIONAL_BANNED_SUBNETS naming all networks but the one that "
    "this service is in (docker-compose.yml shows how); restart Label Studio, then run setup again"
)


class Outcome(StrEnum):
    """How one step of the set-up ended."""

    FINE = "ok"
    CHANGED = "done"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Step:
    """One step, how it ended, and the sentence for the person who runs it."""

    outcome: Outcome
    text: str
