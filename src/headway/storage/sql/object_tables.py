"""Tables of the object area and of monitors. See tables.py."""

from __future__ import annotations

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, UniqueConstraint

from headway.storage.sql.columns import PlainText, WholeNumber
from headway.storage.sql.tables import metadata


def _text(name: str) -> Column[str]:
    return Column(name, PlainText, nullable=False)


buckets = Table(
    "buckets",
    metadata,
    Column("id", PlainText, primary_key=True),
    _text("project_id"),
    _text("name"),
    Column("created_at", WholeNumber, nullable=False),
    _text("document"),
    UniqueConstraint("project_id", "name", name="buckets_name"),
    Index("buckets_newest", "created_at", "id"),
)

objects = Table(
    "objects",
    metadata,
    Column("id", PlainText, primary_key=True),
    _text("bucket_id"),
    _text("key"),
    _text("document"),
    UniqueConstraint("bucket_id", "key", name="objects_key"),
)
"""An object of a key that is put again keeps its id."""

monitors = Table(
    "monitors",
    metadata,
    Column("id", PlainText, primary_key=True),
    _text("project_id"),
    _text("run_id"),
    _text("name"),
    Column("active", WholeNumber, nullable=False),
    Column("created_at", WholeNumber, nullable=False),
    _text("document"),
    UniqueConstraint("run_id", "name", name="monitors_name"),
    Index("monitors_active", "active", "created_at", "id"),
)
"""``active`` is 1 until a monitor has read all that will ever come."""

monitor_progress = Table(
    "monitor_progress",
    metadata,
    _text("monitor_id"),
    Column("revision", WholeNumber, nullable=False),
    _text("stream"),
    _text("run_id"),
    Column("gone", WholeNumber, nullable=False),
    _text("document"),
    PrimaryKeyConstraint("monitor_id", "revision", "stream", name="monitor_progress_key"),
    Index("monitor_progress_run", "run_id"),
    Index("monitor_progress_gone", "gone"),
)
"""``gone`` is 1 where the revision was replaced or its monitor deleted, until its points are given back."""
