"""Takes back a new version that answers worse than its guard allows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from headway.domain.base import now
from headway.domain.deployments import DeployedVersion, Deployment, DeploymentState, Guard, Revision
from headway.domain.judgement import BASELINE_SECONDS, Baseline, new_versions, problem, replaced_keys
from headway.domain.tally import Tally, is_shadows
from headway.domain.traffic import WINDOW_SECONDS, TrafficCell
from headway.errors import HeadwayError
from headway.server.actions.following import FollowedDeployments
from headway.server.actions.recording import record
from headway.server.actions.revisions import roll_back, with_traffic_before
from headway.server.context import Platform
from headway.storage.base import Session

logger = logging.getLogger("headway.workers.guard")

ACTOR = "guard"
ALARM = "deployment.guard_alarm"
"""The event of a version that would have been taken back if there were anything to go back to."""
LATE_SECONDS = 15.0
"""How long after the watch gateways may still tell of requests within it."""
SHARE_OF_AGE = 0.01
"""A revision is judged again after this share of its age, so that a watch of a day costs no more than one of minutes."""


@dataclass
class Watch:
    """A live revision whose new versions are judged."""

    revision: Revision
    before: Revision | None
    guard: Guard
    news: tuple[DeployedVersion, ...]
    live_at: datetime
    next_look: datetime | None = None

    @property
    def over_at(self) -> datetime:
        return _over_at(self.live_at, self.guard)


class GuardWorker:
    """One look judges every revision that went live lately. What it remembers may be lost without harm."""

    def __init__(self, platform: Platform, clock: Callable[[], datetime] = now) -> None:
        self._platform, self._clock = platform, clock
        self._followed = FollowedDeployments()
        self._watches: dict[str, Watch] = {}

    def look(self) -> None:
        with self._platform.storage.read() as session:
            moment = self._clock()
            for deployment_id in self._followed.refresh(session):
                self._watch(session, deployment_id, moment)
            found = [(watch, self._problem(session, watch, moment)) for watch in self._due(moment)]
        for watch, reason in found:
            if not reason:
                continue
            try:
                self._act(watch, reason)
            except Exception:
                logger.exception("deployment %s: it could not be taken back", watch.revision.deployment_id)

    def _watch(self, session: Session, deployment_id: str, moment: datetime) -> None:
        """Begin to watch what is live now, or stop where there is nothing to judge."""
        deployment = self._followed.get(deployment_id)
        known = self._watches.pop(deployment_id, None)
        if deployment is None or deployment.guard is None:
            return
        if known is not None and (known.revision.number, known.guard) == (deployment.revision, deployment.guard):
            self._watches[deployment_id] = known
            return
        watch = _watch_of(session, deployment, moment)
        if watch is not None and not _was_alarmed(session, watch.revision):
            self._watches[deployment_id] = watch

    def _due(self, moment: datetime) -> list[Watch]:
        """Those to judge now. While a deployment is stopped or changes anyway there is nothing to take back."""
        self._watches = {id: watch for id, watch in self._watches.items() if moment < watch.over_at}
        due = []
        for deployment_id, watch in self._watches.items():
            deployment = self._followed.get(deployment_id)
            early = watch.next_look is not None and moment < watch.next_look
            if deployment is None or early or not _may_act(deployment, watch):
                continue
            watch.next_look = moment + (moment - watch.live_at) * SHARE_OF_AGE
            due.append(watch)
        return due

    def _problem(self, session: Session, watch: Watch, moment: datetime) -> str:
        end = min(moment, watch.live_at + timedelta(seconds=watch.guard.watch_seconds))
        begin = int(watch.live_at.timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS
        deployment_id = watch.revision.deployment_id
        cells = session.traffic.windows(deployment_id, begin, int(end.timestamp()) + 1)
        for version in watch.news:
            since = _first_window(version, watch)
            own = _tally(cells, (version.key,), since)
            if own.requests < watch.guard.minimum_requests:
                continue
            found = problem(watch.guard, version.key, own, self._baseline(session, watch, version, cells, since))
            if found:
                return found
        return ""

    def _baseline(
        self, session: Session, watch: Watch, version: DeployedVersion, cells: Sequence[TrafficCell], since: int
    ) -> Baseline | None:
        """What ``version`` is compared with: read only where a rule asks for it."""
        if watch.before is None or watch.guard.max_p95_ratio is None:
            return None
        keys, still = replaced_keys(version, watch.revision.spec, watch.before.spec)
        if still:
            return Baseline(keys, _tally(cells, keys, since))
        end = int(watch.live_at.timestamp())
        earlier = session.traffic.windows(watch.revision.deployment_id, end - BASELINE_SECONDS, end)
        return Baseline(keys, _tally(earlier, keys, 0))

    def _act(self, watch: Watch, reason: str) -> None:
        with self._platform.storage.write() as session:
            deployment = session.deployments.find(watch.revision.deployment_id)
            if deployment is None or not _may_act(deployment, watch):
                return
            # Another server may have said it meanwhile.
            if not _was_alarmed(session, watch.revision):
                _take_back(session, deployment, watch, reason)
        self._watches.pop(watch.revision.deployment_id, None)


def _take_back(session: Session, deployment: Deployment, watch: Watch, reason: str) -> None:
    if watch.before is None:
        _alarm(session, deployment, watch.revision, f"{reason}; there is no earlier revision to go back to")
        return
    try:
        roll_back(session, deployment, reason, actor=ACTOR)
    except HeadwayError as error:
        _alarm(session, deployment, watch.revision, f"{reason}; it could not be taken back: {error.message}")


def _watch_of(session: Session, deployment: Deployment, moment: datetime) -> Watch | None:
    """None where nothing is to be judged: a revision that took another back is not taken back itself."""
    revision = session.revisions.find(deployment.id, deployment.revision)
    if revision is None or revision.live_at is None or deployment.guard is None or revision.takes_back is not None:
        return None
    if moment >= _over_at(revision.live_at, deployment.guard):
        return None
    before = next(with_traffic_before(session, revision), None)
    news = new_versions(revision.spec, None if before is None else before.spec)
    return Watch(revision, before, deployment.guard, news, revision.live_at) if news else None


def _over_at(live_at: datetime, guard: Guard) -> datetime:
    return live_at + timedelta(seconds=guard.watch_seconds + LATE_SECONDS)


def _was_alarmed(session: Session, revision: Revision) -> bool:
    events = session.events.after(0, subject_id=revision.deployment_id, types=[ALARM])
    return any(event.data.get("revision") == revision.number for event in events)


def _may_act(deployment: Deployment, watch: Watch) -> bool:
    wanted = deployment.desired is DeploymentState.RUNNING
    return wanted and deployment.revision == watch.revision.number and deployment.pending is None


def _first_window(version: DeployedVersion, watch: Watch) -> int:
    """Where judging begins. What a version of the same name did before, as it was then, is not held against it."""
    live_at = watch.live_at.timestamp()
    known = watch.before is not None and any(old.key == version.key for old in watch.before.spec.versions)
    begun = int(live_at) // WINDOW_SECONDS * WINDOW_SECONDS
    return begun + WINDOW_SECONDS if known else begun


def _tally(cells: Sequence[TrafficCell], keys: Sequence[str], since: int) -> Tally:
    return Tally(cell for cell in cells if cell.version in keys and cell.start >= since and not is_shadows(cell))


def _alarm(session: Session, deployment: Deployment, revision: Revision, reason: str) -> None:
    record(
        session,
        ALARM,
        deployment.id,
        project_id=deployment.project_id,
        actor=ACTOR,
        message=reason,
        revision=revision.number,
        reason=reason,
    )
    session.revisions.put(session.revisions.get(deployment.id, revision.number).evolve(reason=reason))
