"""Where somebody stands in the logs of several streams, as a text that clients hand back unread."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from headway.errors import InvalidRequestError

_VERSION = b"\x01"
_KEY = 6
"""Bytes of a stream's name digest: enough to tell a run's streams apart, few enough for a cursor to fit into a URL."""
_CRC = 4
_LONGEST = 32 << 10
_LARGEST = 1 << 63


class Position(NamedTuple):
    """A place in a stream: where a frame begins, and how many of its lines were delivered already."""

    offset: int = 0
    skip: int = 0


class LogCursor:
    """A position in each of several streams; the beginning in streams that it does not know.

    The text is base64url of: version, crc32 of the rest, and for each stream a 6-byte BLAKE2b digest of its name and
    two LEB128 numbers.
    """

    def __init__(self, positions: Mapping[str, Position] | None = None) -> None:
        self._positions = {_key(name): position for name, position in (positions or {}).items()}

    def of(self, name: str) -> Position:
        """The position in stream ``name``."""
        return self._positions.get(_key(name), Position())

    def moved(self, positions: Mapping[str, Position]) -> LogCursor:
        """This cursor with other positions in some streams."""
        result = LogCursor(positions)
        result._positions = {**self._positions, **result._positions}
        return result

    def __str__(self) -> str:
        body = b"".join(
            key + _number(position.offset) + _number(position.skip) for key, position in self._positions.items()
        )
        return base64.urlsafe_b64encode(_VERSION + _checksum(body) + body).rstrip(b"=").decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogCursor) and self._positions == other._positions

    def __hash__(self) -> int:
        return hash(frozenset(self._positions.items()))

    @classmethod
    def parse(cls, text: str) -> LogCursor:
        """The cursor that ``text`` was made from; InvalidRequestError for any other text."""
        body = _unwrap(text)
        result, at = cls(), 0
        while at < len(body):
            key = body[at : at + _KEY]
            offset, at = _take_number(body, at + _KEY, text)
            skip, at = _take_number(body, at, text)
            result._positions[key] = Position(offset, skip)
        return result


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=_KEY).digest()


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CRC, "big")


def _unwrap(text: str) -> bytes:
    if len(text) > _LONGEST:
        raise _wrong(text)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(text) from None
    head = len(_VERSION) + _CRC
    body = data[head:]
    if data[:head] != _VERSION + _checksum(body):
        raise _wrong(text)
    return body


def _wrong(text: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The cursor {text[:40]!r} is not one of ours.", hint="Pass the cursor of an earlier answer, unchanged."
    )


def _number(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _take_number(body: bytes, at: int, text: str) -> tuple[int, int]:
    value = shift = 0
    while at < len(body) and value < _LARGEST and shift < 64:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 and value < _LARGEST:
            return value, at
    raise _wrong(text)
