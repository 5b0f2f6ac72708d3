"""Buckets and objects."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, select

from headway.domain.base import Page, PageRequest, new_id
from headway.domain.objects import Bucket, StoredObject, prefix_end
from headway.storage.sql import object_tables as tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import DocumentTable, RecordTable, among, to_document
from headway.storage.sql.references import NamesBlobs


class Buckets(RecordTable[Bucket]):
    table = tables.buckets
    record = Bucket
    noun = "bucket"
    unique = True

    def by_name(self, project_id: str, name: str) -> Bucket | None:
        return self._first(self.table.c.project_id == project_id, self.table.c.name == name)

    def list(self, page: PageRequest, *, project_ids: Collection[str] | None = None) -> Page[Bucket]:
        return self._page(page, among(self.table.c.project_id, project_ids))

    def _columns(self, record: Bucket) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "name": record.name,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: Bucket) -> str:
        return f"There is already a bucket named {record.name!r} in this project."


class Objects(NamesBlobs, DocumentTable[StoredObject]):
    table = tables.objects
    record = StoredObject

    def put(self, bucket_id: str, objects: Sequence[StoredObject]) -> None:
        # In one order for everybody: sessions that put the same keys would otherwise wait for each other.
        ordered = sorted(objects, key=lambda stored: stored.key)
        rows = [
            {"id": new_id("obj"), "bucket_id": bucket_id, "key": stored.key, "document": to_document(stored)}
            for stored in ordered
        ]
        self._transaction.replace_many(self.table, rows, by=("bucket_id", "key"))

    def find(self, bucket_id: str, key: str) -> StoredObject | None:
        return self._first(self.table.c.bucket_id == bucket_id, self.table.c.key == key)

    def page(self, bucket_id: str, *, prefix: str = "", start: str = "", limit: int) -> Sequence[StoredObject]:
        key = self.table.c.key
        statement = select(self.table.c.document).where(*self._range(bucket_id, prefix, start))
        rows = self._transaction.rows(statement.order_by(key).limit(limit))
        return [self._load(row.document) for row in rows]

    def delete(self, bucket_id: str, key: str) -> int:
        columns = self.table.c
        return self._transaction.change(delete(self.table).where(columns.bucket_id == bucket_id, columns.key == key))

    def delete_prefix(self, bucket_id: str, prefix: str) -> int:
        return self._transaction.change(delete(self.table).where(*self._range(bucket_id, prefix)))

    def _range(self, bucket_id: str, prefix: str, start: str = "") -> list[ColumnElement[bool]]:
        columns = self.table.c
        # One bound, so that the index is entered at it: of two SQLite would take the first and go through the rest.
        conditions = [columns.bucket_id == bucket_id, columns.key >= max(prefix, start)]
        end = prefix_end(prefix)
        return conditions if end is None else [*conditions, columns.key < end]
