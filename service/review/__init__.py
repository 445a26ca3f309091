"""Review by several people: what their verdicts come to, what a queue should hold, what the pages show. Pure."""

from service.review.decisions import decide

__all__ = ["decide"]
