"""Monitors, and how far each has read each log stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update

from headway.domain.monitors import Monitor, MonitorProgress
from headway.errors import ConflictError
from headway.storage.sql import object_tables as tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import DocumentTable, RecordTable, to_document
from headway.storage.sql.transactions import Transaction


class Monitors(RecordTable[Monitor]):
    table = tables.monitors
    record = Monitor
    noun = "monitor"

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction)
        self._progress = _Progress(transaction)

    def add(self, record: Monitor, /) -> None:
        if not self._transaction.insert(self.table, {**self._row(record), "active": 1}):
            raise self._taken(record)

    def by_name(self, run_id: str, name: str) -> Monitor | None:
        return self._first(self.table.c.run_id == run_id, self.table.c.name == name)

    def of_run(self, run_id: str) -> Sequence[Monitor]:
        return self._all(self.table.c.run_id == run_id, order=[self.table.c.created_at, self.table.c.id])

    def active(self, *, limit: int = 1000) -> Sequence[Monitor]:
        columns = self.table.c
        statement = select(columns.document).where(columns.active == 1).order_by(columns.created_at, columns.id)
        return [self._load(row.document) for row in self._transaction.rows(statement.limit(limit))]

    def wake(self, run_id: str) -> None:
        # Also rows that are active: the change locks them until this transaction ends.
        self._transaction.change(update(self.table).where(self.table.c.run_id == run_id).values(active=1))

    def rest(self, id: str) -> None:
        self._transaction.change(update(self.table).where(self.table.c.id == id).values(active=0))

    def find_progress(self, monitor_id: str, revision: int, stream: str) -> MonitorProgress | None:
        return self._progress.find(monitor_id, revision, stream)

    def put_progress(self, progress: MonitorProgress) -> None:
        self._progress.put(progress)

    def progress(self, monitor_id: str, revision: int) -> Sequence[MonitorProgress]:
        return self._progress.of_revision(monitor_id, revision)

    def retire(self, monitor_id: str) -> Sequence[MonitorProgress]:
        return self._progress.retire(monitor_id)

    def retired(self, *, limit: int = 1000) -> Sequence[MonitorProgress]:
        return self._progress.retired(limit)

    def forget_progress(self, progress: MonitorProgress) -> None:
        self._progress.forget(progress)

    def _columns(self, record: Monitor) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "run_id": record.run_id,
            "name": record.name,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: Monitor) -> str:
        return f"The run has a monitor {record.name!r} already."

    def _taken(self, record: Monitor) -> ConflictError:
        found = super()._taken(record)
        return ConflictError(found.message, hint="Change it, or give this one another name.")


class _Progress(DocumentTable[MonitorProgress]):
    table = tables.monitor_progress
    record = MonitorProgress

    def find(self, monitor_id: str, revision: int, stream: str) -> MonitorProgress | None:
        return self._first(*self._at(monitor_id, revision), self.table.c.stream == stream)

    def put(self, progress: MonitorProgress) -> None:
        values = {
            "monitor_id": progress.monitor_id,
            "revision": progress.revision,
            "stream": progress.stream,
            "run_id": progress.run_id,
            "gone": 0,
            "document": to_document(progress),
        }
        self._transaction.replace(self.table, values)

    def of_revision(self, monitor_id: str, revision: int) -> Sequence[MonitorProgress]:
        return self._all(*self._at(monitor_id, revision), order=[self.table.c.stream])

    def retire(self, monitor_id: str) -> Sequence[MonitorProgress]:
        columns = self.table.c
        present = (columns.monitor_id == monitor_id, columns.gone == 0)
        found = self._all(*present, order=[columns.revision, columns.stream])
        self._transaction.change(update(self.table).where(*present).values(gone=1))
        return found

    def retired(self, limit: int) -> Sequence[MonitorProgress]:
        statement = select(self.table.c.document).where(self.table.c.gone == 1).limit(limit)
        return [self._load(row.document) for row in self._transaction.rows(statement)]

    def forget(self, progress: MonitorProgress) -> None:
        place = self._at(progress.monitor_id, progress.revision)
        self._transaction.change(delete(self.table).where(*place, self.table.c.stream == progress.stream))

    def _at(self, monitor_id: str, revision: int) -> tuple[ColumnElement[bool], ...]:
        return self.table.c.monitor_id == monitor_id, self.table.c.revision == revision
