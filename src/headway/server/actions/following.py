"""Every deployment as it was last changed, without reading a thousand of them every second."""

from __future__ import annotations

from collections.abc import Iterator

from headway.domain.deployments import Deployment
from headway.storage.base import Session

PREFIX = "deployment."
EVENTS_AT_ONCE = 1000


class FollowedDeployments:
    """Reads all once, and then those that an event names. What has no event (how its replicas fare) may be behind: get a
    deployment again before changing it."""

    def __init__(self) -> None:
        self._known: dict[str, Deployment] = {}
        self._sequence: int | None = None

    def __iter__(self) -> Iterator[Deployment]:
        return iter(self._known.values())

    def get(self, deployment_id: str) -> Deployment | None:
        return self._known.get(deployment_id)

    def note(self, deployment: Deployment) -> None:
        """Know one as it was just read or written."""
        if deployment.id in self._known:
            self._known[deployment.id] = deployment

    def refresh(self, session: Session) -> set[str]:
        """The ids of those that changed, came or went."""
        if self._sequence is None:
            self._sequence = session.events.last_sequence()
            self._known = {deployment.id: deployment for deployment in session.deployments.all()}
            return set(self._known)
        changed = self._changed(session)
        for deployment_id in changed:
            found = session.deployments.find(deployment_id)
            if found is None:
                self._known.pop(deployment_id, None)
            else:
                self._known[deployment_id] = found
        return changed

    def _changed(self, session: Session) -> set[str]:
        changed: set[str] = set()
        while True:
            events = session.events.after(self._sequence or 0, limit=EVENTS_AT_ONCE)
            changed |= {event.subject_id for event in events if event.type.startswith(PREFIX)}
            if events:
                self._sequence = events[-1].sequence
            if len(events) < EVENTS_AT_ONCE:
                return changed
