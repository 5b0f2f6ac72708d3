"""Putting load on an endpoint, open loop.

Request ``i`` is due ``i / rate`` seconds after the beginning and goes out then, or as soon as one of the connections is
free. Its latency counts from when it was due, so that a server which stalls cannot hide by slowing its callers down
("coordinated omission"). A thread keeps the times, as the event loop's own clock ticks in milliseconds.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import cast
from urllib.parse import urlsplit

from headway.errors import ConnectionFailedError
from headway.sdk.load.answers import AnswerReader, GarbageError, HttpAnswer
from headway.sdk.load.plan import LoadPlan, LoadReport
from headway.sdk.load.tally import OnSecond, Tally

SWEEP_SECONDS = 0.05
CONNECT_SECONDS = 10.0


def run_load(plan: LoadPlan, on_second: OnSecond | None = None) -> LoadReport:
    """Carry ``plan`` out. Works where an event loop runs already, as in a notebook.

    Args:
        plan: What to send, how fast.
        on_second: Told after each second what came back in it; from another thread.

    Raises:
        ConnectionFailedError: Nothing listens there.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, "headway-load") as pool:
        found = pool.submit(lambda: _run(_Load(plan, on_second, stop)))
        try:
            return found.result()
        except BaseException:
            stop.set()
            raise


def _run(load: _Load) -> LoadReport:
    """On uvloop where it is installed, as with the server: it sends about twice as much."""
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(load.run())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


