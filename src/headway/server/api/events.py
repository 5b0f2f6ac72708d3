"""/events, as a list and live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from headway.domain.base import Page
from headway.domain.events import Event
from headway.domain.users import Permission
from headway.errors import InvalidRequestError
from headway.server.actions import events
from headway.server.actions.subjects import subject_finished
from headway.server.api.rights import PlatformParameter, right
from headway.server.api.sse import Batch, message, stream
from headway.server.context import Caller, Platform

router = APIRouter(prefix="/events", tags=["events"])

EVENTS_A_LOOK = 200


@router.get("", response_model=Page[Event])
def list_all(
    request: Request,
    platform: PlatformParameter,
    project: str | None = None,
    subject: str | None = None,
    type: Annotated[list[str] | None, Query()] = None,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    caller: Caller = right(Permission.READ),
) -> Any:
    """Events above ``after``; live, as server-sent events, when that is what the client accepts."""
    if "text/event-stream" in request.headers.get("accept", ""):
        sequence = _sequence(request.headers.get("last-event-id"), after)
        state = _Following(platform, sequence, project, subject, type or ())
        return stream(platform, caller, state.look)
    found = events.read(platform, caller, after=after, limit=limit, project=project, subject=subject, types=type or ())
    return Page[Event](items=tuple(found))


def _sequence(last_event_id: str | None, after: int) -> int:
    if last_event_id is None:
        return after
    if not last_event_id.isdecimal() or len(last_event_id) > 18:
        raise InvalidRequestError(f"The Last-Event-ID {last_event_id[:50]!r} is not a sequence number.")
    return int(last_event_id)


class _Following:
    """Remembers how far one client has been served."""

    def __init__(
        self,
        platform: Platform,
        sequence: int,
        project: str | None,
        subject: str | None,
        types: Sequence[str],
    ) -> None:
        self._platform, self._sequence = platform, sequence
        self._project, self._subject, self._types = project, subject, types

    def look(self, caller: Caller) -> Batch:
        finished = self._subject is not None and subject_finished(self._platform, caller, self._subject)
        found = events.read(
            self._platform,
            caller,
            after=self._sequence,
            limit=EVENTS_A_LOOK,
            project=self._project,
            subject=self._subject,
            types=self._types,
        )
        if found:
            self._sequence = found[-1].sequence
        messages = tuple(message("event", event.model_dump_json(), id=str(event.sequence)) for event in found)
        return Batch(messages=messages, ended=finished and not found, more=bool(found))
