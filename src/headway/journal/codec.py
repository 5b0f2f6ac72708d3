"""The journal's bytes, format version 1: frames, the header record, log batches.

A file is :data:`MAGIC` and then frames. A frame is ``<length u32 LE><crc32 u32 LE><kind u8><payload>``; length and crc
cover kind and payload. docs/internals/contracts.md, section 2, is the definition; tests/journal keeps golden bytes.

Decoding never raises on damage. It goes on at the next frame whose checksum holds, and reports the stretch between.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from pydantic import ValidationError

from headway.domain.base import Record, Timestamp
from headway.errors import CorruptDataError, PayloadTooLargeError

MAGIC = b"HWJ1"
KIND_HEADER, KIND_LOG, KIND_END = 1, 2, 3
"""Frame kinds: the header record, a log batch, and the empty frame of a stream that was closed properly."""

FRAME_LIMIT = 4 << 20
"""Bytes of the longest frame, its nine bytes of overhead included."""

_PREFIX = struct.Struct("<IIB")
_BATCH = struct.Struct("<QQB")
_COVERED = 8
"""Where in a frame the bytes begin that length and checksum cover."""
_LAST_KIND = 15
FRAME_OVERHEAD = _PREFIX.size
PAYLOAD_LIMIT = FRAME_LIMIT - FRAME_OVERHEAD
LINES_LIMIT = PAYLOAD_LIMIT - _BATCH.size
"""Bytes of lines that fit into one log batch."""

_KIND_CRC = [zlib.crc32(bytes([kind])) for kind in range(_LAST_KIND + 1)]
_STDERR, _SPLIT = 1, 2


def encode_frame(kind: int, payload: bytes) -> bytes:
    """One frame.

    Raises:
        PayloadTooLargeError: ``payload`` is longer than :data:`PAYLOAD_LIMIT`.
        ValueError: ``kind`` is not 1 to 15.
    """
    if not 1 <= kind <= _LAST_KIND:
        raise ValueError(f"a frame's kind is 1 to {_LAST_KIND}, not {kind}")
    if len(payload) > PAYLOAD_LIMIT:
        raise PayloadTooLargeError(f"A frame holds at most {PAYLOAD_LIMIT} bytes, not {len(payload)}.")
    return _PREFIX.pack(len(payload) + 1, zlib.crc32(payload, _KIND_CRC[kind]), kind) + payload


class JournalHeader(Record):
    """Whose stream this file is. ``writer`` is new at every open, so that an offset never means two things."""

    run: str
    stream: str
    writer: str
    attempt: int = 0
    replica: str | None = None
    created: Timestamp


def encode_header(header: JournalHeader) -> bytes:
    """The payload of a :data:`KIND_HEADER` frame: compact JSON."""
    return header.model_dump_json().encode()


def decode_header(payload: bytes) -> JournalHeader:
    """The record in a :data:`KIND_HEADER` frame; CorruptDataError when it is none."""
    try:
        return JournalHeader.model_validate_json(payload)
    except ValidationError as error:
        raise CorruptDataError(
            f"The journal's header is not readable: {error.error_count()} fields are wrong."
        ) from error


class LogBatch(NamedTuple):
    """Consecutive lines that were read at one moment.

    ``lines`` joins them by a newline, without the last newline; ``stderr`` is None when both outputs shared one pipe.
    """

    first_line: int
    time_ms: int
    stderr: bool | None
    lines: bytes

    @property
    def line_count(self) -> int:
        """One at least."""
        return self.lines.count(b"\n") + 1


def encode_lines(first_line: int, time_ms: int, lines: bytes, *, stderr: bool = False, split: bool = False) -> bytes:
    """The payload of a :data:`KIND_LOG` frame.

    Args:
        first_line: The number of the first line; the replica's first line is 1.
        time_ms: Milliseconds since 1970 (UTC), for all of them.
        lines: The lines, joined by a newline, without the last newline.
        stderr: They came from stderr; means something only with ``split``.
        split: The outputs had a pipe each.
    """
    return _BATCH.pack(first_line, time_ms, _STDERR * stderr | _SPLIT * split) + lines


def decode_lines(payload: bytes) -> LogBatch:
    """The batch in a :data:`KIND_LOG` frame; CorruptDataError when the payload is too short to be one."""
    if len(payload) < _BATCH.size:
        raise CorruptDataError(f"A log batch has at least {_BATCH.size} bytes, not {len(payload)}.")
    first_line, time_ms, flags = _BATCH.unpack_from(payload)
    return LogBatch(first_line, time_ms, bool(flags & _STDERR) if flags & _SPLIT else None, payload[_BATCH.size :])


class Frame(NamedTuple):
    """A frame whose checksum holds, and where in the stream it begins."""

    offset: int
    kind: int
    payload: bytes

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + FRAME_OVERHEAD + len(self.payload)


class Damage(NamedTuple):
    """A stretch of bytes that hold no readable frame, with readable ones after it."""

    offset: int
    length: int


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
    length, crc, kind = _PREFIX.unpack_from(buffer, position)
    if not (1 <= length <= FRAME_LIMIT - _COVERED and 1 <= kind <= _LAST_KIND):
        return FrameState.BAD, 0
    start = position + _COVERED
    end: int = start + length
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


_EFFORT, _EFFORT_PER_BYTE = 64 << 20, 32
"""How many bytes a search may checksum: text made to look like frames must not cost quadratic time."""


class FrameDecoder:
    """Finds the frames in bytes that arrive piece by piece; the result does not depend on how they were cut.

    Args:
        offset: Where in the stream the first byte given lies: 0, or the beginning of a frame.

    A frame that may still become whole is waited for, so up to two frames are held in memory. ``finish`` says that
    nothing follows.
    """

    def __init__(self, offset: int = 0) -> None:
        self.damage: list[Damage] = []
        self.torn = 0
        """After ``finish``: bytes behind the last frame that are none."""
        self._buffer = b""
        self._base = offset
        self._magic = offset == 0
        self._lost: int | None = None
        """Where the stretch begins that is being searched."""
        self._spent = 0

    @property
    def offset(self) -> int:
        """Where the next frame is expected, or begins incompletely."""
        return self._base if self._lost is None else self._lost

    @property
    def wanted(self) -> int:
        """How many more bytes the incomplete frame needs at least; 0 when that is not known."""
        state, end = look(self._buffer, 0)
        return end - len(self._buffer) if state is FrameState.PARTIAL and end else 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data``, which follows what was given before, completes."""
        self._buffer += data
        return self._drain(final=False)

    def finish(self) -> list[Frame]:
        """The frames that are sure only now that nothing follows."""
        frames = self._drain(final=True)
        self.torn = self._base + len(self._buffer) - self.offset
        return frames

    def _drain(self, *, final: bool) -> list[Frame]:
        frames: list[Frame] = []
        position = self._skip_magic(final)
        while True:
            if self._lost is not None:
                position, found = self._search(position, len(self._buffer), final)
                if not found:
                    break
                self._close_damage(position)
            state, end = look(self._buffer, position)
            if state is FrameState.WHOLE:
                frames.append(self._frame(position, end))
                position = end
            elif (following := self._after_bad(position, state, end, final)) is None:
                break
            else:
                position = following
        self._buffer = self._buffer[position:]
        self._base += position
        return frames

    def _skip_magic(self, final: bool) -> int:
        if not self._magic or (len(self._buffer) < len(MAGIC) and not final):
            return 0
        self._magic = False
        if self._buffer[: len(MAGIC)] == MAGIC:
            return len(MAGIC)
        self._lose(0)
        return 0

    def _frame(self, position: int, end: int) -> Frame:
        start = position + FRAME_OVERHEAD
        return Frame(self._base + position, self._buffer[position + _COVERED], self._buffer[start:end])

    def _after_bad(self, position: int, state: FrameState, end: int, final: bool) -> int | None:
        """Where to go on from something that is no frame; None to wait (or, at the end, to stop)."""
        if position == len(self._buffer) or (state is FrameState.PARTIAL and not final):
            return None
        if state is FrameState.BAD and end:
            following, _ = look(self._buffer, end)
            if following is FrameState.PARTIAL and not final:
                return None
            if following is FrameState.WHOLE or end == len(self._buffer):
                return self._skip_damaged(position, end)
        self._lose(position)
        return position + 1

    def _skip_damaged(self, position: int, end: int) -> int:
        """Past a damaged frame whose length is right, or into it where its length is what was damaged.

        Lines may contain the bytes of another journal, so frames inside are believed only if they fill the stretch to
        its end, as they do when the length grew by damage.
        """
        self._spent = 0
        inner, found = self._search(position + 1, end, final=True)
        following = inner if found and self._fills(inner, end) else end
        self._lost = self._base + position
        self._close_damage(following)
        return following

    def _fills(self, position: int, end: int) -> bool:
        while position < end:
            if not self._credible(position):
                return False
            state, position = look(self._buffer, position)
            if state is not FrameState.WHOLE:
                return False
        return position == end

    def _lose(self, position: int) -> None:
        self._lost = self._base + position
        self._spent = 0

    def _close_damage(self, position: int) -> None:
        if self._lost is None:
            return
        start, end = self._lost, self._base + position
        self._lost = None
        if self.damage and sum(self.damage[-1]) == start:
            start = self.damage.pop().offset
        self.damage.append(Damage(start, end - start))

    def _search(self, position: int, stop: int, final: bool) -> tuple[int, bool]:
        """The first whole frame from ``position`` that ends by ``stop``; else where to go on searching, and False."""
        begun = position
        for position in candidates(self._buffer, begun, stop):
            state, end = look(self._buffer, position) if self._affordable(position, begun) else (FrameState.BAD, 0)
            if state is FrameState.WHOLE and end <= stop and self._believable(position):
                return position, True
            if state is FrameState.PARTIAL and not final:
                return position, False
        return max(begun, stop if final else stop - FRAME_OVERHEAD + 1), False

    def _affordable(self, position: int, begun: int) -> bool:
        length = _PREFIX.unpack_from(self._buffer, position)[0]
        if position + _COVERED + length > len(self._buffer) or length > FRAME_LIMIT:
            return True
        since = self._base + begun if self._lost is None else self._lost
        self._spent += length
        return bool(self._spent <= _EFFORT + _EFFORT_PER_BYTE * (self._base + position - since))

    def _believable(self, position: int) -> bool:
        return self._lost is None or self._credible(position)

    def _credible(self, position: int) -> bool:
        """A header further in belongs to a journal that somebody printed."""
        return self._buffer[position + _COVERED] != KIND_HEADER or self._base + position <= len(MAGIC)


class Scan(NamedTuple):
    """All that is readable in some bytes."""

    frames: list[Frame]
    damage: list[Damage]
    torn: int


def scan(data: bytes) -> Scan:
    """Every intact frame of a whole journal, and what was damaged or torn off.

    >>> scan(MAGIC + encode_frame(KIND_END, b"") + b"xx").torn
    2
    """
    decoder = FrameDecoder()
    frames = decoder.feed(data) + decoder.finish()
    return Scan(frames, decoder.damage, decoder.torn)
