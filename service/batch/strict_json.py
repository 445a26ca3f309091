"""JSON in which each key of an object stands once: a second one would silently take the first one's place. Pure."""

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """The value of a JSON text (UTF-8, with or without a byte order mark).

    Raises `ValueError`: `json.JSONDecodeError` with the place, where there is one.
    """
    plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
    return json.loads(plain, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {max(keys, key=keys.count)!r} stands twice in one object")
    return found
