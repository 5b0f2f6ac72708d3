"""A copy of a prediction that takes long, sent to another replica of the same version: the first good answer counts.

Off unless the deployment says after how long (``hedge_after_seconds``). A copy goes only where there is room now, at most
one for each request and one for each ten requests of the deployment; whichever is not needed any more is withdrawn.
Source: "hedged requests" of Dean and Barroso, "The Tail at Scale" (2013).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol

from headway.serving.gateway.balancer import less_loaded
from headway.serving.gateway.messages import build_message
from headway.serving.gateway.replies import GarbageError, Reply, UpstreamError
from headway.serving.gateway.upstream import Handle

if TYPE_CHECKING:
    from headway.serving.gateway.relay import Relay
    from headway.serving.gateway.relays import Relays
    from headway.serving.gateway.routes import Backend

PREDICTIONS = frozenset({"predict", "classify", "regress"})
FAILED = 500
"""A status from which an answer is no good one: the other copy may have a better."""


class Pending(Protocol):
    """What was sent to a replica and is not answered."""

    sent_at: float
    started: float
    deadline: float


class Hedge:
    """The second copy of one request: planned, sent, or in place of the first."""

    __slots__ = ("backend", "deadline", "handle", "promoted", "relay", "relays", "sent_at", "started", "tick")

    def __init__(self, relay: Relay, now: float, after: float) -> None:
        self.relay, self.relays = relay, relay.relays
        self.started = self.sent_at = now
        self.deadline = relay.deadline
        self.backend: Backend | None = None
        """Where it was sent, if it was."""
        self.handle: Handle | None = None
        self.promoted = False
        """Whether it is what the request is about now: the first copy failed, or came second."""
        self.tick = self.relays.deadlines.add(self, now + after)

    def expire(self) -> None:
        """The request takes long: send a copy, if somebody has room and it is not one too many."""
        relay, now = self.relay, monotonic()
        backend = _other(relay)
        if backend is None or not relay.entry.hedges.spend():
            return
        self.backend, self.sent_at = backend, now
        self.relays.began(backend, self, now)
        backend.meter.present(now).hedged += 1
        path = relay.destination.path(relay.entry.id, backend.group.version)
        message = build_message(relay.exchange.request, backend.host, path, relay.number, relay.deadline - now)
        backend.link.send(message, self, now)

    # A waiter for the replica's answer.

    def replied(self, reply: Reply) -> None:
        """The second replica answered."""
        if not self.promoted:
            if reply.status >= FAILED:
                self._drop()
                return
            _withdraw(self.relays, self.relay.backend, self.relay, self.relay.handle)
            self.promote()
        self.relay.replied(reply)

    def failed(self, error: UpstreamError) -> None:
        """The second replica did not."""
        if self.promoted:
            self.relay.failed(error)
            return
        backend = self.backend
        assert backend is not None
        self._drop()
        if isinstance(error, GarbageError):
            self.relays.health.suspect(backend)
        else:
            self.relays.health.failed(backend, error)

    # A handle of the request that it has become.

    def break_off(self) -> None:
        """Let the replica know that nobody waits for it."""
        if self.handle is not None:
            self.handle.break_off()

    # What the request does with it.

    @property
    def is_sent(self) -> bool:
        """Whether a replica works on it."""
        return self.backend is not None

    def promote(self) -> None:
        """Take the place of the first copy, which nobody works on any more."""
        backend, relay = self.backend, self.relay
        assert backend is not None
        self.promoted = True
        del backend.active[self]
        backend.active[relay] = None
        relay.backend, relay.sent_at, relay.handle, relay.hedge = backend, self.sent_at, self, None

    def withdraw(self) -> None:
        """The request is over."""
        self.relays.deadlines.remove(self, self.tick)
        if self.backend is not None:
            _withdraw(self.relays, self.backend, self, self.handle)

    def _drop(self) -> None:
        """This copy has come to nothing; the first goes on."""
        self.relay.hedge = None
        _withdraw(self.relays, self.backend, self, None)


def plan(relay: Relay, now: float, after: float) -> None:
    """Have a copy sent of a request that is sent now, unless it was answered ``after`` so many seconds."""
    relay.entry.hedges.earn()
    is_prediction = relay.destination.verb in PREDICTIONS and relay.exchange.request.method == "POST"
    if is_prediction and relay.hedge is None and relay.backend is not None and len(relay.backend.group.available) > 1:
        relay.hedge = Hedge(relay, now, after)


def _other(relay: Relay) -> Backend | None:
    """Another replica of the same version that has room; nobody who waits for one is overtaken by a copy."""
    first = relay.backend
    if first is None or relay.line is not None or first.group.waiting:
        return None
    free = [each for each in first.group.available if each is not first and each.has_room]
    return less_loaded(free) if free else None


def _withdraw(relays: Relays, backend: Backend | None, pending: Pending, handle: Handle | None) -> None:
    """Nobody waits any more for what ``backend`` works on."""
    assert backend is not None
    if handle is not None:
        handle.break_off()
    now = monotonic()
    relays.ended(backend, pending, now)
    if backend.retired and not backend.active:
        backend.meter.retire()
    relays.freed(backend.group, now)
