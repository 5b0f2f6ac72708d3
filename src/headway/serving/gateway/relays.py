"""What the requests of all deployments have in common: lines, clocks and counts."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from headway.serving.gateway.accesslog import AccessLog
from headway.serving.gateway.deadlines import Deadlines
from headway.serving.gateway.health import HealthKeeper
from headway.serving.gateway.relay import Relay, pick
from headway.serving.gateway.shadow import Shadows
from headway.serving.gateway.targets import READ_VERBS

if TYPE_CHECKING:
    from headway.serving.gateway.hedging import Pending
    from headway.serving.gateway.routes import Backend, Entry, Group
    from headway.serving.gateway.targets import Destination
    from headway.serving.http.exchange import Exchange

LOOK_SECONDS = 0.5
"""How often the replicas that work on something are looked at."""


def _nothing() -> None:
    pass


class Relays:
    """Takes requests in and keeps them in order.

    Args:
        access_log: Where each is written down.
    """

    def __init__(self, access_log: AccessLog) -> None:
        self.access_log = access_log
        self.deadlines = Deadlines()
        self.health = HealthKeeper(self.changed)
        self.shadows = Shadows(self.deadlines, self.health)
        self.busy: set[Backend] = set()
        """Replicas that work on something."""
        self.waiting: dict[str, Entry] = {}
        """Deployments for whose replicas requests wait."""
        self.wanted: Callable[[], None] = _nothing
        """Called when a request begins to wait for a deployment that has no replica."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, entry: Entry, destination: Destination, exchange: Exchange) -> None:
        """Pass a request on."""
        Relay(self, entry, destination, exchange).begin()

    # Waiting.

    def hold(self, relay: Relay, line: OrderedDict[Relay, None]) -> None:
        """Have it wait at the end of a line."""
        entry = relay.entry
        line[relay] = None
        relay.line = line
        entry.held += 1
        first = entry.id not in self.waiting
        self.waiting[entry.id] = entry
        if first and not entry.stopped and line is entry.unplaced:
            self.wanted()

    def release(self, relay: Relay) -> None:
        """It waits no more."""
        assert relay.line is not None
        del relay.line[relay]
        relay.line = None
        entry = relay.entry
        entry.held -= 1
        if entry.held == 0:
            self.waiting.pop(entry.id, None)

    def changed(self, entry: Entry) -> None:
        """A replica became available or was taken out, or the route is another: everybody who waits is placed anew."""
        entry.refresh()
        if not entry.held:
            return
        now = monotonic()
        ended = entry.gone or entry.stopped
        lines = [entry.unplaced, *(group.waiting for group in entry.groups if ended or not group.available)]
        movers = sorted((relay for line in lines for relay in line), key=lambda relay: relay.started)
        for relay in movers:
            if relay.line is not None:
                self.release(relay)
                relay.place(now)
        for group in entry.groups:
            self.freed(group, now)

    def freed(self, group: Group, now: float) -> None:
        """A replica of this version may have room: send it those who wait longest."""
        while group.waiting and group.available:
            backend = pick(group)
            if backend is None:
                return
            relay = next(iter(group.waiting))
            self.release(relay)
            if backend.active and group.pace.is_too_late(relay.deadline - now):
                relay.finish(504, "No replica of this deployment was free in time.")
            else:
                relay.send(backend, now)

    # Counting.

    def began(self, backend: Backend, relay: Pending, now: float) -> None:
        if not backend.active:
            self.busy.add(backend)
            if self._timer is None:
                self._look_later()
        backend.active[relay] = None
        backend.meter.begin(now)

    def ended(self, backend: Backend, relay: Pending, now: float) -> None:
        backend.limit.observe(now - relay.sent_at, relay.deadline - relay.started, len(backend.active))
        del backend.active[relay]
        backend.meter.end(now)
        if not backend.active:
            self.busy.discard(backend)

    def count(self, relay: Relay, code: int, size: int, now: float) -> None:
        """It is over."""
        if relay.destination.verb not in READ_VERBS:  # who looks at a model's metadata makes no traffic
            meter = relay.entry.meter if relay.backend is None else relay.backend.meter
            meter.observe(code, now - relay.started, now)
        if relay.backend is not None and relay.backend.retired and not relay.backend.active:
            meter.retire()
        self.access_log.write(relay, code, size, now - relay.started)

    # The clock.

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        now = monotonic()
        for backend in self.busy:
            self.health.look(backend, now)
        if self.busy:
            self._look_later()

    def settle(self) -> None:
        """Count what is in flight up to now."""
        now = monotonic()
        for backend in self.busy | self.shadows.busy:
            backend.meter.settle(now)

    def close(self) -> None:
        """Let go of clocks and probes."""
        self.health.close()
        self.deadlines.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
