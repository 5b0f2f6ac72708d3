"""Blobs as files: ``sha256/ab/<digest>`` below one directory; what is on its way lies in ``incoming``.

Whoever puts a blob into place holds a shared lock on its directory, and whoever collects garbage an exclusive one, so that
a blob that is put at that moment is either seen to be new or put after the old one went.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from headway.domain.uploads import Upload
from headway.errors import ConflictError, InvalidRequestError, NotFoundError, StorageFullError
from headway.paths import full_disk_named, private_directory, sync_directory
from headway.storage.blobs import incoming
from headway.storage.blobs.base import StoredBlob
from headway.storage.blobs.following import Following
from headway.storage.blobs.incoming import Incoming

if TYPE_CHECKING:
    from headway.storage.blobs.base import BlobStore

CHUNK_BYTES = 1024 * 1024
ABANDONED_SECONDS = 24 * 3600.0
"""A temporary file this old belongs to a process that was killed: nobody writes one blob for a day."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PLACE = re.compile(r"up-[0-9a-f]{32}")


class FileBlobs:
    """A :class:`headway.storage.blobs.base.BlobStore` on a local file system. Thread-safe, also between processes."""

    def __init__(self, root: Path) -> None:
        self._blobs = private_directory(root / "sha256")
        self._incoming = private_directory(root / "incoming")
        self._following = Following()
        self._remove_abandoned()

    def put(self, digest: str, chunks: Iterable[bytes]) -> int:
        target = self._path(digest)
        temporary = self._incoming / secrets.token_hex(16)
        with full_disk_named(f"the blob {digest}"):
            try:
                size = _write_verified(temporary, digest, chunks)
                self._publish(temporary, target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        return size

    def size(self, digest: str) -> int | None:
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, digest: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        if offset < 0 or (length is not None and length < 0):
            raise ValueError(f"offset {offset} and length {length} must not be negative")
        try:
            descriptor = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"There is no blob {digest}.") from None
        chunks = _chunks(descriptor, offset, length)
        # Entered here, the generator owns the descriptor and closes it even when nobody reads on.
        next(chunks)
        return chunks

    def delete(self, digest: str) -> None:
        self._path(digest).unlink(missing_ok=True)

    def stored(self, before: datetime) -> Iterator[StoredBlob]:
        for shard in sorted(self._blobs.iterdir()):
            with os.scandir(shard) as entries:
                for entry in entries:
                    found = _looked_at(entry)
                    if found is not None and found.st_mtime < before.timestamp() and _DIGEST.fullmatch(entry.name):
                        yield StoredBlob(entry.name, found.st_size)

    def delete_older(self, digest: str, before: datetime) -> int | None:
        path = self._path(digest)
        if not path.exists():
            return None
        with _locked(path.parent, fcntl.LOCK_EX):
            try:
                found = path.stat()
            except FileNotFoundError:
                return None
            if found.st_mtime >= before.timestamp():
                return None
            path.unlink()
        return found.st_size

    def begin(self, size: int) -> str:
        free = os.statvfs(self._incoming)
        if free.f_bavail * free.f_frsize < size:
            raise StorageFullError(f"No space is left to store {size} bytes.", hint="Free some space and try again.")
        place = f"up-{secrets.token_hex(16)}"
        with full_disk_named("an upload"):
            incoming.create(self._incoming / place)
        return place

    def put_part(self, upload: Upload, number: int, digest: str, chunks: Iterable[bytes]) -> None:
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequestError(f"{digest!r} is not a SHA-256 in lower-case hex.")
        with full_disk_named(f"part {number} of the blob {upload.digest}"), self._open(upload) as opened:
            opened.write(number, digest, chunks)
            self._following.advance(upload.place, opened)

    def parts(self, upload: Upload) -> Collection[int]:
        with self._open(upload) as opened:
            return opened.present()

    def verify(self, upload: Upload) -> None:
        with self._open(upload) as opened, opened.whole():
            _refuse_missing(opened.missing())
            if self._following.digest(upload.place, opened) != upload.digest:
                self._following.forget(upload.place)
                _refuse_missing(opened.drop_damaged())
                raise InvalidRequestError(
                    f"The bytes do not have the SHA-256 {upload.digest}.",
                    hint="The file changed while it was sent: send it again.",
                )
            opened.sync()

    def publish(self, upload: Upload) -> None:
        source, target = self._place(upload.place) / incoming.DATA, self._path(upload.digest)
        if source.exists():
            os.utime(source)
            with full_disk_named(f"the blob {upload.digest}"):
                self._publish(source, target)
        elif not target.exists():
            raise NotFoundError(f"There is no upload {upload.id!r}.", hint="Begin it anew.")
        self.abandon(upload.place)

    def abandon(self, place: str) -> int:
        directory = self._place(place)
        self._following.forget(place)
        freed = _disk_bytes(directory / incoming.DATA)
        shutil.rmtree(directory, ignore_errors=True)
        return freed

    def touched(self, place: str) -> datetime | None:
        try:
            return datetime.fromtimestamp((self._place(place) / incoming.PARTS).stat().st_mtime, timezone.utc)
        except FileNotFoundError:
            return None

    def _open(self, upload: Upload) -> Incoming:
        return Incoming(self._place(upload.place), upload)

    def _place(self, place: str) -> Path:
        if not _PLACE.fullmatch(place):
            raise InvalidRequestError(f"{place!r} does not name an upload.")
        return self._incoming / place

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequestError(f"{digest!r} is not a SHA-256 in lower-case hex.")
        return self._blobs / digest[:2] / digest

    def _publish(self, temporary: Path, target: Path) -> None:
        if not target.parent.is_dir():
            private_directory(target.parent)
            sync_directory(self._blobs)
        with _locked(target.parent, fcntl.LOCK_SH):
            temporary.rename(target)
        sync_directory(target.parent)

    def _remove_abandoned(self) -> None:
        oldest = time.time() - ABANDONED_SECONDS
        for path in self._incoming.iterdir():
            try:
                if path.is_dir():
                    parts = path / incoming.PARTS
                    if (parts if parts.exists() else path).stat().st_mtime < oldest:
                        shutil.rmtree(path, ignore_errors=True)
                elif path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue


