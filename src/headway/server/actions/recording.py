"""Writing the sequence of events."""

from __future__ import annotations

from typing import Any

from headway.domain.base import now
from headway.domain.events import Event
from headway.storage.base import Session


def record(
    session: Session,
    type: str,
    subject_id: str,
    *,
    project_id: str | None,
    actor: str = "platform",
    message: str = "",
    **data: Any,
) -> Event:
    """Append an event to the session's transaction. ``data`` must hold no secret."""
    event = Event(
        time=now(), type=type, subject_id=subject_id, project_id=project_id, actor=actor, message=message, data=data
    )
    return session.events.append(event)
