"""The code that a run starts with, as far as its repository's last commit does not hold it.

The diff of tracked files and the untracked files that no rule ignores become blobs, without secrets, and bounded. What is
left out is named, with the reason.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headway.domain.files import check_path
from headway.domain.redaction import LineRedactor, is_secret_file, redact_url
from headway.errors import HeadwayError
from headway.paths import open_beneath
from headway.tracking.blobs import KeepBlob
from headway.tracking.git import Git
from headway.tracking.imports import import_quietly

BINARY, IGNORED, SECRET = "is binary", "is ignored by .headwayignore", "may hold secrets"
TOO_LARGE, NO_ROOM, UNREADABLE = "is too large", "the snapshot is full", "is no readable regular file"
DIFF_TYPE, FILE_TYPE = "text/x-diff", "text/plain"


@dataclass(frozen=True)
class SnapshotLimits:
    """How much one snapshot may hold."""

    total_bytes: int = 10 << 20
    file_bytes: int = 1 << 20
    files: int = 1000
    """Untracked files."""
    named: int = 200
    """Names of what is left out; the rest is counted."""
    read_bytes: int = 64 << 20
    """Of the diff and of the list of untracked files, as git writes them."""


@dataclass
class _Snapshot:
    """What was taken so far."""

    keep: KeepBlob
    limits: SnapshotLimits
    left: int
    left_out: list[dict[str, str]] = field(default_factory=list)
    left_out_count: int = 0

    def leave_out(self, path: str, reason: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < self.limits.named:
            self.left_out.append({"path": _printable(path), "reason": reason})

    def has_room(self, path: str, size: int) -> bool:
        """Whether something of ``size`` may be taken; it is noted that it is, or why not."""
        if size > self.limits.file_bytes:
            self.leave_out(path, TOO_LARGE)
        elif size > self.left:
            self.leave_out(path, NO_ROOM)
        else:
            self.left -= size
            return True
        return False


def describe_repository(git: Git, directory: Path) -> dict[str, Any] | None:
    """``root``, ``commit``, ``branch`` and ``remote`` of the repository around ``directory``; None where there is none.

    What is unknown (no commit yet, no branch, no remote) is left out.
    """
    root = git.text("rev-parse", "--show-toplevel")
    if not root or not directory.is_relative_to(root):
        return None
    branch = git.text("symbolic-ref", "--quiet", "--short", "HEAD")
    remote = git.text("config", "--get", f"branch.{branch}.remote") if branch else None
    url = git.text("config", "--get", f"remote.{remote or 'origin'}.url")
    found = {
        "root": _printable(root),
        "commit": git.text("rev-parse", "--verify", "--quiet", "HEAD^{commit}"),
        "branch": _printable(branch) if branch else None,
        "remote": redact_url(_printable(url)) if url else None,
    }
    return {key: value for key, value in found.items() if value}


def take_snapshot(git: Git, root: Path, keep: KeepBlob, limits: SnapshotLimits | None = None) -> dict[str, Any]:
    """What differs from the last commit in the repository at ``root``.

    Answers ``dirty`` (None when git could not say), ``diff`` (``digest``, ``size``, ``redacted_lines``), ``untracked`` (a
    list of ``path``, ``digest``, ``size``, ``executable``, ``redacted_lines``), ``left_out`` (``path``, ``reason``) and
    ``left_out_count``; what is empty is left out. Secrets are masked, line by line.

    Raises:
        StorageFullError: No space is left for the blobs.
    """
    limits = limits or SnapshotLimits()
    snapshot = _Snapshot(keep, limits, left=limits.total_bytes)
    git.enter(root)
    git.without_filters()
    dirty, diff = _take_diff(git, root, snapshot)
    untracked: list[dict[str, Any]] = []
    if _holds_home(root):
        snapshot.leave_out("", "the untracked files of a repository that holds a home directory")
    else:
        untracked = _take_untracked(git, root, snapshot)
    found: dict[str, Any] = {"dirty": dirty, "diff": diff, "untracked": untracked, "left_out": snapshot.left_out}
    if snapshot.left_out_count:
        found["left_out_count"] = snapshot.left_out_count
    return {key: value for key, value in found.items() if value not in (None, [])}


def _holds_home(root: Path) -> bool:
    """Whether ``root`` is the account's home or above it: then most of what is untracked is no code of anybody's."""
    try:
        return Path.home().resolve().is_relative_to(root)
    except RuntimeError:
        return False


_DIFF = (
    "diff --no-ext-diff --no-textconv --no-color --no-renames --full-index --ignore-submodules=dirty --submodule=short "
    "--src-prefix=a/ --dst-prefix=b/ --unified=3 -O/dev/null"
)


def _take_diff(git: Git, root: Path, snapshot: _Snapshot) -> tuple[bool | None, dict[str, Any] | None]:
    """Whether tracked files differ from the last commit, and the blob that says how."""
    base = git.text("rev-parse", "--verify", "--quiet", "HEAD^{commit}") or git.text(
        "hash-object", "-t", "tree", os.devnull
    )
    if base is None:
        return None, None
    output = git.read([*_DIFF.split(), base, "--"], limit=snapshot.limits.read_bytes)
    if output is None:
        return None, None
    ignored = _headway_rules(root)
    redactor, kept = LineRedactor(), []
    for path, section in _sections(output.data):
        if _may_take(path, section, ignored, snapshot) and snapshot.has_room(path, len(section)):
            kept.append(_redacted(section, redactor))
    if not output.complete:
        snapshot.leave_out("", "the diff is too large to be read to its end")
    if not kept:
        return bool(output.data), None
    blob = snapshot.keep(b"".join(kept), DIFF_TYPE)
    return True, {"digest": blob.digest, "size": blob.size, "redacted_lines": redactor.redacted}


def _may_take(path: str, section: bytes, ignored: Callable[[str], bool], snapshot: _Snapshot) -> bool:
    if is_secret_file(path):
        snapshot.leave_out(path, SECRET)
    elif ignored(path):
        snapshot.leave_out(path, IGNORED)
    elif _BINARY.search(section) or b"\0" in section:
        snapshot.leave_out(path, BINARY)
    else:
        return True
    return False


_SECTION = re.compile(rb"^diff --git ", re.MULTILINE)
_BINARY = re.compile(rb"^Binary files .* differ$", re.MULTILINE)


def _sections(diff: bytes) -> Iterator[tuple[str, bytes]]:
    """The parts of a diff by file. Lines of content begin with another character, so none looks like a heading."""
    starts = [match.start() for match in _SECTION.finditer(diff)]
    for start, end in itertools.pairwise([*starts, len(diff)]):
        section = diff[start:end]
        yield _path_of(section.partition(b"\n")[0]), section


def _path_of(heading: bytes) -> str:
    """From ``diff --git a/<path> b/<path>``; git writes odd characters in quotes, as C does."""
    names = heading.removeprefix(b"diff --git ")
    name = names[: len(names) // 2]
    if name.startswith(b'"'):
        name = name.strip(b'"').decode("unicode_escape", "replace").encode("latin-1", "replace")
    return name.removeprefix(b"a/").decode("utf-8", "surrogateescape")


def _take_untracked(git: Git, root: Path, snapshot: _Snapshot) -> list[dict[str, Any]]:
    listed = git.read(["ls-files", "--others", "--exclude-standard", "-z"], limit=snapshot.limits.read_bytes)
    if listed is None:
        return []
    names = listed.data.split(b"\0")[:-1]
    ignored = _Ignored(root)
    taken: list[dict[str, Any]] = []
    for name in names:
        path = name.decode("utf-8", "surrogateescape")
        if ignored(path):
            continue  # as what git ignores: it is no part of the code
        if len(taken) >= snapshot.limits.files:
            snapshot.leave_out(path, NO_ROOM)
        elif (entry := _take_file(root, path, snapshot)) is not None:
            taken.append(entry)
    if not listed.complete:
        snapshot.leave_out("", "there are more untracked files than can be listed")
    return taken


def _take_file(root: Path, path: str, snapshot: _Snapshot) -> dict[str, Any] | None:
    if is_secret_file(path):
        snapshot.leave_out(path, SECRET)
        return None
    found = _read_file(root, path, snapshot)
    if found is None:
        return None
    data, executable = found
    if b"\0" in data[:8192]:
        snapshot.left += len(data)
        snapshot.leave_out(path, BINARY)
        return None
    redactor = LineRedactor()
    blob = snapshot.keep(_redacted(data, redactor), FILE_TYPE)
    entry: dict[str, Any] = {"path": path, "digest": blob.digest, "size": blob.size}
    if executable:
        entry["executable"] = True
    if redactor.redacted:
        entry["redacted_lines"] = redactor.redacted
    return entry


def _read_file(root: Path, path: str, snapshot: _Snapshot) -> tuple[bytes, bool] | None:
    """Content and whether it is executable, of a regular file that there is room for; links are not followed."""
    try:
        check_path(path)
        descriptor = open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError, HeadwayError):
        snapshot.leave_out(path, UNREADABLE)
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            snapshot.leave_out(path, UNREADABLE)
            return None
        if not snapshot.has_room(path, status.st_size):
            return None
        return file.read(status.st_size), bool(status.st_mode & 0o100)


def _redacted(data: bytes, redactor: LineRedactor) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    return "\n".join(map(redactor.redact, text.split("\n"))).encode("utf-8", "surrogateescape")


def _headway_rules(root: Path) -> Callable[[str], bool]:
    """The rules of ``.headwayignore`` alone: a tracked file is code, whatever ``.gitignore`` says."""
    try:
        lines = (root / ".headwayignore").read_text("utf-8", "replace").splitlines()
    except OSError:
        return lambda _path: False
    rules = import_quietly("headway.sdk.ignores").spec_of(lines)
    return lambda path: bool(rules.match_file(path))


class _Ignored:
    """Whether an untracked file stays at home, by the rules for workspaces; each directory's rules are read once."""

    def __init__(self, root: Path) -> None:
        import_quietly("pathspec")
        self._rules_type: Any = import_quietly("headway.sdk.ignores").Rules
        self._root = root
        self._known: dict[str, Any] = {"": self._rules_type.default().entered(root, "")}

    def __call__(self, path: str) -> bool:
        directory = path.rpartition("/")[0]
        rules = self._rules(directory)
        return rules is None or rules.ignore(path)

    def _rules(self, directory: str) -> Any:
        """None for a directory that is ignored."""
        if directory not in self._known:
            above = self._rules(directory.rpartition("/")[0])
            inside = None
            if above is not None and not above.ignore(directory + "/"):
                inside = above.entered(self._root / directory, directory + "/")
            self._known[directory] = inside
        return self._known[directory]


def _printable(text: str) -> str:
    """Names on a disk may be no UTF-8, and a fact is."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
