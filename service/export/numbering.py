"""Numbers for images in formats that want one for each. Pure."""

from collections.abc import Container
from hashlib import sha256

FIRST = 1_000_000_000
"""Above what datasets count up to, and with as many again still within 32 bits."""


def image_number(name: str, taken: Container[object]) -> int:
    """A number for an image that no other has: always the same for the same name, whoever comes or goes.

    Only where two names would get the same number does the second get the next.
    """
    number = FIRST + int.from_bytes(sha256(name.encode(errors="surrogateescape")).digest()[:8], "big") % FIRST
    while number in taken:
        number = FIRST + (number + 1) % FIRST
    return number
