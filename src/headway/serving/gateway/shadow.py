"""Copies of requests for a version that is tried out: sent after the answer went out, compared, never returned."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from headway.serving.gateway.balancer import less_loaded
from headway.serving.gateway.comparing import same_answer
from headway.serving.gateway.messages import build_message, request_id
from headway.serving.gateway.replies import GarbageError, Reply, UpstreamError
from headway.serving.gateway.upstream import Handle
from headway.serving.http.messages import Request

if TYPE_CHECKING:
    from headway.serving.gateway.deadlines import Deadlines
    from headway.serving.gateway.health import HealthKeeper
    from headway.serving.gateway.routes import Backend, Entry, Group
    from headway.serving.gateway.targets import Destination

Counted = TypeVar("Counted")

IN_FLIGHT = 16
"""Copies that one shadow works on at a time."""
WAITING = 64
"""Copies that wait for one shadow; those that come then are dropped."""
WAITING_BYTES = 64 * 1024 * 1024
"""Of all bodies that wait."""


class Copy:
    """One copy on its way."""

    __slots__ = ("backend", "deadline", "given", "group", "handle", "message", "sent_at", "shadows", "tick")

    def __init__(self, shadows: Shadows, group: Group, message: tuple[Request, str], given: Reply) -> None:
        self.shadows, self.group, self.message, self.given = shadows, group, message, given
        self.handle: Handle | None = None
        self.backend: Backend | None = None
        self.sent_at = self.deadline = 0.0
        self.tick = 0

    @property
    def size(self) -> int:
        return len(self.message[0].body) + len(self.given.body)

    def send(self, backend: Backend, now: float) -> None:
        self.backend, self.sent_at = backend, now
        seconds = self.group.entry.route.deadline_seconds
        self.tick = self.shadows.deadlines.add(self, now + seconds)
        backend.meter.begin(now)
        request, path = self.message
        message = build_message(request, backend.host, path, request_id(request), seconds)
        backend.link.send(message, self, now)

    def replied(self, reply: Reply) -> None:
        now = monotonic()
        equal = same_answer(self.given, reply)
        cell = self._end(reply.status, now).meter.present(now)
        if equal:
            cell.shadow_equal += 1
        else:
            cell.shadow_different += 1
        self.shadows.ended(self, now)

    def failed(self, error: UpstreamError) -> None:
        backend = self._lost(502)
        if isinstance(error, GarbageError):
            self.shadows.health.suspect(backend)
        else:
            self.shadows.health.failed(backend, error)

    def expire(self) -> None:
        if self.handle is not None:
            self.handle.break_off()
        self.shadows.health.suspect(self._lost(504))

    def _lost(self, code: int) -> Backend:
        now = monotonic()
        backend = self._end(code, now)
        backend.meter.present(now).shadow_failed += 1
        self.shadows.ended(self, now)
        return backend

    def _end(self, code: int, now: float) -> Backend:
        backend = self.backend
        assert backend is not None
        self.shadows.deadlines.remove(self, self.tick)
        backend.meter.end(now)
        backend.meter.observe(code, now - self.sent_at, now)
        return backend


class Shadows:
    """Sends copies, a few at a time, and drops what it cannot keep up with."""

    def __init__(self, deadlines: Deadlines, health: HealthKeeper) -> None:
        self.deadlines, self.health = deadlines, health
        self._working: dict[Group, int] = {}
        self._lines: dict[Group, deque[Copy]] = {}
        self._bytes = 0
        self._by_backend: dict[Backend, int] = {}

    @property
    def busy(self) -> set[Backend]:
        """Replicas that work on copies."""
        return set(self._by_backend)

    def copy(self, entry: Entry, request: Request, destination: Destination, given: Reply, now: float) -> None:
        """Send each shadow a copy of a request that was answered with ``given``. One for a certain version is not copied:
        a shadow is another version."""
        if request.method != "POST" or destination.version is not None or destination.label is not None:
            return
        for group in entry.shadows:
            copy = Copy(self, group, (request, destination.path(entry.id, group.version)), given)
            if self._working.get(group, 0) < IN_FLIGHT:
                self._send(copy, now)
            else:
                self._keep(copy, now)

    def _send(self, copy: Copy, now: float) -> None:
        backend = less_loaded(copy.group.available)
        self._working[copy.group] = self._working.get(copy.group, 0) + 1
        self._by_backend[backend] = self._by_backend.get(backend, 0) + 1
        copy.send(backend, now)

    def _keep(self, copy: Copy, now: float) -> None:
        line = self._lines.setdefault(copy.group, deque())
        if len(line) >= WAITING or self._bytes + copy.size > WAITING_BYTES:
            copy.group.available[0].meter.present(now).shadow_dropped += 1
            return
        self._bytes += copy.size
        line.append(copy)

    def ended(self, copy: Copy, now: float) -> None:
        """A copy is done with: the next one, if its shadow is still there."""
        group, backend = copy.group, copy.backend
        assert backend is not None
        _decrease(self._working, group)
        _decrease(self._by_backend, backend)
        line = self._lines.get(group)
        while line:
            following = line.popleft()
            self._bytes -= following.size
            if group.available:
                self._send(following, now)
                break
        if not line:
            self._lines.pop(group, None)


def _decrease(counts: dict[Counted, int], key: Counted) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
