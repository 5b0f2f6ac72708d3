"""What gateways told of the requests that went through them: rows that are written often, read rarely and kept for a day."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, delete, func, select

from headway.domain.traffic import TrafficCell
from headway.storage.sql import deployment_tables, tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import to_document
from headway.storage.sql.transactions import Transaction

IDS_PER_QUERY = 500

_cells = deployment_tables.deployment_traffic
_waiting = deployment_tables.deployment_waiting
_CELLS = TypeAdapter(list[TrafficCell])


class Traffic:
    """Written quietly: what a gateway says every second must not wake every worker every second."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def put(self, gateway: str, cells: Sequence[TrafficCell]) -> int:
        known = self._known({cell.deployment_id for cell in cells})
        rows = {
            (cell.deployment_id, cell.start, cell.version, cell.replica_id): cell
            for cell in cells
            if cell.deployment_id in known
        }
        # In one order, so that two reports of one gateway at the same time do not wait for each other for ever.
        self._transaction.replace_many(_cells, [_row(gateway, rows[key]) for key in sorted(rows)], quiet=True)
        return len(rows)

    def windows(self, deployment_id: str, since: int, until: int) -> Sequence[TrafficCell]:
        columns = _cells.c
        return self._load(columns.deployment_id == deployment_id, columns.start >= since, columns.start < until)

    def recent(self, since: int) -> Sequence[TrafficCell]:
        return self._load(_cells.c.start >= since)

    def prune(self, before: int) -> None:
        self._transaction.change(delete(_cells).where(_cells.c.start < before), quiet=True)
        self._transaction.change(delete(_waiting).where(_waiting.c.moment < before * 1000), quiet=True)

    def delete_deployment(self, deployment_id: str) -> None:
        for table in (_cells, _waiting):
            self._transaction.change(delete(table).where(table.c.deployment_id == deployment_id), quiet=True)

    def set_waiting(self, gateway: str, counts: Mapping[str, int], moment: datetime) -> None:
        columns = _waiting.c
        earlier = {
            row.deployment_id
            for row in self._transaction.rows(select(columns.deployment_id).where(columns.gateway == gateway))
        }
        present = {id: count for id, count in counts.items() if count > 0}
        if not present and not earlier:
            return
        for some in _portions(sorted(earlier - present.keys())):
            gone = delete(_waiting).where(columns.gateway == gateway, columns.deployment_id.in_(some))
            self._transaction.change(gone, quiet=True)
        known = self._known(present)
        rows = [
            {"deployment_id": id, "gateway": gateway, "count": present[id], "moment": to_milliseconds(moment)}
            for id in sorted(known)
        ]
        self._transaction.replace_many(_waiting, rows, quiet=known <= earlier)

    def waiting(self, deployment_id: str, since: datetime) -> int:
        return self._count(since, _waiting.c.deployment_id == deployment_id).get(deployment_id, 0)

    def all_waiting(self, since: datetime) -> Mapping[str, int]:
        return self._count(since)

    def _count(self, since: datetime, *conditions: ColumnElement[bool]) -> dict[str, int]:
        columns = _waiting.c
        total = func.sum(columns.count).label("total")
        statement = select(columns.deployment_id, total).where(columns.moment >= to_milliseconds(since), *conditions)
        rows = self._transaction.rows(statement.group_by(columns.deployment_id))
        return {row.deployment_id: int(row.total) for row in rows}

    def _load(self, *conditions: ColumnElement[bool]) -> list[TrafficCell]:
        columns = _cells.c
        order = (columns.start, columns.deployment_id, columns.version, columns.replica_id, columns.gateway)
        rows = self._transaction.rows(select(columns.document).where(*conditions).order_by(*order))
        return _CELLS.validate_json(f"[{','.join(row.document for row in rows)}]")

    def _known(self, ids: Collection[str]) -> set[str]:
        found: set[str] = set()
        for some in _portions(sorted(ids)):
            statement = select(tables.deployments.c.id).where(tables.deployments.c.id.in_(some))
            found |= {row.id for row in self._transaction.rows(statement)}
        return found


def _row(gateway: str, cell: TrafficCell) -> Mapping[str, Any]:
    return {
        "deployment_id": cell.deployment_id,
        "start": cell.start,
        "version": cell.version,
        "replica_id": cell.replica_id,
        "gateway": gateway,
        "document": to_document(cell),
    }


def _portions(ids: Collection[str]) -> Iterator[list[str]]:
    remaining = iter(ids)
    while some := list(islice(remaining, IDS_PER_QUERY)):
        yield some
