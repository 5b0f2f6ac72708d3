"""One client connection: requests answered in the order in which they came, and nothing waited for without end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from headway.serving.http.channel import ServerChannel
from headway.serving.http.exchange import Exchange
from headway.serving.http.frames import MARK
from headway.serving.http.messages import Request, Response, error_response
from headway.serving.http.reader import Phase, Refusal, RequestReader

if TYPE_CHECKING:
    from headway.serving.http.server import HttpServer

NEVER = float("inf")


class Connection(asyncio.Protocol):
    """Reads, hands on, writes answers in order. A client that ends its side of the connection is gone."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.limits = server.limits
        self.transport: asyncio.Transport
        self.reader: RequestReader
        self.deadline = NEVER
        """When :meth:`expire` is called, on the clock of the loop."""
        self._queue: deque[Exchange] = deque()
        """Every exchange that is not answered on the wire, oldest first; the newest ``_unbegun`` wait for their turn."""
        self._unbegun: deque[Exchange] = deque()
        self._refused: Response | None = None
        self._busy = False
        """Whether a caller further up will write what is answered meanwhile."""
        self._planned = False
        self._blocked = False
        """Whether the client takes its answers too slowly to be written more."""
        self._ended = False
        self._owes_continue = False
        self._reading = True
        self._fresh = True

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing to answer."""
        return not self._queue and self.reader.phase is Phase.IDLE

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        server = self.server
        self.reader = RequestReader(self, server.screen, server.heads, self.limits, server.budget, host)
        self.server.opened(self)
        self._wait(self.limits.head_time)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._ended = True
        self.reader.abandon()
        left = list(self._queue)
        self._queue.clear()
        self._unbegun.clear()
        self.server.closed(self)
        for exchange in left:
            self.server.budget.give(len(exchange.request.body))
            if exchange.response is None:
                self.server.left(exchange)

    def data_received(self, data: bytes) -> None:
        if self._refused is not None or self._ended:
            return
        if self._fresh:
            self._fresh = False
            if self.server.channels and data.startswith(MARK):
                self._become_channel(data)
                return
        before, free = self.reader.phase, not self._queue
        self._busy = True
        try:
            self.reader.feed(data)
        except Refusal as refusal:
            self._refuse(refusal.response)
        finally:
            self._busy = False
        queue = self._queue
        if queue:
            if queue[0].response is not None:
                self._advance()
        elif self._refused is not None:
            self._advance()
        elif free and not self._blocked:
            self._read_deadline(before, len(data))

    def _become_channel(self, data: bytes) -> None:
        """Leave the connection to a channel, from its first bytes on."""
        self._ended = True
        channel = ServerChannel(self.server, self.transport, self.reader.peer)
        self.transport.set_protocol(channel)
        self.server.connections.discard(self)
        self.server.opened(channel)
        channel.data_received(data)

    def pause_writing(self) -> None:
        self._blocked = True
        self._wait(self.limits.write_time)

    def resume_writing(self) -> None:
        self._blocked = False
        if not self._ended:
            self.deadline = NEVER
            self._advance()

    # The reader's side.

    def request_read(self, request: Request) -> None:
        exchange = Exchange(request, self)
        self._queue.append(exchange)
        if not self._blocked:
            self.deadline = NEVER
        if self._unbegun or len(self._queue) > self.limits.pipelined:
            self._unbegun.append(exchange)
        else:
            self._begin(exchange)
        if self._reading and len(self._queue) >= self.limits.pipelined:
            self._reading = False
            self.transport.pause_reading()

    def continue_wanted(self) -> None:
        if self._queue:
            self._owes_continue = True
        else:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Answering.

    def answered(self) -> None:
        """Write what is due, joined to one write where several answers of this connection are made in one turn."""
        if self._busy or self._planned:
            return
        if len(self._queue) == 1:
            if not self._write_only():
                self._advance()
        elif self._queue[0].response is not None:
            self._planned = True
            self.server.loop.call_soon(self._advance)

    def _write_only(self) -> bool:
        """Write the answer to the only request there is, as nearly all are; False where more is to be looked after."""
        exchange = self._queue[0]
        request, response, server = exchange.request, exchange.response, self.server
        if (
            response is None
            or self._blocked
            or self._ended
            or self._refused is not None
            or self._owes_continue
            or request.close
            or server.draining
            or not self._reading
            or self.reader.phase is not Phase.IDLE
        ):
            return False
        self._queue.popleft()
        server.budget.used -= len(request.body)
        self.deadline = server.loop.time() + self.limits.idle_time
        self.transport.write(server.encoder.encode(response, close=False, without_body=request.method == "HEAD"))
        return True

    def _advance(self) -> None:
        """Write every answer whose turn has come, and begin what waited for its place."""
        self._planned = False
        if self._busy or self._ended:
            return
        self._busy = True
        try:
            while self._write_due() and self._unbegun:
                self._begin_more()
        finally:
            self._busy = False
        if not self._ended and not self._queue and not self._blocked:
            self._rest()

    def _write_due(self) -> bool:
        """Whether anything was written and the connection goes on."""
        queue, parts, close = self._queue, [], False
        while queue and not self._blocked:
            exchange = queue[0]
            response = exchange.response
            if response is None:
                break
            queue.popleft()
            request = exchange.request
            self.server.budget.give(len(request.body))
            close = request.close or (self.server.draining and self._is_last())
            parts.append(self.server.encoder.encode(response, close=close, without_body=request.method == "HEAD"))
        if not parts:
            return False
        self.transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
        if close:
            self._end()
            return False
        self._resume_reading()
        return True

    def _is_last(self) -> bool:
        return not self._queue and self._refused is None and self.reader.phase is Phase.IDLE

    def _begin_more(self) -> None:
        free = self.limits.pipelined - (len(self._queue) - len(self._unbegun))
        while self._unbegun and free > 0:
            free -= 1
            self._begin(self._unbegun.popleft())

    def _begin(self, exchange: Exchange) -> None:
        answer = exchange.request.answer
        if answer is None:
            self.server.handle(exchange)
        else:
            exchange.respond(answer)

    def _rest(self) -> None:
        """Everything read has been answered."""
        if self._refused is not None:
            self.transport.write(self.server.encoder.encode(self._refused, close=True, without_body=False))
            self._end()
            return
        if self._owes_continue:
            self._owes_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._read_deadline(None, 0)

    def _resume_reading(self) -> None:
        if not self._reading and len(self._queue) < self.limits.pipelined and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    # Endings.

    def _refuse(self, response: Response) -> None:
        """Answer what was read before, then ``response``, then end."""
        self.reader.abandon()
        self.server.refused[response.status] += 1
        self._refused = response

    def _end(self) -> None:
        """Close once everything written has been sent; after a refusal, let the client finish sending first."""
        self._ended = True
        if self._refused is None or not self.transport.can_write_eof():
            self._wait(self.limits.write_time)
            self.transport.close()
            return
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
            self._wait(self._seconds_for(phase))

    def _seconds_for(self, phase: Phase) -> float:
        if phase is Phase.IDLE:
            return self.limits.idle_time
        return self.limits.head_time if phase is Phase.HEAD else self.limits.body_stall

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = NEVER
        if self._blocked or self._ended or self.transport.is_closing():
            self.transport.abort()
        elif self.reader.phase is Phase.IDLE:
            self.transport.close()
        else:
            self._refuse(error_response(408, "The request did not arrive in time."))
            self._advance()
