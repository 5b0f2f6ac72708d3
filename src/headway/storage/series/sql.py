"""The metric store in SQL: what SQLite and PostgreSQL share."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    update,
)

from headway.domain.metrics import normal_stage
from headway.errors import ConflictError
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
    StoredEntry,
    StreamKey,
    StreamState,
    block_limit,
)
from headway.storage.series.rows import Decoded, Report, Rows, Schema
from headway.storage.series.statistics import BIN, FINE_BIN, TOTAL, Bins, merge_totals
from headway.storage.series.tables import blocks, chunks, columns, entries, schemas, streams
from headway.storage.sql.columns import MAX_INTEGER
from headway.storage.sql.failures import translated

if TYPE_CHECKING:
    from headway.storage.series.base import SeriesSnapshot

_ABSORB = 2
"""A block is merged with rows that follow it when it has fewer than so many times their number: blocks then shrink by
this factor from the first to the last, so there are few of them, and a row is rewritten only so many times.
"""


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


class SqlSnapshot:
    """A :class:`headway.storage.series.base.SeriesSnapshot` over one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def streams(self, run_id: str) -> Sequence[StreamState]:
        rows = self._connection.execute(_streams_statement(), {"run_id": run_id})
        return [_state(row) for row in rows]

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
        for some in _portions(sorted(ids)):
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


class SqlSeries:
    """A :class:`headway.storage.series.base.SeriesReader`, and the writing that both databases share."""

    def __init__(self, readers: Engine, writers: Engine) -> None:
        self._readers, self._writers = readers, writers

    @contextmanager
    def read(self) -> Iterator[SeriesSnapshot]:
        with translated(), self._readers.connect() as connection, connection.begin():
            yield SqlSnapshot(connection)

    def warm(self) -> None:
        with self.read() as snapshot:
            warm(snapshot)

    def run_ids(self) -> Collection[str]:
        with translated(), self._readers.connect() as connection, connection.begin():
            return list(connection.execute(select(streams.c.run_id).distinct()).scalars())

    def open(self, key: StreamKey) -> StreamState:
        with translated(), self._writers.connect() as connection, connection.begin():
            found = _find(connection, key)
            if found is not None and found.key.created != key.created:
                _delete(connection, [found.id])
                found = None
            if found is None:
                _add_stream(connection, key)
                found = _find(connection, key)
                assert found is not None
            for schema, id in read_schemas(connection, found.id):
                found.schemas[schema.number], found.schema_ids[schema.number] = schema, id
            return found

    def fold(self, state: StreamState, decoded: Decoded) -> StreamState:
        with translated(), self._writers.connect() as connection, connection.begin():
            changed = _moved(connection, state, decoded)
            for schema in decoded.schemas.values():
                changed.schemas[schema.number] = schema
                changed.schema_ids[schema.number] = _add_schema(connection, state, schema)
            for rows in decoded.rows:
                _append(connection, changed.schema_ids[rows.schema.number], rows)
            _add_entries(connection, state, decoded.entries)
        return changed

    def delete_run(self, run_id: str) -> None:
        with translated(), self._writers.connect() as connection, connection.begin():
            ids = connection.execute(select(streams.c.id).where(streams.c.run_id == run_id)).scalars().all()
            _delete(connection, ids)

    def close(self) -> None:
        self._readers.dispose()
        self._writers.dispose()


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


def _moved(connection: Connection, state: StreamState, decoded: Decoded) -> StreamState:
    """Take the stream's row, and with it the right to change the stream until the transaction ends."""
    report = Report(**vars(state.report))
    report.add(decoded.report)
    values = {"folded": decoded.end, "sequence": decoded.sequence, "report": json.dumps(vars(report))}
    statement = update(streams).where(streams.c.id == state.id, streams.c.folded == state.folded).values(**values)
    if connection.execute(statement).rowcount != 1:
        raise ConflictError(f"The stream {state.key.name!r} was folded by somebody else meanwhile.")
    return StreamState(
        state.id, state.key, decoded.end, decoded.sequence, dict(state.schemas), dict(state.schema_ids), report
    )


def _append(connection: Connection, schema_id: int, rows: Rows) -> None:
    """Add rows of one schema, merged with the blocks before them that are no larger than they are."""
    schema = rows.schema
    if not schema.columns:
        return
    stored = connection.execute(select(schemas.c.rows, schemas.c.totals).where(schemas.c.id == schema_id)).one()
    pending = [building.Stretch(rows.axes, rows.bits())]
    count, first_row = len(rows), int(stored.rows)
    while (earlier := _last_block(connection, schema_id, first_row)) and _absorbed(earlier, count, schema):
        pending.insert(0, _taken(connection, schema_id, earlier, schema))
        first_row, count = first_row - earlier, count + earlier
    built = list(building.build(schema, building.joined(pending), first_row))
    for block in built:
        _add_block(connection, schema_id, block)
    totals = _grown(schema, np.frombuffer(stored.totals, TOTAL), pending[-1], int(stored.rows))
    values = {"rows": int(stored.rows) + len(rows), "totals": totals.tobytes()}
    connection.execute(update(schemas).where(schemas.c.id == schema_id).values(**values))


