"""Files of a project, brought by their digests and checked on the way."""

from __future__ import annotations

import hashlib
import http.client
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from headway.agent.client import ServerClient, is_passing, persist
from headway.agent.interruption import Interruption
from headway.domain.files import FileEntry
from headway.errors import (
    ConnectionFailedError,
    CorruptDataError,
    HeadwayError,
    NotFoundError,
    RequestError,
    WorkspaceError,
)
from headway.paths import open_beneath

CHUNK = 1024 * 1024
PATIENCE_SECONDS = 24 * 3600.0
"""How long files are waited for while the server is away."""
SMALL_BYTES = 256 << 10
"""Files up to this size come several at a time: a request for each would take longer than its bytes."""
BUNDLE_FILES, BUNDLE_BYTES = 500, 16 << 20
SIZE_BYTES = 8


class FileBringer:
    """Writes blobs of a project below directories, each verified against its digest and size.

    Args:
        client: A connection; it is used by one thread.
        project_id: Whose blobs.
        interruption: Ends the work.
    """

    def __init__(self, client: ServerClient, project_id: str, interruption: Interruption) -> None:
        self._client = client
        self._base = f"/api/v1/projects/{project_id}/blobs"
        self._interruption = interruption

    def bring(self, files: Iterable[FileEntry], root: Path) -> None:
        """Write ``files`` below ``root``.

        Raises:
            WorkspaceError: A blob is not there, or its place cannot be written; also once interrupted.
        """
        small: list[FileEntry] = []
        held = 0
        for entry in files:
            self._interruption.check()
            if entry.size > SMALL_BYTES:
                self._one(entry, root)
                continue
            small.append(entry)
            held += entry.size
            if len(small) >= BUNDLE_FILES or held >= BUNDLE_BYTES:
                self._several(small, root)
                small, held = [], 0
        self._several(small, root)

    def content(self, digest: str, write: Callable[[bytes], object]) -> None:
        """Hand the bytes of one blob to ``write``. They are not checked, and ``write`` may see a part of them before an
        error."""
        with self._client.receive(f"{self._base}/{digest}") as response:
            while piece := response.read(CHUNK):
                self._interruption.check()
                write(piece)
            if response.length:
                raise _cut_off()

    def persist(self, operation: Callable[[], None]) -> None:
        """Repeat ``operation`` while the server is away."""
        persist(operation, give_up=self._interruption.event, seconds=PATIENCE_SECONDS)

    def _one(self, entry: FileEntry, root: Path) -> None:
        with _named(entry.path):
            self.persist(lambda: self._fetch(entry, root))

    def _fetch(self, entry: FileEntry, root: Path) -> None:
        digest, size = hashlib.sha256(), 0
        with create(root, entry) as file:

            def take(piece: bytes) -> None:
                nonlocal size
                size += len(piece)
                if size > entry.size:
                    raise _wrong(entry)
                digest.update(piece)
                file.write(piece)

            self.content(entry.digest, take)
        if size != entry.size or digest.hexdigest() != entry.digest:
            raise _wrong(entry)

    def _several(self, entries: Sequence[FileEntry], root: Path) -> None:
        by_digest: dict[str, list[FileEntry]] = {}
        for entry in entries:
            if entry.size:
                by_digest.setdefault(entry.digest, []).append(entry)
            else:
                _place(root, entry, b"")
        if len(by_digest) > 1:
            self._bundle(by_digest, root)
            return
        for same in by_digest.values():
            for entry in same:
                self._one(entry, root)

    def _bundle(self, by_digest: dict[str, list[FileEntry]], root: Path) -> None:
        try:
            self.persist(lambda: self._fetch_bundle(by_digest, root))
        except NotFoundError as error:
            missing = error.details.get("missing") or [next(iter(by_digest))]
            with _named(by_digest[missing[0]][0].path):
                raise

    def _fetch_bundle(self, by_digest: dict[str, list[FileEntry]], root: Path) -> None:
        body = {"digests": list(by_digest)}
        with self._client.ask("POST", f"{self._base}/bundle", body) as response:
            for entries in by_digest.values():
                self._interruption.check()
                with _named(entries[0].path):
                    size = int.from_bytes(_exactly(response, SIZE_BYTES), "big")
                    if size != entries[0].size:
                        raise _wrong(entries[0])
                data = _exactly(response, size)
                for entry in entries:
                    _place(root, entry, data)


def create(root: Path, entry: FileEntry) -> IO[bytes]:
    """The file of an entry, empty, to be written; never outside ``root``."""
    mode = 0o755 if entry.executable else 0o644
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.fdopen(open_beneath(root, entry.path, flags, mode, parents=True), "wb")


def _place(root: Path, entry: FileEntry, data: bytes) -> None:
    with _named(entry.path):
        if hashlib.sha256(data).hexdigest() != entry.digest or len(data) != entry.size:
            raise _wrong(entry)
        with create(root, entry) as file:
            file.write(data)


def _exactly(response: http.client.HTTPResponse, size: int) -> bytes:
    data = response.read(size)
    if len(data) != size:
        raise _cut_off()
    return data


@contextmanager
def _named(path: str) -> Iterator[None]:
    """What goes wrong said of a file; what may pass is left as it is."""
    try:
        yield
    except (RequestError, CorruptDataError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        if isinstance(error, HeadwayError) and is_passing(error):
            raise
        raise WorkspaceError(f"The file {path!r} could not be brought: {error}") from error


def _wrong(entry: FileEntry) -> CorruptDataError:
    return CorruptDataError(f"The server sent something else than the {entry.size} bytes {entry.digest[:12]}….")


def _cut_off() -> ConnectionFailedError:
    return ConnectionFailedError("The server's answer was cut off.")
