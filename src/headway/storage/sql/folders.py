"""Folders of projects."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete

from headway.domain.folders import Folder
from headway.errors import ConflictError
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import DocumentTable, to_document


class Folders(DocumentTable[Folder]):
    table = tables.folders
    record = Folder

    def add(self, folder: Folder) -> None:
        values = {
            "project_id": folder.project_id,
            "path": folder.path,
            "created_at": to_milliseconds(folder.created_at),
            "document": to_document(folder),
        }
        if not self._transaction.insert(self.table, values):
            raise ConflictError(f"There is a folder {folder.path!r} already.")

    def find(self, project_id: str, path: str) -> Folder | None:
        return self._first(self.table.c.project_id == project_id, self.table.c.path == path)

    def delete(self, project_id: str, path: str) -> None:
        columns = self.table.c
        self._transaction.change(delete(self.table).where(columns.project_id == project_id, columns.path == path))

    def of_project(self, project_id: str) -> Sequence[Folder]:
        return self._all(self.table.c.project_id == project_id, order=[self.table.c.path])
