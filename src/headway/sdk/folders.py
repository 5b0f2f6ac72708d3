"""A local folder as a list of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headway.errors import WorkspaceError
from headway.sdk.ignores import Rules
from headway.sdk.uploads import LocalFile, local_file


@dataclass(frozen=True)
class Limits:
    """How much one workspace or model may hold."""

    files: int = 100_000
    total_bytes: int = 64 * 1024**3


def read_folder(root: Path, *, limits: Limits | None = None, rules: Rules | None = None) -> list[LocalFile]:
    """Every regular file below ``root`` that no rule keeps at home, hashed.

    A symbolic link to something inside the folder stands for its content; one that leads outside is refused.
    Sockets, pipes and devices are left out.

    Raises:
        WorkspaceError: No such folder, a link outside or in a circle, a name that cannot travel, or over a limit.
    """
    if not root.is_dir():
        raise WorkspaceError(f"There is no folder {str(root)!r}.")
    limits = limits or Limits()
    found: list[LocalFile] = []
    size = 0
    for path, name in _Walk(root).files(rules or Rules.default()):
        if len(found) >= limits.files:
            raise WorkspaceError(f"{str(root)!r} holds more than {limits.files} files.", hint=LIMIT_HINT)
        found.append(local_file(path, name))
        size += found[-1].entry.size
        if size > limits.total_bytes:
            raise WorkspaceError(f"{str(root)!r} holds more than {limits.total_bytes} bytes.", hint=LIMIT_HINT)
    return found


LIMIT_HINT = "Name what is not needed in .headwayignore."


class _Walk:
    """One pass over a folder, in the order of names."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real = root.resolve()

    def files(self, rules: Rules) -> Iterator[tuple[Path, str]]:
        yield from self._folder(self._root, "", rules, (self._real,))

    def _folder(self, folder: Path, base: str, rules: Rules, above: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
        rules = rules.entered(folder, base)
        for entry in _scan(folder):
            path, name = folder / entry.name, base + entry.name
            is_folder = path.is_dir()
            if rules.ignore(name + "/" if is_folder else name):
                continue
            if entry.is_symlink():
                self._check_link(path, name)
            if is_folder:
                yield from self._folder(path, name + "/", rules, self._deeper(path, name, above))
            elif path.is_file():
                yield path, name

    def _check_link(self, path: Path, name: str) -> None:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            raise WorkspaceError(f"The link {name!r} leads nowhere.", hint=LINK_HINT) from None
        if not target.is_relative_to(self._real):
            raise WorkspaceError(f"The link {name!r} leads outside of the folder, to {str(target)!r}.", hint=LINK_HINT)

    @staticmethod
    def _deeper(path: Path, name: str, above: tuple[Path, ...]) -> tuple[Path, ...]:
        real = path.resolve()
        if real in above:
            raise WorkspaceError(f"The link {name!r} leads in a circle.", hint=LINK_HINT)
        return (*above, real)


LINK_HINT = "Remove it, or name it in .headwayignore."


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise WorkspaceError(f"Cannot read the folder {str(folder)!r}: {error.strerror}.") from error
