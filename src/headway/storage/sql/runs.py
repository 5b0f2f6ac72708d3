"""Runs and the streams they own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from headway.domain.base import Page, PageRequest
from headway.domain.runs import Run, Stream
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import DocumentTable, RecordTable, among, equal, to_document


class Runs(RecordTable[Run]):
    table = tables.runs
    record = Run
    noun = "run"

    def list(self, page: PageRequest, *, project_ids: Collection[str] | None = None) -> Page[Run]:
        return self._page(page, among(self.table.c.project_id, project_ids))

    def _columns(self, record: Run) -> dict[str, Any]:
        return {"project_id": record.project_id, "created_at": to_milliseconds(record.created_at)}


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
            "created_at": to_milliseconds(stream.created_at),
            "document": to_document(stream),
        }
        self._transaction.replace(self.table, values)

    def of_run(self, run_id: str, *, kind: str | None = None) -> Sequence[Stream]:
        columns = self.table.c
        order = [columns.created_at, columns.name]
        return self._all(columns.run_id == run_id, equal(columns.kind, kind), order=order)
