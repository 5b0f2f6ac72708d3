"""Files from a server, which is not trusted: names stay below the chosen directory, contents must match their
digest.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from headway.domain.files import FileEntry, check_manifest
from headway.errors import CorruptDataError, WorkspaceError
from headway.paths import full_disk_named, open_beneath
from headway.sdk.transport import Response

Fetch = Callable[[FileEntry], Response]


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
    root = Path(directory)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"Cannot make the directory {str(root)!r}: {error.strerror}.") from error
    ordered = check_manifest(files)
    for entry in ordered:
        try:
            with fetch(entry) as response, full_disk_named(entry.path):
                _bring(root, entry, response)
        except OSError as error:
            raise WorkspaceError(f"Cannot write {entry.path!r}: {error.strerror}.") from error
    return [root / entry.path for entry in ordered]


def _bring(root: Path, entry: FileEntry, response: Response) -> None:
    """Write beside the final name, and rename within the same directory once the digest fits."""
    parent, _, name = entry.path.rpartition("/")
    temporary = f".headway-{secrets.token_hex(6)}"
    where = f"{parent}/{temporary}" if parent else temporary
    mode = 0o777 if entry.executable else 0o666
    descriptor = open_beneath(root, where, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, parents=True)
    folder = _open_folder(root, parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _copy(response, entry, file.write)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(folder)


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
        raise CorruptDataError(
            f"The content of {entry.path!r} is not what its digest says.",
            hint="Download again; nothing of it was kept.",
        )
