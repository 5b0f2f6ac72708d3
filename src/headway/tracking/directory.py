"""Where runs lie on the trainer's disk; docs/internals/tracking.md, section 1, is the definition."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.errors import InvalidRequestError
from headway.paths import is_full, private_directory, write_atomic
from headway.tracking.launch import make_exclusive

DEFAULT = ".headway"
RUNS = "runs"
SUFFIX = ".hwj"
TARGET = "target.json"
_ATTEMPT = re.compile(r"^attempt-(0|[1-9][0-9]{0,8})$")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def base_directory(given: str | Path | None = None) -> Path:
    """Where runs are kept: the argument, HEADWAY_DIR, else ``.headway`` here. Absolute, so that a chdir changes nothing."""
    chosen = given if given is not None else os.environ.get("HEADWAY_DIR") or DEFAULT
    return Path(chosen).expanduser().absolute()


def check_run_id(run: str) -> str:
    """``run`` if it can be a run's id, which is a directory's name, too; else InvalidRequestError."""
    if not isinstance(run, str) or not _ID.fullmatch(run):
        raise InvalidRequestError(
            f"{run!r} cannot be the id of a run.",
            hint="It has 1 to 64 letters, digits, '-' and '_', and begins with none of the last two.",
        )
    return run


@dataclass(frozen=True)
class Target:
    """Where a run was meant to go, and whether everything that lay here has arrived there."""

    url: str | None = None
    project: str | None = None
    synced: bool = False
    make_folder: bool = False
    """Whether its folder may be made there."""
    conflict_strategy: str | None = None
    """What another run of its name there means."""


class RunDirectory:
    """One run's directory. Making the object makes nothing on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = path / "blobs"

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @property
    def id(self) -> str:
        return self.path.name

    def exists(self) -> bool:
        """Whether a run lies here: it has an attempt, or a journal (a copy may lack the rest)."""
        return bool(self.attempts()) or bool(self.journals())

    def make(self) -> RunDirectory:
        """The directory, made where it is missing, closed to other accounts."""
        base = self.path.parent.parent
        fresh = not base.exists()
        private_directory(base)
        if fresh:
            _ignore(base)
        private_directory(self.path.parent)
        private_directory(self.path)
        return self

    def journal(self, stream: str) -> Path:
        """Where the journal of a stream (``metrics/rank0-7f3a…``) lies."""
        kind, _, name = stream.partition("/")
        return self.path / f"{kind}-{name}{SUFFIX}"

    def journals(self, kind: str | None = None) -> list[Path]:
        """The journals that lie here, of one kind or all; facts first, so that a run has a name before it has points."""
        found = self.path.glob(f"{kind or '*'}-*{SUFFIX}")
        plain = (path for path in found if not path.name.startswith(".") and path.is_file() and not path.is_symlink())
        return sorted(plain, key=lambda path: (not path.name.startswith("facts-"), path.name))

    def attempts(self) -> dict[int, str]:
        """Attempts by number, with the token of whoever made each."""
        found = {}
        for path in self.path.glob("attempt-*"):
            if match := _ATTEMPT.match(path.name):
                found[int(match[1])] = _read_text(path)
        return found

    def claim_attempt(self, token: str, number: int | None = None) -> int:
        """The attempt that ``token`` stands for: the latest one if it was made with the same token, else a new one.

        Two launches that come at once get different numbers. With ``number`` that one, whoever made it.
        """
        if number is not None:
            make_exclusive(self.path / f"attempt-{number}", token)
            return number
        while True:
            attempts = self.attempts()
            latest = max(attempts, default=-1)
            if latest < 0:
                latest = self.latest_attempt()
            if attempts.get(latest) == token:
                return latest
            if make_exclusive(self.path / f"attempt-{latest + 1}", token):
                return latest + 1

    def latest_attempt(self) -> int:
        """The latest attempt that left anything here, -1 without one. A directory may have been copied in part."""
        from headway.errors import HeadwayError
        from headway.journal.reader import read_header

        latest = max(self.attempts(), default=-1)
        if latest >= 0:
            return latest
        for path in self.journals():
            try:
                latest = max(latest, read_header(path).attempt)
            except HeadwayError:
                continue
        return latest

    def read_target(self) -> Target:
        try:
            document = json.loads(_read_text(self.path / TARGET) or "{}")
        except ValueError:
            document = {}
        return _target(document if isinstance(document, dict) else {})

    def write_target(self, target: Target) -> None:
        """Note where the run goes; never a token."""
        document: dict[str, Any] = {"url": target.url, "project": target.project}
        for name in ("synced", "make_folder", "conflict_strategy"):
            if value := getattr(target, name):
                document[name] = value
        write_atomic(self.path / TARGET, json.dumps(document).encode())


def _target(document: dict[str, Any]) -> Target:
    def text(key: str) -> str | None:
        return document[key] if isinstance(document.get(key), str) else None

    return Target(
        url=text("url"),
        project=text("project"),
        synced=document.get("synced") is True,
        make_folder=document.get("make_folder") is True,
        conflict_strategy=text("conflict_strategy"),
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes()[: 1 << 16].decode("utf-8", "replace")
    except OSError:
        return ""


def _ignore(base: Path) -> None:
    """Keep a new directory out of version control and of what is captured as untracked files."""
    try:
        make_exclusive(base / ".gitignore", "*\n")
    except OSError as error:
        if not is_full(error):
            raise


def run_directories(path: Path) -> Iterator[RunDirectory]:
    """The runs at ``path``: itself, or those of a ``.headway``, its ``runs``, or of directories that lie above such."""
    own = RunDirectory(path)
    if own.exists():
        yield own
        return
    for name in (path, path / RUNS, path / DEFAULT / RUNS):
        if not name.is_dir():
            continue
        for child in sorted(name.iterdir()):
            if not child.is_symlink() and child.is_dir() and (found := RunDirectory(child)).exists():
                yield found


def fallback_base(avoid: Path) -> Path | None:
    """A directory of this account on another file system than ``avoid``'s that can be written to; None without one."""
    for parent in (tempfile.gettempdir(), "/dev/shm", os.environ.get("XDG_RUNTIME_DIR"), "/var/tmp"):  # noqa: S108 - private below
        if parent and (found := _own_directory(Path(parent), avoid)) is not None:
            return found
    return None


def _own_directory(parent: Path, avoid: Path) -> Path | None:
    path = parent / f"headway-{os.getuid()}"
    try:
        if _device(parent) == _device(avoid) and not _is_gone(avoid):
            return None
        path.mkdir(mode=0o700, exist_ok=True)
        about = path.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
            return None
        make_probe(path)
    except OSError:
        return None
    return path


def make_probe(path: Path) -> None:
    """OSError unless a file can be made in ``path`` and hold something."""
    with tempfile.TemporaryFile(dir=path) as file:
        file.write(b"\0" * 4096)
        file.flush()


def _device(path: Path) -> int:
    for place in (path, *path.parents):
        try:
            return place.stat().st_dev
        except OSError:
            continue
    return -1


def _is_gone(path: Path) -> bool:
    """Whether ``path`` fails for another reason than space: the same disk may then do elsewhere."""
    probed = next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))
    try:
        about = os.statvfs(probed)
    except OSError:
        return True
    return about.f_bavail * about.f_frsize > 1 << 20
