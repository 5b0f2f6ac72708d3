"""Segments as files and as rows."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from headway.storage import open_segments, open_storage
from headway.storage.segments.base import SegmentStore
from headway.storage.segments.files import FileSegments
from headway.storage.segments.sql import SqlSegments
from headway.storage.sql.postgres import PostgresStorage
from headway.testing.segments import SegmentContract


class TestFileSegments(SegmentContract):
    @pytest.fixture
    def segments(self, tmp_path: Path) -> SegmentStore:
        return FileSegments(tmp_path)


class TestFilesOfManyParts(SegmentContract):
    """Parts so small that every test crosses them."""

    @pytest.fixture
    def segments(self, tmp_path: Path) -> SegmentStore:
        return FileSegments(tmp_path, part_bytes=4)


def test_dropped_bytes_return_their_disk(tmp_path: Path) -> None:
    segments = FileSegments(tmp_path)
    megabyte = bytes(1 << 20)
    for place in range(20):
        segments.write("run1", "metrics/a", place << 20, megabyte)
    segments.drop("run1", "metrics/a", 17 << 20)
    held = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert held == 4 << 20
    segments.drop("run1", "metrics/a", 20 << 20)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) == 0
    assert segments.start("run1", "metrics/a") == 20 << 20


class TestSqlSegments(SegmentContract):
    @pytest.fixture
    def segments(self, postgres_url: str) -> Iterator[SegmentStore]:
        storage = cast(PostgresStorage, open_storage(postgres_url))
        yield storage.segments()
        storage.close()


def test_files_and_directories_are_private(tmp_path: Path) -> None:
    FileSegments(tmp_path / "segments").write("run1", "logs/worker-0", 0, b"x")
    for path in (tmp_path / "segments").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_segments_lie_in_files_beside_sqlite(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/headway.db")
    try:
        assert isinstance(open_segments(storage, tmp_path / "segments"), FileSegments)
    finally:
        storage.close()


def test_segments_lie_in_the_database_where_servers_share_it(postgres_url: str, tmp_path: Path) -> None:
    storage = open_storage(postgres_url)
    try:
        assert isinstance(open_segments(storage, tmp_path / "segments"), SqlSegments)
        assert not (tmp_path / "segments").exists()
    finally:
        storage.close()
