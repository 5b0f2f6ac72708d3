"""Where a page of a list ended, as opaque text that a client hands back."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from headway.errors import InvalidRequestError
from headway.storage.sql.columns import MAX_INTEGER, plain_text


def encode_cursor(created_at: int, id: str) -> str:
    """The place after the record with this creation time (milliseconds) and id."""
    return encode_place([created_at, id])


def decode_cursor(cursor: str) -> tuple[int, str]:
    """What :func:`encode_cursor` made it of.

    Raises:
        InvalidRequestError: It was not made here.
    """
    created_at, id = decode_place(cursor, [int, str])
    return created_at, id


def encode_place(values: Sequence[float | str]) -> str:
    """The place after the record with these values, which are what the list is sorted by."""
    text = json.dumps(list(values), separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_place(cursor: str, types: Sequence[type[Any]]) -> list[Any]:
    """What :func:`encode_place` made it of: a number or text of each of ``types``.

    Raises:
        InvalidRequestError: It was not made here, or for a list that is sorted otherwise.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError, binascii.Error):
        raise _refused(cursor) from None
    if not isinstance(found, list) or len(found) != len(types):
        raise _refused(cursor)
    if not all(_fits(value, type_) for value, type_ in zip(found, types, strict=True)):
        raise _refused(cursor)
    return found


def _fits(value: object, wanted: type[Any]) -> bool:
    if type(value) is not wanted:
        return False
    if isinstance(value, str):
        try:
            return plain_text(value) == value
        except InvalidRequestError:
            return False
    if isinstance(value, int):
        return -MAX_INTEGER <= value <= MAX_INTEGER
    return value == value


def _refused(cursor: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The cursor {cursor!r} was not given out by this server.",
        hint="Use `next_cursor` of the page before, or none for the first page.",
    )
