"""Revisions of deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select, update

from headway.domain.base import Page, PageRequest
from headway.domain.deployments import Revision, RevisionState
from headway.errors import ConflictError, NotFoundError
from headway.storage.sql import deployment_tables as tables
from headway.storage.sql.cursors import decode_place, encode_place
from headway.storage.sql.records import DocumentTable, to_document


class Revisions(DocumentTable[Revision]):
    table = tables.deployment_revisions
    record = Revision

    def add(self, revision: Revision) -> None:
        if not self._transaction.insert(self.table, _row(revision)):
            raise ConflictError(f"The deployment {revision.deployment_id!r} has a revision {revision.number} already.")

    def put(self, revision: Revision) -> None:
        columns = self.table.c
        place = columns.deployment_id == revision.deployment_id, columns.number == revision.number
        if not self._transaction.change(update(self.table).where(*place).values(**_row(revision))):
            raise _missing(revision.deployment_id, revision.number)

    def get(self, deployment_id: str, number: int) -> Revision:
        found = self.find(deployment_id, number)
        if found is None:
            raise _missing(deployment_id, number)
        return found

    def find(self, deployment_id: str, number: int) -> Revision | None:
        return self._first(self.table.c.deployment_id == deployment_id, self.table.c.number == number)

    def of_deployment(self, deployment_id: str, page: PageRequest) -> Page[Revision]:
        columns = self.table.c
        statement = select(columns.number, columns.document).where(columns.deployment_id == deployment_id)
        if page.cursor is not None:
            (number,) = decode_place(page.cursor, [int])
            statement = statement.where(columns.number < number)
        rows = self._transaction.rows(statement.order_by(columns.number.desc()).limit(page.limit + 1))
        items = tuple(self._load(row.document) for row in rows[: page.limit])
        more = encode_place([rows[page.limit - 1].number]) if len(rows) > page.limit else None
        return Page(items=items, next_cursor=more)

    def pending(self) -> Sequence[Revision]:
        columns = self.table.c
        waits = columns.state == RevisionState.PENDING.value
        return self._all(waits, order=[columns.deployment_id, columns.number])

    def delete_deployment(self, deployment_id: str) -> None:
        self._transaction.change(delete(self.table).where(self.table.c.deployment_id == deployment_id))


def _row(revision: Revision) -> Mapping[str, Any]:
    return {
        "deployment_id": revision.deployment_id,
        "number": revision.number,
        "state": revision.state.value,
        "document": to_document(revision),
    }


def _missing(deployment_id: str, number: int) -> NotFoundError:
    return NotFoundError(f"The deployment {deployment_id!r} has no revision {number}.")
