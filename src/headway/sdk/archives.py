"""An archive (.zip, .tar, .tar.gz, .tgz) as a list of files, read without trusting it.

Only regular files with plain relative names come out. Links, devices and names that lead elsewhere are refused,
and what is unpacked is counted while it is, so that a small archive cannot fill the disk.
"""

from __future__ import annotations

import hashlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from headway.domain.files import FileEntry, check_path
from headway.errors import WorkspaceError
from headway.paths import full_disk_named
from headway.sdk.folders import Limits
from headway.sdk.uploads import LocalFile

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
ARCHIVE_LIMITS = Limits(files=100_000, total_bytes=8 * 1024**3)
CHUNK = 256 * 1024

Member = tuple[str, bool, Callable[[], IO[bytes]]]
"""Name, whether it is executable, and its content."""


def is_archive(path: Path) -> bool:
    """Whether the name says that ``path`` is an archive."""
    return path.name.lower().endswith(SUFFIXES)


def read_archive(path: Path, scratch: Path, *, limits: Limits = ARCHIVE_LIMITS) -> list[LocalFile]:
    """Every file in the archive, unpacked under numbers into ``scratch`` and hashed.

    Raises:
        WorkspaceError: It cannot be read, holds what is refused, or more than ``limits``.
    """
    members = _zip_members if path.name.lower().endswith(".zip") else _tar_members
    found: list[LocalFile] = []
    names, left = set[str](), limits.total_bytes
    try:
        for name, executable, open_member in members(path):
            if len(found) >= limits.files:
                raise WorkspaceError(f"{path.name!r} holds more than {limits.files} files.")
            if name in names:
                raise WorkspaceError(f"{path.name!r} holds {name!r} twice.")
            names.add(name)
            target = scratch / str(len(found))
            with open_member() as source:
                digest, size = _unpack(source, target, left, path.name)
            left -= size
            found.append(LocalFile(target, FileEntry(path=name, digest=digest, size=size, executable=executable)))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise WorkspaceError(f"{path.name!r} cannot be unpacked: {error}.") from error
    except OSError as error:
        raise WorkspaceError(f"Cannot read {str(path)!r}: {error.strerror or error}.") from error
    return found


def _unpack(source: IO[bytes], target: Path, left: int, what: str) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    with full_disk_named(what), target.open("xb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > left:
                raise WorkspaceError(f"{what!r} unpacks to more than is allowed.")
            hasher.update(chunk)
            file.write(chunk)
    return hasher.hexdigest(), size


def _plain(name: str, what: str) -> str:
    """``name`` without a leading ``./``; anything but a plain relative path is refused."""
    try:
        return check_path(name.removeprefix("./"))
    except ValueError as error:
        raise WorkspaceError(f"{what!r} is refused: {error}.") from None


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            kind = stat.S_IFMT(item.external_attr >> 16)
            if item.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise WorkspaceError(f"{path.name!r} is refused: {item.filename!r} is not a regular file.")
            if item.flag_bits & 1:
                raise WorkspaceError(f"{path.name!r} is refused: {item.filename!r} is encrypted.")
            name = _plain(item.filename, path.name)
            yield name, bool((item.external_attr >> 16) & 0o100), lambda item=item: archive.open(item)  # type: ignore[misc]


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r|*") as archive:
        for item in archive:
            if item.isdir():
                continue
            if not item.isreg():
                raise WorkspaceError(f"{path.name!r} is refused: {item.name!r} is not a regular file.")
            yield _plain(item.name, path.name), bool(item.mode & 0o100), lambda item=item: _opened(archive, item)  # type: ignore[misc]


def _opened(archive: tarfile.TarFile, item: tarfile.TarInfo) -> IO[bytes]:
    found = archive.extractfile(item)
    assert found is not None
    return found
