"""Which implementation of the metric store belongs to a storage."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from headway.storage.base import Storage
from headway.storage.segments.base import SegmentStore
from headway.storage.segments.files import FileSegments
from headway.storage.series.base import SeriesReader, SeriesWriter
from headway.storage.series.sqlite import SqliteSeries, SqliteSeriesReader

FILE = "series.db"
SEGMENTS = "segments"


@runtime_checkable
class StorageWithSeries(Protocol):
    """A storage that also keeps the metrics, because several servers share it."""

    def series(self) -> SeriesReader: ...


def open_reader(storage: Storage, data: Path) -> SeriesReader:
    """What the server reads: in the database if it volunteers, else a file below ``data``."""
    return storage.series() if isinstance(storage, StorageWithSeries) else SqliteSeriesReader(data / FILE)


def open_writer(database_url: str | None, data: Path) -> tuple[SeriesWriter, SegmentStore]:
    """What the folding process works on: the store, and the stream bytes of the same server.

    Args:
        database_url: As for :func:`headway.storage.opening.open_storage`; SQLite (or None) has its metrics below ``data``.
        data: The server's data directory.
    """
    if database_url is None or database_url.startswith("sqlite:"):
        return SqliteSeries(data / FILE), FileSegments(data / SEGMENTS)
    from headway.storage.segments.sql import SqlSegments
    from headway.storage.series.postgres import PostgresSeries
    from headway.storage.sql.postgres import open_engine

    engine = open_engine(database_url)
    return PostgresSeries(engine, owned=True), SqlSegments(engine)
