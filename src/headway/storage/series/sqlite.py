"""The metric store beside SQLite: a file of its own, written by the folding process and read by the server.

One connection writes and checkpoints, held apart from others by a lock file, which keeps clear of the WAL-reset fault of
SQLite versions before 3.51.3 as :mod:`headway.storage.sql.sqlite` does.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from headway.errors import UnavailableError
from headway.paths import full_disk_named, private_directory
from headway.storage.series.base import Block, Chunk, Column, EntryFilter, Parts, StoredEntry, StreamState
from headway.storage.series.payloads import Schema
from headway.storage.series.rows import Decoded
from headway.storage.series.snapshots import SqlSnapshot
from headway.storage.series.sql import SqlSeries
from headway.storage.series.tables import prepare, stored_version
from headway.storage.sql.failures import translated

if TYPE_CHECKING:
    from headway.storage.series.base import SeriesReader, SeriesSnapshot, SeriesWriter

READERS = 8
WAIT_SECONDS = 10.0
LEFTOVER_LOG_BYTES = 64 << 20
CHECKPOINT_PAGES = 4096
"""16 MiB: several folds share a checkpoint."""
_COMMON = ("PRAGMA trusted_schema = OFF", "PRAGMA temp_store = MEMORY")
_WRITER = (
    *_COMMON,
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    # What is folded may be dropped as stream bytes: a commit must survive a power loss.
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {LEFTOVER_LOG_BYTES}",
    f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}",
)
_READER = (*_COMMON, "PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0")
_SPARE_PAGES = 2048
"""Free pages that are kept for what comes next."""


class SqliteSeriesReader:
    """A :class:`headway.storage.series.base.SeriesReader` over a file that another process writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = False
        pool = {"poolclass": QueuePool, "pool_size": READERS, "max_overflow": 0, "pool_timeout": WAIT_SECONDS}
        self._engine = _engine(path, "ro", _READER, pool, begin="BEGIN")
        self._series = SqlSeries(self._engine, self._engine)

    @contextmanager
    def read(self) -> Iterator[SeriesSnapshot]:
        if not self._exists():
            yield EmptySnapshot()
            return
        with self._series.read() as snapshot:
            yield snapshot

    def warm(self) -> None:
        if self._exists():
            self._series.warm()

    def run_ids(self) -> Collection[str]:
        return self._series.run_ids() if self._exists() else []

    def close(self) -> None:
        self._series.close()

    def _exists(self) -> bool:
        """Whether the folding process has made the tables."""
        if not self._known and self._path.exists():
            with translated(), self._engine.connect() as connection, connection.begin():
                self._known = stored_version(connection) is not None
        return self._known


class SqliteSeries(SqlSeries):
    """A :class:`headway.storage.series.base.SeriesWriter`. Not for several threads."""

    def __init__(self, path: Path) -> None:
        private_directory(path.parent)
        self._lock = _WriterLock(path.with_suffix(".lock"))
        try:
            with full_disk_named("the metrics"):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            engine = _engine(path, "rw", _WRITER, {"poolclass": StaticPool}, begin="BEGIN IMMEDIATE")
            with translated(), engine.connect() as connection, connection.begin():
                prepare(connection)
        except BaseException:
            self._lock.release()
            raise
        super().__init__(engine, engine)

    @contextmanager
    def read(self) -> Iterator[SqlSnapshot]:
        with super().read() as snapshot:
            assert isinstance(snapshot, SqlSnapshot)
            yield snapshot

    def fold(self, state: StreamState, decoded: Decoded) -> StreamState:
        found = super().fold(state, decoded)
        self._shrink(quarter=True)
        return found

    def delete_run(self, run_id: str) -> None:
        super().delete_run(run_id)
        self._shrink(quarter=False)

    def delete_streams(self, run_id: str, names: Collection[str]) -> None:
        super().delete_streams(run_id, names)
        self._shrink(quarter=True)

    def close(self) -> None:
        super().close()
        self._lock.release()

    def _shrink(self, *, quarter: bool) -> None:
        """Give free pages back to the file system: all, or when they are more than a quarter of the file."""
        with translated(), self._writers.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            free, pages = (raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
            if free == 0 or (quarter and free < max(_SPARE_PAGES, pages // 4)):
                return
            try:
                # A script goes through all of its steps; execute would stop after the first page.
                raw.executescript("PRAGMA incremental_vacuum;")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.OperationalError:
                # A full disk, or a reader in the way: the pages are used again, or given back the next time.
                return


class EmptySnapshot:
    """Of a store that does not exist yet."""

    def streams(self, run_id: str) -> Sequence[StreamState]:  # noqa: ARG002
        return []

    def schemas(self, stream_id: int) -> Mapping[int, Schema]:  # noqa: ARG002
        return {}

    def columns(self, run_id: str, **_: Any) -> Sequence[Column]:  # noqa: ARG002
        return []

    def blocks(self, schema_id: int, first_row: int = 0, end: int | None = None) -> Sequence[Block]:  # noqa: ARG002
        return []

    def chunks(
        self,
        schema_id: int,  # noqa: ARG002
        position: int,  # noqa: ARG002
        parts: Parts,  # noqa: ARG002
        first_row: int = 0,  # noqa: ARG002
        end: int | None = None,  # noqa: ARG002
    ) -> Iterator[Chunk]:
        return iter(())

    def entries(self, run_id: str, wanted: EntryFilter, **_: Any) -> Sequence[StoredEntry]:  # noqa: ARG002
        return []


class _WriterLock:
    """Waits for a folding process that is still ending. The kernel lets go of it when the process ends, however it ends.

    Raises:
        UnavailableError: Another one goes on holding it.
    """

    def __init__(self, path: Path) -> None:
        with full_disk_named("the metrics"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._descriptor)
                    raise UnavailableError(f"Another process writes {str(path.with_suffix('.db'))!r}.") from None
                time.sleep(0.02)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _engine(path: Path, mode: str, pragmas: tuple[str, ...], pool: dict[str, Any], *, begin: str) -> Engine:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
        for pragma in pragmas:
            connection.execute(pragma)
        return connection

    engine = create_engine("sqlite://", creator=connect, hide_parameters=True, **pool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


if TYPE_CHECKING:

    def _reads(series: SqliteSeriesReader) -> SeriesReader:
        return series

    def _writes(series: SqliteSeries) -> SeriesWriter:
        return series

    def _empty(snapshot: EmptySnapshot) -> SeriesSnapshot:
        return snapshot
