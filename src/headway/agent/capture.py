"""What a program prints, as log batches in a journal: lines counted, overwriting resolved, memory bounded."""

from __future__ import annotations

import fcntl
import os
import re
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from headway.domain.logs import CUT_MARK
from headway.journal.codec import KIND_LOG, LogBatch, encode_lines
from headway.journal.writer import JournalWriter

LINE_LIMIT = 1 << 20
"""Bytes of a line that are kept."""
REPLICA_LIMIT = 2 << 30
"""Bytes of lines that are kept of one replica."""
LIMIT_MARK = "[headway: {limit} bytes of log are kept; from here on lines are counted, not kept]"
"""The one row that a replica's log ends with when it is over the limit."""

_READ = 256 << 10
_PIPE = 1 << 20
_LAST_LINES = 20
_LAST_LINE_BYTES = 4 << 10

_OVERWRITTEN = re.compile(rb"(?m)^[^\n]*\r(?=[^\r\n])")
"""The part of a line that later text on the same line covers. Anchored, so that a line is gone through once."""


class LineNumbers:
    """Numbers lines from 1; shared by the outputs of one replica."""

    def __init__(self) -> None:
        self.counted = 0

    def take(self, count: int) -> int:
        """The first of the next ``count`` numbers."""
        first = self.counted + 1
        self.counted += count
        return first


class LineSplitter:
    """Turns the bytes of one output into batches of complete lines.

    The bytes of a line are what a terminal would still show: the text after the last carriage return that text follows
    (``\\r\\n`` is a plain line end). A line over ``line_limit`` bytes is cut and ends with
    :data:`headway.domain.logs.CUT_MARK`. At most one such line is held in memory, however long it gets.

    Args:
        numbers: Where line numbers come from.
        stderr: Whether this output is stderr; None when it carries both.
        line_limit: Bytes that are kept of a line.
    """

    def __init__(
        self, numbers: LineNumbers | None = None, *, stderr: bool | None = None, line_limit: int = LINE_LIMIT
    ) -> None:
        self.numbers = numbers or LineNumbers()
        self._stderr = stderr
        self._limit = line_limit
        self._text = bytearray()
        self._dropped = 0
        self._returned = False
        """Whether the unfinished line ends with a carriage return, so that text would begin it anew."""

    def feed(self, data: bytes, time_ms: int) -> list[LogBatch]:
        """The lines that ``data`` completes, in batches of about 256 KiB (one line more at most)."""
        return [
            batch
            for start in range(0, len(data), _READ)
            if (batch := self._feed_piece(data[start : start + _READ], time_ms))
        ]

    def flush(self, time_ms: int) -> list[LogBatch]:
        """The last line, if the output ended without a newline."""
        if not (self._text or self._returned or self._dropped):
            return []
        return [self._batch(self._finish_line(), time_ms)]

    def _feed_piece(self, piece: bytes, time_ms: int) -> LogBatch | None:
        last = piece.rfind(b"\n")
        if last < 0:
            self._extend(piece)
            return None
        start, lines = 0, []
        if self._text or self._returned or self._dropped:
            start = piece.index(b"\n") + 1
            self._extend(piece[: start - 1])
            lines.append(self._finish_line())
        if start <= last:
            lines.append(self._whole_lines(piece[start:last]))
        self._extend(piece[last + 1 :])
        return self._batch(b"\n".join(lines), time_ms)

    def _whole_lines(self, lines: bytes) -> bytes:
        if b"\r" in lines:
            lines = _OVERWRITTEN.sub(b"", lines).replace(b"\r", b"")
        if len(lines) > self._limit:
            lines = b"\n".join(map(self._cut, lines.split(b"\n")))
        return lines

    def _cut(self, line: bytes) -> bytes:
        return line if len(line) <= self._limit else _marked(line[: self._limit], len(line) - self._limit)

    def _extend(self, part: bytes) -> None:
        """Add to the unfinished line; ``part`` has no newline."""
        text = part.rstrip(b"\r")
        if text:
            start = text.rfind(b"\r") + 1
            if start or self._returned:
                self._text.clear()
                self._dropped = 0
            kept = text[start : start + self._limit - len(self._text)]
            self._text += kept
            self._dropped += len(text) - start - len(kept)
        self._returned = len(text) < len(part) or (self._returned and not part)

    def _finish_line(self) -> bytes:
        line = bytes(self._text)
        if self._dropped:
            line = _marked(line, self._dropped)
        self._text.clear()
        self._dropped = 0
        self._returned = False
        return line

    def _batch(self, lines: bytes, time_ms: int) -> LogBatch:
        first = self.numbers.take(lines.count(b"\n") + 1)
        return LogBatch(first, time_ms, self._stderr, lines)


def _marked(kept: bytes, dropped: int) -> bytes:
    """A cut line with its mark; a character that the cut went through is left out whole."""
    clean = kept
    for back in range(1, min(4, len(kept)) + 1):
        byte = kept[-back]
        if byte < 0x80 or byte >= 0xF8:
            break
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            clean = kept[:-back] if length > back else kept
            break
    return clean + CUT_MARK.format(count=dropped + len(kept) - len(clean)).encode()


