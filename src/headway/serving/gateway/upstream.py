"""Connections to replicas: raw HTTP/1.1 over a pool that is kept alive."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

CONNECT_SECONDS = 2.0
IDLE_SECONDS = 30.0
"""Shorter than a replica keeps an idle connection, so that it is never used while the replica closes it."""
MAX_IDLE = 256
MAX_ANSWER = 256 * 1024 * 1024


class ConnectError(Exception):
    """No connection could be made; nothing was sent."""


class BrokenError(Exception):
    """The connection ended, or made no sense, before the answer was whole. The replica may have worked on the request."""


class OverdueError(Exception):
    """The answer did not come in time."""


class Reply:
    """A replica's answer; header names are lower case."""

    __slots__ = ("body", "headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""


class UpstreamConnection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport
        self.idle_since = 0.0
        self.reusable = True
        self._waiter: asyncio.Future[Reply] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply()
        self._chunks: list[bytes] = []
        self._size = 0

    async def request(self, data: bytes, seconds: float) -> Reply:
        """Send and wait for the answer.

        Raises:
            BrokenError: The connection ended first.
            OverdueError: ``seconds`` passed first.
        """
        loop = asyncio.get_running_loop()
        self._begin()
        self._waiter = loop.create_future()
        limit = loop.call_later(seconds, self._fail, OverdueError(f"No answer within {seconds:g} s."))
        try:
            self.transport.write(data)
            return await self._waiter
        finally:
            limit.cancel()
            self._waiter = None

    def close(self) -> None:
        self.reusable = False
        self.transport.abort()

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self.pool.forget(self)
        self._fail(BrokenError(f"The replica closed the connection{f': {exc}' if exc else ''}."))

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # nothing was asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            self._fail(BrokenError(f"The replica's answer is malformed: {error}."))

    # The parser's side.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reply.headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_ANSWER:
            self._fail(BrokenError(f"The replica's answer is over {MAX_ANSWER} bytes."))
            self.close()
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._reply.headers.clear()
            return
        reply = self._reply
        reply.status = status
        reply.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self.reusable = self.reusable and self._parser.should_keep_alive()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(reply)


class ConnectionPool:
    """Connections to one replica. The one used last is used next, so that the others grow old and are closed."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._idle: list[UpstreamConnection] = []
        self._closed = False

    async def exchange(self, data: bytes, seconds: float) -> Reply:
        """Send one request and wait for its answer. Cancelling it closes the connection, which tells the replica.

        Raises:
            ConnectError: Nothing was sent; another replica may be asked.
            BrokenError, OverdueError: See :meth:`UpstreamConnection.request`.
        """
        connection = self._take() or await self._connect()
        try:
            reply = await connection.request(data, seconds)
        except BaseException:
            connection.close()
            raise
        self._put(connection)
        return reply

    def _take(self) -> UpstreamConnection | None:
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since >= oldest and not connection.transport.is_closing():
                return connection
            connection.close()
        return None

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        making = loop.create_connection(lambda: UpstreamConnection(self), self.host, self.port)
        try:
            _, connection = await asyncio.wait_for(making, CONNECT_SECONDS)
        except (OSError, asyncio.TimeoutError) as error:
            raise ConnectError(f"{self.host}:{self.port}: {error or 'no answer'}") from error
        return connection

    def _put(self, connection: UpstreamConnection) -> None:
        if self._closed or not connection.reusable or len(self._idle) >= MAX_IDLE:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection has ended."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close idle connections now, the others when their answer has come."""
        self._closed = True
        for connection in list(self._idle):
            connection.close()
        self._idle.clear()
