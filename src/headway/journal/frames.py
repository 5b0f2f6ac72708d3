"""The journal's frames, format version 1.

A file is :data:`MAGIC` and then frames. A frame is ``<length u32 LE><crc32 u32 LE><kind u8><payload>``; length and crc
cover kind and payload. docs/internals/contracts.md, section 2, is the definition; tests/journal keeps golden bytes.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from headway.errors import PayloadTooLargeError

MAGIC = b"HWJ1"
KIND_HEADER, KIND_LOG, KIND_END = 1, 2, 3
"""Frame kinds: the header record, a log batch, and the empty frame of a stream that was closed properly."""
KIND_SCHEMA, KIND_ROW, KIND_FACT, KIND_ENTRY = 4, 5, 6, 7
"""Frame kinds of tracking (docs/internals/tracking.md, section 2): names of columns, their values, a fact, media."""
KIND_FILLER = 15
"""What a repair puts where bytes were damaged, so that every other frame keeps its place."""

FRAME_LIMIT = 4 << 20
"""Bytes of the longest frame, its nine bytes of overhead included."""

PREFIX = struct.Struct("<IIB")
"""Length, checksum, kind."""
COVERED = 8
"""Where in a frame the bytes begin that length and checksum cover."""
LAST_KIND = 15
FRAME_OVERHEAD = PREFIX.size
PAYLOAD_LIMIT = FRAME_LIMIT - FRAME_OVERHEAD

_KIND_CRC = [zlib.crc32(bytes([kind])) for kind in range(LAST_KIND + 1)]


def encode_frame(kind: int, payload: bytes) -> bytes:
    """One frame.

    Raises:
        PayloadTooLargeError: ``payload`` is longer than :data:`PAYLOAD_LIMIT`.
        ValueError: ``kind`` is not 1 to 15.
    """
    if not 1 <= kind <= LAST_KIND:
        raise ValueError(f"a frame's kind is 1 to {LAST_KIND}, not {kind}")
    if len(payload) > PAYLOAD_LIMIT:
        raise PayloadTooLargeError(f"A frame holds at most {PAYLOAD_LIMIT} bytes, not {len(payload)}.")
    return PREFIX.pack(len(payload) + 1, zlib.crc32(payload, _KIND_CRC[kind]), kind) + payload


class Frame(NamedTuple):
    """A frame whose checksum holds, and where in the stream it begins."""

    offset: int
    kind: int
    payload: bytes

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + FRAME_OVERHEAD + len(self.payload)


class FrameState(Enum):
    """What lies at one place in a stream."""

    WHOLE = "whole"
    PARTIAL = "partial"
    """More bytes are needed to say."""
    BAD = "bad"


def look(buffer: bytes, position: int) -> tuple[FrameState, int]:
    """What lies at ``position``, and where it says that it ends (0 when it does not say so credibly)."""
    if len(buffer) - position < FRAME_OVERHEAD:
        return FrameState.PARTIAL, 0
    length, crc, kind = PREFIX.unpack_from(buffer, position)
    if not 1 <= length <= FRAME_LIMIT - COVERED:
        return FrameState.BAD, 0
    start = position + COVERED
    end: int = start + length
    if not 1 <= kind <= LAST_KIND:
        return FrameState.BAD, end
    if end > len(buffer):
        return FrameState.PARTIAL, end
    holds = zlib.crc32(memoryview(buffer)[start:end]) == crc
    return (FrameState.WHOLE if holds else FrameState.BAD), end


_CANDIDATE = re.compile(rb"\x00(?<=[\x00-\x40]\x00).{4}[\x01-\x0f]", re.DOTALL)
"""From the fourth byte of anything that may be a frame: a length up to the limit, any checksum, a kind."""
_FOURTH = 3


def candidates(buffer: bytes, position: int, stop: int) -> Iterator[int]:
    """Where a frame may begin, from ``position`` on, so that its overhead lies before ``stop``."""
    while match := _CANDIDATE.search(buffer, position + _FOURTH, stop):
        position = match.start() - _FOURTH
        yield position
        position += 1
