"""Which project holds which blob."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import delete, func, select, tuple_, update

from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.transactions import Transaction

DIGESTS_PER_QUERY = 500


class Blobs:
    """``created_at`` is when the blob was last offered or referred to, which garbage collection goes by."""

    table = tables.blobs

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, project_id: str, digest: str, size: int, moment: datetime) -> None:
        values = {"project_id": project_id, "digest": digest, "size": size, "created_at": to_milliseconds(moment)}
        self._transaction.replace(self.table, values)

    def has(self, project_id: str, digest: str) -> bool:
        return not self.missing(project_id, [digest])

    def missing(self, project_id: str, digests: Collection[str]) -> Sequence[str]:
        held: set[str] = set()
        for some in _portions(digests):
            held |= self._held(project_id, some)
        return [digest for digest in digests if digest not in held]

    def hold(self, project_id: str, digests: Collection[str], moment: datetime) -> Sequence[str]:
        columns = self.table.c
        absent: list[str] = []
        for some in _portions(sorted(set(digests))):
            chosen = (columns.project_id == project_id) & columns.digest.in_(some)
            # In one order for everybody: sessions that hold the same blobs would otherwise wait for each other.
            self._transaction.rows(select(columns.digest).where(chosen).order_by(columns.digest).with_for_update())
            statement = update(self.table).where(chosen)
            found = self._transaction.change(statement.values(created_at=to_milliseconds(moment)))
            if found < len(some):
                absent += self.missing(project_id, some)
        return absent

    def idle(self, before: datetime, *, after: str, limit: int) -> Sequence[tuple[str, int]]:
        columns = self.table.c
        statement = (
            select(columns.digest, func.max(columns.size).label("size"))
            .where(columns.digest > after)
            .group_by(columns.digest)
            .having(func.max(columns.created_at) < to_milliseconds(before))
            .order_by(columns.digest)
            .limit(limit)
        )
        return [(row.digest, int(row.size)) for row in self._transaction.rows(statement)]

    def drop(self, digests: Collection[str], before: datetime) -> Sequence[str]:
        columns = self.table.c
        dropped: list[str] = []
        for some in _portions(digests):
            old = (columns.created_at < to_milliseconds(before)) & columns.digest.in_(some)
            # One that is locked is just being held: it is not waited for, and stays.
            free = select(columns.project_id, columns.digest).where(old).with_for_update(skip_locked=True)
            found = self._transaction.rows(free)
            keys = [(row.project_id, row.digest) for row in found]
            self._transaction.change(delete(self.table).where(tuple_(columns.project_id, columns.digest).in_(keys)))
            left = self.known(some)
            dropped += [digest for digest in some if digest not in left]
        return dropped

    def known(self, digests: Collection[str]) -> set[str]:
        found: set[str] = set()
        for some in _portions(digests):
            statement = select(self.table.c.digest).where(self.table.c.digest.in_(some)).distinct()
            found |= {row.digest for row in self._transaction.rows(statement)}
        return found

    def delete_project(self, project_id: str) -> None:
        self._transaction.change(delete(self.table).where(self.table.c.project_id == project_id))

    def _held(self, project_id: str, digests: Sequence[str]) -> set[str]:
        columns = self.table.c
        statement = select(columns.digest).where(columns.project_id == project_id, columns.digest.in_(digests))
        return {row.digest for row in self._transaction.rows(statement)}


def _portions(digests: Collection[str]) -> Iterator[list[str]]:
    """``digests`` in lists that fit into one statement."""
    remaining = iter(digests)
    while some := list(islice(remaining, DIGESTS_PER_QUERY)):
        yield some