class CaptureReport(NamedTuple):
    """What was captured."""

    lines: int
    """All lines that were printed."""
    unkept_lines: int
    """Those over the replica's limit or lost to a full disk."""
    complete: bool
    """Whether every output was read to its end; False when a process that outlived the program kept it open."""


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


class Capture:
    """Reads a program's outputs in a thread of its own until they end, so that the program is never held up.

    Give one pipe for both outputs (their order is then exact) or one each (rows then know which they came from). The
    read ends belong to the capture, which closes them.

    Args:
        stdout: Read end of the pipe for stdout, or for both.
        stderr: Read end of the pipe for stderr, if it has its own.
        writer: Where batches go; nothing that its disk does reaches the program.
        replica_limit: Bytes of lines to keep; lines after that are counted only, behind one row that says so.
        line_limit: Bytes to keep of a line.
        clock: Milliseconds since 1970.
    """

    def __init__(
        self,
        stdout: int,
        stderr: int | None,
        writer: JournalWriter,
        *,
        replica_limit: int = REPLICA_LIMIT,
        line_limit: int = LINE_LIMIT,
        clock: Callable[[], int] = _milliseconds,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._limit = self._left = replica_limit
        self._marked = False
        self._unkept = 0
        self._numbers = LineNumbers()
        self._last: deque[bytes] = deque(maxlen=_LAST_LINES)
        self._split = stderr is not None
        self._open: dict[int, LineSplitter] = {}
        for descriptor, is_stderr in ((stdout, False), (stderr, True)):
            if descriptor is not None:
                kind = is_stderr if self._split else None
                self._open[descriptor] = LineSplitter(self._numbers, stderr=kind, line_limit=line_limit)
                _widen(descriptor)
        self._cut_off = False
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="headway-capture", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self, linger: float | None = None) -> CaptureReport:
        """Wait until the outputs end and everything is in the journal.

        Args:
            linger: Seconds to wait at most. Call it with a value once the program has ended: a process that it left
                behind may keep its outputs open for ever. What is in the pipes then is still read.
        """
        self._thread.join(linger)
        if self._thread.is_alive():
            os.write(self._stop_writer, b"x")
            self._thread.join()
        self._close_stop_pipe()
        return CaptureReport(self._numbers.counted, self._unkept, not self._cut_off)

    def last_lines(self) -> tuple[str, ...]:
        """The last 20 lines, for a failure report; long ones shortened. May be called at any time."""
        return tuple(line.decode(errors="replace") for line in self._last.copy())

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for descriptor in (*self._open, self._stop_reader):
                selector.register(descriptor, selectors.EVENT_READ)
            while self._open:
                ready = [key.fd for key, _ in selector.select()]
                if self._stop_reader in ready:
                    self._cut_off = True
                    self._drain()
                    return
                for descriptor in ready:
                    if not self._read(descriptor):
                        selector.unregister(descriptor)
                        self._end(descriptor)

    def _read(self, descriptor: int) -> bool:
        """Read once; False at the end."""
        try:
            data = os.read(descriptor, _READ)
        except OSError:
            # What a pseudo-terminal says (EIO) when its other side is gone.
            return False
        for batch in self._open[descriptor].feed(data, self._clock()):
            self._store(batch)
        return bool(data)

    def _end(self, descriptor: int) -> None:
        for batch in self._open.pop(descriptor).flush(self._clock()):
            self._store(batch)
        os.close(descriptor)

    def _drain(self) -> None:
        """Take what the pipes hold now, and no more: whoever keeps them open may go on writing."""
        for descriptor in list(self._open):
            os.set_blocking(descriptor, False)
            for _ in range(_PIPE // _READ + 1):
                if not self._read(descriptor):
                    break
            self._end(descriptor)

    def _store(self, batch: LogBatch) -> None:
        self._last.extend(line[:_LAST_LINE_BYTES] for line in batch.lines.rsplit(b"\n", _LAST_LINES)[-_LAST_LINES:])
        if not (self._within_limit(batch) and self._append(batch)):
            self._unkept += batch.line_count

    def _within_limit(self, batch: LogBatch) -> bool:
        if self._left > 0:
            self._left -= len(batch.lines) + 1
            return True
        if not self._marked:
            self._marked = True
            self._append(batch._replace(lines=LIMIT_MARK.format(limit=self._limit).encode()))
        return False

    def _append(self, batch: LogBatch) -> bool:
        payload = encode_lines(
            batch.first_line, batch.time_ms, batch.lines, stderr=bool(batch.stderr), split=self._split
        )
        return self._writer.append(KIND_LOG, payload)

    def _close_stop_pipe(self) -> None:
        if self._stop_reader >= 0:
            os.close(self._stop_reader)
            os.close(self._stop_writer)
            self._stop_reader = self._stop_writer = -1


def _widen(descriptor: int) -> None:
    """A larger pipe lets a program run on through a short pause of ours. Refused for other files, which is no harm."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE)
    except OSError:
        pass
