"""The list of an artifact version's entries, on its way between disk, server and caller; never whole in memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from headway.domain.artifacts import MAX_ENTRIES, ArtifactEntry, ArtifactVersion, PathOrder, manifest_line
from headway.domain.files import FileEntry
from headway.errors import CorruptDataError, InvalidRequestError
from headway.sdk.downloads import fetch_range
from headway.sdk.resources.blobs import Blobs
from headway.sdk.transport import Response
from headway.sdk.uploads import LocalFile

MAX_LINE = 256 << 10
MAX_MANIFEST = 4 << 30


def ordered(entries: Iterable[ArtifactEntry]) -> list[ArtifactEntry]:
    """``entries`` by path.

    Raises:
        InvalidRequestError: A path is there twice, as a file and a reference or as a file and a directory, or there are
            too many.
    """
    found = sorted(entries, key=lambda entry: entry.path)
    if len(found) > MAX_ENTRIES:
        raise InvalidRequestError(f"An artifact has at most {MAX_ENTRIES} entries, not {len(found)}.")
    order = PathOrder()
    for entry in found:
        order.check(entry.path)
    return found


@contextmanager
def written(entries: Iterable[ArtifactEntry]) -> Iterator[LocalFile]:
    """The manifest of ordered ``entries`` as a file that is gone at the end."""
    descriptor, name = tempfile.mkstemp(prefix="headway-manifest-")
    path = Path(name)
    try:
        hasher, size = hashlib.sha256(), 0
        with os.fdopen(descriptor, "wb") as file:
            for entry in entries:
                line = manifest_line(entry)
                hasher.update(line)
                size += len(line)
                file.write(line)
        yield LocalFile(path, FileEntry(path="manifest", digest=hasher.hexdigest(), size=size))
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def fetched(blobs: Blobs, version: ArtifactVersion) -> Iterator[Manifest]:
    """The manifest of a version, its bytes checked, until the end of the block.

    Raises:
        CorruptDataError: The server sent something else than what the version's manifest digest says.
    """
    with tempfile.TemporaryFile(prefix="headway-manifest-") as file:
        hasher, size = hashlib.sha256(), 0
        with blobs.open(version.manifest, project=version.project_id) as response:
            for chunk in response.chunks():
                size += len(chunk)
                if size > MAX_MANIFEST:
                    break
                hasher.update(chunk)
                file.write(chunk)
        if hasher.hexdigest() != version.manifest:
            raise CorruptDataError(
                f"The list of files of {version.uri} is not what its digest says.", hint="Try again."
            )
        yield Manifest(file, version)


class Manifest:
    """Entries by path, as often as they are asked for. Nothing in them is trusted."""

    def __init__(self, file: IO[bytes], version: ArtifactVersion) -> None:
        self._file, self._version = file, version

    def entries(self) -> Iterator[ArtifactEntry]:
        """Each entry.

        Raises:
            CorruptDataError: A line is no entry (a path leads out of the artifact, for example), or the entries are not
                those that the version's digest was made of.
        """
        self._file.seek(0)
        order, hasher = PathOrder(), hashlib.sha256()
        while line := self._file.readline(MAX_LINE):
            entry = self._parse(line, order)
            hasher.update(f"{entry.digest or entry.uri} {'x' if entry.executable else '-'} {entry.path}\n".encode())
            yield entry
        if hasher.hexdigest() != self._version.digest:
            raise self._wrong("its entries do not have the version's digest")

    def check(self) -> None:
        """Read it to its end once."""
        for _ in self.entries():
            pass

    def files(self) -> Iterator[FileEntry]:
        """The entries that have content here."""
        for entry in self.entries():
            file = as_file(entry)
            if file is not None:
                yield file

    def _parse(self, line: bytes, order: PathOrder) -> ArtifactEntry:
        try:
            entry = ArtifactEntry.model_validate_json(line)
            order.check(entry.path)
        except ValidationError as error:
            raise self._wrong(
                error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
            ) from None
        except InvalidRequestError as error:
            raise self._wrong(error.message) from None
        return entry

    def _wrong(self, why: str) -> CorruptDataError:
        return CorruptDataError(f"The list of files of {self._version.uri} cannot be used: {why}.")


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
    return problem.removeprefix("Value error, ")


def as_file(entry: ArtifactEntry) -> FileEntry | None:
    """The file that an entry is; None for a reference."""
    if entry.digest is None or entry.size is None:
        return None
    return FileEntry(path=entry.path, digest=entry.digest, size=entry.size, executable=entry.executable)


def file_entry(file: FileEntry) -> ArtifactEntry:
    return ArtifactEntry(path=file.path, digest=file.digest, size=file.size, executable=file.executable)


def reference_entries(references: Mapping[str, str]) -> list[ArtifactEntry]:
    """References (path to URI) as entries.

    Raises:
        InvalidRequestError: A path or URI is wrong.
    """
    found = []
    for path, uri in references.items():
        try:
            found.append(ArtifactEntry(path=path, uri=uri))
        except ValidationError as error:
            raise InvalidRequestError(f"The reference {path!r}: {_first_problem(error)}.") from None
    return found


class BlobReader:
    """Opens parts of files; a :class:`headway.sdk.downloads.FetchRange`."""

    def __init__(self, blobs: Blobs, project: str) -> None:
        self._blobs, self._project = blobs, project

    def __call__(self, entry: FileEntry, offset: int, length: int) -> Response:
        whole = offset == 0 and length == entry.size
        return self._blobs.open(entry.digest, offset=offset, length=None if whole else length, project=self._project)


def content_digest(blobs: Blobs, entry: FileEntry, project: str) -> str:
    """The SHA-256 of what the server really sends for a file."""
    hasher = hashlib.sha256()
    fetch_range(BlobReader(blobs, project), entry, 0, entry.size, hasher.update)
    return hasher.hexdigest()
