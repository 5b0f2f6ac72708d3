"""The files of a local artifact; :mod:`headway.tracking.artifact` says what they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from headway.domain.artifacts import ArtifactCommit, ArtifactEntry
from headway.domain.base import Slug, now, parse_request
from headway.domain.files import check_path
from headway.errors import CorruptDataError, InvalidRequestError
from headway.paths import full_disk_named

FORMAT = 1
MAX_TORN = 256 << 10
"""Bytes of one line at most, which is what a crash may cut short."""
DEFAULT_PROJECT = "default"
PLACEHOLDER = "0" * 64
_DIGEST = re.compile("[0-9a-f]{64}")
_SLUG: TypeAdapter[str] = TypeAdapter(Slug)


class Contents:
    """Entries by path, and how many lie below each folder."""

    def __init__(self) -> None:
        self.entries: dict[str, ArtifactEntry] = {}
        self._folders: dict[str, int] = {}

    def put(self, entry: ArtifactEntry) -> None:
        if entry.path not in self.entries:
            for folder in _above(entry.path):
                self._folders[folder] = self._folders.get(folder, 0) + 1
        self.entries[entry.path] = entry

    def check_file(self, path: str) -> None:
        """InvalidRequestError when no file can have this path."""
        found = self.entries.get(path)
        if found is not None and found.uri is not None:
            raise InvalidRequestError(f"The path {path!r} is a reference already.", hint="Choose another obj_path.")
        self._check_place(path)

    def check_reference(self, path: str) -> None:
        """InvalidRequestError when no reference can have this path."""
        found = self.entries.get(path)
        if found is not None and found.digest is not None:
            raise InvalidRequestError(f"The path {path!r} is a file already.", hint="Choose another obj_path.")
        self._check_place(path)

    def _check_place(self, path: str) -> None:
        if path in self._folders:
            raise InvalidRequestError(f"The path {path!r} is a folder already.", hint="Choose another obj_path.")
        for folder in _above(path):
            if folder in self.entries:
                raise InvalidRequestError(f"{folder!r} is a file or reference, so {path!r} cannot lie below it.")


def _above(path: str) -> Iterator[str]:
    while (path := path.rpartition("/")[0]) != "":
        yield path


def placed(name: str, obj_path: str | None) -> str:
    """Where something called ``name`` goes; InvalidRequestError when that leads out of the artifact."""
    if obj_path is None or obj_path == "":
        return checked_path(name)
    if not isinstance(obj_path, str):
        raise InvalidRequestError(f"obj_path must be a text, not {obj_path!r}.")
    return checked_path(obj_path + name if obj_path.endswith("/") else obj_path)


def checked_path(path: str) -> str:
    """``path`` if it is one in an artifact, else InvalidRequestError."""
    try:
        return check_path(path)
    except ValueError as error:
        raise InvalidRequestError(f"It cannot be put there: {error}.", hint="Give a plain path as obj_path.") from None


def checked_name(name: str) -> str:
    """``name`` if an artifact can have it, else InvalidRequestError."""
    try:
        return _SLUG.validate_python(name)
    except ValidationError:
        raise InvalidRequestError(
            f"{name!r} cannot name an artifact.", hint="Use 1 to 64 letters, digits and _ . - between them."
        ) from None


def checked_header(values: dict[str, Any]) -> dict[str, Any]:
    """What artifact.json holds."""
    request = {"project": DEFAULT_PROJECT, "manifest": PLACEHOLDER, **values}
    parse_request(ArtifactCommit, request, what="The artifact")
    try:
        json.dumps(values, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRequestError(f"The metadata cannot be kept as JSON: {error}.") from None
    return {"format": FORMAT, **values, "created_at": now().isoformat()}


def read_header(path: Path) -> dict[str, Any]:
    """What artifact.json says; CorruptDataError when it is none."""
    found = parsed(path.read_bytes())
    if found.get("format") != FORMAT or not isinstance(found.get("name"), str):
        raise CorruptDataError(f"{path} does not describe an artifact of this format.")
    plain = {"type": "artifact", "labels": {}, "description": "", "metadata": {}, "alternative_name": path.parent.name}
    return {**plain, **found}


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 in lower-case hex, and so can be the name of a file."""
    return _DIGEST.fullmatch(text) is not None


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file; one that a crash cut short does not count."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    yield from data[: data.rfind(b"\n") + 1].splitlines()


def read_entries(path: Path) -> Iterator[ArtifactEntry]:
    """Every line of ``entries.jsonl``. CorruptDataError names one that is damaged."""
    for number, line in enumerate(lines(path), 1):
        try:
            yield ArtifactEntry.model_validate_json(line)
        except ValidationError as error:
            raise CorruptDataError(f"Line {number} of {path} is damaged.") from error


def _cut_torn(descriptor: int) -> None:
    """Remove a line that a crash cut short, so that what follows does not join it."""
    end = os.fstat(descriptor).st_size
    if end == 0 or os.pread(descriptor, 1, end - 1) == b"\n":
        return
    first = max(0, end - MAX_TORN)
    os.ftruncate(descriptor, first + os.pread(descriptor, end - first, first).rfind(b"\n") + 1)


def append_lines(path: Path, data: bytes) -> None:
    """Add whole lines to a file, after what was whole before."""
    with full_disk_named(str(path)):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _cut_torn(descriptor)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