@contextmanager
def _locked(directory: Path, kind: int) -> Iterator[None]:
    """A lock between threads and processes that ends with whoever holds it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _looked_at(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _disk_bytes(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _refuse_missing(numbers: list[int]) -> None:
    if numbers:
        raise ConflictError(
            f"{len(numbers)} part(s) of the blob are missing, the first is {numbers[0]}.",
            hint="Send them and finish again.",
            details={"missing": numbers},
        )


def _write_verified(path: Path, digest: str, chunks: Iterable[bytes]) -> int:
    """Write ``chunks`` to a new file and make it durable; its length, if the bytes have that digest."""
    hasher = hashlib.sha256()
    size = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for chunk in chunks:
            hasher.update(chunk)
            size += len(chunk)
            _write_all(descriptor, chunk)
        if hasher.hexdigest() != digest:
            raise InvalidRequestError(
                f"The bytes have the SHA-256 {hasher.hexdigest()}, not {digest}.",
                hint="They were changed on the way, or the file changed while it was read: send it again.",
            )
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return size


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _chunks(descriptor: int, offset: int, length: int | None) -> Iterator[bytes]:
    """An empty chunk, which the caller drops, then the bytes."""
    try:
        yield b""
        remaining = os.fstat(descriptor).st_size - offset
        if length is not None:
            remaining = min(remaining, length)
        while remaining > 0:
            chunk = os.pread(descriptor, min(CHUNK_BYTES, remaining), offset)
            if not chunk:
                return
            offset += len(chunk)
            remaining -= len(chunk)
            yield chunk
    finally:
        os.close(descriptor)


if TYPE_CHECKING:

    def _fits(blobs: FileBlobs) -> BlobStore:
        return blobs
