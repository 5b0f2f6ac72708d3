"""Connections to replicas: raw HTTP/1.1 over a pool that is kept alive."""

from __future__ import annotations

import asyncio
import select
from time import monotonic
from typing import Protocol, cast

from headway.serving.gateway.replies import (
    BrokenError,
    ConnectError,
    GarbageError,
    KnownHeads,
    Reply,
    ReplyReader,
    UpstreamError,
)

CONNECT_SECONDS = 2.0
IDLE_SECONDS = 30.0
"""Shorter than a replica keeps an idle connection, so that it is never used while the replica closes it."""
TRUSTED_SECONDS = 0.005
"""A connection that lay idle for longer is asked for its end before it is used: the loop may not have heard of it yet."""
MAX_IDLE = 256
ENDED = select.POLLIN | getattr(select, "POLLRDHUP", 0)


class Handle(Protocol):
    """A request on its way."""

    def break_off(self) -> None:
        """Forget it: the replica is told, and the waiter hears nothing more."""
        ...


class Waiter(Protocol):
    """Who sent a request: exactly one of its two methods is called, once, never from within ``send``."""

    handle: Handle | None

    def replied(self, reply: Reply) -> None: ...

    def failed(self, error: UpstreamError) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport
        self.idle_since = 0.0
        self.reusable = True
        self._waiter: Waiter | None = None
        self._reader = ReplyReader(pool.heads)

    def send(self, data: bytes, waiter: Waiter) -> None:
        self._waiter = waiter
        waiter.handle = self
        self.transport.write(data)

    def break_off(self) -> None:
        self._waiter = None
        self.close()

    def close(self) -> None:
        self.reusable = False
        self.transport.abort()

    def has_ended(self) -> bool:
        """Whether the replica has closed it, or sent what nobody asked for: asked of the system itself."""
        return bool(self._poll.poll(0))

    def _fail(self, error: UpstreamError) -> None:
        waiter, self._waiter = self._waiter, None
        self.close()
        if waiter is not None:
            waiter.handle = None
            waiter.failed(error)

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), ENDED)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        self._fail(BrokenError(f"The replica closed the connection{f': {exc}' if exc else ''}."))

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.close()  # nothing was asked
            return
        try:
            reply = self._reader.feed(data)
        except GarbageError as error:
            self._fail(error)
            return
        if reply is not None:
            self._finish(reply)

    def _finish(self, reply: Reply) -> None:
        """Hand the answer over, after the connection, so that the next request can use it at once."""
        waiter, self._waiter = self._waiter, None
        self.reusable = self.reusable and self._reader.reusable
        self.pool.put(self)
        assert waiter is not None
        waiter.handle = None
        waiter.replied(reply)


class _Connecting:
    """A request whose connection is being made."""

    def __init__(self, pool: ConnectionPool, data: bytes, waiter: Waiter) -> None:
        self._pool, self._data, self._waiter = pool, data, waiter
        self._broken_off = False
        self._task = asyncio.get_running_loop().create_task(self._connect())
        pool.connecting.add(self)
        waiter.handle = self

    async def _connect(self) -> None:
        pool, loop = self._pool, asyncio.get_running_loop()
        making = loop.create_connection(lambda: UpstreamConnection(pool), pool.host, pool.port)
        try:
            _, connection = await asyncio.wait_for(making, CONNECT_SECONDS)
        except (OSError, asyncio.TimeoutError) as error:
            self._waiter.handle = None
            self._waiter.failed(ConnectError(f"{pool.host}:{pool.port}: {error or 'no answer'}"))
            return
        finally:
            pool.connecting.discard(self)
        if self._broken_off:  # in the very turn in which the connection came up
            pool.put(connection)
        else:
            connection.send(self._data, self._waiter)

    def break_off(self) -> None:
        self._broken_off = True
        self._task.cancel()


class ConnectionPool:
    """Connections to one replica. The one used last is used next, so that the others grow old and are closed."""

    def __init__(self, host: str, port: int, heads: KnownHeads | None = None) -> None:
        self.host, self.port = host, port
        self.connecting: set[_Connecting] = set()
        self.heads = heads or KnownHeads()
        self._idle: list[UpstreamConnection] = []
        self._closed = False

    def send(self, data: bytes, waiter: Waiter, now: float) -> None:
        """Send one request; ``waiter`` hears of its answer or end. ``now`` is the monotonic clock.

        A kept connection that the replica has closed is never written to, so that :class:`BrokenError` always means
        that the request was sent. A replica that ends in the microseconds between that look and its reading of
        the request breaks it: nobody can tell that from one that ended because of it.
        """
        connection = self._take(now)
        if connection is None:
            _Connecting(self, data, waiter)
        else:
            connection.send(data, waiter)

    def _take(self, now: float) -> UpstreamConnection | None:
        idle = self._idle
        while idle:
            connection = idle.pop()
            age = now - connection.idle_since
            if age < TRUSTED_SECONDS and not connection.transport.is_closing():
                return connection
            if age < IDLE_SECONDS and not connection.transport.is_closing() and not connection.has_ended():
                return connection
            connection.close()
        return None

    def put(self, connection: UpstreamConnection) -> None:
        if self._closed or not connection.reusable or len(self._idle) >= MAX_IDLE:
            connection.close()
            return
        connection.idle_since = monotonic()
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection has ended."""
        if connection in self._idle:
            self._idle.remove(connection)

    def drop_idle(self) -> None:
        """Close the connections that nobody uses."""
        for connection in list(self._idle):
            connection.close()
        self._idle.clear()

    def close(self) -> None:
        """Close idle connections now, the others when their answer has come."""
        self._closed = True
        self.drop_idle()
