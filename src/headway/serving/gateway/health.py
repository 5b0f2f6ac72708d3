"""Which replicas answer: out at the first failed connection, in again when ``/health`` says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from headway.serving.gateway.replies import Reply, UpstreamError
from headway.serving.gateway.routes import Backend, Entry
from headway.serving.gateway.upstream import ConnectionPool, Handle

log = logging.getLogger(__name__)

LATE_SECONDS = 1.0
"""How long a replica that has something to do may say nothing before it is asked how it is."""
PROBE_SECONDS = 1.5
FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0


class HealthKeeper:
    """Takes replicas out and brings them back. What they work on is left to them: a replica that was stopped for a while
    finishes it.

    Args:
        changed: Told of a deployment of which a replica went out or came back.
    """

    def __init__(self, changed: Callable[[Entry], None]) -> None:
        self._changed = changed
        self._probes: set[asyncio.Task[None]] = set()

    def failed(self, backend: Backend, error: Exception) -> None:
        """The replica could not be reached, or broke off: send it nothing until it answers its health path."""
        if not backend.available or backend.retired:
            return
        log.warning("Replica %s of %s is out: %s", backend.id, backend.group.entry.id, error)
        backend.available = False
        backend.ejections += 1
        backend.link.drop_idle()
        self._changed(backend.group.entry)
        self._start(self._return(backend))

    def suspect(self, backend: Backend) -> None:
        """Something is wrong with the replica: it stays if it answers its health path."""
        if backend.available and not backend.retired and not backend.probing:
            backend.probing = True
            self._start(self._ask(backend))

    def look(self, backend: Backend, now: float) -> None:
        """Suspect a replica that owes answers and gives none."""
        oldest = next(iter(backend.active), None)
        if oldest is not None and now - max(oldest.sent_at, backend.heard_at) > LATE_SECONDS:
            self.suspect(backend)

    def _start(self, probe: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(probe)
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    async def _ask(self, backend: Backend) -> None:
        try:
            problem = await health_problem(backend)
        finally:
            backend.probing = False
        if problem is None:
            backend.heard_at = monotonic()
        else:
            self.failed(backend, UpstreamError(f"it is late, and its health path fails: {problem}"))

    async def _return(self, backend: Backend) -> None:
        pause = FIRST_PAUSE
        while not (backend.retired or backend.group.entry.gone):
            if await health_problem(backend) is None:
                log.warning("Replica %s of %s is back", backend.id, backend.group.entry.id)
                backend.available = True
                backend.heard_at = monotonic()
                self._changed(backend.group.entry)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    def close(self) -> None:
        """Stop probing."""
        for probe in list(self._probes):
            probe.cancel()


class _Answer:
    """A waiter as a future."""

    def __init__(self) -> None:
        self.handle: Handle | None = None
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def replied(self, reply: Reply) -> None:
        if not self.reply.done():
            self.reply.set_result(reply)

    def failed(self, error: UpstreamError) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


async def health_problem(backend: Backend) -> str | None:
    """Why the replica's health path does not answer 200 now, over a new connection; None when it does."""
    pool = ConnectionPool(backend.link.host, backend.link.port)
    answer = _Answer()
    message = b"GET /health HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % backend.host
    pool.send(message, answer, monotonic())
    try:
        reply = await asyncio.wait_for(answer.reply, PROBE_SECONDS)
    except asyncio.TimeoutError:
        return f"no answer within {PROBE_SECONDS} s"
    except UpstreamError as error:
        return str(error)
    finally:
        if answer.handle is not None:
            answer.handle.break_off()
        pool.close()
    return None if reply.status == 200 else f"it answers {reply.status}"
