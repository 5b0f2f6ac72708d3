"""Files by content: what workspaces, models and outputs are lists of."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from headway.domain.base import Record
from headway.errors import InvalidRequestError

MAX_PATH = 1024


def check_path(path: str) -> str:
    """A relative path below some directory, with ``/`` between plain names; anything else is a ValueError.

    >>> check_path("code/train.py")
    'code/train.py'
    """
    if not path or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        raise ValueError(f"a file path has 1 to {MAX_PATH} bytes")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path):
        raise ValueError(f"the file path {path!r} holds a control character")
    if path.startswith("/") or "\\" in path:
        raise ValueError(f"the file path {path!r} is not relative with '/' between names")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"the file path {path!r} has an empty, '.' or '..' part")
    return path


RelativePath = Annotated[str, AfterValidator(check_path)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in lower-case hex."""


class FileEntry(Record):
    """One file of a workspace, model or output: where it goes and what is in it."""

    path: RelativePath
    digest: Digest
    size: int = Field(ge=0)
    executable: bool = False


def check_manifest(files: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    """``files`` sorted by path; a path given twice, or one below a file, is refused."""
    ordered = tuple(sorted(files, key=lambda entry: entry.path))
    seen = set()
    for entry in ordered:
        if entry.path in seen:
            raise InvalidRequestError(f"The file {entry.path!r} is listed twice.")
        seen.add(entry.path)
    for entry in ordered:
        parent = entry.path.rpartition("/")[0]
        while parent:
            if parent in seen:
                raise InvalidRequestError(f"{parent!r} is listed as a file and as the directory of {entry.path!r}.")
            parent = parent.rpartition("/")[0]
    return ordered


def manifest_digest(files: Iterable[FileEntry]) -> str:
    """One SHA-256 over paths and contents, the same whatever the order of the list.

    The digested text is one line a file, sorted by path: ``<digest> <x or -> <path>``.
    """
    lines = [f"{e.digest} {'x' if e.executable else '-'} {e.path}\n" for e in sorted(files, key=lambda e: e.path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
