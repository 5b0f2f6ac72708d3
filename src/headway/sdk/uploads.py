"""Local files on their way to a project's blobs."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from headway.domain.files import FileEntry, check_path
from headway.errors import WorkspaceError
from headway.sdk.resources.blobs import CHUNK, Blobs

PARALLEL = 4
PROGRESS_FROM = 16 * 1024 * 1024
"""Bytes from which a terminal shows a progress bar."""


@dataclass(frozen=True)
class LocalFile:
    """A file and what it is called where it goes."""

    path: Path
    entry: FileEntry

    def open(self) -> BinaryIO:
        return self.path.open("rb")


def local_file(path: Path, name: str) -> LocalFile:
    """``path`` hashed, to be called ``name``.

    Raises:
        WorkspaceError: It cannot be read, or ``name`` is no plain relative path.
    """
    try:
        check_path(name)
        with path.open("rb") as file:
            digest, size = digest_of(file)
            executable = bool(path.stat().st_mode & 0o100)
    except ValueError as error:
        raise WorkspaceError(f"A file cannot be sent: {error}.") from None
    except OSError as error:
        raise WorkspaceError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    return LocalFile(path, FileEntry(path=name, digest=digest, size=size, executable=executable))


def digest_of(file: BinaryIO) -> tuple[str, int]:
    """SHA-256 and size of what is left in ``file``."""
    hasher, size = hashlib.sha256(), 0
    while chunk := file.read(CHUNK):
        hasher.update(chunk)
        size += len(chunk)
    return hasher.hexdigest(), size


def upload(blobs: Blobs, files: Sequence[LocalFile], *, project: str) -> None:
    """Send the contents that the project does not hold yet, each once."""
    by_digest = {file.entry.digest: file for file in files}
    missing = blobs.missing(list(by_digest), project=project) if by_digest else set()
    waiting = [by_digest[digest] for digest in sorted(missing)]
    if not waiting:
        return
    with _progress(sum(file.entry.size for file in waiting)) as advance:

        def send(file: LocalFile) -> None:
            blobs.put(file.entry.digest, file.entry.size, file.open, project=project)
            advance(file.entry.size)

        with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
            for _ in pool.map(send, waiting):
                pass


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal for much to send; nothing elsewhere."""
    if total < PROGRESS_FROM or not sys.stderr.isatty():
        yield lambda _size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("Uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("upload", total=total)
        yield lambda size: progress.advance(task, size)
