"""Keeps as many replicas of every deployment answering as were asked for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import timedelta

from headway.domain.base import now
from headway.domain.deployments import Deployment, DeploymentSpec, DeploymentState
from headway.domain.replicas import ReplicaPhase, ReplicaSpec
from headway.errors import HeadwayError
from headway.server.actions.attempts import base_spec, with_gpus
from headway.server.actions.following import FollowedDeployments
from headway.server.actions.templates import Placed, all_placed, load_placed, template_of, template_of_attempt
from headway.server.context import Platform
from headway.server.workers.progress import HARD_STOP_AFTER, Absences, mark_lost
from headway.server.workers.reconciler import Pacer, leased
from headway.server.workers.rollout import Rollout, depends_on_time, is_settled
from headway.server.workers.salvage import salvage
from headway.storage.base import Session

logger = logging.getLogger("headway.workers.deployments")

GRACE_SECONDS = 10.0
HEALTH_PATH = "/health"


class DeploymentWorker:
    """One look goes over every deployment that has, or should have, replicas."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._pacer = Pacer()
        self._absences = Absences()
        self._followed = FollowedDeployments()
        self._settled: dict[str, tuple[Deployment, tuple[Placed, ...]]] = {}
        """What was looked at and needed nothing: as long as it is the same, it needs nothing."""

    def look(self) -> None:
        with self._platform.storage.read() as session:
            for changed in self._followed.refresh(session):
                self._settled.pop(changed, None)
            deployments = list(self._followed)
            pending = {revision.deployment_id: revision.spec for revision in session.revisions.pending()}
            placed = all_placed(session)
        for deployment in deployments:
            try:
                self._tend(deployment, pending.get(deployment.id), placed.get(deployment.id, []))
            except Exception:
                logger.exception("deployment %s: the step failed; it is tried again", deployment.id)

    def _tend(self, deployment: Deployment, pending: DeploymentSpec | None, placed: Sequence[Placed]) -> None:
        if not placed and deployment.state is DeploymentState.STOPPED and deployment.desired is deployment.state:
            return
        for one in placed:
            self._watch(deployment, one)
        if self._is_settled(deployment, pending, placed):
            return
        with self._platform.storage.write() as session:
            current = session.deployments.find(deployment.id)
            if current is not None:
                current = Rollout(self._platform, session, current, now()).step()
        if current is not None:
            self._followed.note(current)
        self._start_new(deployment)

    def _is_settled(self, deployment: Deployment, pending: DeploymentSpec | None, placed: Sequence[Placed]) -> bool:
        known = self._settled.get(deployment.id)
        if known is not None and known[0] is deployment and known[1] == tuple(placed):
            return True
        settled = is_settled(deployment, pending, placed, now())
        if settled and not depends_on_time(deployment, placed):
            self._settled[deployment.id] = deployment, tuple(placed)
        return settled

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

    def _start_new(self, deployment: Deployment) -> None:
        with self._platform.storage.read() as session:
            placed = load_placed(session, deployment.id)
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


def replica_spec(platform: Platform, session: Session, deployment: Deployment, one: Placed) -> ReplicaSpec:
    """What the agent of one serving replica is given."""
    # The replica may belong to a revision that was made since the deployment was read.
    deployment = session.deployments.find(deployment.id) or deployment
    version = session.model_versions.get(one.attempt.model_version_id or "")
    model = session.models.get(version.model_id)
    spec = _spec_of(session, deployment, one)
    command = (sys.executable, "-m", "headway.serving")
    base = base_spec(platform, one.attempt, one.replica, deployment.name, 1, command)
    labels = sorted(alias for alias, number in model.aliases.items() if number == version.version)
    return base.evolve(
        environment=with_gpus(
            platform,
            one.attempt,
            one.replica,
            {
                **spec.environment,
                "HEADWAY_MODEL_NAME": deployment.name,
                "HEADWAY_MODEL_VERSION": str(version.version),
                "HEADWAY_MODEL_LABELS": ",".join(labels),
                "HEADWAY_BATCHING": spec.batching.model_dump_json(),
                "HEADWAY_ENVIRONMENTS_DIR": str(platform.environments),
                "HEADWAY_ENVIRONMENTS_KEEP": str(platform.keep_environments),
            },
        ),
        model_files=version.files,
        health_path=HEALTH_PATH,
        grace_seconds=GRACE_SECONDS,
        collect_files=False,
    )


def _spec_of(session: Session, deployment: Deployment, one: Placed) -> DeploymentSpec:
    """The spec that a replica was made from: the pending one or the live one."""
    template = template_of_attempt(deployment, one.attempt)
    if deployment.pending is not None:
        pending = session.revisions.find(deployment.id, deployment.pending)
        if pending is not None and any(template_of(pending.spec, v) == template for v in pending.spec.versions):
            return pending.spec
    return deployment.spec
