"""Settings: one frozen type, read once from the environment and `.env`."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.domain.model import MAX_PATCHES, Agreement, Rules
from service.errors import InvalidRules, SettingsError

PREFIX = "NEGATIVES_"
AFTER = "defaults in the labeling configuration go first"


class Settings(BaseSettings):
    """Everything that can be set, each field as `NEGATIVES_<FIELD>` in the environment or in `.env`.

    The descriptions are the README's table; a test compares them. Secrets don't show in `repr`. Build one with
    `read_settings`, which names all missing or wrong settings at once.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
    )

    label_studio_url: str = Field(description="Label Studio's address, e.g. `http://localhost:8080`")
    label_studio_token: SecretStr = Field(
        min_length=1, description="a legacy token or a personal access token (Account & Settings)"
    )
    webhook_secret: SecretStr = Field(description="shared with Label Studio's webhook, 8 characters or more")
    basic_auth: bool = Field(
        default=True, description="live suggestions are for whoever signs in as `negatives` with the webhook's secret"
    )
    database_url: str = Field(
        default="sqlite:///negatives.db",
        repr=False,  # it may hold a password
        description="work in flight: `sqlite:///file.db` or `postgresql://user:password@host/name`",
    )
    host: str = Field(default="127.0.0.1", description="the address that `serve` listens on")
    port: int = Field(default=9090, ge=1, le=65535, description="the port that `serve` listens on")
    public_url: str = Field(
        default="",
        description="what Label Studio calls; by default `http://HOST:PORT`",
        validate_default=False,
    )
    label_studio_public_url: str = Field(
        default="",
        description="where people open Label Studio; by default `NEGATIVES_LABEL_STUDIO_URL`",
        validate_default=False,
    )
    patches: int = Field(
        default=5,
        ge=1,
        le=MAX_PATCHES,
        description=f"patches per ROI, 1 to {MAX_PATCHES}; {AFTER}",
    )
    min_size: int = Field(default=100, ge=1, description=f"smallest side of a patch, in pixels; {AFTER}")
    max_size: int = Field(default=400, ge=1, description=f"largest side of a patch, in pixels; {AFTER}")
    max_overlap: float = Field(
        default=0.5, gt=0, le=1, description="two patches share less than this share of the smaller one's area"
    )
    margin: int = Field(default=0, ge=0, description="pixels kept free around every labelled object")
    square: bool = Field(default=False, description="patches as wide as high")
    align: int = Field(default=1, ge=1, description="left and top edges of patches are multiples of so many pixels")
    min_approvals: int = Field(default=1, ge=1, description="people who must accept a patch before it is exported")
    agreement: Literal["any-rejection", "majority"] = Field(
        default="any-rejection",
        description="one rejection is enough (`any-rejection`), or the side with more people wins (`majority`)",
    )
    drawing_counts: bool = Field(default=True, description="who drew an ROI may be one of those who accept its patches")
    dataset: str = Field(
        default="", description="the dataset that the pages show and export into, and `export` without `--into`"
    )
    band: str = Field(default="10-20", description="the share of negatives in a split that helps, in percent")
    shares: str = Field(
        default="train=1",
        description="how source images that the dataset doesn't hold are spread over its splits: `train=80,val=20`",
    )
    originals: str = Field(
        default="", description="the folder that the `original` of a task's data is looked up in; none by default"
    )
    exports: str = Field(
        default="exports", description="the folder where reports and ZIPs of exports are kept for three days"
    )
    cache: str = Field(
        default="", description="where source images are kept between exports; by default the user's cache folder"
    )
    cache_bytes: int = Field(
        default=10_000_000_000, ge=0, description="so much is kept at most; the longest unused goes first"
    )
    object_name: str = Field(default="cells", description="what the negatives are free of, for the metadata")
    reconcile_seconds: int = Field(
        default=30,
        ge=1,
        le=60,
        description="how often changes that no webhook told of are looked for; divides 60 evenly",
    )
    max_webhook_bytes: int = Field(default=33_554_432, ge=1024, description="a larger request is refused (413)")
    max_image_bytes: int = Field(default=536_870_912, ge=1024, description="a larger source image is refused")
    max_image_pixels: int = Field(default=400_000_000, ge=1, description="a source image of more pixels is refused")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`"
    )

    @field_validator("label_studio_url", "public_url", "label_studio_public_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address like http://localhost:8080")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must be a plain address, without sign-in, query or fragment")
        return value.rstrip("/")

    @field_validator("webhook_secret")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr) -> SecretStr:
        secret = value.get_secret_value()
        if len(secret) < 8:
            raise ValueError("must have 8 characters or more")
        if not (secret.isascii() and secret.isprintable()) or " " in secret:
            raise ValueError("must be letters, digits and signs of ASCII, without spaces")
        return value

    @field_validator("reconcile_seconds")
    @classmethod
    def _even_intervals(cls, value: int) -> int:
        if 60 % value:
            raise ValueError("must divide a minute evenly: 1, 2, 3, 5, 10, 15, 20, 30 or 60, say")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql://")):
            raise ValueError("must start with sqlite:/// or postgresql://")
        return value

    @field_validator("band")
    @classmethod
    def _sound_band(cls, value: str) -> str:
        read_band(value)
        return value

    @field_validator("shares")
    @classmethod
    def _sound_shares(cls, value: str) -> str:
        read_shares(value)
        return value

    @property
    def rules(self) -> Rules:
        """The rules where neither the ROI nor the labeling configuration says otherwise."""
        return Rules(
            patches=self.patches,
            min_size=self.min_size,
            max_size=self.max_size,
            max_overlap=self.max_overlap,
            margin=self.margin,
            square=self.square,
            align=self.align,
        )

    @property
    def agreed(self) -> Agreement:
        """How verdicts of several people become one decision."""
        return Agreement(self.min_approvals, self.agreement == "majority", self.drawing_counts)

    @property
    def people_url(self) -> str:
        """Where people open Label Studio, without a trailing slash."""
        return self.label_studio_public_url or self.label_studio_url

    @property
    def service_url(self) -> str:
        """What Label Studio calls, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"


def read_band(text: str) -> tuple[float, float]:
    """A band of shares from percents: `10-20`. Raises `ValueError` saying what it must look like."""
    low, dash, high = text.partition("-")
    try:
        band = float(low) / 100, float(high) / 100
    except ValueError:
        band = 1.0, 0.0
    if not (dash and 0 <= band[0] <= band[1] < 1):
        raise ValueError(f"must be two percents like 10-20, below 100, the lower one first, and is {text!r}")
    return band


def read_shares(text: str) -> dict[str, float]:
    """Shares by split: `train=80,val=20`. Raises `ValueError` saying what they must look like."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            shares[""] = 0.0
    if "" in shares or not all(0 <= share < float("inf") for share in shares.values()) or not sum(shares.values()):
        raise ValueError(f"must be shares like train=80,val=20, and is {text!r}")
    return {name: share for name, share in shares.items() if share}


def read_settings() -> Settings:
    """Settings from the environment and `.env` (the environment wins; what is set to nothing counts as not set).

    Raises `SettingsError` naming every missing, wrong and unknown `NEGATIVES_…` variable at once, never a value of a
    secret.
    """
    try:
        complaints = _unknown([*os.environ, *dotenv_values(".env")])
        settings = Settings()
        _ = settings.rules
    except UnicodeDecodeError as error:
        raise SettingsError(".env is not UTF-8 text: write it anew") from error
    except ValidationError as error:
        complaints += [
            f"{PREFIX}{str(problem['loc'][0]).upper()}: {_sentence(problem['type'], problem['msg'])}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
    except InvalidRules as error:
        complaints.append(f"{PREFIX}MIN_SIZE, {PREFIX}MAX_SIZE: {error}")
    if complaints:
        raise SettingsError(
            "these settings need attention (environment or .env; the README has the table):\n  "
            + "\n  ".join(complaints)
        )
    return settings


def _sentence(kind: str, message: str) -> str:
    if kind.startswith("int_"):
        return "must be a whole number"
    return "is missing" if kind == "missing" else message.removeprefix("Value error, ")


def _unknown(names: Iterable[str]) -> list[str]:
    """A misspelt name would otherwise be a default in silence."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    return [
        f"{name}: there is no such setting"
        + "".join(f", did you mean {match}?" for match in get_close_matches(name, known, n=1))
        for name in dict.fromkeys(names)
        if name.startswith(PREFIX) and name not in known
    ]
