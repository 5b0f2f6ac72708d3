"""PostgreSQL: any number of servers on one database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine, create_engine, event, make_url, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ArgumentError

from headway.errors import ConfigurationError, MissingExtraError
from headway.storage.segments.sql import SqlSegments
from headway.storage.series.postgres import PostgresSeries
from headway.storage.sql.failures import translated
from headway.storage.sql.migrations import migrate
from headway.storage.sql.storage import SqlStorage
from headway.storage.sql.transactions import Flavour

if TYPE_CHECKING:
    from psycopg import Connection

    from headway.storage.base import Storage

POOL_SIZE = 5
POOL_OVERFLOW = 10
WAIT_SECONDS = 10.0
"""How long a session waits for a free connection before UnavailableError."""

CHANNEL = "headway"

# Held from an event's number to the commit, so that no later number becomes visible before an earlier one.
_EVENT_LOCK = text("SELECT pg_advisory_xact_lock(4858172202)")
_NOTICE = text(f"NOTIFY {CHANNEL}")
_CONNECTION_OPTIONS: dict[str, Any] = {
    "application_name": "headway",
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
# A server that hangs in the middle of a session must not hold its locks for ever.
_SESSION_OPTIONS = "SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '5min'"


def open_postgres_url(url: str) -> PostgresStorage:
    """The database at ``postgresql://user:password@host:port/database`` (or ``postgres://``).

    Raises:
        ConfigurationError: The URL cannot be understood, or a newer Headway wrote the database.
        MissingExtraError: The driver is not installed.
        UnavailableError: The database does not answer.
    """
    return PostgresStorage(_parsed(url))


def open_engine(url: str) -> Engine:
    """Connections to the same database without anything else, for a process beside the server. Errors as above."""
    return _engine(_parsed(url))


def _parsed(url: str) -> URL:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise MissingExtraError("PostgreSQL storage", "postgres") from None
    try:
        return make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "The PostgreSQL URL cannot be understood.", hint="Use postgresql://user:password@host:5432/database."
        ) from None


class PostgresStorage(SqlStorage):
    def __init__(self, url: URL) -> None:
        # Imported here, because it needs the driver.
        from headway.storage.sql.listener import Listener

        engine = _engine(url)
        try:
            with translated():
                migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        self._engine = engine
        self._listener = Listener(lambda: _connect(engine), CHANNEL)
        super().__init__(
            readers=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
            writers=engine.execution_options(isolation_level="READ COMMITTED"),
            flavour=Flavour(insert=insert, savepoints=True, event_lock=_EVENT_LOCK, notice=_NOTICE),
        )

    def segments(self) -> SqlSegments:
        """The bytes of streams, in the same database and over the same connections."""
        return SqlSegments(self._engine)

    def series(self) -> PostgresSeries:
        """The metric store, in the same database and over the same connections."""
        return PostgresSeries(self._engine)

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        return self._listener.subscribe(wake)

    def _committed(self) -> None:
        """Nothing: the commit sent a notice, which our own listener hears too."""

    def _dispose(self) -> None:
        self._listener.close()
        self._engine.dispose()


def _engine(url: URL) -> Engine:
    options = {name: value for name, value in _CONNECTION_OPTIONS.items() if name not in url.query}
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=WAIT_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=options,
    )
    event.listen(engine, "connect", _set_up)
    return engine


def _set_up(connection: Any, _record: object) -> None:
    connection.autocommit = True
    connection.execute(_SESSION_OPTIONS)
    connection.autocommit = False


def _connect(engine: Engine) -> Connection[Any]:
    """A connection outside the pool, for the listener."""
    import psycopg

    arguments, options = engine.dialect.create_connect_args(engine.url)
    return psycopg.connect(*arguments, **{**_CONNECTION_OPTIONS, **options}, autocommit=True)


if TYPE_CHECKING:

    def _fits(storage: PostgresStorage) -> Storage:
        return storage
