"""The stream bytes of a server, for processes of its own that read them."""

from __future__ import annotations

from pathlib import Path

from headway.storage.segments.base import SegmentStore
from headway.storage.segments.files import FileSegments

SEGMENTS = "segments"


def open_stream_bytes(database_url: str | None, data: Path) -> SegmentStore:
    """Where the server with this database keeps the bytes of streams.

    Args:
        database_url: As for :func:`headway.storage.opening.open_storage`; SQLite (or None) has them in files below ``data``.
        data: The server's data directory.
    """
    if database_url is None or database_url.startswith("sqlite:"):
        return FileSegments(data / SEGMENTS)
    from headway.storage.segments.sql import SqlSegments
    from headway.storage.sql.postgres import open_engine

    return SqlSegments(open_engine(database_url))
