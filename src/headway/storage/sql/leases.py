"""Who works on what, until when."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, select, update

from headway.errors import LeaseLostError
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.transactions import Transaction


class Leases:
    """A lease is held while its end lies after the moment that is asked about."""

    table = tables.leases

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def acquire(self, subject: str, seconds: float, moment: datetime) -> str | None:
        token = secrets.token_hex(16)
        values = {"subject": subject, "token": token, "expires_at": _end(moment, seconds)}
        free = self.table.c.expires_at <= to_milliseconds(moment)
        return token if self._transaction.claim(self.table, values, free) else None

    def renew(self, subject: str, token: str, seconds: float, moment: datetime) -> bool:
        statement = update(self.table).where(self._held(subject, token, moment))
        return self._transaction.change(statement.values(expires_at=_end(moment, seconds)), quiet=True) == 1

    def check(self, subject: str, token: str, moment: datetime) -> None:
        statement = select(self.table.c.subject).where(self._held(subject, token, moment))
        if self._transaction.locked_row(statement) is None:
            raise LeaseLostError(f"Somebody else works on {subject!r} now, or the lease ran out.")

    def release(self, subject: str, token: str) -> None:
        statement = delete(self.table).where(self.table.c.subject == subject, self.table.c.token == token)
        self._transaction.change(statement, quiet=True)

    def _held(self, subject: str, token: str, moment: datetime) -> ColumnElement[bool]:
        columns = self.table.c
        return and_(columns.subject == subject, columns.token == token, columns.expires_at > to_milliseconds(moment))


def _end(moment: datetime, seconds: float) -> int:
    return to_milliseconds(moment) + round(seconds * 1000)
