"""Keeps as many replicas of every deployment answering as were asked for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from headway.domain.base import now
from headway.domain.deployments import DeployedVersion, Deployment, DeploymentState
from headway.domain.replicas import Action, Attempt, Directive, OwnerKind, Replica, ReplicaPhase, ReplicaSpec
from headway.errors import HeadwayError, NotFoundError
from headway.server.actions import capacity
from headway.server.actions.attempts import add_attempt, base_spec, end_attempt, with_gpus
from headway.server.actions.deployments import SERVER_ROLE, move
from headway.server.context import Platform
from headway.server.workers.progress import HARD_STOP_AFTER, Absences, mark_lost
from headway.server.workers.reconciler import Pacer, leased
from headway.server.workers.salvage import salvage
from headway.storage.base import Session

logger = logging.getLogger("headway.workers.deployments")

GRACE_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
FREE_FAILURES = 1
"""Replacements that start at once; later ones wait, twice as long each time."""
STEADY = timedelta(seconds=10)
"""How long all replicas must have answered until earlier failures are forgotten."""
CARRIED_FAILURES = 2
"""How many failures count until then: a replica that dies as soon as it answers is not replaced at once for ever."""
ERROR_AFTER = 3
"""Failures without success after which the state says error."""
HEALTH_PATH = "/health"


@dataclass(frozen=True)
class Placed:
    """One replica of a deployment: an attempt of its own, so that it is replaced alone."""

    attempt: Attempt
    replica: Replica


class DeploymentWorker:
    """One look goes over every deployment that has, or should have, replicas."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._pacer = Pacer()
        self._absences = Absences()

    def look(self) -> None:
        with self._platform.storage.read() as session:
            deployments = session.deployments.all()
            placed = all_placed(session)
        for deployment in deployments:
            try:
                self._tend(deployment, placed.get(deployment.id, []))
            except Exception:
                logger.exception("deployment %s: the step failed; it is tried again", deployment.id)

    def _tend(self, deployment: Deployment, placed: Sequence[Placed]) -> None:
        if not placed and deployment.state is DeploymentState.STOPPED and deployment.desired is deployment.state:
            return
        for one in placed:
            self._watch(deployment, one)
        if not self._settle(deployment, placed, now()):
            return
        with self._platform.storage.write() as session:
            current = session.deployments.find(deployment.id)
            if current is not None:
                self._apply(session, current, now())
        self._start_new(deployment)

    def _watch(self, deployment: Deployment, one: Placed) -> None:
        """Start what is recorded and not placed, and take over from agents that died."""
        platform = self._platform
        if not one.attempt.placed:
            self._start(deployment, one)
            return
        self._end_slow(one)
        if not self._pacer.due(one.attempt.id):
            return
        asked = now()
        for seen in self._absences.lost([one.replica], platform.engine.observe(one.attempt.token), asked):
            with leased(platform, f"attempt:{one.attempt.id}") as lease:
                if lease is None:
                    return
                salvage(platform, one.attempt, seen.replica_id)
                with platform.storage.write() as session:
                    lease.check(session)
                    replica = session.replicas.find(seen.replica_id)
                    if replica is not None and not replica.phase.ended:
                        session.replicas.put(mark_lost(replica, seen, asked))

    def _end_slow(self, one: Placed) -> None:
        """A replica that was told to stop and did not is ended by the engine."""
        since = one.attempt.ending_since
        if since is None or one.replica.phase.ended:
            return
        if now() - since > timedelta(seconds=GRACE_SECONDS) + HARD_STOP_AFTER:
            self._platform.engine.stop(one.attempt.token, hard=True)

    def _settle(self, deployment: Deployment, placed: Sequence[Placed], moment: datetime) -> bool:
        """Whether :meth:`_apply` has anything to do."""
        if any(one.replica.phase.ended for one in placed):
            return True
        if deployment.desired is DeploymentState.STOPPED:
            return bool(serving(placed)) or not placed
        if wanted_now(deployment, placed, moment) > 0 or steady(deployment, moment):
            return True
        return present_state(deployment, placed) != (deployment.state, deployment.reason)

    def _apply(self, session: Session, deployment: Deployment, moment: datetime) -> None:
        before = deployment
        for one in locked_placed(session, deployment):
            if one.replica.phase.ended:
                deployment = _bury(session, deployment, one, moment)
        placed = locked_placed(session, deployment)
        if deployment.desired is DeploymentState.STOPPED:
            _tell_all_to_stop(session, placed, moment)
            if not placed and deployment.state is not DeploymentState.STOPPED:
                deployment = move(session, deployment, DeploymentState.STOPPED, "stopped on request", moment=moment)
        else:
            deployment, added, waiting = self._add_missing(session, deployment, placed, moment)
            deployment = _tell_state(session, deployment, [*placed, *added], waiting, moment)
        # What waits for room is looked at again and again: writing what did not change would wake the next look at once.
        if deployment != before:
            session.deployments.put(deployment)

    def _add_missing(
        self, session: Session, deployment: Deployment, placed: Sequence[Placed], moment: datetime
    ) -> tuple[Deployment, list[Placed], str]:
        """The deployment, the replicas that were added, and what the others wait for."""
        added: list[Placed] = []
        if wanted_now(deployment, placed, moment) <= 0:
            return deployment, added, ""
        capacity.lock(session)
        for version in deployment.versions:
            have = sum(one.attempt.model_version_id == version.model_version_id for one in serving(placed))
            for _ in range(version.replicas - have):
                one = self._add_replica(session, deployment, version)
                if isinstance(one, str):
                    return deployment, added, one
                added.append(one)
                deployment = deployment.evolve(last_number=one.attempt.number)
        return deployment, added, ""

    def _add_replica(self, session: Session, deployment: Deployment, version: DeployedVersion) -> Placed | str:
        """The replica, recorded; or why it must wait."""
        platform = self._platform
        try:
            need = capacity.need_of(session, {SERVER_ROLE: (version.instance_type, 1)})
        except NotFoundError as error:
            return f"waiting for its instance type: {error.message}"
        gpus, waiting = capacity.reserve(session, need, platform.engine.capacity())
        if waiting:
            return waiting
        attempt, replicas = add_attempt(
            platform,
            session,
            kind=OwnerKind.DEPLOYMENT,
            owner_id=deployment.id,
            project_id=deployment.project_id,
            run_id=deployment.run_id,
            user_id=deployment.created_by,
            number=deployment.last_number + 1,
            roles=[(SERVER_ROLE, 1)],
            instance_types={SERVER_ROLE: need.types[SERVER_ROLE].name},
            gpus=gpus,
            model_version_id=version.model_version_id,
            directive=Directive(version=1, action=Action.START),
        )
        return Placed(attempt, replicas[0])

    def _start_new(self, deployment: Deployment) -> None:
        with self._platform.storage.read() as session:
            placed = load_placed(session, deployment)
        for one in placed:
            if not one.attempt.placed:
                self._start(deployment, one)

    def _start(self, deployment: Deployment, one: Placed) -> None:
        platform = self._platform
        with leased(platform, f"attempt:{one.attempt.id}") as lease:
            if lease is None:
                return
            with platform.storage.read() as session:
                spec = replica_spec(platform, session, deployment, one)
            problem = ""
            try:
                platform.engine.start([spec])
            except HeadwayError as error:
                problem = str(error)
            with platform.storage.write() as session:
                lease.check(session)
                attempt = session.attempts.find(one.attempt.id)
                if attempt is not None:
                    session.attempts.put(attempt.evolve(placed=True))
                replica = session.replicas.find(one.replica.id)
                if replica is not None and problem:
                    lost = replica.evolve(phase=ReplicaPhase.LOST, reason=problem, finished_at=now())
                    session.replicas.put(lost)
            if attempt is None or problem:
                platform.engine.stop(one.attempt.token, hard=True)


