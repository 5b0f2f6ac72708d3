"""A copy of what the process prints through ``sys.stdout`` and ``sys.stderr``, as the run's log.

The streams stay the objects that they are: only their ``write`` is exchanged for one that calls the original first and
copies then. So the terminal gets every byte at once, ``isatty``, ``encoding``, ``fileno`` and ``buffer`` are the originals',
and whoever got hold of a stream before (a logging handler, a progress bar) is copied, too. Descriptors are left alone: a
pipe between the program and its terminal would delay output, and lose it where the process is killed. What C libraries
and child processes write to the descriptors themselves, and what goes to ``sys.stdout.buffer``, is therefore not in the
copy; jobs have it all, since there the agent reads the descriptors.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from headway.journal.lines import LineKeeper, LineNumbers, LineSplitter
from headway.journal.writer import JournalWriter
from headway.tracking.terminal import DrawnLines

CONSOLE_LIMIT = 2 << 30
"""Bytes of lines that are kept of one process."""
_PIECE, _PIECES = 8192, 256
"""Text without a newline waits until it is this long, or until there are so many pieces: a line comes in many."""

log = logging.getLogger(__name__)


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


class ConsoleCopy:
    """Copies stdout and stderr of this process into a journal from :meth:`start` to :meth:`stop`.

    A whole line is in the journal before ``print`` returns, so that the last words of a process that is killed are there.
    Threads, signal handlers and finalizers may print. In a forked child nothing is copied: it has no journal.

    Args:
        writer: A journal of the kind ``logs`` that nobody else writes to.
        limit: Bytes of lines to keep; lines after that are counted only, behind one row that says so.
        clock: Milliseconds since 1970.
    """

    def __init__(
        self, writer: JournalWriter, *, limit: int = CONSOLE_LIMIT, clock: Callable[[], int] = _milliseconds
    ) -> None:
        self._clock = clock
        self._keeper = LineKeeper(writer, limit=limit, split=True)
        self._numbers = LineNumbers()
        self._drawn = tuple(DrawnLines(LineSplitter(self._numbers, stderr=stderr)) for stderr in (False, True))
        self._lock = threading.RLock()
        self._copying = False
        self._queue: deque[tuple[bool, str]] = deque()
        self._stopped = False
        self._failed = False
        self._taps: list[_Tap] = []
        _copies.add(self)

    def start(self) -> None:
        """Copy what ``sys.stdout`` and ``sys.stderr`` are now. A stream that is missing or closed is left out."""
        for stream, is_stderr in ((sys.stdout, False), (sys.stderr, True)):
            if is_stderr and stream is sys.stdout:
                continue  # one stream for both: nobody can tell what is written to which
            if tap := _Tap.into(stream, partial(self.copy, stderr=is_stderr)):
                self._taps.append(tap)

    def copy(self, text: str, *, stderr: bool = False) -> None:
        """Take ``text`` as printed. It never raises for what a disk does."""
        if self._stopped:
            return
        self._queue.append((stderr, text))
        if "\n" in text or len(text) > _PIECE or len(self._queue) > _PIECES:
            self._drain()

    def stop(self) -> None:
        """Give the streams back and keep the last line, also when it has no newline. Calling it twice is harmless."""
        if self._stopped:
            return
        for tap in self._taps:
            tap.remove()
        self._drain()
        with self._lock:
            self._stopped = True
            for drawn in self._drawn:
                for batch in drawn.flush(self._clock()):
                    self._keeper.store(batch)
        _copies.discard(self)

    @property
    def lines(self) -> int:
        """Lines that were printed so far."""
        return self._numbers.counted

    @property
    def unkept_lines(self) -> int:
        """Those over the limit or lost to a full disk."""
        return self._keeper.unkept

    def _drain(self) -> None:
        with self._lock:
            while self._queue and not self._copying:
                # Otherwise a signal handler or a finalizer interrupted this very thread, or the journal complained:
                # what was printed then comes after what is being copied.
                self._copying = True
                try:
                    self._take(*self._queue.popleft())
                finally:
                    self._copying = False

    def _take(self, stderr: bool, text: str) -> None:
        parts = [text]
        while self._queue and self._queue[0][0] == stderr and len(parts) < _PIECES:
            parts.append(self._queue.popleft()[1])
        try:
            for batch in self._drawn[stderr].feed(_encoded("".join(parts)), self._clock()):
                self._keeper.store(batch)
        except Exception:
            # Printing must not fail for the sake of its copy.
            if not self._failed:
                self._failed = True
                log.warning("what is printed cannot be copied to the run's log", exc_info=True)

    def _disown(self) -> None:
        """In a forked child the lock may be held by a thread that does not exist there."""
        self._stopped = True
        for tap in self._taps:
            tap.remove()


class _Tap:
    """The exchanged ``write`` of one stream."""

    def __init__(self, stream: Any, copy: Callable[[str], None]) -> None:
        self._stream = stream
        self._own = _attributes(stream).get("write")
        self._copy: Callable[[str], None] | None = copy
        original = stream.write

        def write(text: str, /, *arguments: Any, **options: Any) -> Any:
            written = original(text, *arguments, **options)
            if (take := self._copy) is not None and isinstance(text, str):
                take(text)
            return written

        self._write = write
        stream.write = write

    @classmethod
    def into(cls, stream: Any, copy: Callable[[str], None]) -> _Tap | None:
        if stream is None or getattr(stream, "closed", False):
            return None
        try:
            return cls(stream, copy)
        except (AttributeError, TypeError):
            log.debug("%r takes no other write: it is not copied", type(stream))
            return None

    def remove(self) -> None:
        """Give ``write`` back, unless somebody exchanged it once more: then ours stays below theirs, and only passes on."""
        self._copy = None
        if _attributes(self._stream).get("write") is not self._write:
            return
        if self._own is not None:
            self._stream.write = self._own
        else:
            del self._stream.write


def _attributes(stream: Any) -> dict[str, Any]:
    return getattr(stream, "__dict__", {})


def _encoded(text: str) -> bytes:
    """Bytes that Python could not decode (surrogate escapes) become what they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


_copies: weakref.WeakSet[ConsoleCopy] = weakref.WeakSet()


def _disown_all() -> None:
    for copy in list(_copies):
        copy._disown()
    _copies.clear()


os.register_at_fork(after_in_child=_disown_all)
