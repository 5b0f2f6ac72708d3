"""Users and the tokens they present."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from headway.domain.base import Page, PageRequest
from headway.domain.users import Token, TokenKind, User
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import KeyedTable, RecordTable, equal


class Users(RecordTable[User]):
    table = tables.users
    record = User
    noun = "user"
    unique = True

    def by_name(self, name: str) -> User | None:
        return self._first(self.table.c.name == name)

    def list(self, page: PageRequest) -> Page[User]:
        return self._page(page)

    def _columns(self, record: User) -> dict[str, Any]:
        return {"name": record.name, "created_at": to_milliseconds(record.created_at)}

    def _conflict(self, record: User) -> str:
        return f"There is already a user named {record.name!r}."


class Tokens(KeyedTable[Token]):
    """The digest is a column of its own: ``put`` leaves it alone, and no record that is read shows it."""

    table = tables.tokens
    record = Token
    noun = "token"

    def add(self, token: Token, digest: str) -> None:
        if not self._transaction.insert(self.table, {**self._row(token), "digest": digest}):
            raise self._taken(token)

    def put(self, token: Token) -> None:
        super().put(token)

    def by_digest(self, digest: str) -> Token | None:
        return self._first(self.table.c.digest == digest)

    def list(self, page: PageRequest, *, user_id: str | None = None, kind: TokenKind | None = None) -> Page[Token]:
        columns = self.table.c
        chosen = None if kind is None else kind.value
        return self._page(page, equal(columns.user_id, user_id), equal(columns.kind, chosen))

    def usable_digests(self) -> Sequence[tuple[Token, str]]:
        columns = self.table.c
        statement = (
            select(columns.document, columns.digest)
            .where(columns.kind == TokenKind.USER.value, columns.revoked_at.is_(None))
            .order_by(columns.created_at, columns.id)
        )
        return [(self._load(row.document), row.digest) for row in self._transaction.rows(statement)]

    def revoke_attempt(self, attempt_id: str, moment: datetime) -> None:
        columns = self.table.c
        statement = (
            select(columns.document)
            .where(columns.attempt_id == attempt_id, columns.revoked_at.is_(None))
            .order_by(columns.id)
        )
        for row in self._transaction.locked_rows(statement):
            self.put(self._load(row.document).evolve(revoked_at=moment))

    def _columns(self, record: Token) -> dict[str, Any]:
        return {
            "kind": record.kind.value,
            "user_id": record.user_id,
            "attempt_id": record.attempt_id,
            "created_at": to_milliseconds(record.created_at),
            "revoked_at": None if record.revoked_at is None else to_milliseconds(record.revoked_at),
        }

    def _conflict(self, record: Token) -> str:
        return f"There is already a token with the secret of {record.id!r}."
