"""What a program prints, as log batches in a journal: lines counted, overwriting resolved, memory bounded."""

from __future__ import annotations

import fcntl
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from headway.journal.codec import LogBatch
from headway.journal.lines import LINE_LIMIT, LineKeeper, LineNumbers, LineSplitter
from headway.journal.writer import JournalWriter

REPLICA_LIMIT = 2 << 30
"""Bytes of lines that are kept of one replica."""

_READ = 256 << 10
_PIPE = 1 << 20
_LAST_LINES = 20
_LAST_LINE_BYTES = 4 << 10


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
        self._clock = clock
        self._numbers = LineNumbers()
        self._last: deque[bytes] = deque(maxlen=_LAST_LINES)
        split = stderr is not None
        self._keeper = LineKeeper(writer, limit=replica_limit, split=split)
        self._open: dict[int, LineSplitter] = {}
        for descriptor, is_stderr in ((stdout, False), (stderr, True)):
            if descriptor is not None:
                kind = is_stderr if split else None
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
        return CaptureReport(self._numbers.counted, self._keeper.unkept, not self._cut_off)

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
        self._keeper.store(batch)

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
