"""Large contents, in parts and several at a time.

An upload goes on where it stopped, whoever began it: the server says which parts it has. Parts are hashed before they are
sent, so that one that was changed on the way is refused at once and sent again; the server checks the whole at the end.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from headway.domain.uploads import UploadState
from headway.errors import ConflictError, InvalidRequestError, NotFoundError, WorkspaceError
from headway.sdk.progress import Advance
from headway.sdk.resources.blobs import Blobs

PARALLEL = 4
"""Transfers at a time. Together they are what an interruption loses: at most 64 MiB in parts of 16 MiB."""
CHUNK = 1024 * 1024
ATTEMPTS = 5
"""How often an upload that the server no longer knows is begun anew, and a part that came damaged is sent again."""

T = TypeVar("T")


def each(pool: Executor, function: Callable[[T], Any], items: Iterable[T], *, ahead: int = 2 * PARALLEL) -> None:
    """Call ``function`` for every item on the pool's threads, with at most ``ahead`` waiting; the first error ends it."""
    waiting: set[Future[Any]] = set()
    try:
        for item in items:
            waiting.add(pool.submit(function, item))
            if len(waiting) >= ahead:
                waiting = _settled(waiting)
        while waiting:
            waiting = _settled(waiting)
    except BaseException:
        for future in waiting:
            future.cancel()
        raise


def _settled(waiting: set[Future[Any]]) -> set[Future[Any]]:
    done, rest = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return rest


class PartUpload:
    """One file on its way to a project's blobs."""

    def __init__(self, blobs: Blobs, path: Path, digest: str, size: int, *, project: str, advance: Advance) -> None:
        self._blobs, self._project, self._advance = blobs, project, advance
        self._path, self._digest, self._size = path, digest, size
        self._counted: dict[int, int] = {}

    def send(self, pool: Executor) -> None:
        """Send what the server lacks, and have it checked.

        Raises:
            WorkspaceError: The file is not any more what its digest says.
        """
        for attempt in range(1, ATTEMPTS + 1):
            state = self._blobs.begin(self._digest, self._size, project=self._project)
            if state.held:
                self._advance(self._size - sum(self._counted.values()))
                return
            try:
                self._send_parts(pool, state)
                self._finish(state)
                return
            except (NotFoundError, ConflictError):
                if attempt == ATTEMPTS:
                    raise

    def _send_parts(self, pool: Executor, state: UploadState) -> None:
        self._count((number for number, there in enumerate(state.parts) if there), state)
        lacking = [number for number, there in enumerate(state.parts) if not there]
        each(pool, lambda number: self._send_part(state, number), lacking, ahead=PARALLEL)

    def _finish(self, state: UploadState) -> None:
        assert state.id is not None
        try:
            self._blobs.finish(state.id, self._size, project=self._project)
        except InvalidRequestError as error:
            raise self._changed() from error

    def _send_part(self, state: UploadState, number: int) -> None:
        assert state.id is not None
        offset = number * state.part_size
        length = min(state.part_size, self._size - offset)
        for attempt in range(1, ATTEMPTS + 1):
            digest = self._part_digest(offset, length)
            content = PartContent(self._path, offset, length)
            try:
                self._blobs.put_part(state.id, number, digest, length, content, project=self._project)
            except InvalidRequestError as error:
                if attempt == ATTEMPTS or self._part_digest(offset, length) != digest:
                    raise self._changed() from error
            else:
                self._count([number], state)
                return

    def _part_digest(self, offset: int, length: int) -> str:
        hasher, read = hashlib.sha256(), 0
        for chunk in PartContent(self._path, offset, length)():
            hasher.update(chunk)
            read += len(chunk)
        if read != length:
            raise self._changed()
        return hasher.hexdigest()

    def _changed(self) -> WorkspaceError:
        return WorkspaceError(
            f"The file {str(self._path)!r} changed while it was sent.",
            hint="Send it again once nothing writes to it.",
        )

    def _count(self, numbers: Iterable[int], state: UploadState) -> None:
        for number in numbers:
            if number not in self._counted:
                self._counted[number] = min(state.part_size, self._size - number * state.part_size)
                self._advance(self._counted[number])


class PartContent:
    """Bytes ``offset`` to ``offset + length`` of a file, as often as they are asked for."""

    def __init__(self, path: Path, offset: int, length: int) -> None:
        self._path, self._offset, self._length = path, offset, length

    def __call__(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb", buffering=0) as file:
                yield from _read(file, self._offset, self._length)
        except OSError as error:
            raise WorkspaceError(f"Cannot read {str(self._path)!r}: {error.strerror}.") from error


def _read(file: BinaryIO | Any, offset: int, length: int) -> Iterator[bytes]:
    while length > 0 and (chunk := os.pread(file.fileno(), min(CHUNK, length), offset)):
        offset, length = offset + len(chunk), length - len(chunk)
        yield chunk
