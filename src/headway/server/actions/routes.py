"""What gateways are told."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.deployments import (
    Deployment,
    DeploymentState,
    Route,
    RouteReplica,
    RouteTable,
    RouteToken,
    RouteVersion,
)
from headway.domain.replicas import Action, Attempt, OwnerKind, Replica, ReplicaPhase
from headway.domain.users import Permission, TokenKind
from headway.server.actions.access import token_roles
from headway.server.context import Caller, Platform
from headway.storage.base import Session


def check_reader(caller: Caller) -> None:
    if caller.token.kind is not TokenKind.GATEWAY:
        caller.require(Permission.SERVER_ADMIN)


def version(platform: Platform) -> int:
    """The version that :func:`table` would have: cheap enough to be asked after every change."""
    with platform.storage.read() as session:
        return session.events.last_sequence()


def table(platform: Platform) -> RouteTable:
    """All routes as they stand."""
    with platform.storage.read() as session:
        sequence = session.events.last_sequence()
        deployments = session.deployments.all()
        tokens = _tokens_by_project(session) if deployments else {}
        routes = tuple(_route(session, d, tokens.get(d.project_id, ())) for d in deployments)
        return RouteTable(version=sequence, routes=routes)


def _route(session: Session, deployment: Deployment, tokens: Sequence[RouteToken]) -> Route:
    attempts = [a for a in session.attempts.of_owner(OwnerKind.DEPLOYMENT, deployment.id) if a.ended_at is None]
    by_id = {attempt.id: attempt for attempt in attempts}
    replicas = session.replicas.of_attempts(list(by_id))
    live = deployment.desired is DeploymentState.RUNNING
    versions = tuple(
        RouteVersion(
            model=version.model,
            version=version.version,
            weight=version.weight,
            replicas=tuple(_addresses(replicas, by_id, version.model_version_id)) if live else (),
        )
        for version in deployment.versions
    )
    return Route(
        deployment_id=deployment.id,
        name=deployment.name,
        public=deployment.public,
        desired=deployment.desired,
        state=deployment.state,
        reason=deployment.reason,
        versions=versions,
        tokens=() if deployment.public else tuple(tokens),
    )


def _addresses(replicas: Sequence[Replica], attempts: dict[str, Attempt], version_id: str) -> list[RouteReplica]:
    return [
        RouteReplica(id=replica.id, address=f"{replica.host}:{replica.ports[0]}")
        for replica in replicas
        if replica.phase is ReplicaPhase.RUNNING
        and replica.host
        and replica.ports
        and replica.directive.action is Action.START
        and attempts[replica.attempt_id].model_version_id == version_id
    ]


def _tokens_by_project(session: Session) -> dict[str, list[RouteToken]]:
    """Project id to the digests that may predict there. A server admin's plain token may predict everywhere."""
    projects = {deployment.project_id for deployment in session.deployments.all()}
    found: dict[str, list[RouteToken]] = {project_id: [] for project_id in projects}
    for token, digest in session.tokens.usable_digests():
        user = session.users.find(token.user_id)
        if user is None or user.disabled_at is not None or token.kind is not TokenKind.USER:
            continue
        entry = RouteToken(digest=digest, expires_at=token.expires_at)
        plain_admin = user.admin and token.project_id is None and token.role is None
        allowed = projects if plain_admin else projects & set(token_roles(session, user, token))
        for project_id in allowed:
            found[project_id].append(entry)
    return found