def _absorbed(earlier: int, count: int, schema: Schema) -> bool:
    limit = block_limit(len(schema.columns))
    return earlier < limit and earlier < _ABSORB * count


def _grown(schema: Schema, totals: Bins, fresh: building.Stretch, first_row: int) -> Bins:
    added = np.empty(len(schema.columns), TOTAL)
    for some, found, _ in building.describe_all(schema, fresh, first_row):
        added[some] = found.total
    return merge_totals(totals, added, floats=schema.floats) if len(totals) else added


def _last_block(connection: Connection, schema_id: int, end: int) -> int:
    """Rows of the block that ends at ``end``; 0 when there is none."""
    c = blocks.c
    statement = select(c.rows).where(c.schema_id == schema_id, c.first_row < end).order_by(c.first_row.desc()).limit(1)
    return int(connection.execute(statement).scalar() or 0)


def _taken(connection: Connection, schema_id: int, rows: int, schema: Schema) -> building.Stretch:
    """The last block, read and removed."""
    c = blocks.c
    last = select(c.first_row, c.axes).where(c.schema_id == schema_id).order_by(c.first_row.desc()).limit(1)
    first_row, axes = connection.execute(last).one()
    where = (chunks.c.schema_id == schema_id, chunks.c.first_row == first_row)
    places = [(chunks.c.position == place) for place in range(len(schema.columns))]
    bits = np.empty((len(places), rows), np.uint64)
    for position, data in connection.execute(
        select(chunks.c.position, chunks.c.data).where(*where, chunks.c.position < len(places))
    ):
        bits[position] = unpack(data)
    connection.execute(delete(chunks).where(*where))
    connection.execute(delete(blocks).where(c.schema_id == schema_id, c.first_row == first_row))
    return building.Stretch(PackedAxes(axes, rows).whole(), bits)


def _add_block(connection: Connection, schema_id: int, block: building.BuiltBlock) -> None:
    values = block._asdict()
    built = values.pop("chunks")
    values.pop("totals")
    connection.execute(insert(blocks).values(schema_id=schema_id, **values))
    key = {"schema_id": schema_id, "first_row": block.first_row}
    connection.execute(
        insert(chunks), [{**key, "position": place, **chunk._asdict()} for place, chunk in enumerate(built)]
    )


def _find(connection: Connection, key: StreamKey) -> StreamState | None:
    row = connection.execute(
        select(streams).where(streams.c.run_id == key.run_id, streams.c.name == key.name).with_for_update()
    ).first()
    return None if row is None else _state(row)


def _state(row: Any) -> StreamState:
    key = StreamKey(row.run_id, row.name, row.created, row.attempt, row.replica)
    return StreamState(row.id, key, row.folded, row.sequence, report=Report(**json.loads(row.report)))


def _add_stream(connection: Connection, key: StreamKey) -> None:
    values = {**vars(key), "folded": 0, "sequence": 0, "report": "{}"}
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_or_not

        connection.execute(insert_or_not(streams).values(**values).on_conflict_do_nothing())
    else:
        connection.execute(insert(streams).values(**values))


def _add_schema(connection: Connection, state: StreamState, schema: Schema) -> int:
    result = connection.execute(
        insert(schemas).values(stream_id=state.id, number=schema.number, stage=schema.stage, rows=0, totals=b"")
    )
    assert result.inserted_primary_key is not None
    id = int(result.inserted_primary_key[0])
    shared = {
        "schema_id": id,
        "run_id": state.key.run_id,
        "system": int(state.key.system),
        "stage": normal_stage(schema.stage),
    }
    if schema.columns:
        rows = [
            {**shared, "position": place, "name": name, "type": kind}
            for place, (name, kind) in enumerate(schema.columns)
        ]
        connection.execute(insert(columns), rows)
    return id


def _add_entries(connection: Connection, state: StreamState, found: Sequence[Mapping[str, Any]]) -> None:
    shared = {"stream_id": state.id, "run_id": state.key.run_id, "stream": state.key.name}
    rows = [
        {
            **shared,
            "sequence": entry["sequence"],
            "time": entry["time"],
            "name": entry["name"],
            "stage": normal_stage(entry.get("stage")),
            "type": entry["type"],
            "document": json.dumps(entry),
        }
        for entry in found
    ]
    if rows:
        connection.execute(insert(entries), rows)


def _delete(connection: Connection, ids: Sequence[int]) -> None:
    """Remove streams with all that they hold."""
    for some in _portions(ids):
        held = select(schemas.c.id).where(schemas.c.stream_id.in_(some))
        for table in (chunks, blocks, columns):
            connection.execute(delete(table).where(table.c.schema_id.in_(held)))
        for table, column in ((entries, "stream_id"), (schemas, "stream_id"), (streams, "id")):
            _delete_by(connection, table, column, some)


def _delete_by(connection: Connection, table: Table, column: str, ids: Sequence[int]) -> None:
    connection.execute(delete(table).where(table.c[column].in_(ids)))


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


def _portions(ids: Sequence[int], size: int = 500) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
