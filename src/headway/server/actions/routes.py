"""What gateways are told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TypeVar

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
from headway.server.actions.access import TokenRoles
from headway.server.actions.following import FollowedDeployments
from headway.server.actions.paging import every
from headway.server.actions.templates import Placed, all_placed, of_template, template_of
from headway.server.context import Caller, Platform
from headway.storage.base import Session


def check_reader(caller: Caller) -> None:
    if caller.token.kind is not TokenKind.GATEWAY:
        caller.require(Permission.SERVER_ADMIN)


class RouteBook:
    """The routes of one server, made anew only where something changed that they tell of."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._lock = threading.Lock()
        self._followed = FollowedDeployments()
        self._sequence: int | None = None
        self._version = 0
        self._known: dict[str, tuple[object, Route]] = {}
        self._tokens: dict[str, list[RouteToken]] = {}
        self._labels: dict[str, Labels] = {}
        self._table: RouteTable | None = None
        self._document: tuple[RouteTable, bytes] | None = None

    def version(self) -> int:
        """The version that :meth:`table` would have: cheap enough to be asked after every change."""
        with self._lock, self._platform.storage.read() as session:
            return self._read_version(session)

    def table(self) -> RouteTable:
        """All routes as they stand."""
        with self._lock, self._platform.storage.read() as session:
            version = self._read_version(session)
            if self._table is None or self._table.version != version:
                self._table = RouteTable(version=version, routes=self._routes(session))
            return self._table

    def document(self) -> bytes:
        """:meth:`table` as JSON."""
        table = self.table()
        kept = self._document
        if kept is None or kept[0] is not table:
            kept = self._document = table, table.model_dump_json().encode()
        return kept[1]

    def _read_version(self, session: Session) -> int:
        """The newest event that may have changed a route. The first time it may have been any."""
        if self._sequence is None:
            self._sequence = self._version = session.events.last_sequence()
        while events := session.events.after(self._sequence, limit=EVENTS_AT_ONCE):
            self._sequence = events[-1].sequence
            for event in events:
                if not event.type.startswith(UNRELATED):
                    self._version = event.sequence
        return self._version

    def _routes(self, session: Session) -> tuple[Route, ...]:
        self._followed.refresh(session)
        deployments = list(self._followed)
        if not deployments:
            return ()
        projects = {deployment.project_id for deployment in deployments}
        self._tokens = _kept(self._tokens, _tokens_by_project(session, projects))
        self._labels = _kept(self._labels, _labels(session))
        placed, tokens, labels = all_placed(session), self._tokens, self._labels
        known, self._known = self._known, {}
        none: Labels = {}
        for deployment in deployments:
            parts = (
                deployment,
                placed.get(deployment.id, []),
                labels.get(deployment.project_id, none),
                tokens[deployment.project_id],
            )
            found = known.get(deployment.id)
            route = found[1] if found is not None and found[0] == parts else _route(*parts)
            self._known[deployment.id] = parts, route
        return tuple(route for _, route in self._known.values())


EVENTS_AT_ONCE = 1000
UNRELATED = ("run.", "job.", "artifact.", "instance_type.")
"""Events that change no route."""

V = TypeVar("V")
Labels = dict[tuple[str, int], tuple[str, ...]]
"""A model's name and a version's number to the aliases of that version."""


def _kept(before: dict[str, V], now: dict[str, V]) -> dict[str, V]:
    """``now`` with the very values of ``before`` that are equal: a thousand routes share one, and compare it by identity."""
    return {key: before[key] if before.get(key) == value else value for key, value in now.items()}


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
        hedge_after_seconds=deployment.hedge_after_seconds,
        versions=versions,
        tokens=() if deployment.public else tuple(tokens),
    )


def _tokens_by_project(session: Session, projects: set[str]) -> dict[str, list[RouteToken]]:
    """Project id to the digests that may predict there. A server admin's plain token may predict everywhere."""
    found: dict[str, list[RouteToken]] = {project_id: [] for project_id in projects}
    users = {user.id: user for user in every(session.users.list) if user.disabled_at is None}
    roles = TokenRoles(session)
    for token, digest in session.tokens.usable_digests():
        user = users.get(token.user_id)
        if user is None or token.kind is not TokenKind.USER:
            continue
        entry = RouteToken(digest=digest, expires_at=token.expires_at)
        plain_admin = user.admin and token.project_id is None and token.role is None
        allowed = projects if plain_admin else projects & set(roles.of(user, token))
        for project_id in allowed:
            found[project_id].append(entry)
    return found
