"""One transaction on one connection: what every noun runs its statements through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Executable, Row, Select, Table
from sqlalchemy.engine import CursorResult

from headway.errors import HeadwayError, RequestError
from headway.storage.sql.failures import translated

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
    from sqlalchemy.dialects.sqlite import Insert as SqliteInsert


@dataclass(frozen=True)
class Flavour:
    """Where the databases differ."""

    insert: Callable[[Table], SqliteInsert | PostgresInsert]
    """INSERT with ON CONFLICT."""
    savepoints: bool
    """Whether a statement that fails spoils the whole transaction."""
    event_lock: Executable | None = None
    """Run before an event is numbered, so that numbers become visible in order."""
    notice: Executable | None = None
    """Run at the end of a transaction that changed something, to wake other servers."""


class Transaction:
    """Statements between BEGIN and COMMIT. After a failure other than a conflict it can only be rolled back."""

    def __init__(self, connection: Connection, flavour: Flavour, *, writing: bool) -> None:
        self._connection = connection
        self._flavour = flavour
        self._writing = writing
        self._failure: HeadwayError | None = None
        self.changed = False
        """Whether records (anything but leases) changed."""

    def rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """What ``statement`` finds, not locked."""
        with self._running():
            return self._connection.execute(statement).all()

    def locked_row(self, statement: Select[Any]) -> Row[Any] | None:
        """The first row that ``statement`` finds, in a write session locked until its end."""
        if self._writing:
            statement = statement.with_for_update()
        with self._running():
            return self._connection.execute(statement).first()

    def locked_rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """As :meth:`locked_row`, all of them."""
        return self.rows(statement.with_for_update() if self._writing else statement)

    def insert(self, table: Table, values: Mapping[str, Any]) -> bool:
        """Add a row, unless that would break a key or a unique name: then nothing happens, and the answer is False."""
        statement = self._flavour.insert(table).values(**values).on_conflict_do_nothing()
        return self.change(statement) == 1

    def insert_many(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows whose keys are known to be free."""
        if rows:
            with self._running():
                self._write_only()
                self._connection.execute(table.insert(), list(rows))
            self.changed = True

    def replace(self, table: Table, values: Mapping[str, Any]) -> None:
        """Add a row, or change the one with the same primary key."""
        self.change(self._replacement(table, values))

    def replace_unique(self, table: Table, values: Mapping[str, Any]) -> None:
        """As :meth:`replace`; ConflictError when a unique name is taken, and the transaction goes on."""
        self.change_unique(self._replacement(table, values))

    def _replacement(self, table: Table, values: Mapping[str, Any]) -> Executable:
        keys = [column.name for column in table.primary_key]
        others = {name: value for name, value in values.items() if name not in keys}
        statement = self._flavour.insert(table).values(**values)
        return statement.on_conflict_do_update(index_elements=keys, set_=others)

    def replace_many(
        self, table: Table, rows: Sequence[Mapping[str, Any]], *, by: Sequence[str] = (), quiet: bool = False
    ) -> None:
        """As :meth:`replace` for many rows of different keys in one go. ``quiet``: nobody need wake up for it.

        ``by`` are the columns of another unique constraint by which a row is known; its primary key then stays.
        """
        if not rows:
            return
        self._write_only()
        kept = {*by, *(column.name for column in table.primary_key)}
        statement = self._flavour.insert(table)
        others = {name: statement.excluded[name] for name in rows[0] if name not in kept}
        with self._running():
            place = list(by) or [column.name for column in table.primary_key]
            upsert = statement.on_conflict_do_update(index_elements=place, set_=others)
            self._connection.execute(upsert, [dict(row) for row in rows])
        self.changed = self.changed or not quiet

    def claim(self, table: Table, values: Mapping[str, Any], free: Any) -> bool:
        """As :meth:`replace`, but an existing row is changed only where ``free`` holds. Wakes nobody."""
        keys = [column.name for column in table.primary_key]
        others = {name: value for name, value in values.items() if name not in keys}
        statement = self._flavour.insert(table).values(**values)
        upsert = statement.on_conflict_do_update(index_elements=keys, set_=others, where=free)
        return self.change(upsert, quiet=True) == 1

    def change(self, statement: Executable, *, quiet: bool = False) -> int:
        """Run an INSERT, UPDATE or DELETE; the number of rows it touched. ``quiet``: nobody need wake up for it."""
        result = self._execute(statement)
        self.changed = self.changed or (not quiet and result.rowcount > 0)
        return result.rowcount

    def change_unique(self, statement: Executable) -> int:
        """As :meth:`change`; ConflictError when a unique name is taken, and the transaction goes on."""
        with self._connection.begin_nested() if self._flavour.savepoints else nullcontext():
            return self.change(statement)

    def insert_event(self, statement: Executable) -> int:
        """Add a row to a table that numbers its rows; its number."""
        if self._flavour.event_lock is not None:
            with self._running():
                self._connection.execute(self._flavour.event_lock)
        result = self._execute(statement)
        self.changed = True
        assert result.inserted_primary_key is not None
        return int(result.inserted_primary_key[0])

    def finish(self) -> None:
        """The last step before COMMIT.

        Raises:
            HeadwayError: A statement failed and the caller went on; a commit now would silently lose part of the work.
        """
        if self._failure is not None:
            raise self._failure
        if self.changed and self._flavour.notice is not None:
            self._connection.execute(self._flavour.notice)

    def _write_only(self) -> None:
        if not self._writing:
            raise RuntimeError("A read session changes nothing; open a write session.")

    def _execute(self, statement: Executable) -> CursorResult[Any]:
        self._write_only()
        with self._running():
            result = self._connection.execute(statement, execution_options={"preserve_rowcount": True})
            assert isinstance(result, CursorResult)
            return result

    @contextmanager
    def _running(self) -> Iterator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            with translated():
                yield
        except RequestError:
            raise
        except HeadwayError as error:
            self._failure = error
            raise
