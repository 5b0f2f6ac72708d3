"""What all writers of journals share: one unbuffered write, group syncs, and an account that interrupts leave right."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from typing_extensions import Self

from headway.journal.codec import KIND_END, KIND_HEADER, MAGIC, JournalHeader, encode_frame, encode_header
from headway.journal.files import create_file, is_disk_error, whole_frames
from headway.journal.frames import Frame
from headway.journal.health import Durability, JournalHealth
from headway.journal.liveness import hold
from headway.journal.syncer import Syncer
from headway.paths import full_disk_named, sync_directory

KEPT_BYTES = 256 << 20
"""Of what is kept in memory while the disk is full."""

T = TypeVar("T")


class StreamWriter(ABC, Generic[T]):
    """Appends to a new file of mode 0600; a subclass says what its items are in bytes.

    Any number of threads, signal handlers and finalizers included, may append. An item is in the page cache when that
    returns True, so that no death of the process loses it. Appending never raises for what the disk does: an item that
    cannot be written is dropped and counted in :attr:`health`, or kept in memory by writers that do so, and ``on_trouble``
    is called for the first one. Later ones are tried all the same, so writing recovers when space returns. A forked child
    cannot write into its parent's journal. While the writer lives it holds a lock on the file
    (:func:`headway.journal.liveness.is_live`).

    Args:
        path: Where to create the file; its directory exists.
        header: Whose stream it is; becomes the first frame.
        durability: When to fdatasync.
        on_append: Called after each stored frame, from the appending thread; must be quick and must not raise.
        on_trouble: Called once, at the first failure; must not raise.

    Raises:
        ConflictError: ``path`` exists: a stream is never reopened.
        StorageFullError: No space is left.
        ConfigurationError: The file cannot be created for another reason.
    """

    keeps = 0
    """How many of the newest items stay in memory while the disk is full."""

    def __init__(
        self,
        path: Path,
        header: JournalHeader,
        *,
        durability: Durability = Durability.PROCESS,
        on_append: Callable[[], None] | None = None,
        on_trouble: Callable[[JournalHealth], None] | None = None,
    ) -> None:
        self.path = path
        self.header = header
        self._health = JournalHealth()
        self._position = 0
        self._final: int | None = None
        """The position once the journal is closed: an interrupted write may still move the other one."""
        self._sync_each = durability is Durability.POWER
        self._on_append = on_append
        self._on_trouble = on_trouble
        self._lock = threading.RLock()
        self._writing = False
        self._doubtful = False
        """Whether an interrupt may have come between a write and the lines that note it."""
        self._written: T | None = None
        """The last item that is in the file."""
        self._deferred: deque[T] = deque()
        self._kept: deque[T] = deque()
        self._kept_bytes = 0
        self._closed = False
        self._ended = False
        """Whether the end frame was written."""
        self._name_synced = False
        self._foreign = False
        self._owner = os.getpid()
        self._descriptor = create_file(path)
        self._begin()
        self._syncer = Syncer(self._tick)
        _writers.add(self)

    @property
    def position(self) -> int:
        """Bytes of whole frames in the file: what may be shipped."""
        return self._position if self._final is None else self._final

    @property
    def health(self) -> JournalHealth:
        """How it goes, up to now."""
        self._health.frames = self._frames()
        self._health.bytes = self._position if self._final is None else self._final
        self._health.kept_frames = len(self._kept)
        return self._health

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Write what was kept and the end frame, sync, and close the file. Calling it twice is harmless."""
        if self._foreign:
            return
        if self._in_flight():
            self._end()
        else:
            with self._lock:
                self._take_over()
                self._end()
        self._syncer.stop()
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                self._sync(descriptor)
                os.close(descriptor)
        _writers.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # What a subclass says

    @abstractmethod
    def _encode(self, item: T) -> bytes:
        """The frames of ``item``, as they would be written now."""

    @abstractmethod
    def _weigh(self, item: T) -> tuple[int, int]:
        """About how many bytes ``item`` has, and how many points."""

    @abstractmethod
    def _frames(self) -> int:
        """Frames in the file."""

    def _note(self, item: T) -> None:
        """``item`` is being written: the last line before the position moves. May be called twice for one item."""

    def _adopt(self, frame: Frame) -> None:
        """``frame`` is in the file although the write was interrupted."""

    def _in_flight(self) -> bool:
        """Whether this very thread is within a write that holds no lock."""
        return False

    def _take_over(self, *, wait: bool = True) -> bool:  # noqa: ARG002
        """See to it that nobody writes without the lock. Called with the lock held; False when that must be waited for."""
        return True

    # Appending

    def _put(self, item: T) -> bool:
        """Write ``item``; whether it is as safe as :class:`Durability` says."""
        if self._foreign:
            return self._discard(item, f"This journal belongs to process {self._owner}: a fork opens its own.")
        if self._in_flight():
            self._deferred.append(item)
            return True
        with self._lock:
            if self._writing:
                # A signal handler or a finalizer interrupted this very thread within a write.
                self._deferred.append(item)
                return True
            self._take_over()
            return self._place(item)

    def _place(self, item: T) -> bool:
        self._writing = True
        try:
            if self._doubtful:
                self._reconcile()
            stored = self._store(item)
            if self._on_append:
                self._on_append()
        finally:
            self._writing = False
        while self._deferred:
            self._place(self._deferred.popleft())
        return stored

    def _store(self, item: T) -> bool:
        if self._closed:
            return self._discard(item, "This journal is closed.")
        if self._kept:
            self._keep(item)
            return self._catch_up() and self._settle()
        error = self._write(item)
        if error is None:
            return self._settle()
        if not self.keeps or self._closed:
            return self._discard(item, str(error))
        self._keep(item)
        self._trouble(str(error))
        self._syncer.ask()
        return False

    def _settle(self) -> bool:
        return self._sync(self._descriptor) if self._sync_each else self._syncer.ask()

    def _write(self, item: T) -> OSError | None:
        """One write; what the disk had against it, with the file as if it had not been tried."""
        data = self._encode(item)
        end = self._position + len(data)
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            self._note(item)
            self._written = item
            self._position = end
        except BaseException as error:
            self._reconcile()
            if self._position == end:
                self._written = item
            if isinstance(error, OSError) and is_disk_error(error):
                return error if self._position != end else None
            raise
        return None

    def _reconcile(self) -> None:
        """Believe the file: take in frames that are whole, cut off one that is not.

        Readers step over torn bytes where even that fails.
        """
        self._doubtful = True
        if self._descriptor < 0:
            return
        size = self._position
        try:
            size = os.fstat(self._descriptor).st_size
            for frame in whole_frames(self._descriptor, self._position, size):
                self._adopt(frame)
                self._position = frame.end
            if self._position < size:
                os.ftruncate(self._descriptor, self._position)
        except OSError as error:
            self._health.last_error = str(error)
            self._position = max(self._position, size)
        self._doubtful = False

    # A disk that is full

    def _keep(self, item: T) -> None:
        self._kept.append(item)
        self._kept_bytes += self._weigh(item)[0]
        while len(self._kept) > self.keeps or self._kept_bytes > KEPT_BYTES:
            oldest = self._kept.popleft()
            self._kept_bytes -= self._weigh(oldest)[0]
            self._discard(oldest, self._health.last_error or "No space is left.")

    def _catch_up(self) -> bool:
        """Write what was kept, the oldest first, as far as the disk takes it; whether all of it is written."""
        while self._kept:
            item = self._kept.popleft()
            error: OSError | None = None
            try:
                error = self._write(item)
            finally:
                if self._written is item:
                    self._kept_bytes -= self._weigh(item)[0]
                else:
                    self._kept.appendleft(item)
            if error is not None:
                self._health.last_error = str(error)
                self._syncer.ask()
                return False
        return True

    def _discard(self, item: T, reason: str) -> bool:
        size, points = self._weigh(item)
        self._health.dropped_frames += 1
        self._health.dropped_bytes += size
        self._health.dropped_points += points
        self._trouble(reason)
        return False

    def _trouble(self, reason: str) -> None:
        self._health.last_error = reason
        report, self._on_trouble = self._on_trouble, None
        if report:
            report(self.health)

    # Syncing

    def _tick(self) -> None:
        """Called by the syncer's thread, at most once a second, after something was written or kept."""
        if self._kept and self._lock.acquire(blocking=False):
            try:
                if not self._writing and self._take_over(wait=False):
                    self._retry()
            finally:
                self._lock.release()
        self._sync(self._descriptor)

    def _retry(self) -> None:
        self._writing = True
        try:
            if not self._closed and self._catch_up() and self._on_append:
                self._on_append()
        finally:
            self._writing = False
        while self._deferred:
            self._place(self._deferred.popleft())

    def _sync(self, descriptor: int) -> bool:
        """A failed sync is not repeated: the kernel has let go of those pages, and a second call would hide it."""
        if descriptor < 0:
            return True
        try:
            os.fdatasync(descriptor)
            if not self._name_synced:
                self._name_synced = True
                sync_directory(self.path.parent)
        except OSError as error:
            self._health.sync_errors += 1
            self._trouble(str(error))
            return False
        return True

    # Beginning and end

    def _begin(self) -> None:
        """Magic and header in one write; nothing stays behind when that fails."""
        start = MAGIC + encode_frame(KIND_HEADER, encode_header(self.header))
        hold(self._descriptor)
        try:
            with full_disk_named(f"the journal {self.path.name}"):
                written = os.write(self._descriptor, start)
                while written < len(start):
                    written += os.write(self._descriptor, start[written:])
        except BaseException:
            os.close(self._descriptor)
            self.path.unlink(missing_ok=True)
            raise
        self._position = len(start)
        if self._sync_each:
            self._sync(self._descriptor)

    def _end(self) -> None:
        """All that is still to be written. An interrupted write of this thread is whole or gone after this."""
        if self._closed:
            return
        self._reconcile()
        while self._deferred:
            self._store(self._deferred.popleft())
        self._catch_up()
        self._closed = True
        while self._kept:
            self._discard(self._kept.popleft(), self._health.last_error or "No space is left.")
        self._kept_bytes = 0
        try:
            os.write(self._descriptor, encode_frame(KIND_END, b""))
            self._ended = True
        except OSError as error:
            self._trouble(str(error))
        self._reconcile()
        self._final = self._position
        if self._on_append:
            self._on_append()

    def _disown(self) -> None:
        """In a forked child: the locks may be held by threads that do not exist here, so they are not touched."""
        if self._owner != os.getpid() and not self._foreign:
            self._foreign = True
            self._health = JournalHealth()
            self._kept, self._deferred = deque(), deque()
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


_writers: weakref.WeakSet[StreamWriter[Any]] = weakref.WeakSet()


def _disown_all() -> None:
    for writer in list(_writers):
        writer._disown()
    _writers.clear()


os.register_at_fork(after_in_child=_disown_all)
