"""Connections to replicas: raw HTTP/1.1 over a pool that is kept alive."""

from __future__ import annotations

import asyncio
import select
from typing import Protocol, cast

import httptools

CONNECT_SECONDS = 2.0
IDLE_SECONDS = 30.0
"""Shorter than a replica keeps an idle connection, so that it is never used while the replica closes it."""
TRUSTED_SECONDS = 0.005
"""A connection that lay idle for longer is asked for its end before it is used: the loop may not have heard of it yet."""
MAX_IDLE = 256
MAX_ANSWER = 256 * 1024 * 1024
_ENDED = select.POLLIN | getattr(select, "POLLRDHUP", 0)


class UpstreamError(Exception):
    """There is no answer; the text says why."""


class ConnectError(UpstreamError):
    """No connection could be made; nothing was sent."""


class BrokenError(UpstreamError):
    """The connection ended before the answer was whole. The replica may have worked on the request."""


class GarbageError(UpstreamError):
    """What came is no answer. The replica lives."""


class Reply:
    """A replica's answer; header names are lower case."""

    __slots__ = ("body", "headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""


class Handle(Protocol):
    """A request on its way."""

    def break_off(self) -> None:
        """Forget it: the connection is closed, which tells the replica. Its waiter hears nothing more."""
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
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply()
        self._whole = False
        self._chunks: list[bytes] = []
        self._size = 0

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
        self._poll.register(transport.get_extra_info("socket").fileno(), _ENDED)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        self._fail(BrokenError(f"The replica closed the connection{f': {exc}' if exc else ''}."))

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.close()  # nothing was asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._whole:
                self._fail(GarbageError(f"The replica's answer is malformed: {error.__context__ or error}."))
                return
            self.reusable = False
        if self._whole:
            self._finish()

    def _finish(self) -> None:
        """Hand the answer over, after the connection, so that the next request can use it at once."""
        waiter, self._waiter = self._waiter, None
        reply, self._reply, self._whole, self._size = self._reply, Reply(), False, 0
        reply.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        self.pool.put(self)
        assert waiter is not None
        waiter.handle = None
        waiter.replied(reply)

    # The parser's side.

    def on_message_begin(self) -> None:
        if self._whole:
            raise UpstreamError("more than one answer came")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reply.headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise UpstreamError(f"it is over {MAX_ANSWER} bytes")
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._reply.headers.clear()
            return
        self._reply.status = status
        self._whole = True
        self.reusable = self.reusable and self._parser.should_keep_alive()


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

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.connecting: set[_Connecting] = set()
        self._idle: list[UpstreamConnection] = []
        self._closed = False

    def send(self, data: bytes, waiter: Waiter, now: float) -> None:
        """Send one request; ``waiter`` hears of its answer or end. ``now`` is the loop's clock.

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
        connection.idle_since = asyncio.get_running_loop().time()
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

    def sweep(self, now: float) -> None:
        """Close the connections that have not been used for long."""
        while self._idle and now - self._idle[0].idle_since >= IDLE_SECONDS:
            self._idle.pop(0).close()

    def close(self) -> None:
        """Close idle connections now, the others when their answer has come."""
        self._closed = True
        self.drop_idle()
