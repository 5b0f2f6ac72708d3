"""What makes one replica of a deployment like another, and how many of each kind are wanted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from headway.domain.deployments import Batching, DeployedVersion, Deployment, DeploymentSpec
from headway.domain.replicas import Action, Attempt, OwnerKind, Replica, ReplicaPhase
from headway.storage.base import Session


@dataclass(frozen=True)
class Placed:
    """One replica of a deployment: an attempt of its own, so that it is replaced alone."""

    attempt: Attempt
    replica: Replica

    @property
    def serves(self) -> bool:
        """Whether it is to go on: only such count."""
        return self.replica.directive.action is not Action.STOP and self.attempt.draining_since is None

    @property
    def answers(self) -> bool:
        return self.serves and self.replica.phase is ReplicaPhase.RUNNING


@dataclass(frozen=True)
class Wanted:
    """Replicas of one template."""

    template: str
    version: DeployedVersion
    spec: DeploymentSpec
    count: int


def template_of(spec: DeploymentSpec, version: DeployedVersion) -> str:
    """The template of a version's replicas: a digest of all that a running one cannot change."""
    environment = tuple(sorted(spec.environment.items()))
    return _digest(version.model_version_id, version.instance_type, environment, spec.batching)


@lru_cache(maxsize=4096)  # every look at a deployment asks for it, and it hardly ever changes
def _digest(
    model_version_id: str, instance_type: str | None, environment: tuple[tuple[str, str], ...], batching: Batching
) -> str:
    parts = [model_version_id, instance_type, environment, batching.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def template_of_attempt(deployment: Deployment, attempt: Attempt) -> str:
    """The template that an attempt was made from; those from before there were any are taken for the live version's."""
    if attempt.template:
        return attempt.template
    for version in deployment.versions:
        if version.model_version_id == attempt.model_version_id:
            return template_of(deployment.spec, version)
    return ""


def wanted_of(spec: DeploymentSpec) -> list[Wanted]:
    """What a spec asks for, one for each version."""
    return [Wanted(template_of(spec, version), version, spec, version.replicas) for version in spec.versions]


def wanted_by(specs: Iterable[DeploymentSpec]) -> list[Wanted]:
    """What several specs ask for together: of each template as many as the one that wants most."""
    found: dict[str, Wanted] = {}
    for spec in specs:
        for wanted in wanted_of(spec):
            known = found.get(wanted.template)
            if known is None or known.count < wanted.count:
                found[wanted.template] = wanted
    return list(found.values())


def of_template(deployment: Deployment, placed: Iterable[Placed], template: str) -> list[Placed]:
    return [one for one in placed if template_of_attempt(deployment, one.attempt) == template]


def is_up(deployment: Deployment, spec: DeploymentSpec, placed: Sequence[Placed]) -> bool:
    """Whether ``spec`` could have the traffic: each version that takes any has the replicas that it wants, all answering;
    one that scales has one at least, unless it is scaled to zero."""
    for wanted in wanted_of(spec):
        answering = sum(one.answers for one in of_template(deployment, placed, wanted.template))
        needed = wanted.count if wanted.version.scaling is None else min(1, wanted.count)
        if wanted.version.serves and answering < needed:
            return False
    return True


def with_present_counts(deployment: Deployment, spec: DeploymentSpec) -> DeploymentSpec:
    """``spec`` with as many replicas of each version that scales as the live revision has of it now: a spec of some time
    ago knows nothing of what the scaler did since. One that is not live begins with a replica at least, to show that it
    works."""
    scaled = {
        template_of(deployment.spec, version): version.replicas for version in deployment.versions if version.scaling
    }
    versions = []
    for version in spec.versions:
        if version.scaling is not None:
            present = scaled.get(template_of(spec, version), max(1, version.replicas))
            count = min(max(present, version.scaling.minimum), version.scaling.maximum)
            version = version.evolve(replicas=count)
        versions.append(version)
    return spec.evolve(versions=tuple(versions))


def stamp(session: Session, deployment: Deployment, placed: Iterable[Placed]) -> list[Placed]:
    """``placed`` with the template of those written down that were started before there were any: they are of what is live
    now, and must not be taken for what is live later."""
    found = []
    for one in placed:
        if not one.attempt.template:
            attempt = session.attempts.get(one.attempt.id)
            attempt = attempt.evolve(template=template_of_attempt(deployment, attempt))
            session.attempts.put(attempt)
            one = Placed(attempt, one.replica)
        found.append(one)
    return found


def all_placed(session: Session) -> dict[str, list[Placed]]:
    """Deployment id to its open replicas, for all deployments in two queries."""
    attempts = {a.id: a for a in session.attempts.open() if a.owner_kind is OwnerKind.DEPLOYMENT}
    found: dict[str, list[Placed]] = {}
    for replica in session.replicas.of_attempts(list(attempts)):
        found.setdefault(replica.owner_id, []).append(Placed(attempts[replica.attempt_id], replica))
    return found


def load_placed(session: Session, deployment_id: str) -> list[Placed]:
    attempts = {
        attempt.id: attempt
        for attempt in session.attempts.of_owner(OwnerKind.DEPLOYMENT, deployment_id)
        if attempt.ended_at is None
    }
    return [Placed(attempts[replica.attempt_id], replica) for replica in session.replicas.of_attempts(list(attempts))]


def locked_placed(session: Session, deployment_id: str) -> Iterator[Placed]:
    """As :func:`load_placed`, each as it is until the write session ends."""
    for one in load_placed(session, deployment_id):
        yield Placed(session.attempts.get(one.attempt.id), session.replicas.get(one.replica.id))
