"""Blobs on the file system."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from headway.storage.blobs.filesystem import FileBlobs
from headway.testing.blobs import BlobContract
from headway.testing.factories import digest_of


class TestFileBlobs(BlobContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FileBlobs:
        return FileBlobs(tmp_path)


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_blob_is_one_private_file_named_by_its_digest(tmp_path: Path) -> None:
    digest = digest_of(b"x")
    FileBlobs(tmp_path).put(digest, [b"x"])
    [path] = files_below(tmp_path)
    assert path == tmp_path / "sha256" / digest[:2] / digest
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_temporary_is_left_by_a_put_that_fails(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="SHA-256"):
        FileBlobs(tmp_path).put(digest_of(b"right"), [b"wrong"])
    assert files_below(tmp_path) == []


def test_opening_removes_what_a_killed_process_left_a_day_ago_and_nothing_younger(tmp_path: Path) -> None:
    FileBlobs(tmp_path)
    old, young = tmp_path / "incoming" / "old", tmp_path / "incoming" / "young"
    for path, age in [(old, 25 * 3600), (young, 23 * 3600)]:
        path.write_bytes(b"part")
        os.utime(path, (time.time() - age, time.time() - age))
    FileBlobs(tmp_path)
    assert files_below(tmp_path) == [young]


def test_a_reader_that_stops_early_leaves_no_open_file(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    data = b"y" * 3_000_000
    blobs.put(digest_of(data), [data])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        blobs.read(digest_of(data))
        next(blobs.read(digest_of(data)))
    assert len(os.listdir("/proc/self/fd")) == before