def all_placed(session: Session) -> dict[str, list[Placed]]:
    """Deployment id to its open replicas, for all deployments in two queries."""
    attempts = {a.id: a for a in session.attempts.open() if a.owner_kind is OwnerKind.DEPLOYMENT}
    found: dict[str, list[Placed]] = {}
    for replica in session.replicas.of_attempts(list(attempts)):
        found.setdefault(replica.owner_id, []).append(Placed(attempts[replica.attempt_id], replica))
    return found


def load_placed(session: Session, deployment: Deployment) -> list[Placed]:
    attempts = [a for a in session.attempts.of_owner(OwnerKind.DEPLOYMENT, deployment.id) if a.ended_at is None]
    return [Placed(attempt, replica) for attempt in attempts for replica in session.replicas.of_attempt(attempt.id)]


def locked_placed(session: Session, deployment: Deployment) -> list[Placed]:
    """As :func:`load_placed`, each as it is until the write session ends."""
    return [
        Placed(session.attempts.get(one.attempt.id), session.replicas.get(one.replica.id))
        for one in load_placed(session, deployment)
    ]


def serving(placed: Sequence[Placed]) -> list[Placed]:
    """Those that are not told to stop: only they count."""
    return [one for one in placed if one.replica.directive.action is not Action.STOP]


