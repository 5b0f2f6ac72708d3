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
from headway.domain.users import Permission, TokenKind
from headway.server.actions.access import token_roles
from headway.server.actions.paging import every
from headway.server.actions.templates import Placed, all_placed, of_template, template_of
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
        if not deployments:
            return RouteTable(version=sequence)
        tokens = _tokens_by_project(session)
        placed = all_placed(session)
        labels = _labels(session)
        routes = tuple(
            _route(d, placed.get(d.id, ()), labels.get(d.project_id, {}), tokens.get(d.project_id, ()))
            for d in deployments
        )
        return RouteTable(version=sequence, routes=routes)


Labels = dict[tuple[str, int], tuple[str, ...]]
"""A model's name and a version's number to the aliases of that version."""


def _labels(session: Session) -> dict[str, Labels]:
    """Project id to the labels of its model versions."""
    found: dict[str, Labels] = {}
    for model in every(session.models.list):
        labels = found.setdefault(model.project_id, {})
        for alias, number in sorted(model.aliases.items()):
            labels[model.name, number] = (*labels.get((model.name, number), ()), alias)
    return found


def _route(deployment: Deployment, placed: Sequence[Placed], labels: Labels, tokens: Sequence[RouteToken]) -> Route:
    live = deployment.desired is DeploymentState.RUNNING
    versions = tuple(
        RouteVersion(
            model=version.model,
            version=version.version,
            weight=version.weight,
            shadow=version.shadow,
            labels=labels.get((version.model, version.version), ()),
            replicas=tuple(
                RouteReplica(id=one.replica.id, address=f"{one.replica.host}:{one.replica.ports[0]}")
                for one in of_template(deployment, placed, template_of(deployment.spec, version))
                if live and one.answers and one.replica.host and one.replica.ports
            ),
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
        revision=deployment.revision,
        sticky=deployment.sticky,
        deadline_seconds=deployment.deadline_seconds,
        max_waiting=deployment.max_waiting,
        versions=versions,
        tokens=() if deployment.public else tuple(tokens),
    )


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
