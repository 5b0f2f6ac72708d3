"""Reading the metric store in SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, bindparam, select, tuple_

from headway.storage.series import building
from headway.storage.series.arrays import unpack
from headway.storage.series.axes import PackedAxes
from headway.storage.series.base import (
    Block,
    Chunk,
    Column,
    EntryFilter,
    EntryPlace,
    Parts,
    SeriesSnapshot,
    StoredEntry,
    StreamKey,
    StreamState,
)
from headway.storage.series.payloads import Schema
from headway.storage.series.rows import Report
from headway.storage.series.statistics import BIN, FINE_BIN, TOTAL, Bins
from headway.storage.series.tables import blocks, chunks, columns, entries, schemas, streams
from headway.storage.sql.columns import MAX_INTEGER

T = TypeVar("T")


class SqlSnapshot:
    """A :class:`headway.storage.series.base.SeriesSnapshot` over one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def streams(self, run_id: str) -> Sequence[StreamState]:
        rows = self._connection.execute(_streams_statement(), {"run_id": run_id})
        return [state_of(row) for row in rows]

    def schemas(self, stream_id: int) -> Mapping[int, Schema]:
        return {schema.number: schema for schema, _ in read_schemas(self._connection, stream_id)}

    def columns(
        self,
        run_id: str,
        *,
        system: bool = False,
        stage: str | None = None,
        name: str | None = None,
        totals: bool = False,
    ) -> Sequence[Column]:
        values = {"run_id": run_id, "system": int(system), "stage": stage, "name": name}
        statement = _columns_statement(stage is not None, name is not None)
        found = self._connection.execute(statement, {key: v for key, v in values.items() if v is not None}).all()
        known: dict[int, Bins] = self._totals({row.schema_id for row in found}) if totals else {}
        keys = {stream.id: stream.key for stream in self.streams(run_id)}
        return [_column(row, known, keys) for row in found]

    def blocks(self, schema_id: int, first_row: int = 0, end: int | None = None) -> Sequence[Block]:
        values = {"schema_id": schema_id, "first_row": first_row, "end_row": _end(end)}
        return [
            Block(first, rows, low, high, building.unpack_extent(bytes(extent)))
            for first, rows, low, high, extent in self._connection.execute(_blocks_statement(), values)
        ]

    def chunks(
        self, schema_id: int, position: int, parts: Parts, first_row: int = 0, end: int | None = None
    ) -> Iterator[Chunk]:
        values = {"schema_id": schema_id, "position": position, "first_row": first_row, "end_row": _end(end)}
        names = [name for name, asked in parts._asdict().items() if asked]
        for row in self._connection.execute(_chunks_statement(parts), values):
            yield _chunk(row, names)

    def entries(
        self, run_id: str, wanted: EntryFilter, *, after: EntryPlace | None = None, limit: int = 100
    ) -> Sequence[StoredEntry]:
        c = entries.c
        place = (c.time, c.stream, c.sequence)
        statement = select(*place, c.document).where(c.run_id == run_id).order_by(*place).limit(limit)
        for column, value in zip((c.name, c.stage, c.type), wanted, strict=True):
            if value is not None:
                statement = statement.where(column == value)
        if after is not None:
            statement = statement.where(tuple_(*place) > tuple_(*after))
        rows = self._connection.execute(statement)
        return [StoredEntry(EntryPlace(*found), json.loads(document)) for *found, document in rows]

    def _totals(self, ids: Collection[int]) -> dict[int, Bins]:
        found: dict[int, Bins] = {}
        for some in portions(sorted(ids)):
            rows = self._connection.execute(select(schemas.c.id, schemas.c.totals).where(schemas.c.id.in_(some)))
            found.update({id: np.frombuffer(totals, TOTAL) for id, totals in rows})
        return found


def warm(snapshot: SeriesSnapshot) -> None:
    """Run everything that a chart runs, so that the first one of a new server need not wait for statements to be made."""
    snapshot.streams("")
    snapshot.columns("", stage="", name="")
    snapshot.blocks(0)
    chart = (
        Parts(axes=True, values=True),
        Parts(axes=True, fine=True),
        Parts(middle=True, total=True),
        Parts(total=True),
    )
    for parts in chart:
        list(snapshot.chunks(0, 0, parts))


