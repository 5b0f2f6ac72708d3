"""SQLite: one server, one writer connection, readers that never wait for it.

The writer is also the only connection that checkpoints, which keeps clear of the WAL-reset fault of SQLite versions
before 3.51.3 (it needs two connections that write or checkpoint at the same time).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.pool import QueuePool, StaticPool

from headway.errors import ConfigurationError, ConflictError, UnavailableError
from headway.paths import full_disk_named, private_directory
from headway.storage.sql.failures import translated
from headway.storage.sql.migrations import migrate
from headway.storage.sql.storage import SqlStorage
from headway.storage.sql.transactions import Flavour
from headway.storage.sql.wakes import LocalWakes

if TYPE_CHECKING:
    from headway.storage.base import Storage

READERS = 8
WAIT_SECONDS = 30.0
"""How long a session waits for a free reader, or for its turn to write, before UnavailableError."""
LEFTOVER_LOG_BYTES = 64 * 1024 * 1024
"""A write-ahead log that grew beyond this while a reader held it is cut back afterwards."""

_COMMON = ("PRAGMA foreign_keys = ON", "PRAGMA trusted_schema = OFF")
_WRITER = (
    *_COMMON,
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {LEFTOVER_LOG_BYTES}",
)
_READER = (*_COMMON, "PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0")


def open_sqlite_url(url: str) -> SqliteStorage:
    """:func:`open_sqlite` for a URL such as ``sqlite:////var/lib/headway/headway.db``; the path is taken as it is.

    Raises:
        ConfigurationError: The URL names no file.
    """
    prefix, path = url[:10], url[10:]
    if prefix != "sqlite:///" or not path or path == ":memory:":
        raise ConfigurationError(
            f"The storage URL {url!r} names no file.", hint="Use sqlite:///relative.db or sqlite:////absolute.db."
        )
    return open_sqlite(Path(path))


def open_sqlite(path: Path) -> SqliteStorage:
    """The database at ``path``, made or brought to the present schema where needed.

    Raises:
        ConflictError: Another process uses the directory.
        ConfigurationError: A newer Headway wrote the database, or the path cannot hold one.
        CorruptDataError: The file is no database.
    """
    try:
        private_directory(path.parent)
        lock = DirectoryLock(path.parent / "lock")
        try:
            return SqliteStorage(path, lock)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise ConfigurationError(f"The database file {str(path)!r} cannot be used: {error.strerror}.") from error


class SqliteStorage(SqlStorage):
    def __init__(self, path: Path, lock: DirectoryLock) -> None:
        self._lock = lock
        self._wakes = LocalWakes()
        self._writing = threading.Lock()
        with full_disk_named("the database"):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        writers = _engine(path, "rw", _WRITER, {"poolclass": StaticPool}, begin="BEGIN IMMEDIATE")
        try:
            with translated():
                migrate(writers)
        except BaseException:
            writers.dispose()
            raise
        pool = {"poolclass": QueuePool, "pool_size": READERS, "max_overflow": 0, "pool_timeout": WAIT_SECONDS}
        readers = _engine(path, "ro", _READER, pool, begin="BEGIN")
        super().__init__(readers=readers, writers=writers, flavour=Flavour(insert=insert, savepoints=False))

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        return self._wakes.subscribe(wake)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._writing.acquire(timeout=WAIT_SECONDS):
            raise UnavailableError("Another session has been writing for too long.", hint="Try again in a moment.")
        try:
            yield
        finally:
            self._writing.release()

    def _committed(self) -> None:
        # A server that lives on the same database cannot exist, so nobody beyond this process needs to hear of it.
        self._wakes.notify()

    def _dispose(self) -> None:
        self._wakes.close()
        # The writer goes last: the last connection checkpoints and removes the log.
        self._readers.dispose()
        self._writers.dispose()
        self._lock.release()


class DirectoryLock:
    """Keeps a second server off a directory. The kernel lets go of it when the process ends, however it ends.

    Raises:
        ConflictError: Somebody else holds it; the message names the process.
    """

    def __init__(self, path: Path) -> None:
        with full_disk_named("the lock file"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise ConflictError(
                f"The directory {str(path.parent)!r} is in use by another Headway server (process {holder}).",
                hint="Stop that server, or choose another data directory.",
            ) from None
        self._held = True

    def release(self) -> None:
        """Let others in; harmless when it was done before."""
        if self._held:
            self._held = False
            os.close(self._descriptor)


def _engine(path: Path, mode: str, pragmas: tuple[str, ...], pool: dict[str, Any], *, begin: str) -> Engine:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        # isolation_level None: we say BEGIN ourselves, because the driver would only do so before some statements.
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
        for pragma in pragmas:
            connection.execute(pragma)
        return connection

    engine = create_engine("sqlite://", creator=connect, hide_parameters=True, **pool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


if TYPE_CHECKING:

    def _fits(storage: SqliteStorage) -> Storage:
        return storage
