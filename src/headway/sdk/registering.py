"""Where the files of a new model version come from, and how they reach the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headway.domain.base import did_you_mean
from headway.domain.files import FileEntry
from headway.domain.redaction import redact_url
from headway.errors import InvalidRequestError, WorkspaceError
from headway.sdk.folders import read_folder
from headway.sdk.ignores import Everything
from headway.sdk.remote_files import fetched, is_remote
from headway.sdk.resources.blobs import Blobs
from headway.sdk.uploads import LocalFile, local_file, upload

HELD = ("runs:/", "artifact:", "s3://")
"""Sources of which the server has the files."""
FORMS = "Use runs:/<run>/<path>, artifact:<name>:<version>, s3://bucket/prefix, https://… or a path."


@dataclass(frozen=True)
class Origin:
    """One of: a local path, an address to fetch, a source that the server holds."""

    path: Path | None
    address: str | None
    uri: str | None
    """What is recorded."""

    @property
    def held(self) -> bool:
        return self.path is None and self.address is None


@dataclass(frozen=True)
class SentFiles:
    """Files that the project holds now."""

    blobs: Blobs
    files: Sequence[LocalFile]
    project: str

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        return tuple(sorted((file.entry for file in self.files), key=lambda entry: entry.path))

    def send(self) -> None:
        upload(self.blobs, self.files, project=self.project)


def find_origin(path: str | Path | None, source: str | None) -> Origin:
    """What a path and a source mean, before anything is sent.

    Raises:
        InvalidRequestError: Neither is given, or the source is none.
        WorkspaceError: There is nothing at the path.
    """
    if isinstance(path, str) and source is None and (path.startswith(HELD) or is_remote(path)):
        path, source = None, path
    if path is not None:
        found = Path(path).expanduser()
        if not found.exists():
            raise WorkspaceError(f"There is no file or folder {str(path)!r}.")
        return Origin(found, None, str(found.resolve()) if source is None else redact_url(source))
    if source is None:
        raise InvalidRequestError("A model version needs files.", hint="Give a path or a source.")
    if is_remote(source):
        return Origin(None, source, redact_url(source.partition("#")[0]))
    if not source.startswith(HELD):
        scheme = source.partition(":")[0] + ":"
        hint = did_you_mean(scheme, [held.partition(":")[0] + ":" for held in HELD]) or FORMS
        raise InvalidRequestError(f"{source!r} is no source of a model version.", hint=hint)
    return Origin(None, None, source)


@contextmanager
def sent_files(blobs: Blobs, origin: Origin, *, project: str, max_bytes: int) -> Iterator[SentFiles]:
    """The files of a path or an address, uploaded where the project lacks them. No ignore rule counts here.

    Raises:
        WorkspaceError: There is no file.
        HeadwayError: As :func:`headway.sdk.remote_files.fetched` says.
    """
    if origin.address is not None:
        with fetched(origin.address, max_bytes=max_bytes) as files:
            yield _sent(blobs, files, origin.address, project)
    else:
        assert origin.path is not None
        path = origin.path
        local = [local_file(path, path.name)] if path.is_file() else read_folder(path, rules=Everything())
        yield _sent(blobs, local, str(path), project)


def _sent(blobs: Blobs, files: Sequence[LocalFile], what: str, project: str) -> SentFiles:
    if not files:
        raise WorkspaceError(f"{redact_url(what)!r} holds no file.")
    sent = SentFiles(blobs, files, project)
    sent.send()
    return sent
