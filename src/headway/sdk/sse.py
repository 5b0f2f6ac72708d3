"""Server-sent events: a bounded parser, and a follower that survives a server that comes and goes.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html, section "Parsing an event stream".
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from headway.errors import (
    ConnectionFailedError,
    PayloadTooLargeError,
    RateLimitedError,
    UnavailableError,
    WaitTimeoutError,
)
from headway.sdk.transport import Response

MAX_LINE = 64 * 1024 * 1024
MAX_EVENT = 64 * 1024 * 1024
SILENCE = 45.0
"""Seconds without a byte after which a stream counts as broken; servers send a comment every 15 s."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


@dataclass(frozen=True)
class ServerEvent:
    """One event; ``id`` is the last id seen so far."""

    event: str
    data: str
    id: str | None = None


class Parser:
    """Bytes in, events out. Keeps the last id, and the pause that the server asked for before a reconnection."""

    def __init__(self, *, max_line: int = MAX_LINE, max_event: int = MAX_EVENT) -> None:
        self.last_id: str | None = None
        self.retry: float | None = None
        self._max_line = max_line
        self._max_event = max_event
        self._rest: list[bytes] = []
        self._waiting = 0
        self._after_return = False
        self._first = True
        self._clear()

    def _clear(self) -> None:
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that ``chunk`` completes.

        Raises:
            PayloadTooLargeError: A line or an event is over its limit.
        """
        for line in self._lines(chunk):
            found = self._take(line)
            if found is not None:
                yield found

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        if self._after_return and chunk:
            chunk = chunk[1:] if chunk.startswith(b"\n") else chunk
            self._after_return = False
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return
        self._rest.append(chunk)
        text = b"".join(self._rest).replace(b"\r\n", b"\n")
        self._after_return = text.endswith(b"\r")
        *lines, rest = text.replace(b"\r", b"\n").split(b"\n")
        self._rest, self._waiting = [], 0
        self._keep(rest)
        yield from lines

    def _keep(self, rest: bytes) -> None:
        self._waiting += len(rest)
        if self._waiting > self._max_line:
            raise PayloadTooLargeError(f"The server sent a line of more than {self._max_line} bytes.")
        if rest:
            self._rest.append(rest)

    def _take(self, raw: bytes) -> ServerEvent | None:
        line = raw.decode("utf-8", "replace")
        if self._first:
            line, self._first = line.removeprefix("\ufeff"), False
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        self._field(name, value.removeprefix(" "))
        return None

    def _field(self, name: str, value: str) -> None:
        if name == "data":
            self._size += len(value) + 1
            if self._size > self._max_event:
                raise PayloadTooLargeError(f"The server sent an event of more than {self._max_event} characters.")
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self.last_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = min(int(value[:9]) / 1000, LONGEST_PAUSE)

    def _dispatch(self) -> ServerEvent | None:
        found = None
        if self._data or self._event:
            found = ServerEvent(self._event or "message", "\n".join(self._data), self.last_id)
        self._clear()
        return found


Opener = Callable[[str | None, float], Response]
"""Opens the stream after an id (None: where the caller wants it to begin), with a limit in seconds on silence."""


def follow(
    open_stream: Opener, *, last_id: str | None = None, timeout: float | None = None, what: str
) -> Iterator[ServerEvent]:
    """Every event of a stream once, in order, to its ``event: end``.

    A connection that breaks is opened again after the last id that arrived whole, so nothing is missed or
    repeated. While the server is away the iterator waits.

    Args:
        open_stream: Opens one connection.
        last_id: Go on after this id.
        timeout: Seconds to follow at most; None follows for ever.
        what: How to call it in the error.

    Raises:
        WaitTimeoutError: The stream did not end in time.
        HeadwayError: The server refuses the stream (no such thing, not allowed).
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        parser = Parser()
        try:
            with open_stream(last_id, _silence(deadline, what)) as response, _aborted_at(deadline, response):
                for event in _events(response.chunks(), parser):
                    last_id, pause = event.id or last_id, FIRST_PAUSE
                    if event.event == "end":
                        return
                    yield event
        except (ConnectionFailedError, UnavailableError, RateLimitedError) as error:
            pause = max(pause, error.retry_after) if isinstance(error, RateLimitedError) else pause
        _sleep(max(pause, parser.retry or 0.0), deadline, what)
        pause = min(pause * 2, LONGEST_PAUSE)


def _events(chunks: Iterable[bytes], parser: Parser) -> Iterator[ServerEvent]:
    for chunk in chunks:
        yield from parser.feed(chunk)


def _silence(deadline: float | None, what: str) -> float:
    return SILENCE if deadline is None else min(SILENCE, max(_left(deadline, what), 0.001))


def _left(deadline: float, what: str) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise WaitTimeoutError(f"{what} did not come in time.", hint="It goes on all the same; wait again.")
    return left


def _sleep(seconds: float, deadline: float | None, what: str) -> None:
    jittered = seconds * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnections, hides nothing
    time.sleep(jittered if deadline is None else min(jittered, _left(deadline, what)))
    if deadline is not None:
        _left(deadline, what)


class _aborted_at:
    """While the block runs, a timer that ends a wait for bytes at the deadline; a comment line every 15 s would
    hide it.
    """

    def __init__(self, deadline: float | None, response: Response) -> None:
        self._timer: threading.Timer | None = None
        if deadline is not None:
            self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), response.abort)
            self._timer.daemon = True

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
