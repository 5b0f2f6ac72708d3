"""Stream bytes as one file a stream: ``<run>/<kind>/<name>.seg`` below one directory."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from headway.paths import full_disk_named, private_directory, sync_directory
from headway.storage.segments.names import check_run, check_stream

if TYPE_CHECKING:
    from headway.storage.segments.base import SegmentStore

_LOCKS = 64


class FileSegments:
    """A :class:`headway.storage.segments.base.SegmentStore` on a local file system, for one server. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = private_directory(root)
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def write(self, run_id: str, name: str, offset: int, data: bytes) -> None:
        path = self._path(run_id, name)
        with self._locks[hash(path) % _LOCKS], full_disk_named(f"the stream {name} of the run {run_id}"):
            descriptor = self._open(path, offset)
            try:
                if offset == 0:
                    self._sync_names(path)
                _replace_from(descriptor, offset, data)
            finally:
                os.close(descriptor)

    def read(self, run_id: str, name: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError(f"offset {offset} and length {length} must not be negative")
        try:
            descriptor = os.open(self._path(run_id, name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return _read(descriptor, offset, length)
        finally:
            os.close(descriptor)

    def delete_run(self, run_id: str) -> None:
        try:
            shutil.rmtree(self._root / check_run(run_id))
        except FileNotFoundError:
            pass

    def _path(self, run_id: str, name: str) -> Path:
        kind, _, rest = check_stream(name).partition("/")
        # The suffix also keeps the names "." and ".." from being directories.
        return self._root / check_run(run_id) / kind / f"{rest}.seg"

    def _open(self, path: Path, offset: int) -> int:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            _check_reaches(0, offset)
            private_directory(path.parent.parent)
            private_directory(path.parent)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _check_reaches(os.fstat(descriptor).st_size, offset)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _sync_names(self, path: Path) -> None:
        """Make the file's name survive a power loss, and those of its directories."""
        for directory in (path.parent, path.parent.parent, self._root):
            sync_directory(directory)


def _check_reaches(size: int, offset: int) -> None:
    if not 0 <= offset <= size:
        raise ValueError(f"offset {offset} lies beyond the {size} bytes that are there")


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


def _read(descriptor: int, offset: int, length: int) -> bytes:
    parts = []
    while length > 0:
        part = os.pread(descriptor, length, offset)
        if not part:
            break
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)


if TYPE_CHECKING:

    def _fits(segments: FileSegments) -> SegmentStore:
        return segments
