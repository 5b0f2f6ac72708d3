"""How far event files were taken into a run, so that importing them again adds only what is new.

It is kept beside the run's journals in ``tensorboard.json``. Rows and this file cannot be written in one step. So it says
how many rows the journal had when it was written, and which file was being read from there on: what the journal has
beyond that is known to come from there, and is passed over when the file is read again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from headway.paths import write_atomic

FILE = "tensorboard.json"
HEAD_BYTES = 32
"""An event file's first record says when it was made; this much of it, and the file's name, tell files apart."""
_VERSION = 1


@dataclass
class FileProgress:
    """How far one event file was taken."""

    offset: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    """Plugins by tag, see :class:`headway.tracking.integrations.tensorboard.values.EventDecoder`."""


@dataclass
class Progress:
    """How far the event files of one directory were taken. ``files`` is by :func:`identify`."""

    source: str
    project: str
    files: dict[str, FileProgress] = field(default_factory=dict)
    reading: str | None = None
    """The file whose rows the journal may have beyond ``rows``."""
    stream: str | None = None
    """The journal that was written to."""
    rows: int = 0
    latest: float = 0.0
    """The time of the last event that is known, in seconds since 1970."""
    ended: bool = False
    """Whether the run was said to be complete after the last row."""

    def save(self, directory: Path) -> None:
        """Write it durably; the journal's rows must be durable already."""
        files = {name: {"offset": item.offset, "tags": item.tags} for name, item in self.files.items()}
        write_atomic(directory / FILE, json.dumps({**vars(self), "files": files, "version": _VERSION}).encode())


def load_progress(directory: Path) -> Progress | None:
    """What was saved in a run's directory; None when nothing was, or it is not readable."""
    try:
        found = json.loads((directory / FILE).read_bytes())
        if not isinstance(found, dict) or found.pop("version") != _VERSION:
            return None
        return Progress(**{**found, "files": {name: FileProgress(**item) for name, item in found["files"].items()}})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def identify(path: Path) -> str | None:
    """What tells an event file from others, also after it was moved or copied; None while it is too short."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return None
    if len(head) < HEAD_BYTES:
        return None
    return f"{path.name}:{hashlib.sha256(head).hexdigest()[:16]}"


class KnownRun(NamedTuple):
    """A run that event files were taken into."""

    directory: Path
    source: Path


def known_runs(runs: Path, project: str) -> dict[str, list[KnownRun]]:
    """The runs in the directory ``runs`` that each event file was taken into: several where it was copied."""
    found: dict[str, list[KnownRun]] = {}
    for path in sorted(runs.glob(f"*/{FILE}")):
        progress = load_progress(path.parent)
        if progress is not None and progress.project == project:
            for name in progress.files:
                found.setdefault(name, []).append(KnownRun(path.parent, Path(progress.source)))
    return found


def choose_run(path: Path, candidates: Iterable[KnownRun], root: Path) -> Path | None:
    """Which of the runs that have a file of ``path`` is that directory's, None for a new one.

    It is the one that was made of it. It is also one that was made of a directory that was moved, or of a copy elsewhere;
    but copies that lie beside each other below ``root`` are shown beside each other.
    """
    rest = []
    for candidate in candidates:
        if candidate.source == path:
            return candidate.directory
        if not candidate.source.is_relative_to(root) or not candidate.source.exists():
            rest.append(candidate.directory)
    return rest[0] if rest else None
