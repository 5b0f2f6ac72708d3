"""What all nouns share: a record as a JSON document beside the columns that it is found by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from enum import Enum
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError
from sqlalchemy import Column, ColumnElement, Table, delete, select, true, tuple_, update

from headway.domain.base import Page, PageRequest, Record
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.storage.sql.cursors import decode_cursor, encode_cursor
from headway.storage.sql.transactions import Transaction


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=Record)


def to_document(record: BaseModel) -> str:
    """``record`` as JSON text. InvalidRequestError when some text in it is not valid Unicode."""
    try:
        return record.model_dump_json()
    except (PydanticSerializationError, UnicodeEncodeError):
        raise InvalidRequestError(
            f"The {type(record).__name__.lower()} holds text that is not valid Unicode.", hint="Send it as UTF-8."
        ) from None


def among(column: Column[str], values: Collection[str] | None) -> ColumnElement[bool]:
    """Whether ``column`` is one of ``values``; None restricts nothing."""
    if values is None:
        return true()
    return column.in_([value.value if isinstance(value, Enum) else value for value in values])


def equal(column: Column[Any], value: str | None) -> ColumnElement[bool]:
    """Whether ``column`` is ``value``; None restricts nothing."""
    return true() if value is None else column == value


class DocumentTable(ABC, Generic[R]):
    """Records of one type in one table, and how to read them back."""

    table: ClassVar[Table]
    record: ClassVar[type[Record]]

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def _load(self, document: str) -> R:
        return cast(R, self.record.model_validate_json(document))

    def _first(self, *conditions: ColumnElement[bool]) -> R | None:
        """The record that fits, locked in a write session."""
        row = self._transaction.locked_row(select(self.table.c.document).where(*conditions))
        return None if row is None else self._load(row.document)

    def _all(self, *conditions: ColumnElement[bool], order: Sequence[ColumnElement[Any]]) -> list[R]:
        statement = select(self.table.c.document).where(*conditions).order_by(*order)
        return [self._load(row.document) for row in self._transaction.rows(statement)]


class KeyedTable(DocumentTable[R]):
    """Records with an id and, where they are listed, a creation time."""

    noun: ClassVar[str]
    unique: ClassVar[bool] = False
    """Whether something besides the id is unique, so that a change of a record can conflict."""

    @abstractmethod
    def _columns(self, record: R) -> dict[str, Any]:
        """The values beside id and document."""

    def _conflict(self, record: R) -> str:
        """What to say when something besides the id is taken."""
        return f"There is already a {self.noun} like {_id(record)!r}."

    def get(self, id: str) -> R:
        found = self.find(id)
        if found is None:
            raise self._missing(id)
        return found

    def find(self, id: str) -> R | None:
        return self._first(self.table.c.id == id)

    def put(self, record: R, /) -> None:
        statement = update(self.table).where(self.table.c.id == _id(record)).values(**self._row(record))
        if not self.unique:
            touched = self._transaction.change(statement)
        else:
            try:
                touched = self._transaction.change_unique(statement)
            except ConflictError as error:
                raise ConflictError(self._conflict(record)) from error
        if not touched:
            raise self._missing(_id(record))

    def _page(self, page: PageRequest, *conditions: ColumnElement[bool]) -> Page[R]:
        """Newest first; the cursor is the place of the last record that was given."""
        columns = self.table.c
        statement = select(columns.created_at, columns.id, columns.document).where(*conditions)
        if page.cursor is not None:
            place = decode_cursor(page.cursor)
            statement = statement.where(tuple_(columns.created_at, columns.id) < tuple_(*place))
        statement = statement.order_by(columns.created_at.desc(), columns.id.desc()).limit(page.limit + 1)
        rows = self._transaction.rows(statement)
        items = tuple(self._load(row.document) for row in rows[: page.limit])
        more = len(rows) > page.limit
        last = rows[page.limit - 1] if more else None
        return Page(items=items, next_cursor=None if last is None else encode_cursor(last.created_at, last.id))

    def _row(self, record: R) -> dict[str, Any]:
        return {"id": _id(record), "document": to_document(record), **self._columns(record)}

    def _taken(self, record: R) -> ConflictError:
        id = _id(record)
        same = self._transaction.rows(select(self.table.c.id).where(self.table.c.id == id))
        return ConflictError(f"There is already a {self.noun} with the id {id!r}." if same else self._conflict(record))

    def _missing(self, id: str) -> NotFoundError:
        return NotFoundError(f"There is no {self.noun} {id!r}.")


class RecordTable(KeyedTable[R]):
    """The verbs of :class:`headway.storage.base.Records`. A noun adds its columns and its own look-ups."""

    def add(self, record: R, /) -> None:
        if not self._transaction.insert(self.table, self._row(record)):
            raise self._taken(record)

    def delete(self, id: str) -> None:
        self._transaction.change(delete(self.table).where(self.table.c.id == id))


def _id(record: Record) -> str:
    return cast(_Identified, record).id
