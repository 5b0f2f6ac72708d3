"""What runs used and made."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete

from headway.domain.lineage import Link
from headway.storage.sql import artifact_tables as tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import DocumentTable, to_document


class Links(DocumentTable[Link]):
    table = tables.links
    record = Link

    def put(self, link: Link) -> None:
        values = {
            "run_id": link.run_id,
            "kind": link.kind.value,
            "other_id": link.other_id,
            "relation": link.relation.value,
            "created_at": to_milliseconds(link.created_at),
            "document": to_document(link),
        }
        self._transaction.insert(self.table, values)

    def of_run(self, run_id: str) -> Sequence[Link]:
        return self._ordered(self.table.c.run_id == run_id)

    def of_other(self, other_id: str) -> Sequence[Link]:
        return self._ordered(self.table.c.other_id == other_id)

    def delete_run(self, run_id: str) -> None:
        self._transaction.change(delete(self.table).where(self.table.c.run_id == run_id))

    def _ordered(self, condition: ColumnElement[bool]) -> Sequence[Link]:
        columns = self.table.c
        order = [columns.created_at, columns.run_id, columns.other_id, columns.relation]
        return self._all(condition, order=order)
