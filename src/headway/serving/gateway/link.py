"""The way to one replica: a channel where it takes one, and connections of their own for what the channel does not carry."""

from __future__ import annotations

import asyncio
from time import monotonic

from headway.serving.gateway.channel import Channel, Greeting
from headway.serving.gateway.replies import KnownHeads, UpstreamError
from headway.serving.gateway.upstream import CONNECT_SECONDS, ConnectionPool, Waiter

HELLO_SECONDS = 2.0
"""How long a replica may take to answer the preface."""
NOT_NOW_SECONDS = 5.0
"""Until a replica that wanted no more requests, could not be reached or said nothing is asked for a channel again."""
NEVER = float("inf")


class Link:
    """Sends requests to one replica.

    Large requests, and all of them while the channel is not open, is full or is not read, go over the pool. A server that
    does not know channels is asked once, until :meth:`drop_idle`.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.heads = KnownHeads(ids=False)
        self._pool = ConnectionPool(host, port, self.heads)
        self._channel: Channel | None = None
        self._opening: asyncio.Task[None] | None = None
        self._next_try = 0.0
        """When a channel may be asked for, on the monotonic clock."""
        self._closed = False

    @property
    def has_channel(self) -> bool:
        """Whether there is a channel now."""
        return self._channel is not None

    def send(self, message: bytes, waiter: Waiter, now: float) -> None:
        """Send one request; ``waiter`` hears of its answer or end. ``now`` is the monotonic clock."""
        channel = self._channel
        if channel is not None and channel.takes(len(message), now):
            channel.send(message, waiter)
            return
        if self._channel is None and now >= self._next_try and self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        self._pool.send(message, waiter, now)

    async def _open(self) -> None:
        making = asyncio.get_running_loop().create_connection(lambda: Greeting(self), self.host, self.port)
        greeting = None
        try:
            transport, greeting = await asyncio.wait_for(making, CONNECT_SECONDS)
            channel = await asyncio.wait_for(greeting.channel, HELLO_SECONDS)
            if channel.is_open:
                self._channel = channel
        except UpstreamError:
            self._next_try = NEVER
        except (OSError, asyncio.TimeoutError):
            self._next_try = monotonic() + NOT_NOW_SECONDS
        finally:
            self._opening = None
            if greeting is not None and self._channel is None:
                transport.abort()

    def channel_left(self, channel: Channel, *, by_replica: bool) -> None:
        """It takes no more requests; see :class:`headway.serving.gateway.channel.Owner`."""
        if self._channel is channel:
            self._channel = None
        if by_replica:
            self._next_try = monotonic() + NOT_NOW_SECONDS

    def drop_idle(self) -> None:
        """Close what nobody uses. Whoever answers there next may be another program: what is known of it is forgotten."""
        self._pool.drop_idle()
        if self._channel is not None:
            self._channel.leave_if_idle()
        if not self._closed:
            self._next_try = 0.0

    def close(self) -> None:
        """Close what is idle now, the rest when its answers have come."""
        self._closed, self._next_try = True, NEVER
        if self._opening is not None:
            self._opening.cancel()
        self._pool.close()
        if self._channel is not None:
            self._channel.leave()
