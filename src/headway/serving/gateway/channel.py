"""The gateway's end of a channel: many requests at once on one connection to a replica."""

from __future__ import annotations

import asyncio
import logging
import select
from time import monotonic
from typing import Protocol, cast

from headway.serving.gateway.replies import (
    MAX_ANSWER,
    BrokenError,
    ConnectError,
    GarbageError,
    KnownHeads,
    Reply,
    ReplyReader,
    UpstreamError,
)
from headway.serving.gateway.upstream import ENDED, IDLE_SECONDS, TRUSTED_SECONDS, Waiter
from headway.serving.http.frames import (
    ANSWER,
    CANCEL,
    GOODBYE,
    HEADER,
    HELLO,
    LARGEST,
    PART,
    PREFACE,
    REQUEST,
    FrameError,
    FrameReader,
    frame,
)

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Whose channel it is."""

    heads: KnownHeads

    def channel_left(self, channel: Channel, *, by_replica: bool) -> None:
        """It takes no more requests, since the replica wants none or sent garbage, or for reasons of our own; those that
        were sent may still be answered."""
        ...


class Greeting(asyncio.Protocol):
    """Asks for a channel. ``channel`` has it once the replica has answered; BrokenError or GarbageError if it will not."""

    def __init__(self, owner: Owner) -> None:
        self.channel: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._transport: asyncio.Transport
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(PREFACE)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if not self._heard.startswith(PREFACE[: len(self._heard)]):
            self._fail(GarbageError("The replica opens no channel."))
            self._transport.abort()
            return
        end = len(PREFACE) + HELLO.size
        if len(self._heard) < end or self.channel.done():
            return
        largest, most = HELLO.unpack_from(self._heard, len(PREFACE))
        channel = Channel(self._owner, self._transport, min(largest, LARGEST), most)
        self._transport.set_protocol(channel)
        self.channel.set_result(channel)
        if len(self._heard) > end:
            channel.data_received(self._heard[end:])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._fail(BrokenError("The replica closed the connection."))

    def _fail(self, error: UpstreamError) -> None:
        if not self.channel.done():
            self.channel.set_exception(error)


class Channel(asyncio.Protocol):
    """One connection. Requests that are sent in one turn of the loop leave in one write.

    What had not been written when the connection ended was not sent (ConnectError); what had been may have been worked on
    (BrokenError).

    Args:
        owner: Told of its end.
        largest: Bytes of a request.
        most: Requests without an answer.
    """

    def __init__(self, owner: Owner, transport: asyncio.Transport, largest: int, most: int) -> None:
        self.transport = transport
        self._owner: Owner | None = owner
        """None once it takes no more requests."""
        self._largest, self._most = largest, most
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), ENDED)
        self._blocked = False
        """Whether the replica reads too slowly to be written more."""
        self._frames = FrameReader()
        self._heads = owner.heads
        self._reader = ReplyReader(self._heads)
        self._number = self._written = 0
        """The number of the last request, and of the last that was written."""
        self._waiting: dict[int, Waiter] = {}
        self._parts: dict[int, bytearray] = {}
        """Of answers that are not whole."""
        self._unwritten: list[bytes] = []
        self._heard_at = monotonic()

    @property
    def is_open(self) -> bool:
        """Whether it takes requests at all."""
        return self._owner is not None

    # Requests.

    def takes(self, size: int, now: float) -> bool:
        """Whether a request of ``size`` bytes may be sent at ``now`` (the monotonic clock). One that the replica has closed
        is not written to, as far as the system knows."""
        if self._owner is None or self._blocked or size > self._largest or len(self._waiting) >= self._most:
            return False
        if not self._waiting:
            age = now - self._heard_at
            if age >= IDLE_SECONDS or (age >= TRUSTED_SECONDS and self._poll.poll(0)):
                self.leave()
                return False
        return True

    def send(self, message: bytes, waiter: Waiter) -> None:
        """Send a request that it takes."""
        self._number = number = self._number + 1
        self._waiting[number] = waiter
        waiter.handle = _Sent(self, number)
        self._write(HEADER.pack(REQUEST, len(message), number))
        self._unwritten.append(message)

    def cancel(self, number: int) -> None:
        """Withdraw a request: the replica is told, and what it may answer yet is dropped."""
        self._waiting.pop(number, None)
        self._parts.pop(number, None)
        self._write(frame(CANCEL, number))

    def _write(self, data: bytes) -> None:
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(data)

    def _flush(self) -> None:
        if not self.transport.is_closing():
            data = b"".join(self._unwritten)
            self._unwritten.clear()
            self._written = self._number
            self.transport.write(data)
            self._close_if_done()

    def leave(self, *, by_replica: bool = False) -> None:
        """Take no more requests, and close once those that were sent are answered."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.channel_left(self, by_replica=by_replica)
        self._close_if_done()

    def leave_if_idle(self) -> None:
        """Close, unless something is to be answered."""
        if not self._waiting:
            self.leave()

    def _close_if_done(self) -> None:
        if self._owner is None and not self._waiting and not self._unwritten:
            self.transport.close()

    # The transport's side.

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False

    def data_received(self, data: bytes) -> None:
        self._heard_at = monotonic()
        try:
            for kind, number, payload in self._frames.feed(data):
                if kind == ANSWER:
                    self._answer(number, payload)
                elif kind == PART:
                    self._keep(number, payload)
                elif kind == GOODBYE:
                    self.leave(by_replica=True)
                else:
                    raise FrameError(f"{kind} is no frame of a replica")
        except FrameError as error:
            self._fail(GarbageError(f"The replica's channel is malformed: {error}."))
            return
        self._close_if_done()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(BrokenError(f"The replica closed the connection{f': {exc}' if exc else ''}."))

    def _fail(self, error: UpstreamError) -> None:
        waiting, self._waiting = self._waiting, {}
        self._parts.clear()
        self.leave(by_replica=isinstance(error, GarbageError))
        self.transport.abort()
        for number, waiter in waiting.items():
            _tell(waiter, error if number <= self._written else ConnectError("The connection ended before."))

    # Answers.

    def _answer(self, number: int, payload: bytes) -> None:
        """The answer to a request, or the last part of it; nobody waits any more for one that was withdrawn."""
        waiter = self._take(number)
        parts = self._parts.pop(number, None)
        if waiter is None:
            return
        try:
            outcome: Reply | UpstreamError = self._read(payload if parts is None else bytes(parts + payload))
        except GarbageError as error:
            self._reader = ReplyReader(self._heads)
            outcome = error
        _tell(waiter, outcome)

    def _take(self, number: int) -> Waiter | None:
        if not 0 < number <= self._written:
            raise FrameError(f"it answers {number}, which nobody asked")
        return self._waiting.pop(number, None)

    def _read(self, message: bytes) -> Reply:
        reply = self._reader.feed(message)
        if reply is None or self._reader.excess:
            raise GarbageError("The replica's answer is malformed: its frame is not one answer.")
        if not self._reader.reusable:
            self._reader = ReplyReader(self._heads)  # it said that it would close a connection of its own
        return reply

    def _keep(self, number: int, payload: bytes) -> None:
        """A part of a large answer."""
        waiter = self._take(number)
        if waiter is None:
            return
        self._waiting[number] = waiter
        parts = self._parts.setdefault(number, bytearray())
        parts += payload
        if len(parts) > MAX_ANSWER:
            self.cancel(number)
            _tell(waiter, GarbageError(f"The replica's answer is over {MAX_ANSWER} bytes."))


def _tell(waiter: Waiter, outcome: Reply | UpstreamError) -> None:
    """Hand one over. Whatever becomes of it must not keep the others from those who wait for them."""
    waiter.handle = None
    try:
        if isinstance(outcome, Reply):
            waiter.replied(outcome)
        else:
            waiter.failed(outcome)
    except Exception:
        log.exception("An outcome could not be handed over")


class _Sent:
    """A request on its way through a channel."""

    __slots__ = ("_channel", "_number")

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel, self._number = channel, number

    def break_off(self) -> None:
        self._channel.cancel(self._number)
