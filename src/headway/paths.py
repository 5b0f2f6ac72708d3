"""The one containment helper: every path that a user or a peer names goes through here.

A relative name is walked component by component with ``O_NOFOLLOW``, so that neither ``..`` nor a symbolic link planted in
between can lead outside the root, also while somebody else changes the tree.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headway.domain.files import check_path
from headway.errors import InvalidRequestError, StorageFullError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: OSError) -> bool:
    """Whether ``error`` says that a disk or quota is full."""
    return error.errno in _NO_SPACE


@contextmanager
def full_disk_named(what: str) -> Iterator[None]:
    """Turns ENOSPC and EDQUOT into StorageFullError; other errors pass."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StorageFullError(
                f"No space is left to store {what}.", hint="Free some space and try again."
            ) from error
        raise


def checked(relative: str) -> str:
    """``relative`` if it is a plain path below some root, else InvalidRequestError."""
    try:
        return check_path(relative)
    except ValueError as error:
        raise InvalidRequestError(f"{error}.".replace("..", ".")) from None


def open_beneath(
    root: Path, relative: str, flags: int = os.O_RDONLY, mode: int = 0o600, *, parents: bool = False
) -> int:
    """A file descriptor for ``root/relative``, never for anything outside ``root``.

    Args:
        root: An existing directory that is trusted.
        relative: Plain names with ``/`` between them, see :func:`headway.domain.files.check_path`.
        flags: As for :func:`os.open`; O_NOFOLLOW and O_CLOEXEC are added.
        mode: Permissions of a file that is created.
        parents: Make missing directories on the way (mode 0700).

    Raises:
        InvalidRequestError: The name is not a plain relative path, or a symbolic link lies on it.
        OSError: As :func:`os.open`.
    """
    *directories, name = checked(relative).split("/")
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in directories:
            current = _step(current, part, relative, parents)
        try:
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=current)
        except OSError as error:
            raise _escape(error, relative) from error
    finally:
        os.close(current)


def _step(current: int, part: str, relative: str, parents: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if parents:
            try:
                os.mkdir(part, 0o700, dir_fd=current)
            except FileExistsError:
                pass
        following = os.open(part, flags, dir_fd=current)
    except OSError as error:
        raise _escape(error, relative) from error
    os.close(current)
    return following


def _escape(error: OSError, relative: str) -> Exception:
    if error.errno == errno.ELOOP:
        return InvalidRequestError(f"The path {relative!r} leads through a symbolic link.")
    return error


def private_directory(path: Path) -> Path:
    """``path`` as a directory that only this account can enter, made where it is missing."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def sync_directory(path: Path) -> None:
    """Make names that were created, renamed or removed in ``path`` survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data``: readers see the old or the new content whole, also after a power loss."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    with full_disk_named(path.name):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    sync_directory(path.parent)
