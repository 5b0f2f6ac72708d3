"""The routes as the gateway uses them: found by id or name, with what is going on at each replica."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from headway.domain.deployments import DeploymentState, Route, RouteReplica, RouteTable, RouteVersion
from headway.serving.gateway.balancer import Shares
from headway.serving.gateway.budget import Budget
from headway.serving.gateway.concurrency import AdaptiveLimit, Pace
from headway.serving.gateway.link import Link
from headway.serving.gateway.traffic import Ledger, Meter, Totals

if TYPE_CHECKING:
    from headway.serving.gateway.hedging import Pending
    from headway.serving.gateway.relay import Relay

log = logging.getLogger(__name__)

DIGEST_PREFIX = 8
"""Digests are found by this many characters and then compared in constant time."""


class Backend:
    """One replica. It lives as long as the feed names it under the same address."""

    def __init__(self, replica: RouteReplica, group: Group, ledger: Ledger) -> None:
        self.id, self.address = replica.id, replica.address.removeprefix("http://").rstrip("/")
        host, _, port = self.address.rpartition(":")
        if not 0 < int(port) < 65_536:
            raise ValueError(f"{port} is no port")
        self.group = group
        self.link = Link(host.strip("[]"), int(port))
        self.host = self.address.encode("ascii")
        self.active: dict[Pending, None] = {}
        """Requests that were sent and are not answered, oldest first."""
        self.available = True
        """False from a failure until the health path answers."""
        self.retired = False
        """True once the feed names it no more: it finishes what it has."""
        self.probing = False
        self.heard_at = float("-inf")
        """When it last answered anything."""
        self.ejections = 0
        self.limit = AdaptiveLimit()
        self.meter = Meter(ledger, (group.entry.id, group.key, self.id), group.totals)
        self.headers = (*group.headers, ("X-Headway-Replica", quote(self.id)))

    @property
    def outstanding(self) -> int:
        return len(self.active)

    @property
    def has_room(self) -> bool:
        return len(self.active) < self.limit.value


class Group:
    """The replicas of one version, its share of the traffic, and who waits for one of them."""

    def __init__(self, entry: Entry, version: RouteVersion) -> None:
        self.entry, self.model, self.version, self.key = entry, version.model, version.version, version.key
        self.weight, self.shadow, self.labels = version.weight, version.shadow, version.labels
        self.headers = (("X-Headway-Model", f"{quote(self.model)}/{self.version}"), ("X-Headway-Version", self.key))
        self.backends: list[Backend] = []
        self.available: list[Backend] = []
        self.waiting: OrderedDict[Relay, None] = OrderedDict()
        """Oldest first."""
        self.pace = Pace()
        self.totals = Totals()
        """Of windows that are over; see :meth:`headway.serving.gateway.traffic.Meter.unfolded` for the rest."""

    def update(self, version: RouteVersion, ledger: Ledger) -> list[Backend]:
        """Take over a newer route; answers the backends that are named no more."""
        known = {(backend.id, backend.address): backend for backend in self.backends}
        self.weight, self.shadow, self.labels = version.weight, version.shadow, version.labels
        self.backends = list(self._backends(version.replicas, known, ledger))
        kept = set(self.backends)
        return [backend for backend in known.values() if backend not in kept]

    def _backends(
        self, replicas: Iterable[RouteReplica], known: dict[tuple[str, str], Backend], ledger: Ledger
    ) -> Iterator[Backend]:
        for replica in replicas:
            try:
                fresh = Backend(replica, self, ledger)
            except ValueError:
                log.warning("Replica %s has the address %r, which is none", replica.id, replica.address)
                continue
            yield known.get((fresh.id, fresh.address), fresh)


class Entry:
    """One deployment."""

    def __init__(self, route: Route, ledger: Ledger) -> None:
        self.route = route
        self.id = route.deployment_id
        self.groups: list[Group] = []
        self.candidates: list[Group] = []
        """Versions that take traffic and have an available replica."""
        self.shadows: list[Group] = []
        """Versions that get copies and have an available replica."""
        self.sticky: bytes | None = None
        self.stopped = False
        self.digests: dict[str, list[tuple[str, float | None]]] = {}
        self.load = 0
        """Requests that wait or are being answered."""
        self.held = 0
        """Those of them that wait for a replica."""
        self.gone = False
        self.unplaced: OrderedDict[Relay, None] = OrderedDict()
        """Requests for which there is no replica at all, oldest first."""
        self.shares = Shares()
        self.hedge_after: float | None = None
        """Seconds after which a second copy of a prediction is sent."""
        self.hedges = Budget()
        self.meter = Meter(ledger, (self.id, "", ""))
        self._ledger = ledger

    def backends(self) -> Iterator[Backend]:
        for group in self.groups:
            yield from group.backends

    def update(self, route: Route) -> list[Backend]:
        """Take over a newer route; answers the backends that are named no more."""
        self.route = route
        self.stopped = route.desired is DeploymentState.STOPPED
        self.sticky = route.sticky.lower().encode("latin-1") if route.sticky else None
        self.hedge_after = route.hedge_after_seconds
        self.digests = {}
        for token in route.tokens:
            expiry = token.expires_at.timestamp() if token.expires_at else None
            self.digests.setdefault(token.digest[:DIGEST_PREFIX], []).append((token.digest, expiry))
        left = self._update_groups(route)
        self.refresh()
        return left

    def _update_groups(self, route: Route) -> list[Backend]:
        known = {(group.model, group.version): group for group in self.groups}
        self.groups, left = [], []
        for version in route.versions:
            group = known.pop((version.model, version.version), None) or Group(self, version)
            left += group.update(version, self._ledger)
            self.groups.append(group)
        for group in known.values():
            left += group.backends
            self._take_line(group)
        return left

    def _take_line(self, group: Group) -> None:
        """Keep those who wait for a version that is gone."""
        for relay in group.waiting:
            relay.line = self.unplaced
        self.unplaced.update(group.waiting)
        group.waiting.clear()

    def refresh(self) -> None:
        """Look again which replicas are available."""
        for group in self.groups:
            group.available = [backend for backend in group.backends if backend.available]
        serving = [group for group in self.groups if group.available]
        self.candidates = [group for group in serving if group.weight > 0 and not group.shadow]
        self.shadows = [group for group in serving if group.shadow]

    def group_of(self, version: int | None, label: str | None) -> Group | None:
        """The version that takes traffic and has this number or label."""
        for group in self.groups:
            if group.weight > 0 and not group.shadow and (group.version == version or label in group.labels):
                return group
        return None


class Table:
    """All deployments that the feed names.

    Args:
        ledger: Where the traffic of all of them is counted.
        changed: Told of each deployment whose route changed or went.
    """

    def __init__(self, ledger: Ledger, changed: Callable[[Entry], None]) -> None:
        self.version: int | None = None
        """Of the last feed; None before the first."""
        self._ledger, self._changed = ledger, changed
        self._by_id: dict[str, Entry] = {}
        self._by_name: dict[str, list[Entry]] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_id.values())

    def find(self, name: str) -> Entry | None:
        """A deployment by its id, or by its name where only one has it."""
        entry = self._by_id.get(name)
        if entry is None:
            named = self._by_name.get(name, ())
            entry = named[0] if len(named) == 1 else None
        return entry

    def is_ambiguous(self, name: str) -> bool:
        """Whether deployments of several projects have this name."""
        return name not in self._by_id and len(self._by_name.get(name, ())) > 1

    def apply(self, table: RouteTable) -> None:
        """Make the feed's routes ours. Requests that run are not disturbed; a route that stayed as it was costs nothing."""
        before = self._by_id
        self._by_id, self._by_name = {}, {}
        changed = []
        for route in table.routes:
            entry = before.pop(route.deployment_id, None)
            if entry is None or (entry.route is not route and entry.route != route):
                entry = entry or Entry(route, self._ledger)
                retire(entry.update(route))
                changed.append(entry)
            self._by_id[entry.id] = entry
            self._by_name.setdefault(route.name, []).append(entry)
        for entry in before.values():
            entry.gone = True
            retire(entry.backends())
        self.version = table.version
        for entry in [*changed, *before.values()]:
            self._changed(entry)


def retire(backends: Iterable[Backend]) -> None:
    """Let these replicas finish what they have, and send them nothing more."""
    for backend in backends:
        backend.retired = True
        backend.link.close()
        if not backend.active:
            backend.meter.retire()
