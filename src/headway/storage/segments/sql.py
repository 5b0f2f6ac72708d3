"""Stream bytes as rows, for servers that share a PostgreSQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, Engine, Integer, and_, cast, delete, func, insert, select, update

from headway.storage.segments.names import check_run, check_stream
from headway.storage.sql.failures import translated
from headway.storage.sql.tables import segments

if TYPE_CHECKING:
    from headway.storage.segments.base import SegmentStore

_columns = segments.c


class SqlSegments:
    """A :class:`headway.storage.segments.base.SegmentStore` in PostgreSQL; each write is a transaction of its own.

    The rows of one stream follow each other without gap or overlap. ``position`` is the first byte of a row.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, run_id: str, name: str, offset: int, data: bytes) -> None:
        stream = _stream(run_id, name)
        with translated(), self._engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{run_id}/{name}", 0))))
            _check_reaches(connection, stream, offset)
            _cut(connection, stream, offset)
            if data:
                row = {"run_id": run_id, "name": name, "position": offset, "size": len(data), "data": data}
                connection.execute(insert(segments).values(**row))

    def read(self, run_id: str, name: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError(f"offset {offset} and length {length} must not be negative")
        stream = _stream(run_id, name)
        first = select(func.max(_columns.position)).where(stream, _columns.position <= offset).scalar_subquery()
        statement = (
            select(_columns.position, _columns.data)
            .where(stream, _columns.position >= first, _columns.position < offset + length)
            .order_by(_columns.position)
        )
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(statement).all()
        if not rows:
            return b""
        start = offset - rows[0].position
        return b"".join(bytes(row.data) for row in rows)[start : start + length]

    def delete_run(self, run_id: str) -> None:
        with translated(), self._engine.begin() as connection:
            connection.execute(delete(segments).where(_columns.run_id == check_run(run_id)))


def _stream(run_id: str, name: str) -> ColumnElement[bool]:
    return and_(_columns.run_id == check_run(run_id), _columns.name == check_stream(name))


def _check_reaches(connection: Connection, stream: ColumnElement[bool], offset: int) -> None:
    last = select(_columns.position + _columns.size).where(stream).order_by(_columns.position.desc()).limit(1)
    size = connection.execute(last).scalar() or 0
    if not 0 <= offset <= size:
        raise ValueError(f"offset {offset} lies beyond the {size} bytes that are there")


def _cut(connection: Connection, stream: ColumnElement[bool], offset: int) -> None:
    """Leave only what lies before ``offset``."""
    connection.execute(delete(segments).where(stream, _columns.position >= offset))
    last = select(func.max(_columns.position)).where(stream).scalar_subquery()
    kept = offset - _columns.position
    connection.execute(
        update(segments)
        .where(stream, _columns.position == last, _columns.position + _columns.size > offset)
        .values(data=func.substr(_columns.data, 1, cast(kept, Integer)), size=kept)
    )


if TYPE_CHECKING:

    def _fits(store: SqlSegments) -> SegmentStore:
        return store
