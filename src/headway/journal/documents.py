"""JSON as facts and entries hold it: strict, compact, and without a float that JSON does not have."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from headway.errors import InvalidRequestError, with_article
from headway.journal.values import plain_number

_DEPTH = 100


def plain_json(document: Mapping[str, Any], what: str) -> bytes:
    """``document`` as compact JSON in UTF-8.

    NaN and infinities become the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``; tuples become lists, and
    one-element arrays and scalars of NumPy and the like the numbers that they hold.

    Args:
        document: Text to JSON values.
        what: How to call it in a message.

    Raises:
        InvalidRequestError: Something in it has no place in JSON; the message says where.
    """
    plain = _plain(document, what, 0)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _plain(value: Any, place: str, depth: int) -> Any:
    if depth > _DEPTH:
        raise InvalidRequestError(f"{place[:200]} is nested more than {_DEPTH} levels deep, or holds itself.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, Mapping):
        return {_key(key, place): _plain(item, f"{place}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    return _number(value, place)


def _text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(f"{place} holds a lone surrogate, which is no text.") from None
    return str.__str__(value)


def _key(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise InvalidRequestError(
            f"{place} has the key {key!r}, which is not text but {type(key).__name__}.", hint="Use text as keys."
        )
    return _text(key, f"a key of {place}")


def _number(value: object, place: str) -> int | float | bool | str:
    number = plain_number(value)
    if number is None:
        raise InvalidRequestError(
            f"{place} is {with_article(type(value).__name__)}, which JSON cannot hold.",
            hint="Use text, numbers, booleans, None, lists and dicts.",
        )
    if isinstance(number, float) and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return number
