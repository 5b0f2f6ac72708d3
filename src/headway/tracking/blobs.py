"""Bytes that a run keeps beside its journals until the server holds them, by their SHA-256."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from headway.errors import ConflictError, InvalidRequestError
from headway.paths import full_disk_named, private_directory, sync_directory

CHUNK_BYTES = 1 << 20
SYNC_SECONDS = 1.0
"""How long a blob waits at most until it survives a power loss. The death of the process it survives at once."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class KeptBlob(NamedTuple):
    """What was kept: SHA-256 in lower-case hex, and bytes."""

    digest: str
    size: int


class PendingBlob(NamedTuple):
    """A blob that the server is not known to hold."""

    digest: str
    size: int
    path: Path


KeepBlob = Callable[["bytes | Path", str], KeptBlob]
"""Content or a file, and its media type as HTTP says it; :meth:`LocalBlobs.keep` is one."""


class LocalBlobs:
    """Blobs as files ``blobs/sha256/ab/<digest>`` (mode 0600) below a run's directory.

    Any number of threads and processes may keep blobs in one directory at a time; the same content is kept once. A blob
    is there whole or not at all.

    Args:
        directory: The run's directory; it exists.
        on_keep: Called after each blob that is new here; must be quick and must not raise.
    """

    def __init__(self, directory: Path, *, on_keep: Callable[[], None] | None = None) -> None:
        self._root = directory / "blobs"
        self._on_keep = on_keep
        self._syncer = _GroupSync()

    def keep(self, content: bytes | Path, media_type: str = "application/octet-stream") -> KeptBlob:
        """Keep ``content``, or a copy of the file that it names as the file is now.

        Raises:
            InvalidRequestError: The path names no readable regular file.
            ConflictError: The file was changed while it was read: nothing is kept of it.
            StorageFullError: No space is left; nothing is kept.
        """
        del media_type  # said with the entry that refers to the blob; the bytes are the same whatever they are called
        if isinstance(content, Path):
            return self._keep_file(content)
        blob = KeptBlob(hashlib.sha256(content).hexdigest(), len(content))
        if not self._has(blob):
            with _incoming(self._root / "incoming", f"{len(content)} bytes of media") as incoming:
                incoming.write(content)
                self._publish(incoming, blob)
        return blob

    def pending(self) -> Iterator[PendingBlob]:
        """Every blob that is here, in no order. Others may add and release meanwhile."""
        for path in sorted((self._root / "sha256").glob("??/*")):
            if _DIGEST.fullmatch(path.name):
                try:
                    yield PendingBlob(path.name, path.stat().st_size, path)
                except FileNotFoundError:
                    continue

    def path(self, digest: str) -> Path:
        """Where the blob ``digest`` is, if it is here.

        Raises:
            InvalidRequestError: ``digest`` is no SHA-256 in lower-case hex.
        """
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequestError(f"{digest!r} is not a SHA-256 in lower-case hex.")
        return self._root / "sha256" / digest[:2] / digest

    def release(self, digest: str) -> None:
        """Remove a blob: the server holds it. Harmless when it is not here."""
        self.path(digest).unlink(missing_ok=True)

    def sync(self) -> None:
        """Make everything that was kept survive a power loss; it does so by itself within :data:`SYNC_SECONDS`."""
        self._syncer.sync()

    def _keep_file(self, path: Path) -> KeptBlob:
        source = _open_regular(path)
        try:
            before = os.fstat(source)
            with _incoming(self._root / "incoming", f"a copy of {str(path)!r}") as incoming:
                hasher, size = hashlib.sha256(), 0
                while chunk := os.read(source, CHUNK_BYTES):
                    hasher.update(chunk)
                    size += len(chunk)
                    incoming.write(chunk)
                if _version(before) != _version(os.fstat(source)) or size != before.st_size:
                    raise ConflictError(
                        f"The file {str(path)!r} was changed while it was read.",
                        hint="Log it once nobody writes to it any more.",
                    )
                blob = KeptBlob(hasher.hexdigest(), size)
                if not self._has(blob):
                    self._publish(incoming, blob)
        finally:
            os.close(source)
        return blob

    def _has(self, blob: KeptBlob) -> bool:
        """A file of another size is what a power loss left of it."""
        try:
            return self.path(blob.digest).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def _publish(self, incoming: _Incoming, blob: KeptBlob) -> None:
        target = self.path(blob.digest)
        private_directory(target.parent)
        incoming.path.replace(target)
        self._syncer.ask(target)
        if self._on_keep is not None:
            self._on_keep()


@dataclass(frozen=True)
class _Incoming:
    """A temporary file that is being written."""

    path: Path
    descriptor: int

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]


@contextmanager
def _incoming(directory: Path, what: str) -> Iterator[_Incoming]:
    """A new file in ``directory``; gone at the end unless it was renamed."""
    path = private_directory(directory) / secrets.token_hex(16)
    with full_disk_named(what):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield _Incoming(path, descriptor)
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)


def _open_regular(path: Path) -> int:
    try:
        # Without O_NONBLOCK opening a named pipe would wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidRequestError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidRequestError(f"{str(path)!r} is not a regular file.")
    return descriptor


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


class _GroupSync:
    """Syncs new files a second after the first of them was named, in a thread that ends when nothing is left to do."""

    def __init__(self) -> None:
        self._renew()
        _syncers.add(self)

    def _renew(self) -> None:
        """Also in a forked child: locks may be held by threads that do not exist there."""
        self._lock = threading.RLock()
        self._waiting: list[Path] = []
        self._timer: threading.Timer | None = None

    def ask(self, path: Path) -> None:
        with self._lock:
            self._waiting.append(path)
            if self._timer is not None:
                return
            self._timer = threading.Timer(SYNC_SECONDS, self.sync)
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:
                # No thread can be started any more (the interpreter ends): the kernel writes the pages back by itself.
                self._timer = None

    def sync(self) -> None:
        with self._lock:
            paths, self._waiting = self._waiting, []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for path in paths:
            _sync_file(path)
        for directory in {path.parent for path in paths}:
            try:
                sync_directory(directory)
                sync_directory(directory.parent)
            except OSError:
                continue


def _sync_file(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # released meanwhile
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # the digest tells, when it is shipped
    finally:
        os.close(descriptor)


_syncers: weakref.WeakSet[_GroupSync] = weakref.WeakSet()


def _renew_all() -> None:
    for syncer in list(_syncers):
        syncer._renew()


os.register_at_fork(after_in_child=_renew_all)
