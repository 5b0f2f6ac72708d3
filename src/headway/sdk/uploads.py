"""Local files on their way to a project's blobs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from headway.domain.files import FileEntry, check_path
from headway.domain.uploads import LARGE_BYTES
from headway.errors import WorkspaceError
from headway.sdk.parts import PARALLEL, PartUpload, each
from headway.sdk.progress import progress_bar
from headway.sdk.resources.blobs import CHUNK, Blobs


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
    """Send the contents that the project does not hold yet, each once, the large ones in parts.

    Raises:
        WorkspaceError: A file is not any more what its digest says.
    """
    by_digest = {file.entry.digest: file for file in files}
    missing = blobs.missing(list(by_digest), project=project) if by_digest else set()
    waiting = [by_digest[digest] for digest in sorted(missing)]
    if not waiting:
        return
    with progress_bar("Uploading", sum(file.entry.size for file in waiting)) as advance:

        def send(file: LocalFile) -> None:
            blobs.put(file.entry.digest, file.entry.size, file.open, project=project)
            advance(file.entry.size)

        with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
            each(pool, send, (file for file in waiting if file.entry.size <= LARGE_BYTES))
            for file in waiting:
                if file.entry.size > LARGE_BYTES:
                    entry = file.entry
                    large = PartUpload(blobs, file.path, entry.digest, entry.size, project=project, advance=advance)
                    large.send(pool)
