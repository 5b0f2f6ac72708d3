"""Events: everything that happened, in one sequence."""

from __future__ import annotations

from typing import Any

from headway.domain.base import Record, Timestamp


class Event(Record):
    """One thing that happened. ``sequence`` grows without gaps being visible to a reader that follows it.

    ``type`` is ``<subject kind>.<what>``: ``job.state_changed`` carries ``data = {"from", "to", "reason"}``.
    ``actor`` is a user id, or ``platform``. No event ever holds a secret.
    """

    sequence: int = 0
    time: Timestamp
    type: str
    project_id: str | None = None
    subject_id: str
    actor: str = "platform"
    message: str = ""
    data: dict[str, Any] = {}
