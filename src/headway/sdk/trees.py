"""A folder as the files of an artifact: everything in it, or a clear reason why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from headway.domain.files import check_path
from headway.errors import InvalidRequestError

LINK_HINT = "Remove the link, or add what it leads to by itself."


def read_tree(root: Path) -> Iterator[tuple[Path, str]]:
    """Every file below ``root`` and its path there, in the order of names.

    A symbolic link to something inside stands for its content. Nothing is left out silently.

    Raises:
        InvalidRequestError: No such folder; a link that leads outside, nowhere or in a circle; a pipe, socket or device;
            a name that cannot travel; or something that cannot be read.
    """
    if not root.is_dir():
        raise InvalidRequestError(f"There is no folder {str(root)!r}.")
    real = root.resolve()
    yield from _folder(root, "", real, (real,))


def _folder(folder: Path, base: str, root: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
    for entry in _scan(folder):
        path, name = folder / entry.name, base + entry.name
        if entry.is_symlink():
            _check_link(path, name, root)
        mode = _mode(path, name)
        if stat.S_ISDIR(mode):
            yield from _folder(path, name + "/", root, _deeper(path, name, above))
        elif stat.S_ISREG(mode):
            yield path, _plain(name)
        else:
            raise InvalidRequestError(
                f"{name!r} is {kind_of(mode)}, which has no content to keep.", hint="Remove it from the folder first."
            )


def kind_of(mode: int) -> str:
    """What a file that is neither regular nor a directory is, in words."""
    kinds = (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    )
    return next((words for test, words in kinds if test(mode)), "no regular file")


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InvalidRequestError(f"Cannot read the folder {str(folder)!r}: {error.strerror}.") from error


def _mode(path: Path, name: str) -> int:
    try:
        return path.stat().st_mode
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it leads in a circle"
        raise InvalidRequestError(f"Cannot read {name!r}: {why}.") from error


def _plain(name: str) -> str:
    try:
        return check_path(name)
    except ValueError as error:
        raise InvalidRequestError(f"A file cannot be kept: {error}.") from None


def _check_link(path: Path, name: str, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise InvalidRequestError(f"The link {name!r} leads nowhere, or in a circle.", hint=LINK_HINT) from None
    if not target.is_relative_to(root):
        raise InvalidRequestError(f"The link {name!r} leads outside of the folder, to {str(target)!r}.", hint=LINK_HINT)


def _deeper(path: Path, name: str, above: tuple[Path, ...]) -> tuple[Path, ...]:
    real = path.resolve()
    if real in above:
        raise InvalidRequestError(f"The link {name!r} leads in a circle.", hint=LINK_HINT)
    return (*above, real)


def check_regular(path: Path) -> tuple[int, int, int]:
    """The :func:`version_of` a regular file.

    Raises:
        InvalidRequestError: It is missing, cannot be read, or is something else.
    """
    try:
        status = path.stat()
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidRequestError(f"Cannot read {str(path)!r}: {why}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise InvalidRequestError(f"{str(path)!r} is a folder, not a file.")
    if not stat.S_ISREG(status.st_mode):
        raise InvalidRequestError(f"{str(path)!r} is {kind_of(status.st_mode)}, which has no content to keep.")
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def version_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file's content does; None when it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
