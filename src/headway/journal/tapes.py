"""One stored log stream, read forward from a position, a batch at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from headway.domain.logs import LogRow
from headway.errors import CorruptDataError
from headway.journal.codec import KIND_LOG, Frame, FrameDecoder, LogBatch, decode_lines
from headway.journal.cursors import Position

_SMALLEST_READ, _LARGEST_READ = 16 << 10, 256 << 10
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_MILLISECOND = 253_402_300_799_999
"""The end of the year 9999, after which there is no datetime."""


@dataclass(frozen=True)
class LogSource:
    """One stored log stream.

    Attributes:
        name: The stream's name.
        replica: Which replica printed it.
        attempt: In which attempt.
        committed: How many bytes are there.
        read: ``read(offset, length)`` gives at most ``length`` bytes from ``offset`` on, fewer only at the end.
        complete: Whether nothing is ever added.
    """

    name: str
    replica: str
    attempt: int
    committed: int
    read: Callable[[int, int], bytes]
    complete: bool = False


class Tape:
    """One stream from a position on, a batch at a time."""

    def __init__(self, source: LogSource, position: Position, memory: int) -> None:
        self.source = source
        self.position = position
        """Where to go on when nothing more is taken."""
        self.time_ms = 0
        self.has_batch = False
        self._memory = memory
        self._piece = max(_SMALLEST_READ, min(_LARGEST_READ, memory // 2))
        self._read_at = position.offset
        self._decoder = FrameDecoder(position.offset)
        self._frames: deque[Frame] = deque()
        self._batch: LogBatch | None = None
        self._extent = (0, 0)
        """Offset and end of the batch's frame."""
        self._finished = False

    def advance(self) -> bool:
        """Bring the next batch; False when there is none (yet)."""
        while frame := self._next_frame():
            if frame.kind == KIND_LOG and self._load(frame):
                return True
            self.position = Position(frame.end)
        return False

    def take(self, count: int, max_bytes: int) -> tuple[list[LogRow], int]:
        """At most ``count`` rows of the batch, ended by the one that reaches ``max_bytes``; and their bytes."""
        batch = self._batch or self._reload()
        skip = self.position.skip
        lines = batch.lines.split(b"\n")
        timestamp = _EPOCH + timedelta(milliseconds=min(batch.time_ms, _LAST_MILLISECOND))
        rows: list[LogRow] = []
        size = 0
        for number, line in enumerate(lines[skip : skip + count], batch.first_line + skip):
            rows.append(self._row(number, line, timestamp, batch.stderr))
            size += len(line) + 1
            if size >= max_bytes:
                break
        self._deliver(skip + len(rows), len(lines))
        return rows, size

    def _deliver(self, delivered: int, count: int) -> None:
        if delivered >= count:
            self.has_batch = False
            self._batch = None
            self.position = Position(self._extent[1])
        else:
            self.position = Position(self._extent[0], delivered)

    def _row(self, number: int, line: bytes, timestamp: datetime, stderr: bool | None) -> LogRow:
        return LogRow(
            line=number,
            message=line.decode(errors="replace"),
            timestamp=timestamp,
            replica=self.source.replica,
            attempt=self.source.attempt,
            stderr=stderr,
        )

    def _load(self, frame: Frame) -> bool:
        try:
            batch = decode_lines(frame.payload)
        except CorruptDataError:
            return False
        if frame.offset != self.position.offset:
            self.position = Position(frame.offset)
        self._extent = (frame.offset, frame.end)
        self.time_ms = batch.time_ms
        # Of many streams only the one whose turn it is keeps a large batch in memory.
        self._batch = batch if len(frame.payload) <= self._memory else None
        self.has_batch = True
        return True

    def _reload(self) -> LogBatch:
        start, end = self._extent
        frames = FrameDecoder(start).feed(self.source.read(start, end - start))
        if not frames:
            raise CorruptDataError(f"The stream {self.source.name} changed at byte {start} while it was read.")
        self._batch = decode_lines(frames[0].payload)
        return self._batch

    def _next_frame(self) -> Frame | None:
        while not self._frames and not self._finished:
            length = min(max(self._piece, self._decoder.wanted), self.source.committed - self._read_at)
            if data := self.source.read(self._read_at, length) if length > 0 else b"":
                self._read_at += len(data)
                self._frames.extend(self._decoder.feed(data))
            else:
                self._finished = True
                if self.source.complete:
                    self._frames.extend(self._decoder.finish())
        return self._frames.popleft() if self._frames else None
