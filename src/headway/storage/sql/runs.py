"""Runs, and what belongs to one beside its record: streams, details, hyperparameters that can be searched for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select

from headway.domain.base import Page, PageRequest, now
from headway.domain.expressions import Expression, Order
from headway.domain.runs import Run, RunDetails, RunState, Stream
from headway.domain.search import index_params
from headway.storage.sql import object_tables, tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import DocumentTable, RecordTable, among, equal, to_document
from headway.storage.sql.references import NamesBlobs
from headway.storage.sql.search import search_runs
from headway.storage.sql.summaries import RunMetrics
from headway.storage.sql.transactions import Transaction

__all__ = ["RemovedRuns", "RunDetailsTable", "RunMetrics", "Runs", "Streams"]

BELONGINGS = (
    tables.run_params,
    tables.run_metrics,
    tables.run_details,
    object_tables.monitors,
    object_tables.monitor_progress,
    tables.streams,
)
"""What goes with a run, by ``run_id``."""
LABEL_END = "\n"
"""Stands around every label in the column; no label holds it."""


class Runs(RecordTable[Run]):
    table = tables.runs
    record = Run
    noun = "run"

    def add(self, record: Run, /) -> None:
        super().add(record)
        self._write_params(record, fresh=True)

    def put(self, record: Run, /) -> None:
        statement = select(self.table.c.indexed).where(self.table.c.id == record.id)
        known = self._transaction.locked_row(statement)
        super().put(record)
        if known is not None and known.indexed != _fingerprint(record):
            self._write_params(record, fresh=False)

    def delete(self, id: str) -> None:
        if self._transaction.locked_row(select(self.table.c.id).where(self.table.c.id == id)) is None:
            return
        super().delete(id)
        for table in BELONGINGS:
            self._transaction.change(delete(table).where(table.c.run_id == id))
        values = {"run_id": id, "removed_at": to_milliseconds(now())}
        self._transaction.replace(tables.removed_runs, values)

    def list(self, page: PageRequest, *, project_ids: Collection[str] | None = None) -> Page[Run]:
        return self._page(page, among(self.table.c.project_id, project_ids))

    def search(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        where: Expression | None = None,
        order: Order | None = None,
    ) -> Page[Run]:
        if where is None and order is None:
            return self.list(page, project_ids=project_ids)
        rows, cursor = search_runs(self._transaction, page, project_ids, where, order)
        return Page(items=tuple(self._load(row.document) for row in rows), next_cursor=cursor)

    def named(self, project_id: str, folder: str, name: str) -> Sequence[Run]:
        columns = self.table.c
        statement = (
            select(columns.document)
            .where(columns.project_id == project_id, columns.folder == folder, columns.name == name)
            .order_by(columns.created_at.desc(), columns.id.desc())
        )
        return [self._load(row.document) for row in self._transaction.locked_rows(statement)]

    def in_folder(self, project_id: str, folder: str) -> bool:
        columns = self.table.c
        statement = select(columns.id).where(columns.project_id == project_id, columns.folder == folder).limit(1)
        return bool(self._transaction.rows(statement))

    def silent(self, moment: datetime, *, limit: int = 1000) -> Sequence[Run]:
        columns = self.table.c
        statement = (
            select(columns.document)
            .where(columns.state == RunState.RUNNING.value, columns.owned == 0)
            .where(columns.heard_at < to_milliseconds(moment))
            .order_by(columns.heard_at, columns.id)
            .limit(limit)
        )
        return [self._load(row.document) for row in self._transaction.rows(statement)]

    def states(self, *, project_ids: Collection[str] | None = None) -> Mapping[str, int]:
        columns = self.table.c
        statement = (
            select(columns.state, func.count().label("number"))
            .where(among(columns.project_id, project_ids))
            .group_by(columns.state)
        )
        return {row.state: row.number for row in self._transaction.rows(statement)}

    def _columns(self, record: Run) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "created_at": to_milliseconds(record.created_at),
            "name": record.name,
            "state": record.state.value,
            "folder": record.folder,
            "labels": join_labels(record.labels),
            "created_by": record.created_by,
            "job_id": record.job_id,
            "attempts": record.attempts,
            "owned": int(record.job_id is not None or record.deployment_id is not None),
            "finished_at": None if record.finished_at is None else to_milliseconds(record.finished_at),
            "heard_at": to_milliseconds(record.heartbeat_at or record.created_at),
            "indexed": _fingerprint(record),
            "description": record.description,
        }

    def _write_params(self, record: Run, *, fresh: bool) -> None:
        table = tables.run_params
        if not fresh:
            self._transaction.change(delete(table).where(table.c.run_id == record.id))
        rows = [
            {
                "run_id": record.id,
                "key": key,
                "form": value.form.value,
                "number": value.number,
                "rest": value.rest,
                "text": value.text,
            }
            for key, value in index_params(record.config).items()
        ]
        self._transaction.insert_many(table, rows)


def join_labels(labels: Collection[str]) -> str:
    """All labels as one text in which each can be found whole."""
    return LABEL_END + LABEL_END.join(labels) + LABEL_END if labels else ""


def _fingerprint(record: Run) -> str:
    """Changes with the configuration."""
    if not record.config:
        return ""
    return hashlib.sha256(record.model_dump_json(include={"config"}).encode("utf-8", "replace")).hexdigest()[:32]


class RunDetailsTable(NamesBlobs, DocumentTable[RunDetails]):
    table = tables.run_details
    record = RunDetails

    def put(self, details: RunDetails) -> None:
        self._transaction.replace(self.table, {"run_id": details.run_id, "document": to_document(details)})

    def find(self, run_id: str) -> RunDetails | None:
        return self._first(self.table.c.run_id == run_id)


class RemovedRuns:
    table = tables.removed_runs

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def has(self, run_id: str) -> bool:
        statement = select(self.table.c.run_id).where(self.table.c.run_id == run_id)
        return self._transaction.locked_row(statement) is not None

    def list(self, *, limit: int = 1000) -> Sequence[str]:
        columns = self.table.c
        statement = select(columns.run_id).order_by(columns.removed_at, columns.run_id).limit(limit)
        return [row.run_id for row in self._transaction.rows(statement)]

    def delete(self, run_id: str) -> None:
        self._transaction.change(delete(self.table).where(self.table.c.run_id == run_id))


class Streams(DocumentTable[Stream]):
    table = tables.streams
    record = Stream

    def find(self, run_id: str, name: str) -> Stream | None:
        return self._first(self.table.c.run_id == run_id, self.table.c.name == name)

    def put(self, stream: Stream) -> None:
        values = {
            "run_id": stream.run_id,
            "name": stream.name,
            "kind": stream.kind,
            "unfolded": max(stream.committed - stream.folded, 0),
            "created_at": to_milliseconds(stream.created_at),
            "document": to_document(stream),
        }
        self._transaction.replace(self.table, values)

    def delete(self, run_id: str, name: str) -> None:
        columns = self.table.c
        self._transaction.change(delete(self.table).where(columns.run_id == run_id, columns.name == name))

    def of_run(self, run_id: str, *, kind: str | None = None) -> Sequence[Stream]:
        columns = self.table.c
        order = [columns.created_at, columns.name]
        return self._all(columns.run_id == run_id, equal(columns.kind, kind), order=order)

    def unfolded(self, kinds: Collection[str], *, limit: int = 1000) -> Sequence[Stream]:
        columns = self.table.c
        statement = (
            select(columns.document)
            .where(among(columns.kind, kinds), columns.unfolded > 0)
            .order_by(columns.created_at, columns.run_id, columns.name)
            .limit(limit)
        )
        return [self._load(row.document) for row in self._transaction.rows(statement)]
