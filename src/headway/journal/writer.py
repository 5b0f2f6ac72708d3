"""Writing a journal: one unbuffered write a frame, synced in groups, never in the way of the program that writes."""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from headway.errors import ConfigurationError, ConflictError
from headway.journal.codec import KIND_END, KIND_HEADER, MAGIC, JournalHeader, encode_frame, encode_header
from headway.paths import full_disk_named, sync_directory

SYNC_SECONDS = 1.0
"""How long a frame waits at most for its fdatasync under the policy ``process``."""


def new_writer_id() -> str:
    """A random id for one opening of one stream."""
    return secrets.token_hex(8)


class Durability(str, Enum):
    """What an acknowledged frame survives."""

    PROCESS = "process"
    """The death of the process at once, a power loss after a second at most."""
    POWER = "power"
    """A power loss, too: every append is synced before it returns."""


@dataclass
class JournalHealth:
    """How a journal's writing goes. ``dropped_frames`` counts frames that are not in the file."""

    frames: int = 0
    bytes: int = 0
    dropped_frames: int = 0
    dropped_bytes: int = 0
    sync_errors: int = 0
    last_error: str | None = None

    @property
    def ok(self) -> bool:
        return not self.dropped_frames and not self.sync_errors


class JournalWriter:
    """Appends frames to a new file of mode 0600.

    Any number of threads, signal handlers included, may append. A frame is in the page cache when ``append`` returns
    True, so that no death of the process loses it. ``append`` never raises for what the disk does: a frame that cannot
    be written is dropped and counted in :attr:`health`, and ``on_trouble`` is called for the first one. Later ones are
    tried all the same, so writing recovers when space returns. A forked child cannot write into its parent's journal.

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
        self.health = JournalHealth()
        self.position = 0
        """Bytes of whole frames in the file: what may be shipped."""
        self._sync_each = durability is Durability.POWER
        self._on_append = on_append
        self._on_trouble = on_trouble
        self._lock = threading.RLock()
        self._writing = False
        self._deferred: list[bytes] = []
        self._closed = False
        self._name_synced = False
        self._foreign = False
        self._owner = os.getpid()
        self._descriptor = _create(path)
        self._begin()
        self._syncer = _Syncer(self._sync)
        _writers.add(self)

    def append(self, kind: int, payload: bytes) -> bool:
        """Write one frame; whether it is as safe as :class:`Durability` says.

        Raises:
            PayloadTooLargeError: ``payload`` does not fit into a frame.
        """
        frame = encode_frame(kind, payload)
        if self._foreign:
            return self._drop(frame, f"This journal belongs to process {self._owner}: a fork opens its own.")
        with self._lock:
            if self._writing:
                # A signal handler or a finalizer interrupted this very thread within a write.
                self._deferred.append(frame)
                return True
            return self._append(frame)

    def close(self) -> None:
        """Write the end frame, sync, and close the file. Calling it twice is harmless."""
        if self._foreign:
            return
        with self._lock:
            if self._closed:
                return
            self._append(encode_frame(KIND_END, b""))
            self._closed = True
        self._syncer.stop()
        with self._lock:
            self._sync()
            os.close(self._descriptor)
        _writers.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        """Magic and header in one write; nothing stays behind when that fails."""
        start = MAGIC + encode_frame(KIND_HEADER, encode_header(self.header))
        try:
            with full_disk_named(f"the journal {self.path.name}"):
                _write_all(self._descriptor, start)
        except BaseException:
            os.close(self._descriptor)
            self.path.unlink(missing_ok=True)
            raise
        self.position = len(start)
        self.health.frames, self.health.bytes = 1, len(start)
        if self._sync_each:
            self._sync()

    def _append(self, frame: bytes) -> bool:
        self._writing = True
        try:
            stored = self._store(frame)
            if self._on_append:
                self._on_append()
        finally:
            self._writing = False
        while self._deferred:
            self._append(self._deferred.pop(0))
        return stored

    def _store(self, frame: bytes) -> bool:
        if self._closed:
            return self._drop(frame, "This journal is closed.")
        try:
            _write_all(self._descriptor, frame)
        except OSError as error:
            self._settle(len(frame))
            return self._drop(frame, str(error))
        except BaseException:
            # An interrupt between the write and the line that notes it.
            self._settle(len(frame))
            raise
        self.position += len(frame)
        self.health.frames += 1
        self.health.bytes += len(frame)
        return self._sync() if self._sync_each else self._syncer.ask()

    def _settle(self, length: int) -> None:
        """Take back a frame that was written in part; readers step over it where even that fails."""
        try:
            if os.fstat(self._descriptor).st_size == self.position + length:
                self.position += length
            else:
                os.ftruncate(self._descriptor, self.position)
        except OSError as error:
            self.health.last_error = str(error)

    def _drop(self, frame: bytes, reason: str) -> bool:
        self.health.dropped_frames += 1
        self.health.dropped_bytes += len(frame)
        self._trouble(reason)
        return False

    def _sync(self) -> bool:
        """A failed sync is not repeated: the kernel has let go of those pages, and a second call would hide it."""
        try:
            os.fdatasync(self._descriptor)
            if not self._name_synced:
                self._name_synced = True
                sync_directory(self.path.parent)
        except OSError as error:
            self.health.sync_errors += 1
            self._trouble(str(error))
            return False
        return True

    def _trouble(self, reason: str) -> None:
        self.health.last_error = reason
        report, self._on_trouble = self._on_trouble, None
        if report:
            report(self.health)

    def _disown(self) -> None:
        """In a forked child: the locks may be held by threads that do not exist here, so they are not touched."""
        if self._owner != os.getpid() and not self._foreign:
            self._foreign = True
            self.health = JournalHealth()
            os.close(self._descriptor)


class _Syncer:
    """One thread that calls ``sync`` a second after it was first asked to, for all that was written until then."""

    def __init__(self, sync: Callable[[], object]) -> None:
        self._sync = sync
        self._asked = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self) -> bool:
        """Have the file synced within :data:`SYNC_SECONDS`. Only one thread at a time may call this."""
        if not self._asked.is_set():
            self._asked.set()
            if self._thread is None:
                self._start()
        return True

    def stop(self) -> None:
        self._stopping.set()
        self._asked.set()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="headway-journal-sync", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # No thread can be started any more (the interpreter ends): the kernel writes the pages back by itself.
            self._thread = None

    def _run(self) -> None:
        while True:
            self._asked.wait()
            if self._stopping.wait(SYNC_SECONDS):
                return
            self._asked.clear()
            self._sync()


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with full_disk_named(f"the journal {path.name}"):
            return os.open(path, flags, 0o600)
    except FileExistsError:
        raise ConflictError(
            f"The journal {str(path)!r} exists already.", hint="A stream is never reopened: open a new one."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"The journal {str(path)!r} cannot be created: {error.strerror}.") from error


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written < len(data):
        view = memoryview(data)
        while view := view[written:]:
            written = os.write(descriptor, view)


_writers: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


def _disown_all() -> None:
    for writer in list(_writers):
        writer._disown()
    _writers.clear()


os.register_at_fork(after_in_child=_disown_all)