def wanted_now(deployment: Deployment, placed: Sequence[Placed], moment: datetime) -> int:
    """How many replicas are to be started now."""
    if deployment.next_start_at is not None and moment < deployment.next_start_at:
        return 0
    return deployment.replica_count - len(serving(placed))


def steady(deployment: Deployment, moment: datetime) -> bool:
    """Whether all replicas have answered for so long that earlier failures are to be forgotten."""
    running = deployment.state is DeploymentState.RUNNING and deployment.failures > 0
    return running and moment - deployment.state_changed_at >= STEADY


def present_state(deployment: Deployment, placed: Sequence[Placed], waiting: str = "") -> tuple[DeploymentState, str]:
    """State and reason of a deployment that should run, from its replicas and what the missing ones wait for."""
    wanted = deployment.replica_count
    ready = sum(one.replica.phase is ReplicaPhase.RUNNING for one in serving(placed))
    reason = f"{ready} of {wanted} replicas answer"
    if ready >= wanted:
        return DeploymentState.RUNNING, reason
    if waiting:
        reason = f"{reason}; {waiting}"
    elif deployment.failures and deployment.reason.startswith(REPLACED):
        reason = deployment.reason
    failing = deployment.failures >= ERROR_AFTER and not ready
    return DeploymentState.ERROR if failing else DeploymentState.STARTING, reason


def _tell_state(
    session: Session, deployment: Deployment, placed: Sequence[Placed], waiting: str, moment: datetime
) -> Deployment:
    """``deployment`` in its present state. The caller puts it."""
    state, reason = present_state(deployment, placed, waiting)
    if state is not deployment.state:
        deployment = move(session, deployment, state, reason, moment=moment)
    if state is DeploymentState.RUNNING:
        kept = 0 if steady(deployment, moment) else min(deployment.failures, CARRIED_FAILURES)
        deployment = deployment.evolve(failures=kept, next_start_at=None)
    return deployment.evolve(reason=reason)


REPLACED = "a replica ended"


def _bury(session: Session, deployment: Deployment, one: Placed, moment: datetime) -> Deployment:
    """Take a replica that ended out of the count, and say why it ended if nobody asked for it."""
    end_attempt(session, one.attempt, succeeded=one.replica.exit_code == 0)
    if one.replica.directive.action is Action.STOP:
        return deployment
    failures = deployment.failures + 1
    pause = 0.0 if failures <= FREE_FAILURES else min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 2))
    return deployment.evolve(
        failures=failures,
        next_start_at=moment + timedelta(seconds=pause),
        reason=f"{REPLACED} ({describe_end(one)}) and is replaced" + (f" in {pause:.0f} s" if pause else ""),
    )


def describe_end(one: Placed) -> str:
    replica = one.replica
    how = replica.reason or (f"signal {replica.signal}" if replica.signal else f"exit code {replica.exit_code}")
    last = next((line for line in reversed(replica.last_lines) if line.strip()), "")
    return f"{SERVER_ROLE}-{one.attempt.number}: {how}" + (f": {last[:300]}" if last else "")


def _tell_all_to_stop(session: Session, placed: Sequence[Placed], moment: datetime) -> None:
    for one in serving(placed):
        version = one.replica.directive.version + 1
        session.replicas.put(one.replica.evolve(directive=Directive(version=version, action=Action.STOP)))
        session.attempts.put(one.attempt.evolve(ending_since=moment))


def replica_spec(platform: Platform, session: Session, deployment: Deployment, one: Placed) -> ReplicaSpec:
    """What the agent of one serving replica is given."""
    version = session.model_versions.get(one.attempt.model_version_id or "")
    command = (sys.executable, "-m", "headway.serving")
    base = base_spec(platform, one.attempt, one.replica, deployment.name, 1, command)
    return base.evolve(
        environment=with_gpus(
            platform,
            one.attempt,
            one.replica,
            {
                **deployment.environment,
                "HEADWAY_MODEL_NAME": deployment.name,
                "HEADWAY_MODEL_VERSION": str(version.version),
            },
        ),
        model_files=version.files,
        health_path=HEALTH_PATH,
        grace_seconds=GRACE_SECONDS,
        collect_files=False,
    )
