"""Gives each scaling version as many replicas as its requests need, and none while there are none."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from headway.domain.base import now
from headway.domain.deployments import DeployedVersion, Deployment, DeploymentState
from headway.domain.replicas import OwnerKind
from headway.domain.scaling import MEAN_SECONDS, Decision, Load, decide, mean_in_flight
from headway.domain.traffic import WINDOW_SECONDS, TrafficCell
from headway.server.actions import capacity
from headway.server.actions.deployments import set_replicas
from headway.server.actions.following import FollowedDeployments
from headway.server.actions.recording import record
from headway.server.actions.specs import SERVER_ROLE
from headway.server.actions.traffic import WAITING_COUNTS
from headway.server.context import Platform
from headway.storage.base import Session

logger = logging.getLogger("headway.workers.scaling")

LOOK_SECONDS = 0.9
"""How often requests are counted, however often something changes. One that begins to wait is seen at once."""

ACTIVE_SECONDS = 3.0
"""How long a request that was seen counts as going on: gateways report every second, if nothing keeps them from it."""

Place = tuple[str, str]
"""A deployment's id and a version's key."""


class ScalingWorker:
    """One look goes over every deployment that scales; what it remembers may be lost without harm."""

    def __init__(self, platform: Platform, clock: Callable[[], datetime] = now) -> None:
        self._platform, self._clock = platform, clock
        self._followed = FollowedDeployments()
        self._activity = Activity()
        self._enough_since: dict[Place, float] = {}
        self._told: dict[Place, int] = {}
        """How many were wanted where no room was for any, so that it is said once."""
        self._looked = -math.inf
        self._waiting: Mapping[str, int] = {}

    def look(self) -> None:
        moment = self._clock()
        with self._platform.storage.read() as session:
            waiting = session.traffic.all_waiting(moment - WAITING_COUNTS)
            if not self._due(waiting, moment.timestamp()):
                return
            self._followed.refresh(session)
            scaling = [deployment for deployment in self._followed if _scales(deployment)]
            since = int(moment.timestamp() - MEAN_SECONDS) // WINDOW_SECONDS * WINDOW_SECONDS
            cells = session.traffic.recent(since) if scaling else ()
        self._activity.read(cells, moment.timestamp())
        self._forget({deployment.id for deployment in scaling})
        by_deployment = _grouped(cells)
        for deployment in scaling:
            try:
                self._tend(deployment, by_deployment.get(deployment.id, ()), waiting.get(deployment.id, 0), moment)
            except Exception:
                logger.exception("deployment %s: it could not be scaled; it is tried again", deployment.id)

    def _due(self, waiting: Mapping[str, int], moment: float) -> bool:
        began = waiting.keys() - self._waiting.keys()
        if not began and 0 <= moment - self._looked < LOOK_SECONDS:
            return False
        self._looked, self._waiting = moment, waiting
        return True

    def _forget(self, scaling: set[str]) -> None:
        for memory in (self._enough_since, self._told):
            for place in [place for place in memory if place[0] not in scaling]:
                del memory[place]

    def _tend(self, deployment: Deployment, cells: Sequence[TrafficCell], waiting: int, moment: datetime) -> None:
        if not cells and not waiting and all(_at_rest(version) for version in deployment.versions):
            return
        shares = shares_of_waiting(deployment, waiting)
        for version in deployment.versions:
            if version.scaling is None:
                continue
            place = deployment.id, version.key
            load = self._load(deployment, version, cells, shares.get(version.key, 0), moment)
            since = self._enough_since.pop(place, None)
            decision = decide(version.scaling, version.replicas, load, since, moment.timestamp())
            if decision.replicas == version.replicas:
                self._told.pop(place, None)
            if not _may_shrink(deployment) and decision.replicas <= version.replicas:
                continue
            if decision.enough_since is not None:
                self._enough_since[place] = decision.enough_since
            if decision.replicas != version.replicas:
                self._apply(deployment, version, decision)

    def _load(
        self,
        deployment: Deployment,
        version: DeployedVersion,
        cells: Sequence[TrafficCell],
        waiting: int,
        moment: datetime,
    ) -> Load:
        own = [cell for cell in cells if cell.version == version.key]
        in_flight = mean_in_flight(own, moment.timestamp())
        if not version.shadow:
            return Load(in_flight, waiting, active=self._activity.at(deployment.id, version.key))
        # Nobody waits for a shadow: it is there while its siblings have something to do.
        active = self._activity.at(deployment.id)
        return Load(in_flight, int(active and version.replicas == 0), active=active)

    def _apply(self, deployment: Deployment, version: DeployedVersion, decision: Decision) -> None:
        """Write it down, unless somebody else changed the deployment since it was read."""
        place = deployment.id, version.key
        with self._platform.storage.write() as session:
            current = session.deployments.find(deployment.id)
            if current is None or not _unchanged(current, deployment, version):
                return
            room, waits_for = self._room(session, current, version, decision.replicas - version.replicas)
            count = min(decision.replicas, version.replicas + room) if waits_for else decision.replicas
            reason = f"{decision.reason}; {decision.replicas} are wanted, {waits_for}" if waits_for else decision.reason
            if count == version.replicas and self._told.get(place) == decision.replicas:
                return
            if count != version.replicas:
                set_replicas(session, current, version.key, count)
            _tell(session, current, version, count, reason)
        self._told[place] = decision.replicas

    def _room(self, session: Session, deployment: Deployment, version: DeployedVersion, more: int) -> tuple[int, str]:
        """How many of ``more`` replicas there is room for, and what the others wait for."""
        held = self._platform.engine.capacity()
        attempts = session.attempts.of_owner(OwnerKind.DEPLOYMENT, deployment.id)
        unplaced = max(0, deployment.replica_count - sum(attempt.ended_at is None for attempt in attempts))

        def problem(count: int) -> str:
            need = capacity.need_of(session, {SERVER_ROLE: (version.instance_type, unplaced + count)})
            return capacity.reserve(session, need, held)[1]

        waits_for = problem(more) if more > 0 else ""
        if not waits_for:
            return more, ""
        return bisect_left(range(1, more), True, key=lambda count: bool(problem(count))), waits_for


class Activity:
    """Which versions had a request lately: gateways say again what they saw, and only what grew counts."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str, int], tuple[int, float]] = {}
        self._grew: dict[Place, float] = {}

    def read(self, cells: Sequence[TrafficCell], moment: float) -> None:
        seen: dict[tuple[str, str, str, int], tuple[int, float]] = {}
        for cell in cells:
            key = cell.deployment_id, cell.version, cell.replica_id, cell.start
            requests, busy = seen.get(key, (0, 0.0))
            seen[key] = requests + sum(cell.codes.values()), busy + cell.busy_seconds
        grown = {key[:2] for key, found in seen.items() if found > self._seen.get(key, (0, 0.0))}
        recent = {place: grew for place, grew in self._grew.items() if moment - grew < ACTIVE_SECONDS}
        self._seen, self._grew = seen, recent | dict.fromkeys(grown, moment)

    def at(self, deployment_id: str, version: str | None = None) -> bool:
        if version is not None:
            return (deployment_id, version) in self._grew
        return any(place[0] == deployment_id for place in self._grew)


