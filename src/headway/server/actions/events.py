"""Reading the sequence of events."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.events import Event
from headway.server.actions.lookup import find_project
from headway.server.context import Caller, Platform


def read(
    platform: Platform,
    caller: Caller,
    *,
    after: int = 0,
    limit: int = 100,
    project: str | None = None,
    subject: str | None = None,
    types: Sequence[str] = (),
) -> Sequence[Event]:
    """Events above ``after`` in their order, as far as the caller may see them."""
    with platform.storage.read() as session:
        visible = caller.visible
        if project is not None:
            visible = frozenset({find_project(session, caller, project).id})
        return session.events.after(
            after, limit=limit, project_ids=visible, subject_id=subject, types=tuple(types) or None
        )
