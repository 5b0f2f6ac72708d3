"""Things kept by key that are no records: secrets of jobs, answers of creates, facts of the installation."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import delete, select

from headway.errors import ConflictError
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.transactions import Transaction


class Secrets:
    table = tables.secrets

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def put(self, owner_id: str, values: dict[str, str]) -> None:
        self._transaction.replace(self.table, {"owner_id": owner_id, "document": json.dumps(values)})

    def get(self, owner_id: str) -> dict[str, str]:
        row = self._transaction.locked_row(select(self.table.c.document).where(self.table.c.owner_id == owner_id))
        return {} if row is None else dict(json.loads(row.document))

    def delete(self, owner_id: str) -> None:
        self._transaction.change(delete(self.table).where(self.table.c.owner_id == owner_id))


class Idempotency:
    table = tables.idempotency

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def find(self, token_id: str, key: str) -> tuple[str, int, bytes] | None:
        columns = self.table.c
        statement = select(columns.fingerprint, columns.status, columns.body).where(
            columns.token_id == token_id, columns.key == key
        )
        row = self._transaction.locked_row(statement)
        return None if row is None else (row.fingerprint, row.status, bytes(row.body))

    def add(self, token_id: str, key: str, fingerprint: str, status: int, body: bytes, moment: datetime) -> None:
        values = {
            "token_id": token_id,
            "key": key,
            "fingerprint": fingerprint,
            "status": status,
            "body": body,
            "created_at": to_milliseconds(moment),
        }
        if not self._transaction.insert(self.table, values):
            raise ConflictError(f"The idempotency key {key!r} is in use.", hint="Take a new key for a new request.")

    def delete_before(self, moment: datetime) -> None:
        self._transaction.change(delete(self.table).where(self.table.c.created_at < to_milliseconds(moment)))


class Settings:
    table = tables.settings

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def find(self, key: str) -> str | None:
        row = self._transaction.locked_row(select(self.table.c.value).where(self.table.c.key == key))
        return None if row is None else row.value

    def put(self, key: str, value: str) -> None:
        self._transaction.replace(self.table, {"key": key, "value": value})
