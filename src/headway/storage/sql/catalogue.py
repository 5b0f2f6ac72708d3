"""Catalogue entries, by catalogue and number."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, PrimaryKeyConstraint, Table, UniqueConstraint, delete

from headway.domain.catalogue import CatalogueEntry, CatalogueKind
from headway.errors import ConflictError
from headway.storage.sql.columns import PlainText, WholeNumber
from headway.storage.sql.records import DocumentTable, equal, to_document
from headway.storage.sql.tables import metadata

catalogue = Table(
    "catalogue",
    metadata,
    Column("kind", PlainText, nullable=False),
    Column("number", WholeNumber, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("document", PlainText, nullable=False),
    PrimaryKeyConstraint("kind", "number", name="catalogue_key"),
    UniqueConstraint("kind", "name", name="catalogue_name"),
)


class Catalogue(DocumentTable[CatalogueEntry]):
    table = catalogue
    record = CatalogueEntry

    def put(self, entry: CatalogueEntry) -> None:
        values = {
            "kind": entry.kind.value,
            "number": entry.id,
            "name": entry.name,
            "document": to_document(entry),
        }
        try:
            self._transaction.replace_unique(self.table, values)
        except ConflictError as error:
            taken = f"The catalogue {entry.kind.value!r} has an entry {entry.name!r} already."
            raise ConflictError(taken, hint="Give it another name, or replace that one by its number.") from error

    def find(self, kind: CatalogueKind, id: int) -> CatalogueEntry | None:
        return self._first(self.table.c.kind == kind.value, self.table.c.number == id)

    def delete(self, kind: CatalogueKind, id: int) -> None:
        place = (self.table.c.kind == kind.value) & (self.table.c.number == id)
        self._transaction.change(delete(self.table).where(place))

    def list(self, kind: CatalogueKind | None = None) -> Sequence[CatalogueEntry]:
        columns = self.table.c
        condition = equal(columns.kind, None if kind is None else kind.value)
        return self._all(condition, order=[columns.kind, columns.number])
