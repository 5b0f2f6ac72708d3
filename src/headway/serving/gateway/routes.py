"""The routes as the gateway uses them: found by id or name, with what is going on at each replica."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from headway.domain.deployments import DeploymentState, Route, RouteReplica, RouteTable, RouteVersion
from headway.serving.gateway.signals import Signal
from headway.serving.gateway.upstream import ConnectionPool
from headway.serving.metrics import RequestMetrics

log = logging.getLogger(__name__)


class Backend:
    """One replica. It lives as long as the feed names it under the same address."""

    def __init__(self, replica: RouteReplica) -> None:
        self.id, self.address = replica.id, replica.address.removeprefix("http://").rstrip("/")
        host, _, port = self.address.rpartition(":")
        self.pool = ConnectionPool(host.strip("[]"), int(port))
        self.outstanding = 0
        self.available = True
        """False while health checks fail."""
        self.retired = False
        """True once the feed names it no more: it finishes what it has."""
        self.overdue = 0
        """Requests in a row that it did not answer in time."""


class Group:
    """The replicas of one version, and the version's share of the traffic."""

    def __init__(self, version: RouteVersion, backends: list[Backend]) -> None:
        self.model, self.version, self.weight = version.model, version.version, version.weight
        self.backends = backends


class Entry:
    """One deployment."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.groups: list[Group] = []
        self.digests: dict[str, list[tuple[str, float | None]]] = {}
        self.outstanding = 0
        self.gone = False
        self.changed = Signal()
        """Fires when a replica may have become available, or the deployment was stopped or removed."""
        self.metrics = RequestMetrics()

    @property
    def id(self) -> str:
        return self.route.deployment_id

    @property
    def stopped(self) -> bool:
        return self.route.desired is DeploymentState.STOPPED

    def backends(self) -> Iterator[Backend]:
        for group in self.groups:
            yield from group.backends

    def update(self, route: Route) -> list[Backend]:
        """Take over a newer route; answers the backends that are named no more."""
        known = {(backend.id, backend.address): backend for backend in self.backends()}
        self.route = route
        self.groups = [Group(version, _backends(version.replicas, known)) for version in route.versions]
        self.digests = {}
        for token in route.tokens:
            expiry = token.expires_at.timestamp() if token.expires_at else None
            self.digests.setdefault(token.digest[:DIGEST_PREFIX], []).append((token.digest, expiry))
        kept = set(self.backends())
        return [backend for backend in known.values() if backend not in kept]


DIGEST_PREFIX = 8
"""Digests are found by this many characters and then compared in constant time."""


def _backends(replicas: Iterable[RouteReplica], known: dict[tuple[str, str], Backend]) -> list[Backend]:
    found = []
    for replica in replicas:
        try:
            fresh = Backend(replica)
        except ValueError:
            log.warning("Replica %s has the address %r, which is none", replica.id, replica.address)
            continue
        found.append(known.get((fresh.id, fresh.address), fresh))
    return found


class Table:
    """All deployments that the feed names."""

    def __init__(self) -> None:
        self.version: int | None = None
        """Of the last feed; None before the first."""
        self._by_id: dict[str, Entry] = {}
        self._by_name: dict[str, list[Entry]] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_id.values())

    def find(self, name: str) -> Entry | None:
        """A deployment by its id, or by its name where only one has it."""
        entry = self._by_id.get(name)
        if entry is None and not self.is_ambiguous(name):
            entry = next(iter(self._by_name.get(name, ())), None)
        return entry

    def is_ambiguous(self, name: str) -> bool:
        """Whether deployments of several projects have this name."""
        return name not in self._by_id and len(self._by_name.get(name, ())) > 1

    def apply(self, table: RouteTable) -> None:
        """Make the feed's routes ours. Requests that run are not disturbed."""
        before = self._by_id
        self._by_id, self._by_name = {}, {}
        for route in table.routes:
            entry = before.pop(route.deployment_id, None) or Entry(route)
            retire(entry.update(route))
            self._by_id[entry.id] = entry
            self._by_name.setdefault(route.name, []).append(entry)
        for entry in before.values():
            entry.gone = True
            retire(entry.backends())
        self.version = table.version
        for entry in [*self._by_id.values(), *before.values()]:
            entry.changed.fire()


def retire(backends: Iterable[Backend]) -> None:
    """Let these replicas finish what they have, and send them nothing more."""
    for backend in backends:
        backend.retired = True
        backend.pool.close()
