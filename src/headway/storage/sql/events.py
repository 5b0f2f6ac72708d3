"""Events, in the one sequence that everybody follows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import func, insert, select

from headway.domain.events import Event
from headway.storage.sql import tables
from headway.storage.sql.records import DocumentTable, among, equal, to_document


class Events(DocumentTable[Event]):
    table = tables.events
    record = Event

    def append(self, event: Event) -> Event:
        statement = insert(self.table).values(
            type=event.type,
            project_id=event.project_id,
            subject_id=event.subject_id,
            document=to_document(event),
        )
        return event.evolve(sequence=self._transaction.insert_event(statement))

    def after(
        self,
        sequence: int,
        *,
        limit: int = 1000,
        project_ids: Collection[str] | None = None,
        subject_id: str | None = None,
        types: Collection[str] | None = None,
    ) -> Sequence[Event]:
        columns = self.table.c
        statement = (
            select(columns.sequence, columns.document)
            .where(
                columns.sequence > sequence,
                among(columns.project_id, project_ids),
                equal(columns.subject_id, subject_id),
                among(columns.type, types),
            )
            .order_by(columns.sequence)
            .limit(limit)
        )
        rows = self._transaction.rows(statement)
        return [self._load(row.document).evolve(sequence=row.sequence) for row in rows]

    def last_sequence(self) -> int:
        [row] = self._transaction.rows(select(func.max(self.table.c.sequence).label("last")))
        return row.last or 0
