"""Stream bytes as files: ``<run>/<kind>/<name>.parts/`` below one directory, a file of about 8 MiB after the other.

A part is named by where in the stream it begins (16 hexadecimal digits), so that the first ones can be given back.
"""

from __future__ import annotations

import os
import shutil
import threading
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from headway.errors import ConflictError
from headway.paths import full_disk_named, private_directory, sync_directory
from headway.storage.segments.names import check_run, check_stream

if TYPE_CHECKING:
    from headway.storage.segments.base import SegmentStore

PART_BYTES = 8 << 20
"""A part of this size is not written to any more."""
_LOCKS = 64


class FileSegments:
    """A :class:`headway.storage.segments.base.SegmentStore` on a local file system. Thread-safe.

    One process writes and drops; others may read meanwhile.
    """

    def __init__(self, root: Path, *, part_bytes: int = PART_BYTES) -> None:
        self._root = private_directory(root)
        self._part_bytes = part_bytes
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def write(self, run_id: str, name: str, offset: int, data: bytes) -> None:
        directory = self._directory(run_id, name)
        with self._lock(directory), full_disk_named(f"the stream {name} of the run {run_id}"):
            starts = _starts(directory)
            _check_reaches(directory, starts, offset)
            beyond = [start for start in starts if start > offset]
            for start in reversed(beyond):
                _part(directory, start).unlink()
            if beyond:
                # Before bytes take their place: one that came back with a power loss would hide what is written now.
                sync_directory(directory)
            held = [start for start in starts if start <= offset]
            if not held or offset - held[-1] >= self._part_bytes:
                self._begin(directory, offset)
                held.append(offset)
            descriptor = os.open(_part(directory, held[-1]), os.O_RDWR | os.O_CLOEXEC)
            try:
                _replace_from(descriptor, offset - held[-1], data)
            finally:
                os.close(descriptor)

    def read(self, run_id: str, name: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError(f"offset {offset} and length {length} must not be negative")
        directory = self._directory(run_id, name)
        starts = _starts(directory)
        if not starts or not length:
            return b""
        if offset < starts[0]:
            _refuse_dropped(name, offset, starts[0])
        try:
            return _read(directory, starts, offset, length)
        except FileNotFoundError:
            # Dropped while it was read.
            _refuse_dropped(name, offset, self.start(run_id, name))

    def start(self, run_id: str, name: str) -> int:
        return min(_starts(self._directory(run_id, name)), default=0)

    def drop(self, run_id: str, name: str, before: int) -> None:
        directory = self._directory(run_id, name)
        with self._lock(directory), full_disk_named(f"the stream {name} of the run {run_id}"):
            starts = _starts(directory)
            end = _end(directory, starts)
            if before > end:
                raise ValueError(f"byte {before} lies beyond the {end} bytes that are there")
            if before == end and starts and starts[-1] < end:
                self._begin(directory, end)
                starts.append(end)
            for start, following in pairwise(starts):
                if following <= before:
                    _part(directory, start).unlink()

    def delete_run(self, run_id: str) -> None:
        try:
            shutil.rmtree(self._root / check_run(run_id))
        except FileNotFoundError:
            pass

    def _directory(self, run_id: str, name: str) -> Path:
        kind, _, rest = check_stream(name).partition("/")
        # The suffix also keeps the names "." and ".." from leading elsewhere.
        return self._root / check_run(run_id) / kind / f"{rest}.parts"

    def _lock(self, directory: Path) -> threading.Lock:
        return self._locks[hash(directory) % _LOCKS]

    def _begin(self, directory: Path, start: int) -> None:
        """A new, empty part whose name survives a power loss."""
        fresh = not directory.exists()
        for place in (directory.parent.parent, directory.parent, directory) if fresh else ():
            private_directory(place)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        os.close(os.open(_part(directory, start), flags, 0o600))
        sync_directory(directory)
        for place in (directory.parent, directory.parent.parent, self._root) if fresh else ():
            sync_directory(place)


def _part(directory: Path, start: int) -> Path:
    return directory / f"{start:016x}"


def _starts(directory: Path) -> list[int]:
    """Where the parts begin, in order."""
    try:
        return sorted(int(part.name, 16) for part in directory.iterdir())
    except FileNotFoundError:
        return []


def _end(directory: Path, starts: list[int]) -> int:
    return starts[-1] + _part(directory, starts[-1]).stat().st_size if starts else 0


def _check_reaches(directory: Path, starts: list[int], offset: int) -> None:
    first, end = starts[0] if starts else 0, _end(directory, starts)
    if not first <= offset <= end:
        where = "beyond" if offset > end or offset < 0 else "before"
        raise ValueError(f"offset {offset} lies {where} the bytes {first} to {end} that are there")


def _refuse_dropped(name: str, offset: int, start: int) -> NoReturn:
    raise ConflictError(
        f"The bytes of the stream {name!r} before {start} were given back; byte {offset} was asked for.",
        details={"start": start},
    )


def _replace_from(descriptor: int, offset: int, data: bytes) -> None:
    os.ftruncate(descriptor, offset)
    try:
        view, position = memoryview(data), offset
        while view:
            written = os.pwrite(descriptor, view, position)
            view, position = view[written:], position + written
        os.fdatasync(descriptor)
    except OSError:
        os.ftruncate(descriptor, offset)
        raise


def _read(directory: Path, starts: list[int], offset: int, length: int) -> bytes:
    pieces = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        if following is not None and following <= offset:
            continue
        if length <= 0:
            break
        wanted = length if following is None else min(length, following - offset)
        piece = _read_part(_part(directory, start), offset - start, wanted)
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
        if len(piece) < wanted:
            break
    return b"".join(pieces)


def _read_part(path: Path, offset: int, length: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while length > 0 and (piece := os.pread(descriptor, length, offset)):
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        os.close(descriptor)


if TYPE_CHECKING:

    def _fits(segments: FileSegments) -> SegmentStore:
        return segments
