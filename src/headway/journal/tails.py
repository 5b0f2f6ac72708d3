"""The end of logs: where the last rows of several streams begin, without reading what lies before them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from headway.errors import CorruptDataError
from headway.journal.codec import FRAME_LIMIT, KIND_END, KIND_HEADER, KIND_LOG, Frame, FrameDecoder, decode_lines
from headway.journal.cursors import LogCursor, Position
from headway.journal.frames import FrameState, candidates, look
from headway.journal.tapes import LogSource

_WINDOW = 64 << 10
_LARGEST_WINDOW = 2 * FRAME_LIMIT
"""Room for a frame that is there in part and the whole one before it."""
_EFFORT = 64 << 20
"""Bytes to go through in one window at most while looking for where its frames begin."""
_FORWARD_READ = 1 << 20


def tail_cursor(sources: Sequence[LogSource], count: int, max_bytes: int) -> LogCursor:
    """Where the last ``count`` rows over all ``sources`` begin, or fewer if they have more than ``max_bytes``.

    A stream is gone through backwards, so this costs what the rows cost. Only where damage hides how its frames lie is
    it read from its beginning.
    """
    histories = [_backwards(source, count) for source in sources]
    positions: dict[str, Position] = {}
    newest: list[tuple[int, int, _Batch]] = []
    for order, history in enumerate(histories):
        if batch := next(history, None):
            positions[sources[order].name] = Position(batch.end)
            newest.append((-batch.time_ms, len(sources) - order, batch))
    heapq.heapify(newest)
    while newest and count > 0 and max_bytes > 0:
        _, rank, batch = heapq.heappop(newest)
        order = len(sources) - rank
        taken = min(count, batch.lines)
        count -= taken
        max_bytes -= (batch.end - batch.offset) * taken // batch.lines
        positions[sources[order].name] = Position(batch.offset, batch.lines - taken)
        if earlier := next(histories[order], None):
            heapq.heappush(newest, (-earlier.time_ms, rank, earlier))
    return LogCursor(positions)


class _Batch(NamedTuple):
    """A log batch without its lines."""

    time_ms: int
    offset: int
    end: int
    first_line: int
    lines: int


def _backwards(source: LogSource, count: int) -> Iterator[_Batch]:
    """The batches of ``source``, the last one first; at least as many as hold ``count`` rows, if there are."""
    end, window = source.committed, _WINDOW
    while end > 0:
        start = max(0, end - window)
        batches = _stretch(source, start, end)
        if batches is not None:
            yield from reversed(batches)
            if not start:
                return
            end, window = batches[0].offset, _WINDOW
        elif window < _LARGEST_WINDOW:
            window *= 2
        else:
            yield from _forwards(source, end, count)
            return


def _stretch(source: LogSource, start: int, end: int) -> list[_Batch] | None:
    """The batches between two places of which only ``end`` is known to be a boundary; None when ``start`` hides them."""
    data = source.read(start, end - start)
    if start:
        return _chain(data, start, open_end=end == source.committed)
    decoder = FrameDecoder()
    frames = decoder.feed(data)
    if source.complete or end < source.committed:
        frames += decoder.finish()
    return _batches(frames)


def _forwards(source: LogSource, end: int, count: int) -> Iterator[_Batch]:
    decoder = FrameDecoder()
    last: deque[_Batch] = deque(maxlen=max(1, count))
    for offset in range(0, end, _FORWARD_READ):
        last.extend(_batches(decoder.feed(source.read(offset, min(_FORWARD_READ, end - offset)))))
    if source.complete or end < source.committed:
        last.extend(_batches(decoder.finish()))
    yield from reversed(last)


def _batches(frames: Sequence[Frame]) -> list[_Batch]:
    return [batch for frame in frames if (batch := _batch(frame))]


def _batch(frame: Frame) -> _Batch | None:
    if frame.kind != KIND_LOG:
        return None
    try:
        batch = decode_lines(frame.payload)
    except CorruptDataError:
        return None
    return _Batch(batch.time_ms, frame.offset, frame.end, batch.first_line, batch.line_count)


def _chain(data: bytes, base: int, *, open_end: bool) -> list[_Batch] | None:
    """The batches in a piece out of a stream's middle, from the first frame on that leads to the piece's end.

    None when there is no such frame. Lines may contain the bytes of other journals; those do not lead to the end, have
    a header among them, or count lines differently. ``open_end``: the last frame may be there in part.
    """
    effort = _EFFORT
    refused: set[int] = set()
    for start in candidates(data, 0, len(data)):
        if start in refused:
            continue
        starts, end = _walk(data, start)
        effort -= max(end, _checked_to(data, start)) - start
        if starts and (end == len(data) or (open_end and _begins_frame(data, end))):
            frames = FrameDecoder(base + start).feed(data[start:end])
            if (batches := _batches(frames)) and _plausible(frames, batches):
                return batches
        refused.update(starts)
        if effort < 0:
            break
    return None


def _walk(data: bytes, position: int) -> tuple[list[int], int]:
    """Where the frames begin that follow each other from ``position`` on, and where the last one ends."""
    starts: list[int] = []
    state, end = look(data, position)
    while state is FrameState.WHOLE:
        starts.append(position)
        position = end
        state, end = look(data, position)
    return starts, position


def _checked_to(data: bytes, position: int) -> int:
    """Up to where looking at ``position`` had to go through the bytes."""
    state, end = look(data, position)
    return max(position, end) if state is FrameState.BAD else position


def _begins_frame(data: bytes, position: int) -> bool:
    return look(data, position)[0] is FrameState.PARTIAL


def _plausible(frames: Sequence[Frame], batches: Sequence[_Batch]) -> bool:
    """Whether frames lie as in one stream: no header, no end but at the end, and lines that are numbered throughout."""
    if any(frame.kind == KIND_HEADER for frame in frames) or any(frame.kind == KIND_END for frame in frames[:-1]):
        return False
    following = (batch.first_line + batch.lines for batch in batches)
    return all(batch.first_line == line for batch, line in zip(batches[1:], following, strict=False))
