"""Which implementation stands behind a storage URL."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from headway.errors import ConfigurationError
from headway.storage.base import Storage
from headway.storage.segments.base import SegmentStore
from headway.storage.segments.files import FileSegments

BACKENDS = {
    "sqlite": "headway.storage.sql.sqlite:open_sqlite_url",
    "postgresql": "headway.storage.sql.postgres:open_postgres_url",
    "postgres": "headway.storage.sql.postgres:open_postgres_url",
}
"""URL scheme to the function that opens it, imported when asked for."""


def open_storage(url: str) -> Storage:
    """The storage at ``url``, with its schema brought up to date.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://user:password@host/database``.

    Raises:
        ConfigurationError: The URL is not of these forms, or a newer Headway wrote the database.
        ConflictError: (SQLite) another server uses the directory.
        MissingExtraError: (PostgreSQL) the driver is not installed.
        UnavailableError: The database does not answer.
    """
    scheme = url.partition(":")[0]
    if scheme not in BACKENDS:
        raise ConfigurationError(
            f"The storage URL begins with {scheme!r}, which is no kind of storage.",
            hint=f"Known are: {', '.join(sorted(BACKENDS))}.",
        )
    module, _, function = BACKENDS[scheme].partition(":")
    return cast(Storage, getattr(import_module(module), function)(url))


@runtime_checkable
class StorageWithSegments(Protocol):
    """A storage that also keeps the bytes of streams, because several servers share it."""

    def segments(self) -> SegmentStore: ...


def open_segments(storage: Storage, directory: Path) -> SegmentStore:
    """Where the bytes of streams are kept: in the database if it volunteers, else in files below ``directory``."""
    return storage.segments() if isinstance(storage, StorageWithSegments) else FileSegments(directory)