def read_schemas(connection: Connection, stream_id: int) -> list[tuple[Schema, int]]:
    """The schemas of a stream, each with its id."""
    statement = (
        select(schemas.c.id, schemas.c.number, schemas.c.stage, columns.c.name, columns.c.type)
        .outerjoin(columns, columns.c.schema_id == schemas.c.id)
        .where(schemas.c.stream_id == stream_id)
        .order_by(schemas.c.id, columns.c.position)
    )
    found: dict[int, tuple[int, str | None, list[tuple[str, str]]]] = {}
    for id, number, stage, name, kind in connection.execute(statement):
        known = found.setdefault(id, (number, stage, []))
        if name is not None:
            known[2].append((name, kind))
    return [(Schema(number, stage, tuple(names)), id) for id, (number, stage, names) in found.items()]


def state_of(row: Any) -> StreamState:
    key = StreamKey(row.run_id, row.name, row.created, row.attempt, row.replica)
    return StreamState(row.id, key, row.folded, row.sequence, report=Report(**json.loads(row.report)))


@cache
def _streams_statement() -> Select[Any]:
    # Made once each: putting a statement together takes longer than running it.
    return select(streams).where(streams.c.run_id == bindparam("run_id")).order_by(streams.c.id)


@cache
def _columns_statement(by_stage: bool, by_name: bool) -> Select[Any]:
    c = columns.c
    statement = (
        select(
            c.schema_id,
            c.position,
            c.name,
            c.type,
            schemas.c.number,
            schemas.c.stage,
            schemas.c.rows,
            streams.c.id,
            streams.c.folded,
        )
        .join(schemas, schemas.c.id == c.schema_id)
        .join(streams, streams.c.id == schemas.c.stream_id)
        .where(c.run_id == bindparam("run_id"), c.system == bindparam("system"))
        .order_by(c.schema_id, c.position)
    )
    if by_stage:
        statement = statement.where(c.stage == bindparam("stage"))
    return statement.where(c.name == bindparam("name")) if by_name else statement


@cache
def _blocks_statement() -> Select[Any]:
    c = blocks.c
    return (
        select(c.first_row, c.rows, c.first_sequence, c.last_sequence, c.extent).where(*_within()).order_by(c.first_row)
    )


@cache
def _chunks_statement(parts: Parts) -> Select[Any]:
    c = chunks.c
    columns_of = (blocks.c.axes, c.data, c.fine, c.middle, c.total)
    wanted = [column for asked, column in zip(parts, columns_of, strict=True) if asked]
    return (
        select(blocks.c.first_row, blocks.c.rows, *wanted)
        .join(chunks, (c.schema_id == blocks.c.schema_id) & (c.first_row == blocks.c.first_row))
        .where(*_within(), c.position == bindparam("position"))
        .order_by(blocks.c.first_row)
    )


def _within() -> tuple[ColumnElement[bool], ...]:
    c = blocks.c
    rows = (c.first_row + c.rows > bindparam("first_row"), c.first_row < bindparam("end_row"))
    return (c.schema_id == bindparam("schema_id"), *rows)


def _column(row: Any, known: Mapping[int, Bins], keys: Mapping[int, StreamKey]) -> Column:
    totals, position = known.get(row.schema_id), row.position
    return Column(
        stream=keys[row.id],
        folded=row.folded,
        schema_id=row.schema_id,
        position=position,
        number=row.number,
        name=row.name,
        raw_stage=row.stage,
        floats=row.type == "f",
        rows=row.rows,
        total=totals[position : position + 1] if totals is not None and len(totals) else None,
    )


def _chunk(row: Any, names: Sequence[str]) -> Chunk:
    first_row, rows, *rest = row
    found = dict(zip(names, rest, strict=True))
    axes, values = found.get("axes"), found.get("values")
    return Chunk(
        first_row,
        rows,
        None if axes is None else PackedAxes(axes, rows),
        None if values is None else unpack(values),
        _bins(found.get("fine"), FINE_BIN),
        _bins(found.get("middle"), BIN),
        _bins(found.get("total"), TOTAL),
    )


def _bins(data: bytes | None, kind: np.dtype[np.void]) -> Bins | None:
    return None if data is None else np.frombuffer(data, kind)


def _end(end: int | None) -> int:
    return MAX_INTEGER if end is None else end


def portions(ids: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
