"""Which replicas answer: out at the first failed connection, in again when ``/health`` says so."""

from __future__ import annotations

import asyncio
import logging

from headway.serving.gateway.routes import Backend, Entry
from headway.serving.gateway.upstream import BrokenError, ConnectError, ConnectionPool, OverdueError

log = logging.getLogger(__name__)

OVERDUE_LIMIT = 3
"""Requests in a row that may be late before the replica is taken out."""
PROBE_SECONDS = 2.0
FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0


class HealthKeeper:
    """Takes replicas out and brings them back."""

    def __init__(self) -> None:
        self._probes: set[asyncio.Task[None]] = set()

    def failed(self, entry: Entry, backend: Backend, error: Exception) -> None:
        """The replica could not be reached, or broke off: send it nothing until it answers its health path."""
        if not backend.available or backend.retired:
            return
        log.warning("Replica %s of %s is out: %s", backend.id, entry.id, error)
        backend.available = False
        probe = asyncio.get_running_loop().create_task(self._probe(entry, backend))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    def answered(self, backend: Backend) -> None:
        """The replica answered a request."""
        backend.overdue = 0

    def overdue(self, entry: Entry, backend: Backend, error: Exception) -> None:
        """The replica was late; several times in a row is a failure."""
        backend.overdue += 1
        if backend.overdue >= OVERDUE_LIMIT:
            self.failed(entry, backend, error)

    async def _probe(self, entry: Entry, backend: Backend) -> None:
        pause = FIRST_PAUSE
        while not (backend.retired or entry.gone):
            if await is_healthy(backend):
                log.warning("Replica %s of %s is back", backend.id, entry.id)
                backend.available, backend.overdue = True, 0
                entry.changed.fire()
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    def close(self) -> None:
        """Stop probing."""
        for probe in list(self._probes):
            probe.cancel()


async def is_healthy(backend: Backend) -> bool:
    """Whether the replica's health path answers 200 now, over a new connection."""
    pool = ConnectionPool(backend.pool.host, backend.pool.port)
    message = f"GET /health HTTP/1.1\r\nhost: {backend.address}\r\nconnection: close\r\n\r\n"
    try:
        return (await pool.exchange(message.encode("latin-1"), PROBE_SECONDS)).status == 200
    except (ConnectError, BrokenError, OverdueError):
        return False
    finally:
        pool.close()
