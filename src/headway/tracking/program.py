"""The program that a run is tracked from: how it was started, without its secrets."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.tracking.imports import importing

MAX_ARGUMENTS, MAX_ARGUMENT = 2000, 4000
"""How many arguments, and characters of each, are told."""


@dataclass(frozen=True)
class Program:
    """What this process was started as. Taken at once: a program may change all of it later."""

    entry_point: Path | None
    """The script, or the file of the module; None in a notebook or an interactive interpreter."""
    module: str | None
    """With ``python -m``."""
    arguments: tuple[str, ...]
    command: tuple[str, ...]
    directory: Path | None
    interactive: bool

    @classmethod
    def of_this_process(cls) -> Program:
        main = sys.modules.get("__main__")
        file = getattr(main, "__file__", None)
        spec = getattr(main, "__spec__", None)
        return cls(
            entry_point=_absolute(file) if isinstance(file, str) else None,
            module=spec.name if spec is not None else None,
            arguments=tuple(map(str, sys.argv)),
            command=tuple(sys.orig_argv),
            directory=_absolute("."),
            interactive=not file and (hasattr(sys, "ps1") or "IPython" in sys.modules),
        )

    @property
    def home(self) -> Path | None:
        """Where its code is looked for: beside the entry point, else where it was started."""
        place = self.entry_point.parent if self.entry_point is not None else self.directory
        return place.resolve() if place is not None else None

    def describe(self) -> dict[str, Any]:
        """``entry_point``, ``module``, ``arguments``, ``command``, ``directory``, ``interactive``, ``executable``,
        ``python`` and ``implementation``; what there is none of is left out.
        """
        told = {
            "entry_point": _text(self.entry_point),
            "module": self.module,
            "arguments": _told(self.arguments),
            "command": _told(self.command),
            "directory": _text(self.directory),
            "interactive": self.interactive or None,
            "executable": sys.executable or None,
            "python": ".".join(map(str, sys.version_info[:3])),
            "implementation": sys.implementation.name,
        }
        return {key: value for key, value in told.items() if value is not None}


def _absolute(path: str) -> Path | None:
    try:
        return Path(path).absolute()
    except OSError:
        return None  # the working directory was removed


def _told(arguments: tuple[str, ...]) -> list[str]:
    with importing():
        from headway.domain.redaction import redact_arguments
    cleaned = [_plain(argument) for argument in redact_arguments(arguments[:MAX_ARGUMENTS])]
    shortened = [text if len(text) <= MAX_ARGUMENT else f"{text[:MAX_ARGUMENT]}…" for text in cleaned]
    left = len(arguments) - len(shortened)
    return [*shortened, f"… and {left} more"] if left else shortened


def _text(path: Path | None) -> str | None:
    return _plain(str(path)) if path is not None else None


def _plain(text: str) -> str:
    """Arguments and paths may be no UTF-8, and a fact is."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
