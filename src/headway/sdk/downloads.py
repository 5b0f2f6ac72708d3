"""Files from a server, which is not trusted: names stay below the chosen directory, contents must match their
digest.

A file is written beside its final name and renamed once its digest fits. A large one comes in parts, several at a time; what
an interruption leaves of it (``.headway-<digest>`` and ``.headway-<digest>.parts``, a byte a part that is there) is gone on
with by the next download of the same content to the same place.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headway.domain.files import FileEntry, check_manifest
from headway.domain.uploads import LARGE_BYTES, part_size
from headway.errors import ConnectionFailedError, CorruptDataError, HeadwayError, InvalidRequestError, WorkspaceError
from headway.paths import full_disk_named, open_beneath
from headway.sdk.parts import CHUNK, PARALLEL, each
from headway.sdk.progress import Advance
from headway.sdk.transport import Response

Fetch = Callable[[FileEntry], Response]
TRIES = 5
"""How often a connection may break without a single byte having come."""


class FetchRange(Protocol):
    """Opens ``length`` bytes of a content from ``offset`` on."""

    def __call__(self, entry: FileEntry, offset: int, length: int) -> Response: ...


def download_files(files: Sequence[FileEntry], directory: str | Path, fetch: Fetch) -> list[Path]:
    """Bring ``files`` into ``directory``, which is made where it is missing; files of the same name are replaced.

    Args:
        files: What to bring.
        directory: Where to.
        fetch: Opens the content of one.

    Returns:
        The paths written, in the order of the manifest.

    Raises:
        InvalidRequestError: A name leads out of the directory, is listed twice, or passes through a symbolic link.
        CorruptDataError: A content is not what its digest says; the file is not kept.
    """
    root = make_root(directory)
    ordered = check_manifest(files)
    for entry in ordered:
        with _named(entry), fetch(entry) as response:
            _bring(root, entry, lambda write, entry=entry, response=response: _copy(response, entry, write))  # type: ignore[misc]
    return [root / entry.path for entry in ordered]


def make_root(directory: str | Path) -> Path:
    """The directory to download to, made where it is missing."""
    root = Path(directory)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"Cannot make the directory {str(root)!r}: {error.strerror}.") from error
    return root


@dataclass(frozen=True)
class Download:
    """How to bring contents that can be asked for in parts."""

    root: Path
    fetch: FetchRange
    advance: Advance

    def bring_all(self, files: Iterable[FileEntry]) -> None:
        """Bring ``files``, whose paths are known to fit together; one that is there with this content is left alone.

        Raises:
            InvalidRequestError: A name leads out of the directory or passes through a symbolic link.
            CorruptDataError: A content is not what its digest says; it is not kept.
            ConnectionFailedError: The server went away; the next call goes on from here.
        """
        with ThreadPoolExecutor(max_workers=PARALLEL) as pool, ThreadPoolExecutor(max_workers=PARALLEL) as ranges:
            each(pool, self.bring_small, self._small(files, ranges))

    def _small(self, files: Iterable[FileEntry], ranges: Executor) -> Iterator[FileEntry]:
        """The small files; large ones are brought on the way, one after the other."""
        for entry in files:
            if entry.size <= LARGE_BYTES:
                yield entry
            else:
                self.bring_large(entry, ranges)

    def bring_small(self, entry: FileEntry) -> None:
        with _named(entry):
            if not self._there(entry):
                _bring(self.root, entry, lambda write: self._fill(entry, write))
        self.advance(entry.size)

    def _fill(self, entry: FileEntry, write: Callable[[bytes], object]) -> None:
        hasher = hashlib.sha256()

        def take(chunk: bytes) -> None:
            hasher.update(chunk)
            write(chunk)

        fetch_range(self.fetch, entry, 0, entry.size, take)
        if hasher.hexdigest() != entry.digest:
            raise _damaged(entry)

    def bring_large(self, entry: FileEntry, pool: Executor) -> None:
        with _named(entry):
            if self._there(entry):
                self.advance(entry.size)
                return
            with _Partial(self.root, entry) as partial:
                self._fill_parts(entry, partial, pool)
                partial.keep()

    def _fill_parts(self, entry: FileEntry, partial: _Partial, pool: Executor) -> None:
        """Parts arrive in any order and are digested in theirs."""
        waiting: list[Future[None]] = []
        hasher, numbers = hashlib.sha256(), range(partial.parts)
        asked = 0
        try:
            for number in numbers:
                while asked < partial.parts and asked - number < 2 * PARALLEL:
                    waiting.append(pool.submit(self._fill_part, entry, partial, asked))
                    asked += 1
                waiting[number].result()
                for chunk in partial.read(number):
                    hasher.update(chunk)
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
        if hasher.hexdigest() != entry.digest:
            partial.discard()
            raise _damaged(entry)

    def _fill_part(self, entry: FileEntry, partial: _Partial, number: int) -> None:
        offset, length = partial.span(number)
        if partial.has(number):
            self.advance(length)
            return
        place = offset

        def take(chunk: bytes) -> None:
            nonlocal place
            partial.write(chunk, place)
            place += len(chunk)
            self.advance(len(chunk))

        fetch_range(self.fetch, entry, offset, length, take)
        partial.mark(number)

    def _there(self, entry: FileEntry) -> bool:
        """Whether the file is there already, with this content. InvalidRequestError for a symbolic link."""
        try:
            descriptor = open_beneath(self.root, entry.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return False
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
                return False
            hasher = hashlib.sha256()
            while chunk := file.read(CHUNK):
                hasher.update(chunk)
            if hasher.hexdigest() != entry.digest:
                return False
            _match_mode(file.fileno(), status.st_mode, entry)
        return True


def fetch_range(fetch: FetchRange, entry: FileEntry, offset: int, length: int, take: Callable[[bytes], object]) -> None:
    """Pass ``length`` bytes from ``offset`` on to ``take``; after a broken connection it goes on where that broke.

    Raises:
        CorruptDataError: The server sent more or less than that.
    """
    done, failures = 0, 0
    while done < length:
        before = done
        try:
            with fetch(entry, offset + done, length - done) as response:
                for chunk in response.chunks():
                    if done + len(chunk) > length:
                        raise _damaged(entry)
                    take(chunk)
                    done += len(chunk)
            if done < length:
                raise _damaged(entry)
            return
        except ConnectionFailedError:
            failures = 1 if done > before else failures + 1
            if failures == TRIES:
                raise


class _Partial:
    """A large file that is not whole yet, beside its final name."""

    def __init__(self, root: Path, entry: FileEntry) -> None:
        self._entry, self._part = entry, part_size(entry.size)
        self.parts = -(-entry.size // self._part)
        parent, _, self._final = entry.path.rpartition("/")
        self._name = f".headway-{entry.digest}"
        where = f"{parent}/{self._name}" if parent else self._name
        flags = os.O_RDWR | os.O_CREAT
        self._file = open_beneath(root, where, flags, 0o777 if entry.executable else 0o666, parents=True)
        self._marks = open_beneath(root, f"{where}.parts", flags, 0o666)
        self._folder = _open_folder(root, parent)
        os.ftruncate(self._file, entry.size)
        os.ftruncate(self._marks, self.parts)

    def __enter__(self) -> _Partial:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._file, self._marks, self._folder):
            os.close(descriptor)

    def span(self, number: int) -> tuple[int, int]:
        """Offset and length of a part."""
        offset = number * self._part
        return offset, min(self._part, self._entry.size - offset)

    def has(self, number: int) -> bool:
        return os.pread(self._marks, 1, number) == b"1"

    def mark(self, number: int) -> None:
        os.pwrite(self._marks, b"1", number)

    def write(self, data: bytes, offset: int) -> None:
        with full_disk_named(self._entry.path):
            view = memoryview(data)
            while view:
                written = os.pwrite(self._file, view, offset)
                view, offset = view[written:], offset + written

    def read(self, number: int) -> Iterator[bytes]:
        offset, left = self.span(number)
        while left > 0 and (chunk := os.pread(self._file, min(CHUNK, left), offset)):
            offset, left = offset + len(chunk), left - len(chunk)
            yield chunk

    def keep(self) -> None:
        """Give it its name."""
        _match_mode(self._file, os.fstat(self._file).st_mode, self._entry)
        os.replace(self._name, self._final, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.unlink(f"{self._name}.parts", dir_fd=self._folder)

    def discard(self) -> None:
        os.unlink(self._name, dir_fd=self._folder)
        os.unlink(f"{self._name}.parts", dir_fd=self._folder)


def _match_mode(descriptor: int, mode: int, entry: FileEntry) -> None:
    """Executable for those who may read it, or for nobody."""
    wanted = mode | (mode & 0o444) >> 2 if entry.executable else mode & ~0o111
    if stat.S_IMODE(wanted) != stat.S_IMODE(mode):
        os.fchmod(descriptor, stat.S_IMODE(wanted))


@contextmanager
def _named(entry: FileEntry) -> Iterator[None]:
    try:
        with full_disk_named(entry.path):
            yield
    except HeadwayError:
        raise
    except OSError as error:
        raise WorkspaceError(f"Cannot write {entry.path!r}: {error.strerror}.") from error


def _bring(root: Path, entry: FileEntry, fill: Callable[[Callable[[bytes], object]], None]) -> None:
    """Write beside the final name, and rename within the same directory once the digest fits."""
    parent, _, name = entry.path.rpartition("/")
    temporary = f".headway-{secrets.token_hex(6)}"
    where = f"{parent}/{temporary}" if parent else temporary
    mode = 0o777 if entry.executable else 0o666
    descriptor = open_beneath(root, where, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, parents=True)
    folder = _open_folder(root, parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fill(file.write)
        _refuse_link(folder, name, entry)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(folder)


def _refuse_link(folder: int, name: str, entry: FileEntry) -> None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise InvalidRequestError(
            f"{entry.path!r} is a symbolic link where it would be written.", hint="Remove it first."
        )


def _open_folder(root: Path, parent: str) -> int:
    if parent:
        return open_beneath(root, parent, os.O_RDONLY | os.O_DIRECTORY)
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _copy(response: Response, entry: FileEntry, write: Callable[[bytes], object]) -> None:
    hasher, size = hashlib.sha256(), 0
    for chunk in response.chunks():
        size += len(chunk)
        if size > entry.size:
            break
        hasher.update(chunk)
        write(chunk)
    if size != entry.size or hasher.hexdigest() != entry.digest:
        raise _damaged(entry)


def _damaged(entry: FileEntry) -> CorruptDataError:
    return CorruptDataError(
        f"The content of {entry.path!r} is not what its digest says.",
        hint="Download again; nothing of it was kept.",
    )
