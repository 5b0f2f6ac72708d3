"""client.events: everything that happened, in one sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headway.domain.events import Event
from headway.errors import InvalidRequestError
from headway.sdk import wire
from headway.sdk.resources.base import Resource
from headway.sdk.session import Session


class Events(Resource):
    path = "/api/v1/events"
    noun = "event"

    def list(
        self,
        *,
        project: str | None = None,
        subject: str | None = None,
        type: str | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Past events, oldest first, after the sequence number ``after``."""
        if after < 0 or (limit is not None and limit < 0):
            raise InvalidRequestError(f"after and limit count from 0, not {after!r} and {limit!r}.")
        query = {"project": self._scope(project), "subject": subject, "type": type}
        return self._past(query, after, limit)

    def _past(self, query: dict[str, str | None], after: int, left: int | None) -> Iterator[Event]:
        while left is None or left > 0:
            size = 1000 if left is None else min(left, 1000)
            found = self._session.items(Event, self.path, {**query, "after": after, "limit": size})
            yield from found[:left]
            if len(found) < size:
                return
            after = found[-1].sequence
            left = None if left is None else left - len(found)

    def stream(
        self,
        *,
        project: str | None = None,
        subject: str | None = None,
        type: str | None = None,
        after: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Event]:
        """Events as they happen, each once, across lost connections.

        Args:
            project: Only those of this project.
            subject: Only those of this job, deployment or other thing. A job's stream ends once the job has finished.
            type: Only those of this type, as ``job.state_changed``.
            after: Begin after this sequence number; 0 is the beginning of time.
            timeout: Seconds after which WaitTimeoutError is raised; None follows for ever.
        """
        query = {"project": self._scope(project), "subject": subject, "type": type, "after": after}
        return follow_events(self._session, query, timeout=timeout, what="The end of the events")


def follow_events(
    session: Session, query: Mapping[str, object], *, timeout: float | None = None, what: str
) -> Iterator[Event]:
    """The event stream that ``query`` describes, each event once, in order."""
    last = -1
    for item in session.follow(Events.path, query, timeout=timeout, what=what):
        if item.event != "event":
            continue
        event = wire.parse_record(Event, wire.decode(item.data.encode(), Events.path), Events.path)
        if event.sequence > last:
            last = event.sequence
            yield event
