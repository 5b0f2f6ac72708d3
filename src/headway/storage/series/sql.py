"""The metric store in SQL: what SQLite and PostgreSQL share."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import (
    Connection,
    Engine,
    Table,
    delete,
    insert,
    select,
    update,
)

from headway.domain.metrics import normal_stage
from headway.errors import ConflictError
from headway.storage.series import building
from headway.storage.series.arrays import unpack
from headway.storage.series.axes import PackedAxes
from headway.storage.series.base import (
    StreamKey,
    StreamState,
    block_limit,
)
from headway.storage.series.payloads import Schema
from headway.storage.series.rows import Decoded, Report, Rows
from headway.storage.series.snapshots import SqlSnapshot, portions, read_schemas, state_of, warm
from headway.storage.series.statistics import TOTAL, Bins, merge_totals
from headway.storage.series.tables import blocks, chunks, columns, entries, schemas, streams
from headway.storage.sql.failures import translated

if TYPE_CHECKING:
    from headway.storage.series.base import SeriesSnapshot

_ABSORB = 2
"""A block is merged with rows that follow it when it has fewer than so many times their number: blocks then shrink by
this factor from the first to the last, so there are few of them, and a row is rewritten only so many times.
"""


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

    def delete_streams(self, run_id: str, names: Collection[str]) -> None:
        with translated(), self._writers.connect() as connection, connection.begin():
            for some in portions(sorted(names)):
                held = select(streams.c.id).where(streams.c.run_id == run_id, streams.c.name.in_(some))
                _delete(connection, connection.execute(held).scalars().all())

    def close(self) -> None:
        self._readers.dispose()
        self._writers.dispose()


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
    bits = np.empty((len(schema.columns), rows), np.uint64)
    for position, data in connection.execute(select(chunks.c.position, chunks.c.data).where(*where)):
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
    return None if row is None else state_of(row)


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
    for some in portions(ids):
        held = select(schemas.c.id).where(schemas.c.stream_id.in_(some))
        for table in (chunks, blocks, columns):
            connection.execute(delete(table).where(table.c.schema_id.in_(held)))
        for table, column in ((entries, "stream_id"), (schemas, "stream_id"), (streams, "id")):
            _delete_by(connection, table, column, some)


def _delete_by(connection: Connection, table: Table, column: str, ids: Sequence[int]) -> None:
    connection.execute(delete(table).where(table.c[column].in_(ids)))
