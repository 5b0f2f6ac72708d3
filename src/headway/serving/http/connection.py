"""One client connection: requests answered one after the other, in order, and nothing waited for without end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from headway.serving.http.messages import Request, Response, encode_response, error_response
from headway.serving.http.reader import Phase, Refusal, RequestReader

if TYPE_CHECKING:
    from headway.serving.http.server import HttpServer

NEVER = float("inf")


class Connection(asyncio.Protocol):
    """Reads, queues, answers. A client that ends its side of the connection is gone: its work is cancelled."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.limits = server.limits
        self.transport: asyncio.Transport
        self.reader: RequestReader
        self.deadline = NEVER
        """When :meth:`expire` is called, on the clock of the loop."""
        self.queue: deque[Request] = deque()
        self.task: asyncio.Task[None] | None = None
        self._refused: Response | None = None
        self._lingering = False
        self._owes_continue = False
        self._reading = True
        self._writable: asyncio.Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing to answer."""
        return self.task is None and self.reader.phase is Phase.IDLE

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self.reader = RequestReader(self, self.server.screen, self.limits, self.server.budget, host)
        self.server.opened(self)
        self._wait(self.limits.head_time)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.reader.abandon()
        for request in self.queue:
            self.server.budget.give(len(request.body))
        self.queue.clear()
        if self.task is not None:
            self.task.cancel()
        self.server.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._refused is not None:
            return
        before = self.reader.phase
        try:
            self.reader.feed(data)
        except Refusal as refusal:
            self._refuse(refusal.response)
            return
        if self.task is None:
            self._read_deadline(before, len(data))

    def pause_writing(self) -> None:
        self._writable = self.server.loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # The reader's side.

    def request_read(self, request: Request) -> None:
        self.queue.append(request)
        if len(self.queue) >= self.limits.pipelined and self._reading:
            self._reading = False
            self.transport.pause_reading()
        self._start()

    def continue_wanted(self) -> None:
        if self.task is None and not self.queue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._owes_continue = True

    # Answering.

    def _start(self) -> None:
        if self.task is None:
            self.deadline = NEVER
            self.task = self.server.loop.create_task(self._work())

    async def _work(self) -> None:
        while self.queue:
            request = self.queue.popleft()
            try:
                response = request.answer or await self.server.answer(request)
            finally:
                self.server.budget.give(len(request.body))
            close = request.close or self.server.draining
            self._write(response, close=close, without_body=request.method == "HEAD")
            if self._writable is not None:
                await self._drain()
            if close:
                self._end()
                return
            self._resume_reading()
        self._rest()

    def _rest(self) -> None:
        """Everything read has been answered."""
        self.task = None
        if self._refused is not None:
            self._write(self._refused, close=True, without_body=False)
            self._end()
            return
        if self._owes_continue:
            self._owes_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._read_deadline(None, 0)

    def _write(self, response: Response, *, close: bool, without_body: bool) -> None:
        date = self.server.date()
        self.transport.write(encode_response(response, close=close, without_body=without_body, date=date))

    async def _drain(self) -> None:
        """Wait until the client has taken enough; :meth:`expire` ends one that does not."""
        assert self._writable is not None
        self._wait(self.limits.write_time)
        await self._writable
        self.deadline = NEVER

    def _resume_reading(self) -> None:
        if not self._reading and len(self.queue) < self.limits.pipelined and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    # Endings.

    def _refuse(self, response: Response) -> None:
        """Answer what was read before, then ``response``, then end."""
        self.reader.abandon()
        self.server.refused[response.status] += 1
        self._refused = response
        if self.task is None:
            self._rest()

    def _end(self) -> None:
        """Close once everything written has been sent; after a refusal, let the client finish sending first."""
        self.task = None
        if self._refused is None or not self.transport.can_write_eof():
            self._wait(self.limits.write_time)
            self.transport.close()
            return
        self._lingering = True
        self._resume_reading()
        self._wait(self.limits.linger_time)
        self.transport.write_eof()

    def _wait(self, seconds: float) -> None:
        self.deadline = self.server.loop.time() + seconds

    def _read_deadline(self, before: Phase | None, received: int) -> None:
        phase = self.reader.phase
        if phase is Phase.BODY and before is phase:
            granted = received / self.limits.body_rate
            latest = self.server.loop.time() + self.limits.body_stall
            self.deadline = min(latest, self.deadline + granted)
        elif phase is not before:
            limits = self.limits
            times = {Phase.IDLE: limits.idle_time, Phase.HEAD: limits.head_time, Phase.BODY: limits.body_stall}
            self._wait(times[phase])

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = NEVER
        if self.task is not None or self._lingering or self.transport.is_closing():
            self.transport.abort()
        elif self.reader.phase is Phase.IDLE:
            self.transport.close()
        else:
            self._refuse(error_response(408, "The request did not arrive in time."))
