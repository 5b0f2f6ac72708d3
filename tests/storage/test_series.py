"""The metric store on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from headway.errors import ConfigurationError, UnavailableError
from headway.storage import open_storage
from headway.storage.series import sqlite
from headway.storage.series.base import EntryFilter, SeriesReader, SeriesWriter, StreamKey
from headway.storage.series.opening import open_reader, open_writer
from headway.storage.series.sqlite import SqliteSeries, SqliteSeriesReader
from headway.storage.series.tables import metadata
from headway.testing.series import SeriesContract, StreamWriter, fold_all, read_series

KEY = StreamKey("run1", "metrics/rank0-a", 1, 0, "rank0")


class TestSqliteSeries(SeriesContract):
    @pytest.fixture
    def series(self, tmp_path: Path) -> Iterator[SeriesWriter]:
        series = SqliteSeries(tmp_path / "series.db")
        yield series
        series.close()


class TestPostgresSeries(SeriesContract):
    @pytest.fixture
    def series(self, postgres_url: str, tmp_path: Path) -> Iterator[SeriesWriter]:
        series, _ = open_writer(postgres_url, tmp_path)
        tables = ", ".join(table for table in metadata.tables if table != "series_version")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")
        yield series
        series.close()


def filled(series: SeriesWriter, rows: int = 2000) -> StreamWriter:
    writer = StreamWriter()
    for step in range(rows):
        writer.log({"loss": 1 / (step + 1)}, step=step)
    fold_all(series, series.open(KEY), writer.data)
    return writer


def test_a_reader_of_a_store_that_does_not_exist_yet_sees_an_empty_one(tmp_path: Path) -> None:
    reader = SqliteSeriesReader(tmp_path / "series.db")
    with reader.read() as snapshot:
        assert snapshot.streams("run1") == []
        assert snapshot.columns("run1") == []
        assert snapshot.entries("run1", EntryFilter()) == []
    assert reader.run_ids() == []
    assert not (tmp_path / "series.db").exists()
    with closing(SqliteSeries(tmp_path / "series.db")) as series:
        writer = filled(series)
        assert reader.run_ids() == ["run1"]
        assert read_series(reader, [KEY], ("", "loss")) == [writer.points["", "loss"]]
    reader.close()


def test_a_snapshot_does_not_change_while_the_writer_goes_on(tmp_path: Path) -> None:
    with closing(SqliteSeries(tmp_path / "series.db")) as series:
        filled(series, 10)
        reader = SqliteSeriesReader(tmp_path / "series.db")
        with reader.read() as snapshot:
            (before,) = snapshot.columns("run1")
            writer = StreamWriter()
            for step in range(20):
                writer.log({"loss": 1 / (step + 1)}, step=step)
            fold_all(series, series.open(KEY), writer.data)
            assert snapshot.columns("run1") == [before]
            assert [block.rows for block in snapshot.blocks(before.schema_id)] == [10]
        with reader.read() as snapshot:
            assert snapshot.columns("run1")[0].rows == 20
        reader.close()


def test_files_are_private_and_a_second_writer_waits_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WAIT_SECONDS", 0.1)
    series = SqliteSeries(tmp_path / "store" / "series.db")
    filled(series)
    for path in (tmp_path / "store").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    with pytest.raises(UnavailableError, match="Another process"):
        SqliteSeries(tmp_path / "store" / "series.db")
    monkeypatch.setattr(sqlite, "WAIT_SECONDS", 10.0)
    second: list[SqliteSeries] = []
    waiting = threading.Thread(target=lambda: second.append(SqliteSeries(tmp_path / "store" / "series.db")))
    waiting.start()
    series.close()
    waiting.join()
    assert len(second) == 1
    second[0].close()


def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(SqliteSeries(tmp_path / "series.db")) as series:
        filled(series)
    with closing(sqlite3.connect(tmp_path / "series.db")) as database:
        database.execute("UPDATE series_version SET version = 99")
        database.commit()
    before = (tmp_path / "series.db").read_bytes()
    with pytest.raises(ConfigurationError, match="99"):
        SqliteSeries(tmp_path / "series.db")
    reader = SqliteSeriesReader(tmp_path / "series.db")
    with pytest.raises(ConfigurationError, match="99"), reader.read():
        pass
    reader.close()
    assert (tmp_path / "series.db").read_bytes() == before


def test_a_deleted_run_returns_its_disk(tmp_path: Path) -> None:
    with closing(SqliteSeries(tmp_path / "series.db")) as series:
        writer = StreamWriter()
        for step in range(2000):
            writer.log({f"m{n}": ((step + n) * 2654435761 % 2**32) / 7 for n in range(40)}, step=step)
        fold_all(series, series.open(KEY), writer.data)
        full = sum(path.stat().st_size for path in tmp_path.iterdir())
        series.delete_run("run1")
        assert (tmp_path / "series.db").stat().st_size < 40 * 4096 < full / 3
        assert (tmp_path / "series.db-wal").stat().st_size == 0


def test_postgres_keeps_the_series_where_it_keeps_the_records(postgres_url: str, tmp_path: Path) -> None:
    storage = open_storage(postgres_url)
    reader: SeriesReader = open_reader(storage, tmp_path)
    series, segments = open_writer(postgres_url, tmp_path)
    try:
        segments.write("run9", "metrics/rank0-a", 0, b"bytes")
        key = StreamKey("run9", "metrics/rank0-a", 1)
        writer = StreamWriter()
        writer.log({"loss": 0.5}, step=1)
        fold_all(series, series.open(key), writer.data)
        assert "run9" in reader.run_ids()
        assert list(tmp_path.iterdir()) == []
    finally:
        series.close()
        storage.close()
