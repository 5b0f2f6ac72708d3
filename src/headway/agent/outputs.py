"""What a program left behind: its model and output files, digested and stored as blobs."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from headway.agent.client import ServerClient, persist
from headway.agent.workspace import Places
from headway.domain.files import FileEntry, check_path

MAX_FILES = 20_000
CHUNK = 1024 * 1024
BATCH = 1000

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeftFile:
    """A file to keep: its name below the collected directory, and where it is."""

    path: str
    source: Path


def model_files(places: Places, started_at: float) -> list[LeftFile]:
    """The files in the model directory. If there are none, those written since ``started_at`` (seconds since 1970) to
    the absolute path that the job named, on a machine where its program could."""
    found = collect(places.model)
    if found or places.literal_model is None or places.literal_model == Path("/"):
        return found
    # File systems may keep whole seconds only.
    return [file for file in collect(places.literal_model) if file.source.stat().st_mtime >= int(started_at)]


def collect(root: Path) -> list[LeftFile]:
    """Regular files below ``root`` by name, at most :data:`MAX_FILES`.

    A symbolic link counts if it stays below ``root`` and leads to a file; what cannot be kept is named in the log.
    """
    found: list[LeftFile] = []
    for file in _walk(root):
        if len(found) == MAX_FILES:
            log.warning("only the first %d files of %s are kept", MAX_FILES, root)
            break
        found.append(file)
    return sorted(found, key=lambda file: file.path)


def _walk(root: Path) -> Iterator[LeftFile]:
    inside = root.resolve()
    for parent, directories, names in os.walk(root):
        directories.sort()
        for name in sorted(names):
            source = Path(parent, name)
            path = source.relative_to(root).as_posix()
            if (why := _unkept(source, path, inside)) is not None:
                log.warning("%s is not kept: %s", ascii(path), why)
            else:
                yield LeftFile(path, source.resolve())


def _unkept(source: Path, path: str, inside: Path) -> str | None:
    try:
        check_path(path)
        real = source.resolve(strict=True)
        if not real.is_relative_to(inside):
            return "it leads to another place"
        return None if stat.S_ISREG(real.stat().st_mode) else "it is not a regular file"
    except (ValueError, OSError, RuntimeError) as error:
        return str(error)


class Uploader:
    """Stores files as blobs of a project, and only those that it lacks.

    Args:
        client: A connection of the uploader's own.
        project_id: Whose blobs.
        give_up: Ends waiting for a server that is away.
        patience: Seconds to wait for it at most.
    """

    def __init__(self, client: ServerClient, project_id: str, *, give_up: threading.Event, patience: float) -> None:
        self._client = client
        self._base = f"/api/v1/projects/{project_id}/blobs"
        self._give_up = give_up
        self._patience = patience

    def store(self, files: Sequence[LeftFile]) -> tuple[FileEntry, ...]:
        """The files as manifest entries, once the server holds all of them.

        Raises:
            HeadwayError: The server refused, or stayed away too long.
        """
        kept: list[FileEntry] = []
        for start in range(0, len(files), BATCH):
            kept += self._store_batch(files[start : start + BATCH])
        return tuple(kept)

    def _store_batch(self, files: Sequence[LeftFile]) -> list[FileEntry]:
        entries = [(file, entry) for file in files if (entry := _entry(file)) is not None]
        missing = self._missing(sorted({entry.digest for _, entry in entries}))
        kept = []
        for file, entry in entries:
            kept.append(self._put(file) if entry.digest in missing else entry)
            missing.discard(kept[-1].digest)
        return kept

    def _missing(self, digests: Sequence[str]) -> set[str]:
        answer = self._persist(lambda: self._client.send_json("POST", f"{self._base}/missing", {"digests": digests}))
        return set(answer["missing"])

    def _put(self, file: LeftFile) -> FileEntry:
        """Send a file as it is now: another replica may still write to a directory that both share."""
        with _open(file) as opened:
            entry = _describe(file, opened)
            self._persist(lambda: self._send(entry.digest, opened))
        return entry

    def _send(self, digest: str, opened: IO[bytes]) -> object:
        path = f"{self._base}/{digest}"
        return self._client.send("PUT", path, opened, content_type="application/octet-stream", timeout=300.0)

    def _persist(self, operation: Callable[[], T]) -> T:
        return persist(operation, give_up=self._give_up, seconds=self._patience)


def _open(file: LeftFile) -> IO[bytes]:
    return os.fdopen(os.open(file.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb")


def _entry(file: LeftFile) -> FileEntry | None:
    """None when it is gone meanwhile."""
    try:
        with _open(file) as opened:
            return _describe(file, opened)
    except OSError as error:
        log.warning("%s is not kept: %s", ascii(file.path), error)
        return None


def _describe(file: LeftFile, opened: IO[bytes]) -> FileEntry:
    digest, size = hashlib.sha256(), 0
    while part := opened.read(CHUNK):
        digest.update(part)
        size += len(part)
    executable = bool(os.fstat(opened.fileno()).st_mode & stat.S_IXUSR)
    return FileEntry(path=file.path, digest=digest.hexdigest(), size=size, executable=executable)
