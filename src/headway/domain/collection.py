"""Garbage collection: blobs that nothing refers to."""

from __future__ import annotations

from pydantic import Field

from headway.domain.base import Record, Request

DEFAULT_GRACE_HOURS = 24.0


class CollectionRequest(Request):
    """``grace_hours``: what was sent, or named by a client, within so many hours stays whatever refers to it."""

    dry_run: bool = False
    grace_hours: float = Field(default=DEFAULT_GRACE_HOURS, ge=0, le=24 * 3650, allow_inf_nan=False)


class CollectionReport(Record):
    """What a collection removed, or with ``dry_run`` would remove."""

    dry_run: bool
    grace_hours: float
    blobs: int = 0
    bytes: int = 0
    """Of those blobs, on the server's disk."""
    uploads: int = 0
    """Uploads that nobody went on with."""
    upload_bytes: int = 0
    environments: int = 0
    """Virtual environments of models that no replica used within the grace, nor uses now."""
    environment_bytes: int = 0
    kept: int = 0
    """Blobs that stay: they are referred to, or were sent or asked for within the grace."""
