"""Which files of a folder stay at home: the rules of ``.gitignore``, in ``.gitignore`` and ``.headwayignore``.

A file of rules counts for its directory and below; the deeper one wins, and in one directory ``.headwayignore``
wins. The default rules are the weakest, so ``!dist/`` in ``.headwayignore`` brings ``dist`` back.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pathspec import GitIgnoreSpec

from headway.errors import WorkspaceError

RULE_FILES = (".headwayignore", ".gitignore")
"""The stronger one first."""
MAX_RULES_BYTES = 1024 * 1024
DEFAULT_RULES = (
    ".git/",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.py[cod]",
    ".venv/",
    "venv/",
    "node_modules/",
    ".headway/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".tox/",
    ".ipynb_checkpoints/",
    ".DS_Store",
)


BACKEND = "simple"
"""Python's own expressions: RE2, which is taken where it is installed, knows no names of files that are not UTF-8."""


def spec_of(lines: Iterable[str]) -> GitIgnoreSpec:
    """The lines of an ignore file, understood."""
    return GitIgnoreSpec.from_lines(lines, backend=BACKEND)


class Rules:
    """The rules that hold in one directory, from the strongest to the weakest."""

    def __init__(self, levels: Iterable[tuple[str, GitIgnoreSpec]]) -> None:
        self._levels = tuple(levels)

    @classmethod
    def default(cls) -> Rules:
        return cls([("", spec_of(DEFAULT_RULES))])

    def entered(self, directory: Path, relative: str) -> Rules:
        """The rules inside ``directory``, which lies at ``relative`` (``""`` or ``a/b/``) in the workspace."""
        found = [(relative, spec) for name in RULE_FILES if (spec := _read(directory / name)) is not None]
        return Rules([*found, *self._levels]) if found else self

    def ignore(self, path: str) -> bool:
        """Whether ``path`` (with ``/`` at its end for a directory) stays at home. The first rule file that knows
        it decides.
        """
        for base, spec in self._levels:
            verdict = spec.check_file(path[len(base) :]).include
            if verdict is not None:
                return verdict
        return False


class Everything(Rules):
    """No rule at all, not even those of ignore files."""

    def __init__(self) -> None:
        super().__init__([])

    def entered(self, directory: Path, relative: str) -> Rules:  # noqa: ARG002
        return self


def _read(path: Path) -> GitIgnoreSpec | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            text = file.read(MAX_RULES_BYTES + 1).decode("utf-8", "replace")
        if len(text) > MAX_RULES_BYTES:
            raise WorkspaceError(f"{str(path)!r} is larger than {MAX_RULES_BYTES} bytes.")
        return spec_of(text.splitlines())
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"Cannot read the rules in {str(path)!r}: {error}.") from error
