"""Instance types, by name."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete

from headway.domain.instances import InstanceType
from headway.storage.sql import tables
from headway.storage.sql.records import DocumentTable, to_document


class InstanceTypes(DocumentTable[InstanceType]):
    table = tables.instance_types
    record = InstanceType

    def put(self, instance_type: InstanceType) -> None:
        values = {"name": instance_type.name, "document": to_document(instance_type)}
        self._transaction.replace(self.table, values)

    def find(self, name: str) -> InstanceType | None:
        return self._first(self.table.c.name == name)

    def delete(self, name: str) -> None:
        self._transaction.change(delete(self.table).where(self.table.c.name == name))

    def list(self) -> Sequence[InstanceType]:
        return self._all(order=[self.table.c.name])
