"""Stored log streams, as pieces of lines: from the frames of a journal to text that an expression goes through."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from headway.errors import CorruptDataError
from headway.journal.codec import decode_lines
from headway.journal.decoding import FrameDecoder
from headway.journal.frames import FRAME_LIMIT, FRAME_OVERHEAD, KIND_LOG, LAST_KIND, MAGIC, PREFIX

LONGEST_SEARCH = 16 << 20
"""Bytes without any frame after which a stretch counts as damage although its end was not seen."""
PIECE_BYTES = 256 << 10
"""Of lines that are gone through together; more only where one line is longer."""


class Piece(NamedTuple):
    """Consecutive lines of one frame, as they were printed."""

    offset: int
    """Where the frame begins in the stream."""
    end: int
    """Where it ends."""
    skip: int
    """Lines of the frame before these."""
    first_line: int
    """The number of the first of these."""
    time_ms: int
    lines: bytes
    """Joined by newlines, without the last one."""
    last: bool
    """Whether the frame ends with them."""


class Frame(NamedTuple):
    """A log batch in its stream."""

    offset: int
    end: int
    payload: memoryview | bytes


def read_frames(data: bytes, offset: int, *, final: bool) -> tuple[list[Frame], int]:
    """The log batches in ``data``, which lies at ``offset`` of its stream, and where to go on.

    Sound bytes are taken apart here, anything else by the journal's decoder, so that damage is seen as everywhere else.

    Args:
        data: Bytes from the beginning of a frame (or of the stream) on.
        offset: Where they lie.
        final: Whether nothing follows, so that what is incomplete at the end is damage and not waited for.
    """
    frames: list[Frame] = []
    position = len(MAGIC) if offset == 0 and data.startswith(MAGIC) else 0
    sound = offset > 0 or position > 0
    if sound:
        position, sound = _take_sound(data, offset, position, frames)
    if not sound or (final and position < len(data)):
        position = _take_careful(data, offset, position, frames, final=final)
    return frames, offset + position


def _take_sound(data: bytes, offset: int, position: int, frames: list[Frame]) -> tuple[int, bool]:
    """Where the sound frames end, and whether the rest is none or the beginning of one."""
    view, size, crc32, unpack = memoryview(data), len(data), zlib.crc32, PREFIX.unpack_from
    while position + FRAME_OVERHEAD <= size:
        length, crc, kind = unpack(data, position)
        end = position + 8 + length
        if not (1 <= length <= FRAME_LIMIT - 8 and 1 <= kind <= LAST_KIND):
            return position, False
        if end > size:
            return position, True
        if crc32(view[position + 8 : end]) != crc:
            return position, False
        if kind == KIND_LOG:
            frames.append(Frame(offset + position, offset + end, view[position + FRAME_OVERHEAD : end]))
        position = end
    return position, True


def _take_careful(data: bytes, offset: int, position: int, frames: list[Frame], *, final: bool) -> int:
    decoder = FrameDecoder(offset + position)
    found = decoder.feed(data[position:])
    if final:
        found += decoder.finish()
    frames += [Frame(frame.offset, frame.end, frame.payload) for frame in found if frame.kind == KIND_LOG]
    if final:
        return len(data)
    end = decoder.offset - offset
    # Searched in vain; a frame that begins near the end may still become whole.
    return len(data) - 2 * FRAME_LIMIT if len(data) - end > LONGEST_SEARCH else end


def pieces_of(frames: Sequence[Frame], skip: int) -> Iterator[Piece]:
    """The lines of ``frames``, some at a time; without the first ``skip`` lines of the first one."""
    for frame in frames:
        try:
            batch = decode_lines(bytes(frame.payload))
        except CorruptDataError:
            continue
        lines = batch.lines
        start = _after(lines, skip)
        taken = skip
        skip = 0
        while start <= len(lines):
            end = _cut(lines, start)
            part = lines[start:end] if start or end < len(lines) else lines
            last = end >= len(lines)
            yield Piece(frame.offset, frame.end, taken, batch.first_line + taken, batch.time_ms, part, last)
            taken += part.count(b"\n") + 1
            start = end + 1


def gathered(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Pieces in groups that are worth going through together: many programs print, and ship, line by line."""
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        if group and size + len(piece.lines) > PIECE_BYTES:
            yield group
            group, size = [], 0
        group.append(piece)
        size += len(piece.lines) + 1
    if group:
        yield group


def _after(lines: bytes, count: int) -> int:
    """Where line ``count`` begins; beyond the end when there are no more."""
    position = 0
    for _ in range(count):
        found = lines.find(b"\n", position)
        if found < 0:
            return len(lines) + 1
        position = found + 1
    return position


def _cut(lines: bytes, start: int) -> int:
    """Where the lines from ``start`` on end that are one piece: at a newline, or at the end."""
    if len(lines) - start <= PIECE_BYTES:
        return len(lines)
    found = lines.rfind(b"\n", start, start + PIECE_BYTES)
    if found < 0:
        found = lines.find(b"\n", start + PIECE_BYTES)
    return len(lines) if found < 0 else found
