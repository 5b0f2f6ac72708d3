"""Connections to replicas: raw HTTP/1.1 over a pool that is kept alive."""

from __future__ import annotations

import asyncio
import select
from time import monotonic
from typing import Protocol, cast

import httptools

from headway.serving.http.messages import Headers

CONNECT_SECONDS = 2.0
IDLE_SECONDS = 30.0
"""Shorter than a replica keeps an idle connection, so that it is never used while the replica closes it."""
TRUSTED_SECONDS = 0.005
"""A connection that lay idle for longer is asked for its end before it is used: the loop may not have heard of it yet."""
MAX_IDLE = 256
MAX_ANSWER = 256 * 1024 * 1024
MANY_HEADS = 64
LONGEST_HEAD = 1024
_FRAMING = frozenset((b"transfer-encoding", b"connection", b"trailer", b"upgrade"))
_END = b"\r\n\r\n"
_ENDED = select.POLLIN | getattr(select, "POLLRDHUP", 0)


class UpstreamError(Exception):
    """There is no answer; the text says why."""


class ConnectError(UpstreamError):
    """No connection could be made; nothing was sent."""


class BrokenError(UpstreamError):
    """The connection ended before the answer was whole. The replica may have worked on the request."""


class GarbageError(UpstreamError):
    """What came is no answer. The replica lives."""


class ReplyHead:
    """Everything of an answer but its body; header names are lower case."""

    __slots__ = ("content_type", "headers", "returned", "status")

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = []
        self.content_type = ""
        self.returned: Headers | None = None
        """What of the headers a client gets, once somebody found out."""

    @property
    def is_simple(self) -> bool:
        """Whether its framing is one plain length."""
        lengths = [value for name, value in self.headers if name == b"content-length"]
        return self.status >= 200 and len(lengths) == 1 and not any(name in _FRAMING for name, _ in self.headers)


class Reply:
    """A replica's answer."""

    __slots__ = ("body", "head")

    def __init__(self, head: ReplyHead, body: bytes = b"") -> None:
        self.head = head
        self.body = body

    @property
    def status(self) -> int:
        return self.head.status


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
        self._head = ReplyHead()
        self._begun = self._whole = False
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
        if not self._begun:
            known = self.pool.heads.find(data)
            if known is not None:
                self._finish(known)
                return
            self._begun = True
            self._parse(data)
            if self._whole and self.reusable:
                self.pool.heads.keep(data, self._head)
        else:
            self._parse(data)
        if self._whole:
            body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            reply = Reply(self._head, body)
            self._head, self._chunks = ReplyHead(), []
            self._begun, self._whole, self._size = False, False, 0
            self._finish(reply)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if not self._whole:
                self._fail(GarbageError(f"The replica's answer is malformed: {error.__context__ or error}."))

    def _finish(self, reply: Reply) -> None:
        """Hand the answer over, after the connection, so that the next request can use it at once."""
        waiter, self._waiter = self._waiter, None
        self.pool.put(self)
        assert waiter is not None
        waiter.handle = None
        waiter.replied(reply)

    # The parser's side.

    def on_message_begin(self) -> None:
        if self._whole:
            raise UpstreamError("more than one answer came")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head.headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise UpstreamError(f"it is over {MAX_ANSWER} bytes")
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._head.headers.clear()
            return
        self._head.status = status
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


class KnownHeads:
    """Heads of answers that were read before: a replica sends the same one over and over, until a second is over.

    A head is looked up by all of its bytes, at the beginning of an answer, so that what is found is what the strict
    parser made of these very bytes at that very place.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[ReplyHead, int]] = {}

    def find(self, data: bytes) -> Reply | None:
        """The answer, if ``data`` is a whole one with a known head, and nothing else."""
        end = data.find(_END, 0, LONGEST_HEAD) + 4
        found = self._known.get(data[:end])
        if found is None or len(data) - end != found[1]:
            return None
        return Reply(found[0], data[end:])

    def keep(self, data: bytes, head: ReplyHead) -> None:
        """Keep what the parser made of ``data``, a whole answer, if it is simple enough."""
        end = data.find(_END, 0, LONGEST_HEAD) + 4
        if end < 4 or not head.is_simple or data.count(b"\n", 0, end) != len(head.headers) + 2:
            return
        if len(self._known) >= MANY_HEADS:
            self._known.clear()
        self._known[data[:end]] = (head, len(data) - end)


class ConnectionPool:
    """Connections to one replica. The one used last is used next, so that the others grow old and are closed."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.connecting: set[_Connecting] = set()
        self.heads = KnownHeads()
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
