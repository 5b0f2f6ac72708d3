"""What went wrong in a database, as one of our errors. The only place that knows drivers' error codes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from headway.errors import (
    ConflictError,
    CorruptDataError,
    HeadwayError,
    InternalError,
    StorageFullError,
    UnavailableError,
)

_SQLITE_FULL = "database or disk is full"
_POSTGRES_FULL = "53100"
_POSTGRES_DAMAGED = ("XX001", "XX002")
_POSTGRES_RETRY = {
    "40001": "another session changed the same records",
    "40P01": "two sessions waited for each other",
    "55P03": "another session holds the same records for too long",
}


@contextmanager
def translated() -> Iterator[None]:
    """Errors of SQLAlchemy and its drivers leave this block as errors of ours."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise to_headway(error) from error


def to_headway(error: exc.SQLAlchemyError) -> HeadwayError:
    """The error of ours that ``error`` means. It never quotes a statement's values: they may be secret."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, HeadwayError):
        return cause
    if isinstance(error, exc.IntegrityError):
        return ConflictError("The change contradicts what is stored already.")
    if _is_full(cause):
        return StorageFullError("No space is left for the database.", hint="Free some space and try again.")
    if _is_damage(cause):
        return CorruptDataError(f"The database is damaged: {_reason(cause)}.", hint="Restore it from a backup.")
    if isinstance(error, exc.TimeoutError):
        return UnavailableError("All database connections are busy.", hint="Try again in a moment.")
    if isinstance(error, (exc.OperationalError, exc.InterfaceError)) or _is_disconnect(error):
        return UnavailableError(f"The database did not do it: {_reason(cause)}.", hint="Try again in a moment.")
    return InternalError(f"The database refused a statement ({type(error).__name__}).")


def _is_full(cause: BaseException | None) -> bool:
    if isinstance(cause, sqlite3.Error):
        return _SQLITE_FULL in str(cause)
    return _state(cause) == _POSTGRES_FULL


def _is_damage(cause: BaseException | None) -> bool:
    # The driver has a class for everything else; the bare one is left for "not a database" and "malformed".
    return type(cause) is sqlite3.DatabaseError or _state(cause) in _POSTGRES_DAMAGED


def _is_disconnect(error: exc.SQLAlchemyError) -> bool:
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def _reason(cause: BaseException | None) -> str:
    known = _POSTGRES_RETRY.get(_state(cause) or "")
    if known is not None:
        return known
    first_line, _, _ = str(cause).strip().partition("\n")
    return first_line.rstrip(".") or "it does not answer"


def _state(cause: BaseException | None) -> str | None:
    """The SQLSTATE of a PostgreSQL error."""
    return getattr(cause, "sqlstate", None)
