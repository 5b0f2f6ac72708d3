"""The server's end of a channel: requests of one client as frames, answered in any order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from headway.serving.http.exchange import Exchange
from headway.serving.http.frames import (
    ANSWER,
    CANCEL,
    GOODBYE,
    HEADER,
    HELLO,
    LARGEST,
    MOST,
    PART,
    PREFACE,
    REQUEST,
    FrameError,
    FrameReader,
    frame,
)
from headway.serving.http.messages import Request, Response, error_response
from headway.serving.http.reader import Phase, Refusal, RequestReader, refuse

if TYPE_CHECKING:
    from headway.serving.http.server import HttpServer

NEVER = float("inf")
PART_BYTES = 64 * 1024
"""Of a large answer, between whose parts other answers are written."""


class ChannelExchange(Exchange):
    """A request of a channel, and the place for its answer."""

    __slots__ = ("_channel", "number")

    def __init__(self, request: Request, channel: ServerChannel, number: int) -> None:
        super().__init__(request, channel)
        self._channel, self.number = channel, number

    def respond(self, response: Response) -> None:
        super().respond(response)
        if not self.gone:
            self._channel.write(self)


class ServerChannel(asyncio.Protocol):
    """Takes a connection over from its first bytes on.

    A frame that cannot be read ends the connection; a request that cannot be read is answered, and the others go on.
    """

    def __init__(self, server: HttpServer, transport: asyncio.Transport, peer: str) -> None:
        self.server, self.transport = server, transport
        self.limits = server.limits
        self.deadline = server.loop.time() + self.limits.head_time
        """When :meth:`expire` is called, on the clock of the loop."""
        self._peer = peer
        self._preface = b""
        self._frames = FrameReader()
        self._reader = self._new_reader()
        self._request: Request | None = None
        """What was read of the present frame."""
        self._last = 0
        """The highest number so far."""
        self._unanswered: dict[int, ChannelExchange] = {}
        self._answers: list[bytes] = []
        """Frames that are written at the end of this turn."""
        self._long: deque[tuple[int, bytes, int]] = deque()
        """Answers that are written in parts: number, message, and how much of it was written."""
        self._busy = self._planned = False
        self._blocked = False
        """Whether the client takes its answers too slowly to be written more."""
        self._reading = True
        self._in_frame = False
        """Whether the deadline is that of a frame that has begun."""
        self._counted = 0
        """Bytes of the budget that the unfinished frame holds."""

    @property
    def idle(self) -> bool:
        """Nothing is to be answered."""
        return not (self._unanswered or self._long or self._frames.held)

    def _new_reader(self) -> RequestReader:
        server = self.server
        return RequestReader(self, server.screen, server.heads, self.limits, server.budget, self._peer)

    # The transport's side.

    def data_received(self, data: bytes) -> None:
        if len(self._preface) < len(PREFACE):
            data = self._greet(data)
            if len(self._preface) < len(PREFACE):
                return
        if self.transport.is_closing():
            return
        self._busy = True
        try:
            frames = self._frames.feed(data)
            if frames:
                self._in_frame = False
            for kind, number, payload in frames:
                if kind == REQUEST:
                    self._take(number, payload)
                elif kind == CANCEL:
                    self._cancel(number)
                else:
                    raise FrameError(f"{kind} is no frame of a client")
            self._count_unfinished()
        except FrameError:
            self.server.refused[400] += 1
            self.transport.abort()
            return
        finally:
            self._busy = False
        self._flush()

    def _greet(self, data: bytes) -> bytes:
        """Read the preface and answer it; what follows it."""
        self._preface += data
        if not self._preface.startswith(PREFACE[: len(self._preface)]):
            self.server.refused[400] += 1
            refusal = error_response(400, "Malformed request: it begins with a NUL.")
            self.transport.write(self.server.encoder.encode(refusal, close=True, without_body=False))
            self.transport.close()
            return b""
        rest, self._preface = self._preface[len(PREFACE) :], self._preface[: len(PREFACE)]
        if len(self._preface) == len(PREFACE):
            self.transport.write(PREFACE + HELLO.pack(LARGEST, MOST))
            if self.server.draining:
                self.say_goodbye()
        return rest

    def _count_unfinished(self) -> None:
        """Hold the bytes of the frame that has begun, and let go of those of the one before."""
        grown = self._frames.held - self._counted
        if grown and not self.server.budget.take(grown):
            if not self._unanswered:
                raise FrameError("too much is being sent at once")
            self.server.budget.give(-grown)  # one frame more, so that those that wait for answers get them
        self._counted += grown

    def pause_writing(self) -> None:
        self._blocked = True
        self.deadline = self.server.loop.time() + self.limits.write_time
        self._read_or_not()

    def resume_writing(self) -> None:
        self._blocked = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.server.closed(self)
        self._reader.abandon()
        self.server.budget.give(self._counted)
        left = list(self._unanswered.values())
        self._unanswered.clear()
        self._long.clear()
        for exchange in left:
            self.server.budget.give(len(exchange.request.body))
            self.server.left(exchange)

    # Requests.

    def _take(self, number: int, payload: bytes) -> None:
        """Begin the request of one frame."""
        if number <= self._last:
            raise FrameError(f"the number {number} is used again")
        self._last = number
        try:
            self._reader.feed(payload)
            if self._request is None or self._reader.phase is not Phase.IDLE:
                raise refuse(400, "The frame ends before its request does.")
        except Refusal as refusal:
            self._forget_request()
            self.server.refused[refusal.response.status] += 1
            self._append(number, refusal.response, without_body=False)
            return
        request, self._request = self._request, None
        if request.close:
            self._reader = self._new_reader()  # this one would let nothing follow
        exchange = ChannelExchange(request, self, number)
        self._unanswered[number] = exchange
        if request.answer is None:
            self.server.handle(exchange)
        else:
            exchange.respond(request.answer)

    def _forget_request(self) -> None:
        if self._request is not None:
            self.server.budget.give(len(self._request.body))
            self._request = None
        self._reader.abandon()
        self._reader = self._new_reader()

    def request_read(self, request: Request) -> None:
        """The reader has read one."""
        if self._request is not None:
            self.server.budget.give(len(request.body))
            raise refuse(400, "A frame has one request.")
        self._request = request

    def continue_wanted(self) -> None:
        """The body is here already."""

    def _cancel(self, number: int) -> None:
        """The client wants this answer no more."""
        exchange = self._unanswered.pop(number, None)
        if exchange is not None:
            self.server.budget.give(len(exchange.request.body))
            self.server.left(exchange)
            return
        self._long = deque(each for each in self._long if each[0] != number)

    # Answers.

    def answered(self) -> None:
        """Nothing: see :meth:`write`."""

    def write(self, exchange: ChannelExchange) -> None:
        """Write an answer, joined to one write with all that are made in this turn of the loop."""
        if self._unanswered.pop(exchange.number, None) is None or exchange.response is None:
            return
        self.server.budget.give(len(exchange.request.body))
        self._append(exchange.number, exchange.response, without_body=exchange.request.method == "HEAD")
        if self._busy or self._planned:
            return
        if self._unanswered:
            self._planned = True
            self.server.loop.call_soon(self._flush_planned)
        else:
            self._flush()

    def _append(self, number: int, response: Response, *, without_body: bool) -> None:
        message = self.server.encoder.encode(response, close=False, without_body=without_body)
        if len(message) > PART_BYTES:
            self._long.append((number, message, 0))
        else:
            self._answers.append(HEADER.pack(ANSWER, len(message), number))
            self._answers.append(message)

    def _flush_planned(self) -> None:
        self._planned = False
        self._flush()

    def _flush(self) -> None:
        """Write what was answered, and of large answers as much as the client takes."""
        if self.transport.is_closing():
            return
        if self._answers:
            data = b"".join(self._answers)
            self._answers.clear()
            self.transport.write(data)
        while self._long and not self._blocked:
            self._write_part()
        self._read_or_not()
        self._set_deadline()

    def _write_part(self) -> None:
        """One part of the large answer whose turn it is; large answers take turns."""
        number, message, start = self._long.popleft()
        stop = start + PART_BYTES
        if stop < len(message):
            self._long.append((number, message, stop))
        self.transport.write(frame(PART if stop < len(message) else ANSWER, number, message[start:stop]))

    def _read_or_not(self) -> None:
        """Read no more of a client that does not take its answers, or has asked for more than it may."""
        wanted = not self._blocked and len(self._unanswered) + len(self._long) < MOST
        if wanted == self._reading or self.transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    # Endings.

    def _set_deadline(self) -> None:
        if self._blocked:
            return
        if self._frames.held:
            if not self._in_frame:
                self._in_frame = True
                self.deadline = self.server.loop.time() + self.limits.body_stall
        elif self._unanswered:
            self.deadline = NEVER
        else:
            self.deadline = self.server.loop.time() + self.limits.idle_time

    def say_goodbye(self) -> None:
        """Ask the client to send nothing more; what was sent before it heard of that is answered."""
        if len(self._preface) == len(PREFACE):
            self.transport.write(frame(GOODBYE, 0))

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = NEVER
        if self.idle and not self._blocked:
            self.transport.close()
        else:
            self.transport.abort()
