"""Every table of the metric store. Beside SQLite they are a file of their own; in PostgreSQL they lie beside the others."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Connection,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    inspect,
    select,
    text,
)

from headway.errors import ConfigurationError
from headway.storage.sql.columns import PlainText, WholeNumber

VERSION = 1
"""Of the tables and of the bytes in them (docs/internals/series.md)."""
_LOCK = text("SELECT pg_advisory_xact_lock(4858172203)")

metadata = MetaData()


def _number(name: str, *, optional: bool = False) -> Column[int]:
    return Column(name, WholeNumber, nullable=optional)


def _text(name: str, *, optional: bool = False) -> Column[str]:
    return Column(name, PlainText, nullable=optional)


def _bytes(name: str, *, optional: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=optional)


def _key() -> Column[int]:
    return Column("id", WholeNumber, primary_key=True, autoincrement=True)


version = Table("series_version", metadata, Column("version", WholeNumber, primary_key=True, autoincrement=False))

streams = Table(
    "series_streams",
    metadata,
    _key(),
    _text("run_id"),
    _text("name"),
    _number("created"),
    _number("attempt"),
    _text("replica"),
    _number("folded"),
    _number("sequence"),
    _text("report"),
    UniqueConstraint("run_id", "name", name="series_streams_name"),
    sqlite_autoincrement=True,
)

schemas = Table(
    "series_schemas",
    metadata,
    _key(),
    _number("stream_id"),
    _number("number"),
    _text("stage", optional=True),
    _number("rows"),
    _bytes("totals"),
    UniqueConstraint("stream_id", "number", name="series_schemas_number"),
    sqlite_autoincrement=True,
)

columns = Table(
    "series_columns",
    metadata,
    _number("schema_id"),
    _number("position"),
    _text("run_id"),
    _number("system"),
    _text("stage"),
    _text("name"),
    _text("type"),
    PrimaryKeyConstraint("schema_id", "position", name="series_columns_key"),
    Index("series_columns_name", "run_id", "system", "stage", "name"),
)

blocks = Table(
    "series_blocks",
    metadata,
    _number("schema_id"),
    _number("first_row"),
    _number("rows"),
    _number("first_sequence"),
    _number("last_sequence"),
    _bytes("extent"),
    _bytes("axes"),
    PrimaryKeyConstraint("schema_id", "first_row", name="series_blocks_key"),
)

chunks = Table(
    "series_chunks",
    metadata,
    _number("schema_id"),
    _number("position"),
    _number("first_row"),
    # In this order: what charts of many points read stands first in a row, and the rest is not touched then.
    _bytes("total", optional=True),
    _bytes("middle", optional=True),
    _bytes("fine", optional=True),
    _bytes("data"),
    PrimaryKeyConstraint("schema_id", "position", "first_row", name="series_chunks_key"),
)

entries = Table(
    "series_entries",
    metadata,
    _key(),
    _number("stream_id"),
    _text("run_id"),
    _text("stream"),
    _number("sequence"),
    _number("time"),
    _text("name"),
    _text("stage"),
    _text("type"),
    _text("document"),
    Index("series_entries_run", "run_id", "time", "stream", "sequence"),
    Index("series_entries_stream", "stream_id"),
    sqlite_autoincrement=True,
)

PACKED = ((blocks, "axes"), (chunks, "middle"), (chunks, "fine"), (chunks, "data"))
"""Columns that PostgreSQL need not try to compress again."""


def prepare(connection: Connection) -> None:
    """Make the tables where they are missing.

    Raises:
        ConfigurationError: A newer Headway made them.
    """
    if connection.dialect.name == "postgresql":
        # Several servers may start at once; the others then find the work done.
        connection.execute(_LOCK)
    stored = stored_version(connection)
    if stored is None:
        metadata.create_all(connection)
        connection.execute(version.insert().values(version=VERSION))
        if connection.dialect.name == "postgresql":
            for table, name in PACKED:
                connection.execute(text(f"ALTER TABLE {table.name} ALTER COLUMN {name} SET STORAGE EXTERNAL"))


def stored_version(connection: Connection) -> int | None:
    """The version of the tables that are there; None when there are none.

    Raises:
        ConfigurationError: It is newer than this Headway.
    """
    if not inspect(connection).has_table(version.name):
        return None
    found = connection.execute(select(version.c.version)).scalar()
    if found is not None and found > VERSION:
        raise ConfigurationError(
            f"The metrics are stored in version {found}, which this Headway does not know.",
            hint="A newer Headway wrote them: install that version or a later one.",
        )
    return found
