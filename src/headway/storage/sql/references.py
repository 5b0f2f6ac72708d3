"""Which blobs the records of a table refer to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from sqlalchemy import Table, select

from headway.storage.sql.transactions import Transaction

RECORDS_AT_ONCE = 50
_DIGEST = re.compile(r'"([0-9a-f]{64})"')


class NamesBlobs:
    """For a noun whose records, with one key and a document, name blobs: every SHA-256 in a document counts, so that a new
    field cannot be forgotten. A :class:`headway.storage.base.HoldsBlobs`.
    """

    table: ClassVar[Table]
    _transaction: Transaction

    def referenced_digests(self) -> Iterator[str]:
        (key,), after = self.table.primary_key, ""
        statement = select(key.label("place"), self.table.c.document).order_by(key).limit(RECORDS_AT_ONCE)
        while rows := self._transaction.rows(statement.where(key > after)):
            for row in rows:
                yield from _DIGEST.findall(row.document)
            after = rows[-1].place
