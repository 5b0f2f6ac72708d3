"""Stream bytes as rows, for servers that share a PostgreSQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, Engine, Integer, and_, case, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from headway.errors import ConflictError
from headway.storage.segments.names import check_run, check_stream
from headway.storage.sql.failures import translated
from headway.storage.sql.tables import segments

if TYPE_CHECKING:
    from headway.storage.segments.base import SegmentStore

_columns = segments.c
_ROWS = 1 << 30


class SqlSegments:
    """A :class:`headway.storage.segments.base.SegmentStore` in PostgreSQL; each write is a transaction of its own.

    The rows of one stream follow each other without gap or overlap. ``position`` is the first byte of a row.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, run_id: str, name: str, offset: int, data: bytes) -> None:
        stream = _stream(run_id, name)
        with translated(), self._engine.begin() as connection:
            _lock(connection, run_id, name)
            _check_reaches(connection, stream, offset)
            _cut(connection, stream, offset)
            _add(connection, run_id, name, offset, data)

    def read(self, run_id: str, name: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError(f"offset {offset} and length {length} must not be negative")
        stream = _stream(run_id, name)
        # Without a row at or before the offset the first row answers, which then begins beyond it.
        first = select(func.max(_columns.position)).where(stream, _columns.position <= offset).scalar_subquery()
        statement = (
            select(_columns.position, _columns.data)
            .where(stream, _columns.position >= func.coalesce(first, 0))
            .where((_columns.position < offset + length) | (first.is_(None)))
            .order_by(_columns.position)
            .limit(case((first.is_(None), 1), else_=_ROWS))
        )
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(statement).all()
        if not rows or not length:
            return b""
        if rows[0].position > offset:
            raise ConflictError(
                f"The bytes of the stream {name!r} before {rows[0].position} were given back; "
                f"byte {offset} was asked for.",
                details={"start": rows[0].position},
            )
        start = offset - rows[0].position
        return b"".join(bytes(row.data) for row in rows)[start : start + length]

    def start(self, run_id: str, name: str) -> int:
        with translated(), self._engine.connect() as connection:
            return connection.execute(select(func.min(_columns.position)).where(_stream(run_id, name))).scalar() or 0

    def drop(self, run_id: str, name: str, before: int) -> None:
        stream = _stream(run_id, name)
        with translated(), self._engine.begin() as connection:
            _lock(connection, run_id, name)
            first, end = _extent(connection, stream)
            if before > end:
                raise ValueError(f"byte {before} lies beyond the {end} bytes that are there")
            if before == end and first < end:
                # An empty row remembers where the stream goes on.
                _add(connection, run_id, name, end, b"")
            ends = _columns.position + _columns.size
            connection.execute(delete(segments).where(stream, ends <= before, _columns.position < before))

    def delete_run(self, run_id: str) -> None:
        with translated(), self._engine.begin() as connection:
            connection.execute(delete(segments).where(_columns.run_id == check_run(run_id)))


def _stream(run_id: str, name: str) -> ColumnElement[bool]:
    return and_(_columns.run_id == check_run(run_id), _columns.name == check_stream(name))


def _lock(connection: Connection, run_id: str, name: str) -> None:
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{run_id}/{name}", 0))))


def _add(connection: Connection, run_id: str, name: str, offset: int, data: bytes) -> None:
    """A row, also an empty one where only that remembers how far the stream goes."""
    if data or offset:
        row = {"run_id": run_id, "name": name, "position": offset, "size": len(data), "data": data}
        connection.execute(insert(segments).values(**row).on_conflict_do_nothing())


def _extent(connection: Connection, stream: ColumnElement[bool]) -> tuple[int, int]:
    """Where the bytes that are there begin and end."""
    ends = select(func.min(_columns.position), func.max(_columns.position + _columns.size)).where(stream)
    first, end = connection.execute(ends).one()
    return first or 0, end or 0


def _check_reaches(connection: Connection, stream: ColumnElement[bool], offset: int) -> None:
    first, end = _extent(connection, stream)
    if not first <= offset <= end:
        where = "beyond" if offset > end or offset < 0 else "before"
        raise ValueError(f"offset {offset} lies {where} the bytes {first} to {end} that are there")


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