class _Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self.request: int | None = None
        """The number of the request that it carries."""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: int, data: bytes, moment: float) -> None:
        assert self._transport is not None
        self.request, self.sent_at = request, moment
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._reader.feed(data)
        except GarbageError as error:
            self.give_up("garbage", str(error))
            return
        for answer in answers:
            self._answer(answer)

    def _answer(self, answer: HttpAnswer) -> None:
        request, self.request = self.request, None
        if request is None:
            self.close()  # nothing was asked
            return
        if not answer.keeps:
            self.close()
        self._load.answered(self, request, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        last = self._reader.end()
        if last is not None and self.request is not None:
            self._answer(last)
        self._load.lost(self)
        self.give_up("connection", f"The connection broke: {exc or 'closed by the peer'}.")

    def give_up(self, why: str, text: str) -> None:
        """Nobody waits for its answer any more."""
        request, self.request = self.request, None
        self.close()
        if request is not None:
            self._load.failed(why, text)

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Load:
    """One run of a plan."""

    def __init__(self, plan: LoadPlan, on_second: OnSecond | None, stop: threading.Event) -> None:
        self._plan, self._on_second, self._stop = plan, on_second, stop
        self._count, self._rate = plan.count, plan.rate
        self._requests = plan.requests()
        self._tally = Tally(plan)
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[int] = deque()
        self._next = 0
        self._start = 0.0
        self._woken = False
        self._ended = asyncio.Event()

    async def run(self) -> LoadReport:
        await self._open_all()
        loop = asyncio.get_running_loop()
        self._start = time.perf_counter()
        pacer = threading.Thread(target=self._pace, args=(loop,), name="headway-load-pacer", daemon=True)
        pacer.start()
        try:
            await self._look_after()
        finally:
            elapsed = time.perf_counter() - self._start
            self._stop.set()
            await self._close()
            await loop.run_in_executor(None, pacer.join)
        return self._tally.report(elapsed)

    async def _open_all(self) -> None:
        """All connections, before the clock runs: opening them is not what is measured."""
        wanted = min(self._plan.connections, self._count)
        found = await asyncio.gather(*(self._connect() for _ in range(wanted)), return_exceptions=True)
        errors = [each for each in found if isinstance(each, BaseException)]
        if len(errors) == wanted:
            raise ConnectionFailedError(f"Cannot reach {self._plan.address}: {errors[0] or 'not in time'}.")
        self._idle = [each for each in found if isinstance(each, _Connection)]
        self._open = set(self._idle)

    async def _connect(self) -> _Connection:
        parts = urlsplit(self._plan.address)
        secure = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if secure else 80)
        loop = asyncio.get_running_loop()
        making = loop.create_connection(lambda: _Connection(self), parts.hostname or "", port, ssl=secure)
        return (await asyncio.wait_for(making, CONNECT_SECONDS))[1]

    def _pace(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: wake the loop whenever a request is due."""
        for number in range(self._count):
            delay = self._start + number / self._rate - time.perf_counter()
            if self._stop.is_set() or (delay > 0 and self._stop.wait(delay)):
                return
            if not self._woken:
                self._woken = True
                try:
                    loop.call_soon_threadsafe(self._dispatch)
                except RuntimeError:
                    return  # the loop has ended

    def _dispatch(self) -> None:
        """Send what is due, as far as connections are free."""
        self._woken = False
        now = time.perf_counter()
        due = min(self._count, int((now - self._start) * self._rate) + 1)
        while self._next < due:
            if not (self._idle and not self._waiting and self._send(self._next, now, free=True)):
                self._waiting.append(self._next)
            self._next += 1
        self._send_waiting(now)

    def _send_waiting(self, now: float) -> None:
        while self._waiting and self._idle:
            if self._send(self._waiting[0], now, free=False):
                self._waiting.popleft()
        missing = min(len(self._waiting), self._plan.connections - len(self._open)) - len(self._opening)
        for _ in range(missing):
            task = asyncio.get_running_loop().create_task(self._open_more())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _send(self, number: int, now: float, *, free: bool) -> bool:
        connection = self._idle.pop()
        if not connection.usable:
            return False
        if free:
            self._tally.sent(now - self._due(number))
        connection.send(number, self._requests[number % len(self._requests)], now)
        return True

    def _due(self, number: int) -> float:
        return self._start + number / self._rate

    async def _open_more(self) -> None:
        """A connection in the place of a broken one. Where none can be made, a request has failed."""
        try:
            connection = await self._connect()
        except (OSError, asyncio.TimeoutError) as error:
            if self._waiting:
                self._waiting.popleft()
                self.failed("connection", f"Cannot reach {self._plan.address}: {error or 'not in time'}.")
            return
        self._open.add(connection)
        self._idle.append(connection)
        self._send_waiting(time.perf_counter())

    def answered(self, connection: _Connection, request: int, answer: HttpAnswer) -> None:
        now = time.perf_counter()
        self._tally.answered(answer, now - self._due(request))
        if connection.usable:
            self._idle.append(connection)
        self._send_waiting(now)
        self._check_end()

    def failed(self, why: str, text: str) -> None:
        self._tally.failed(why, text)
        self._check_end()

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._stop.is_set():
            self._send_waiting(time.perf_counter())

    def _check_end(self) -> None:
        if self._tally.done >= self._count:
            self._ended.set()

    async def _look_after(self) -> None:
        """Until all is known: give up what takes too long, and say each second what came back."""
        last = self._start + self._plan.seconds + self._plan.timeout
        second = 1
        while not self._ended.is_set() and not self._stop.is_set():
            now = time.perf_counter()
            while now >= self._start + second:
                self._tally.turn(self._on_second)
                second += 1
            for connection in [each for each in self._open if each.request is not None]:
                if now > min(connection.sent_at + self._plan.timeout, last):
                    connection.give_up("timeout", f"No answer within {self._plan.timeout:g} s.")
            if now > last:
                unsent = len(self._waiting) + self._count - self._next
                self._tally.failed("unsent", "No connection was free to the end.", unsent)
                break
            self._dispatch()  # a request that was due a rounding error after its wake-up, and those without a connection
            try:
                await asyncio.wait_for(self._ended.wait(), SWEEP_SECONDS)
            except asyncio.TimeoutError:
                continue
        self._tally.turn(self._on_second)

    async def _close(self) -> None:
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for connection in list(self._open):
            connection.request = None
            connection.close()
