"""Listening, the clock that ends slow clients, and the orderly end."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from headway.serving.http.channel import ServerChannel
from headway.serving.http.connection import Connection
from headway.serving.http.exchange import Exchange
from headway.serving.http.heads import KnownHeads
from headway.serving.http.limits import BodyBudget, Limits
from headway.serving.http.messages import Request, Response, ResponseEncoder, error_response
from headway.serving.http.reader import Screen

Handler = Callable[[Exchange], None]
"""Called in the turn of the loop in which a request was read; answers with :meth:`Exchange.respond`, now or later."""

log = logging.getLogger(__name__)

SWEEP_SECONDS = 0.5


def admit_all(request: Request) -> Response | None:  # noqa: ARG001
    """A screen that refuses nothing."""
    return None


class HttpServer:
    """Serves one handler on one address.

    Args:
        handler: Answers a request. What it raises is logged and answered with 500. Of one connection at most
            ``limits.pipelined`` requests are with it at a time.
        screen: Looks at each head before the body is read; must be quick.
        stable_screen: Whether the screen says the same of the same head, whenever and whoever sends it; it is asked once
            for such a head then, and its requests share their context.
        channels: Whether a gateway may send many requests at once as frames (:mod:`headway.serving.http.channel`).
        limits: What a client may cost.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        screen: Screen = admit_all,
        stable_screen: bool = False,
        channels: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.handler = handler
        self.screen = screen
        self.channels = channels
        self.limits = limits or Limits()
        self.heads = KnownHeads(self.limits.body, stable=stable_screen)
        self.budget = BodyBudget(self.limits.buffered)
        self.connections: set[Connection | ServerChannel] = set()
        self.refused: Counter[int] = Counter()
        """Status to the number of requests that ended in the reader."""
        self.draining = False
        self.encoder = ResponseEncoder()
        self.loop: asyncio.AbstractEventLoop
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._tasks: set[asyncio.Task[Response]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; answers the port (another one than asked for only if 0 was asked for).

        Raises:
            OSError: The address is taken or not ours.
        """
        self.loop = asyncio.get_running_loop()
        self._listener = await self.loop.create_server(lambda: Connection(self), host, port, backlog=2048)
        self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)
        return int(self._listener.sockets[0].getsockname()[1])

    def opened(self, connection: Connection | ServerChannel) -> None:
        self.connections.add(connection)
        if len(self.connections) > self.limits.connections:
            connection.transport.abort()

    def closed(self, connection: Connection | ServerChannel) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def handle(self, exchange: Exchange) -> None:
        """Hand a request to the handler; a fault in it is logged and answered as 500."""
        try:
            self.handler(exchange)
        except Exception:  # the boundary of the process: one request must not end it
            log.exception("A request could not be answered")
            if exchange.response is None:
                exchange.respond(internal_error())

    def answer_later(self, exchange: Exchange, coroutine: Coroutine[Any, Any, Response]) -> None:
        """Answer with what ``coroutine`` returns. It is cancelled when the client leaves."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        exchange.when_gone(task.cancel)
        task.add_done_callback(lambda done: self._answer_with(exchange, done))

    def _answer_with(self, exchange: Exchange, task: asyncio.Task[Response]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if not exchange.gone:
                exchange.respond(internal_error())
            return
        error = task.exception()
        if error is not None:
            log.error("A request could not be answered", exc_info=error)
        exchange.respond(task.result() if error is None else internal_error())

    def left(self, exchange: Exchange) -> None:
        """The client of an unanswered request has left."""
        try:
            exchange.leave()
        except Exception:
            log.exception("The end of a request could not be told")

    def _sweep(self) -> None:
        self.encoder.tick()
        now = self.loop.time()
        for connection in [each for each in self.connections if each.deadline < now]:
            connection.expire()
        self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)

    async def drain(self, *, quiet: float, grace: float) -> bool:
        """End in order: answer what arrives for ``quiet`` seconds, then stop listening and finish what was begun.

        The quiet time is for clients that have just sent something on a connection they believe to be open; every
        answer tells them to close it. Nobody connected: nothing to wait for. All of it takes ``grace`` seconds at most.

        Returns:
            Whether everything was finished.
        """
        self.draining = True
        deadline = self.loop.time() + grace
        for channel in [each for each in self.connections if isinstance(each, ServerChannel)]:
            channel.say_goodbye()
        if await self._emptied(min(quiet, grace)):
            self._stop_listening()
        else:
            self._stop_listening()
            for connection in [each for each in self.connections if each.idle]:
                connection.transport.close()
            await self._emptied(deadline - self.loop.time())
        left = list(self.connections)
        for connection in left:
            connection.transport.abort()
        await self._emptied(1.0)
        if self._sweeper is not None:
            self._sweeper.cancel()
        return not left

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()

    async def _emptied(self, seconds: float) -> bool:
        self._empty.clear()
        if self.connections:
            try:
                await asyncio.wait_for(self._empty.wait(), max(seconds, 0.0))
            except asyncio.TimeoutError:
                return False
        return True


def internal_error() -> Response:
    return error_response(500, "Internal error; the log has the details.")