def shares_of_waiting(deployment: Deployment, waiting: int) -> dict[str, int]:
    """Version key to how many of the requests that wait are its: gateways choose by weight, and only versions without a
    replica keep a request waiting."""
    takers = [v for v in deployment.versions if v.scaling is not None and v.weight > 0]
    takers = [v for v in takers if v.replicas == 0] or takers
    weights = sum(version.weight for version in takers)
    return {v.key: math.ceil(waiting * v.weight / weights) for v in takers} if waiting else {}


def _scales(deployment: Deployment) -> bool:
    wanted = deployment.desired is DeploymentState.RUNNING
    return wanted and any(version.scaling is not None for version in deployment.versions)


def _at_rest(version: DeployedVersion) -> bool:
    """Whether it wants nothing as long as there is no request: nearly all of a thousand deployments."""
    return version.scaling is None or version.replicas == version.scaling.minimum


def _may_shrink(deployment: Deployment) -> bool:
    """Not while replicas come up: what they will be good for is not seen yet."""
    return deployment.pending is None and deployment.state is DeploymentState.RUNNING


def _unchanged(current: Deployment, known: Deployment, version: DeployedVersion) -> bool:
    same = (current.desired, current.revision, current.pending) == (known.desired, known.revision, known.pending)
    return same and version in current.versions


def _grouped(cells: Sequence[TrafficCell]) -> dict[str, list[TrafficCell]]:
    found: dict[str, list[TrafficCell]] = {}
    for cell in cells:
        found.setdefault(cell.deployment_id, []).append(cell)
    return found


def _tell(session: Session, deployment: Deployment, version: DeployedVersion, count: int, reason: str) -> None:
    data: dict[str, Any] = {"version": version.key, "from": version.replicas, "to": count, "reason": reason}
    message = f"{version.key} from {version.replicas} to {count} replicas: {reason}"
    record(session, "deployment.scaled", deployment.id, project_id=deployment.project_id, message=message, **data)
