"""Which project holds which blob."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import select

from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.transactions import Transaction

DIGESTS_PER_QUERY = 500


class Blobs:
    table = tables.blobs

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, project_id: str, digest: str, size: int, moment: datetime) -> None:
        values = {"project_id": project_id, "digest": digest, "size": size, "created_at": to_milliseconds(moment)}
        self._transaction.insert(self.table, values)

    def has(self, project_id: str, digest: str) -> bool:
        return not self.missing(project_id, [digest])

    def missing(self, project_id: str, digests: Collection[str]) -> Sequence[str]:
        held: set[str] = set()
        remaining = iter(digests)
        while some := list(islice(remaining, DIGESTS_PER_QUERY)):
            held |= self._held(project_id, some)
        return [digest for digest in digests if digest not in held]

    def _held(self, project_id: str, digests: Sequence[str]) -> set[str]:
        columns = self.table.c
        statement = select(columns.digest).where(columns.project_id == project_id, columns.digest.in_(digests))
        return {row.digest for row in self._transaction.rows(statement)}
