"""Blobs as files: ``sha256/ab/<digest>`` below one directory."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from headway.errors import InvalidRequestError, NotFoundError
from headway.paths import full_disk_named, private_directory, sync_directory

if TYPE_CHECKING:
    from headway.storage.blobs.base import BlobStore

CHUNK_BYTES = 1024 * 1024
ABANDONED_SECONDS = 24 * 3600.0
"""A temporary file this old belongs to a process that was killed: nobody writes one blob for a day."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class FileBlobs:
    """A :class:`headway.storage.blobs.base.BlobStore` on a local file system. Thread-safe, also between processes."""

    def __init__(self, root: Path) -> None:
        self._blobs = private_directory(root / "sha256")
        self._incoming = private_directory(root / "incoming")
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

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequestError(f"{digest!r} is not a SHA-256 in lower-case hex.")
        return self._blobs / digest[:2] / digest

    def _publish(self, temporary: Path, target: Path) -> None:
        private_directory(target.parent)
        temporary.rename(target)
        sync_directory(target.parent)
        sync_directory(self._blobs)

    def _remove_abandoned(self) -> None:
        oldest = time.time() - ABANDONED_SECONDS
        for path in self._incoming.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue


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
