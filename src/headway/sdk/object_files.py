"""Files on this side of the object area: keys of what is uploaded, paths of what is downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headway.domain.files import FileEntry, check_manifest, check_path
from headway.domain.objects import StoredObject, folder_prefix
from headway.errors import ConflictError, InvalidRequestError, PlatformError
from headway.sdk.session import Session
from headway.sdk.transport import Response
from headway.sdk.trees import read_tree

LocalPath = str | os.PathLike[str]
MAX_NAME = 255
"""Bytes of a name in a directory: NAME_MAX of nearly every file system."""


def local_keys(source: Path, key: str, *, keep_name: bool) -> Iterator[tuple[str, Path]]:
    """The files of ``source``, each after the key that it gets: see ``client.objects.upload``.

    Raises:
        InvalidRequestError: A link leads outside of the folder, or something is no file with a plain name.
    """
    if not source.is_dir():
        name = _plain(source.name, source) if not key or key.endswith("/") else ""
        yield key + name, source
        return
    prefix = folder_prefix(key)
    if keep_name:
        prefix += _plain(source.resolve().name, source) + "/"
    for path, name in read_tree(source):
        yield prefix + name, path


def _plain(name: str, source: Path) -> str:
    try:
        return check_path(name)
    except ValueError as error:
        raise InvalidRequestError(f"{str(source)!r} has no name for a key: {error}.") from None


@dataclass(frozen=True)
class Selection:
    """What is to be downloaded to where."""

    root: Path
    files: tuple[FileEntry, ...]
    keys: Mapping[str, str] = field(repr=False)
    """Paths below ``root`` to keys."""


def select_one(stored: StoredObject, to: LocalPath) -> Selection:
    """One object to the file ``to``, or into it where it is a directory or ends with ``/``."""
    target = Path(to)
    if target.is_dir() or os.fspath(to).endswith("/"):
        target /= _file(stored, stored.key.rpartition("/")[2]).path
    entry = _file(stored, target.name)
    return Selection(target.parent, (entry,), {entry.path: stored.key})


def select_below(objects: Iterable[StoredObject], prefix: str, to: LocalPath) -> Selection:
    """Everything below a prefix into the directory ``to``.

    Raises:
        InvalidRequestError: A key cannot be a path there, or cannot beside another one.
    """
    chosen = [
        (_file(stored, stored.key[len(prefix) :]), stored.key) for stored in objects if not stored.marks_directory
    ]
    files = check_manifest(entry for entry, _ in chosen)
    return Selection(Path(to), files, {entry.path: key for entry, key in chosen})


def _file(stored: StoredObject, path: str) -> FileEntry:
    try:
        check_path(path)
        if any(len(part.encode()) > MAX_NAME for part in path.split("/")):
            raise ValueError(f"the path has a name of more than {MAX_NAME} bytes")
    except ValueError as error:
        raise InvalidRequestError(
            f"{stored.uri!r} cannot be written to a file: {error}.",
            hint="Name the objects to download one by one, or read them with client.objects.read().",
        ) from None
    return FileEntry(path=path, digest=stored.digest, size=stored.size, executable=stored.executable)


class ObjectReader:
    """Ranges of the contents of a bucket's objects; a :class:`headway.sdk.downloads.FetchRange`."""

    def __init__(self, session: Session, bucket: str, keys: Mapping[str, str] | None = None) -> None:
        self._session, self._place, self._keys = session, f"{bucket}/object", keys or {}

    def __call__(self, entry: FileEntry, offset: int, length: int) -> Response:
        key = self._keys[entry.path]
        answer = self.open(key, entry.digest, {"Range": f"bytes={offset}-{offset + length - 1}"})
        if answer.status == 206 and answer.headers.get("content-range", "").startswith(f"bytes {offset}-"):
            return answer
        answer.close()
        raise PlatformError(f"The server did not send the bytes from {offset} on of the object {key!r}.")

    def open(self, key: str, digest: str, headers: Mapping[str, str] | None = None) -> Response:
        """The bytes of an object as they come; the caller closes and checks them.

        Raises:
            ConflictError: The object has another content by now.
        """
        sent = {"Accept": "*/*", **(headers or {})}
        answer = self._session.open("GET", self._place, query={"key": key}, headers=sent)
        if answer.headers.get("etag") not in (None, f'"{digest}"'):
            answer.close()
            raise ConflictError(f"The object {key!r} was replaced while it was read.", hint="Try again.")
        return answer
