"""Projects and their members."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete

from headway.domain.base import Page, PageRequest
from headway.domain.projects import Project
from headway.domain.users import Member
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import DocumentTable, RecordTable, among, to_document


class Projects(RecordTable[Project]):
    table = tables.projects
    record = Project
    noun = "project"
    unique = True

    def by_name(self, name: str) -> Project | None:
        return self._first(self.table.c.name == name)

    def list(self, page: PageRequest, *, ids: Collection[str] | None = None) -> Page[Project]:
        return self._page(page, among(self.table.c.id, ids))

    def _columns(self, record: Project) -> dict[str, Any]:
        return {"name": record.name, "created_at": to_milliseconds(record.created_at)}

    def _conflict(self, record: Project) -> str:
        return f"There is already a project named {record.name!r}."


class Members(DocumentTable[Member]):
    table = tables.members
    record = Member

    def put(self, member: Member) -> None:
        values = {"project_id": member.project_id, "user_id": member.user_id, "document": to_document(member)}
        self._transaction.replace(self.table, values)

    def find(self, project_id: str, user_id: str) -> Member | None:
        return self._first(self.table.c.project_id == project_id, self.table.c.user_id == user_id)

    def delete(self, project_id: str, user_id: str) -> None:
        columns = self.table.c
        statement = delete(self.table).where(columns.project_id == project_id, columns.user_id == user_id)
        self._transaction.change(statement)

    def of_project(self, project_id: str) -> Sequence[Member]:
        return self._all(self.table.c.project_id == project_id, order=[self.table.c.user_id])

    def of_user(self, user_id: str) -> Sequence[Member]:
        return self._all(self.table.c.user_id == user_id, order=[self.table.c.project_id])
