"""One blob on its way, as two files in a directory: the bytes, and the digest of each part that is there.

``data`` has its final length from the start and fills in any order. ``parts`` holds 32 bytes a part: its SHA-256, written
once its bytes are durable, or zeros. A part has a lock of its own (an open-file-description lock on its byte of ``parts``,
which ends with whoever holds it), so that no two senders write one part and none writes while the whole is checked.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headway.domain.uploads import Upload
from headway.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError

DATA, PARTS = "data", "parts"
CHUNK_BYTES = 1024 * 1024
DIGEST_BYTES = 32
_ABSENT = bytes(DIGEST_BYTES)


def create(directory: Path) -> None:
    """An upload without any part."""
    directory.mkdir(mode=0o700)
    for name in (DATA, PARTS):
        os.close(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


class Incoming:
    """An upload's directory, opened. Make one a call: its locks belong to it."""

    def __init__(self, directory: Path, upload: Upload) -> None:
        self._upload = upload
        try:
            self._parts = os.open(directory / PARTS, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"There is no upload {upload.id!r}.", hint="Begin it anew.") from None
        try:
            self._data = os.open(directory / DATA, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            os.close(self._parts)
            raise NotFoundError(f"There is no upload {upload.id!r}.", hint="Begin it anew.") from None

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._data)
        os.close(self._parts)

    def digest(self, number: int) -> str | None:
        """SHA-256 of a part, or None while it is not there."""
        found = os.pread(self._parts, DIGEST_BYTES, number * DIGEST_BYTES)
        return found.hex() if len(found) == DIGEST_BYTES and found != _ABSENT else None

    def present(self) -> list[int]:
        """The numbers of the parts that are there."""
        table = os.pread(self._parts, self._upload.parts * DIGEST_BYTES, 0)
        places = range(0, len(table) - DIGEST_BYTES + 1, DIGEST_BYTES)
        return [at // DIGEST_BYTES for at in places if table[at : at + DIGEST_BYTES] != _ABSENT]

    def missing(self) -> list[int]:
        present = set(self.present())
        return [number for number in range(self._upload.parts) if number not in present]

    def write(self, number: int, digest: str, chunks: Iterable[bytes]) -> None:
        """Take a part; see :meth:`headway.storage.blobs.base.BlobStore.put_part`."""
        if not 0 <= number < self._upload.parts:
            raise InvalidRequestError(f"The upload has the parts 0 to {self._upload.parts - 1}, not {number}.")
        with self._locked(number, 1):
            known = self.digest(number)
            if known is not None:
                for _ in chunks:
                    pass
                if known != digest:
                    raise ConflictError(f"Part {number} was sent before, with other bytes.")
                return
            self._fill(number, digest, chunks)
            os.fdatasync(self._data)
            os.pwrite(self._parts, bytes.fromhex(digest), number * DIGEST_BYTES)
            os.fdatasync(self._parts)

    def _fill(self, number: int, digest: str, chunks: Iterable[bytes]) -> None:
        length, offset = self._upload.length(number), number * self._upload.part_size
        hasher, taken = hashlib.sha256(), 0
        for chunk in chunks:
            if taken + len(chunk) > length:
                raise InvalidRequestError(f"Part {number} has {length} bytes; more were sent.")
            hasher.update(chunk)
            _write_at(self._data, chunk, offset + taken)
            taken += len(chunk)
        if taken != length or hasher.hexdigest() != digest:
            raise InvalidRequestError(
                f"Part {number} came as {taken} bytes with the SHA-256 {hasher.hexdigest()}, not as {length} with {digest}.",
                hint="It was changed on the way: send it again.",
            )

    @contextmanager
    def whole(self) -> Iterator[None]:
        """While the block runs nobody writes a part."""
        with self._locked(0, 0):
            yield

    def read(self, number: int) -> Iterator[bytes]:
        """The bytes of a part."""
        offset, left = number * self._upload.part_size, self._upload.length(number)
        while left > 0 and (chunk := os.pread(self._data, min(CHUNK_BYTES, left), offset)):
            offset, left = offset + len(chunk), left - len(chunk)
            yield chunk

    def drop_damaged(self) -> list[int]:
        """Forget the parts whose bytes are no longer what was sent (power was lost, or a disk fails)."""
        damaged = []
        for number in self.present():
            hasher = hashlib.sha256()
            for chunk in self.read(number):
                hasher.update(chunk)
            if hasher.hexdigest() != self.digest(number):
                os.pwrite(self._parts, _ABSENT, number * DIGEST_BYTES)
                damaged.append(number)
        return damaged

    def sync(self) -> None:
        os.fsync(self._data)

    @contextmanager
    def _locked(self, start: int, length: int) -> Iterator[None]:
        try:
            _lock(self._parts, fcntl.F_WRLCK, start, length)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise UnavailableError(
                "This part is being received at this moment.",
                hint="Send it again in a moment.",
                details={"retry_after": 0.2},
            ) from None
        try:
            yield
        finally:
            _lock(self._parts, fcntl.F_UNLCK, start, length)


def _lock(descriptor: int, kind: int, start: int, length: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0))


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
