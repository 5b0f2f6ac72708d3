"""Where a page of a list ended, as opaque text that a client hands back."""

from __future__ import annotations

import base64
import binascii
import json

from headway.errors import InvalidRequestError
from headway.storage.sql.columns import MAX_INTEGER, plain_text


def encode_cursor(created_at: int, id: str) -> str:
    """The place after the record with this creation time (milliseconds) and id."""
    text = json.dumps([created_at, id], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[int, str]:
    """What :func:`encode_cursor` made it of.

    Raises:
        InvalidRequestError: It was not made here.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError, binascii.Error):
        raise _refused(cursor) from None
    if not isinstance(found, list) or len(found) != 2:
        raise _refused(cursor)
    created_at, id = found
    if type(created_at) is not int or not isinstance(id, str) or not -MAX_INTEGER <= created_at <= MAX_INTEGER:
        raise _refused(cursor)
    try:
        return created_at, plain_text(id)
    except InvalidRequestError:
        raise _refused(cursor) from None


def _refused(cursor: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The cursor {cursor!r} was not given out by this server.",
        hint="Use `next_cursor` of the page before, or none for the first page.",
    )
