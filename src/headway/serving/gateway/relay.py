"""One request from its arrival to its answer."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING

from headway.domain.deployments import DeploymentState
from headway.serving.gateway.balancer import less_loaded, stick
from headway.serving.gateway.hedging import Hedge, plan
from headway.serving.gateway.messages import build_message, build_response, request_id, wanted_seconds
from headway.serving.gateway.replies import ConnectError, GarbageError, Reply, UpstreamError
from headway.serving.gateway.upstream import Handle
from headway.serving.http.messages import Response, error_response

if TYPE_CHECKING:
    from headway.serving.gateway.relays import Relays
    from headway.serving.gateway.routes import Backend, Entry, Group
    from headway.serving.gateway.targets import Destination
    from headway.serving.http.exchange import Exchange

CLIENT_LEFT = 499


class Relay:
    """A request that is passed on.

    It is sent to another replica only when the first could not be connected to: once its bytes were sent it may have had an
    effect, so it is answered with 502 when the replica breaks off. Where the deployment has it so, a second copy of what
    takes long is sent, too (:mod:`headway.serving.gateway.hedging`).
    """

    __slots__ = (
        "backend",
        "deadline",
        "destination",
        "entry",
        "exchange",
        "handle",
        "hedge",
        "line",
        "number",
        "relays",
        "sent_at",
        "started",
        "tick",
    )

    def __init__(self, relays: Relays, entry: Entry, destination: Destination, exchange: Exchange) -> None:
        self.relays, self.entry, self.destination, self.exchange = relays, entry, destination, exchange
        self.number = request_id(exchange.request)
        self.started = self.deadline = self.sent_at = monotonic()
        self.tick = 0
        self.backend: Backend | None = None
        """Who was asked last."""
        self.handle: Handle | None = None
        self.hedge: Hedge | None = None
        self.line: OrderedDict[Relay, None] | None = None
        """Where it waits."""

    def begin(self) -> None:
        """Take it on, or refuse it at once."""
        entry = self.entry
        if entry.load >= entry.route.max_waiting:
            self._refuse(429, f"Too many requests to this deployment at once ({entry.load}).", 1)
            return
        try:
            wanted = wanted_seconds(self.exchange.request)
        except ValueError as error:
            self._refuse(400, str(error))
            return
        limit = entry.route.deadline_seconds
        self.deadline = self.started + (limit if wanted is None else min(wanted, limit))
        entry.load += 1
        self.tick = self.relays.deadlines.add(self, self.deadline)
        self.exchange.when_gone(self.leave)
        self.place(self.started)

    # Waiting and sending.

    def place(self, now: float) -> None:
        """Send it, or have it wait where it is found when something changes."""
        entry = self.entry
        if entry.gone:
            self.finish(404, "This deployment has been removed.")
            return
        if entry.stopped:
            self.finish(503, "This deployment is stopped.", 10)
            return
        group = self._group()
        if group is not None and not group.available:
            group = None
        if group is None:
            if self._is_answered_404():
                return
            if entry.route.state is DeploymentState.ERROR:
                self.finish(503, self._no_replica(), 10)  # it keeps failing: who waits does so in vain
            else:
                self.relays.hold(self, entry.unplaced)
            return
        backend = None if group.waiting else pick(group)
        if backend is not None:
            self.send(backend, now)
        elif group.pace.wait(len(group.waiting) + 1) > self.deadline - now:
            self.finish(429, "More is asked of this deployment than it can answer in time.", 1)
        else:
            self.relays.hold(self, group.waiting)

    def _group(self) -> Group | None:
        entry, wanted = self.entry, self.destination
        if wanted.version is not None or wanted.label is not None:
            return entry.group_of(wanted.version, wanted.label)
        candidates = entry.candidates
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        if entry.sticky is not None:
            value = self.exchange.request.header(entry.sticky)
            if value is not None:
                return stick(candidates, entry.id, value)
        return entry.shares.choose(candidates)

    def _is_answered_404(self) -> bool:
        wanted = self.destination
        pinned = wanted.version is not None or wanted.label is not None
        if not pinned or self.entry.group_of(wanted.version, wanted.label) is not None:
            return False
        name = f"label {wanted.label!r}" if wanted.label is not None else f"version {wanted.version}"
        taking = ", ".join(sorted(f"v{group.version}" for group in self.entry.groups)) or "none"
        self.finish(404, f"No version of this deployment with the {name} takes traffic; those that do: {taking}.")
        return True

    def send(self, backend: Backend, now: float) -> None:
        """Send it to ``backend``."""
        self.backend, self.sent_at = backend, now
        path = self.destination.path(self.entry.id, backend.group.version)
        message = build_message(self.exchange.request, backend.host, path, self.number, self.deadline - now)
        self.relays.began(backend, self, now)
        if self.entry.hedge_after is not None:
            plan(self, now, self.entry.hedge_after)
        backend.link.send(message, self, now)

    # What becomes of it.

    def replied(self, reply: Reply) -> None:
        """The replica answered."""
        backend = self.backend
        assert backend is not None
        now = monotonic()
        backend.heard_at = now
        self.relays.ended(backend, self, now)
        response = build_response(reply, backend.headers, self.number)
        self._answer(response, now)
        backend.group.pace.answered(now - self.sent_at, now, crowded=bool(backend.group.waiting))
        self.relays.freed(backend.group, now)
        if self.entry.shadows:
            self.relays.shadows.copy(self.entry, self.exchange.request, self.destination, reply, now)

    def failed(self, error: UpstreamError) -> None:
        """The replica did not."""
        backend = self.backend
        assert backend is not None
        now = monotonic()
        self.relays.ended(backend, self, now)
        copied = self.hedge is not None and self.hedge.is_sent
        if self.hedge is not None and copied:
            self.hedge.promote()
        if isinstance(error, GarbageError):
            self.relays.health.suspect(backend)
        else:
            self.relays.health.failed(backend, error)
        if not copied:
            self._settle(error, now)
        self.relays.freed(backend.group, now)

    def _settle(self, error: UpstreamError, now: float) -> None:
        """What is left to do after a failure."""
        if isinstance(error, ConnectError):
            self.place(now)
        elif isinstance(error, GarbageError):
            self.finish(502, str(error))
        else:
            self.finish(502, f"The replica ended while it worked on this request. {error}")

    def expire(self) -> None:
        """Its deadline has passed."""
        waited = self.line is not None
        backend = self._withdraw()
        if not waited:
            assert backend is not None
            self.finish(504, "The replica did not answer in time.")
            self.relays.freed(backend.group, monotonic())
        elif self.entry.stopped:
            self.finish(503, "This deployment is stopped.", 10)
        elif any(group.available for group in self.entry.groups):
            self.finish(504, "No replica of this deployment was free in time.")
        else:
            self.finish(503, self._no_replica(), 5)

    def leave(self) -> None:
        """The client has left."""
        backend = self._withdraw()
        self._close(CLIENT_LEFT, 0, monotonic())
        if backend is not None:
            self.relays.freed(backend.group, monotonic())

    def _withdraw(self) -> Backend | None:
        """Wait no more, here or for a replica; answers the replica that worked on it."""
        if self.line is not None:
            self.relays.release(self)
            return None
        if self.handle is None or self.backend is None:
            return None
        self.handle.break_off()
        self.relays.ended(self.backend, self, monotonic())
        return self.backend

    def finish(self, status: int, text: str, retry: int | None = None) -> None:
        """Answer without a replica's answer."""
        self._answer(self._problem(status, text, retry), monotonic())

    def _answer(self, response: Response, now: float) -> None:
        self.exchange.respond(response)
        self._close(response.status, len(response.body), now)

    def _close(self, code: int, size: int, now: float) -> None:
        if self.hedge is not None:
            self.hedge.withdraw()
        self.relays.deadlines.remove(self, self.tick)
        self.entry.load -= 1
        self.relays.count(self, code, size, now)

    def _refuse(self, status: int, text: str, retry: int | None = None) -> None:
        response = self._problem(status, text, retry)
        self.exchange.respond(response)
        self.relays.count(self, status, len(response.body), self.started)

    def _problem(self, status: int, text: str, retry: int | None) -> Response:
        who = () if self.backend is None else self.backend.headers
        when = () if retry is None else (("Retry-After", str(retry)),)
        return error_response(status, text, headers=(*who, ("X-Request-Id", self.number), *when))

    def _no_replica(self) -> str:
        route = self.entry.route
        reason = f" {route.reason}" if route.reason else ""
        return f"No replica of this deployment is ready ({route.state.value}).{reason}"


def pick(group: Group) -> Backend | None:
    """The replica for the next request, or None while all have as much as they can answer in time."""
    backend = less_loaded(group.available)
    if backend.has_room:
        return backend
    free = [each for each in group.available if each.has_room]
    return less_loaded(free) if free else None
