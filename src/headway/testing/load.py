"""Predictions asked for over real connections from a thread of its own, each answer kept: what the fault tests judge.

``OpenLoad`` asks at a fixed rate, whether or not earlier requests were answered, as users do. ``ClosedLoad`` has a few
clients that each ask again once they were answered. Both keep connections open, and never send a request twice: an answer
that did not come is there as one with status 0.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop
from typing_extensions import Self

from headway.testing.faults import until


@dataclass(frozen=True)
class Answer:
    """One request's fate. Moments are of ``time.monotonic``."""

    number: int
    due: float
    """When it was to be sent; it may have waited for the sender since."""
    began: float
    ended: float
    status: int
    """0 when there was no answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""
    error: str = ""

    @property
    def version(self) -> str:
        return self.headers.get("x-headway-version", "")

    @property
    def replica(self) -> str:
        return self.headers.get("x-headway-replica", "")

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def right(self) -> bool:
        """Whether it is what a model that doubles gives for ``[number, 1]``."""
        return self.status == 200 and json.loads(self.body) == {"predictions": [2 * self.number, 2]}


def doubling(number: int) -> bytes:
    return json.dumps({"instances": [number, 1]}).encode()


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Load(ABC):
    """Asks ``url`` until it is told to stop.

    Args:
        url: Of a ``:predict``.
        body: From a request's number to its body.
        headers: Of each request.
        timeout: Seconds after which a request is given up; its status is 0 then.
    """

    def __init__(
        self,
        url: str,
        *,
        body: Callable[[int], bytes] = doubling,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.answers: list[Answer] = []
        """As they came."""
        self.asked = 0
        self._url, self._body, self._timeout = urlsplit(url), body, timeout
        self._headers = {"Host": self._url.netloc, "Content-Type": "application/json", **(headers or {})}
        self._idle: list[Stream] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ask no more, and wait for what was asked."""
        self._over.set()
        self._thread.join()

    @contextmanager
    def applied(self, count: int = 40) -> Iterator[Self]:
        """Under way, with ``count`` right answers before and after the block."""
        self.start()
        try:
            self.await_right(count)
            yield self
            self.await_right(count)
        finally:
            self.stop()

    def await_right(self, count: int, seconds: float = 60.0) -> None:
        """Until so many more requests that begin from now on were answered right."""
        moment = time.monotonic()
        until(lambda: self._right_since(moment) >= count, seconds, f"{count} right answers: {self.failed()[-3:]}", 0.05)

    def _right_since(self, moment: float) -> int:
        count = 0
        for answer in reversed(list(self.answers)):
            count += answer.began > moment and answer.right
        return count

    def failed(self, first: float = 0.0, last: float = float("inf")) -> list[Answer]:
        """Those not right that began between two moments."""
        return [answer for answer in list(self.answers) if first <= answer.began <= last and not answer.right]

    def between(self, first: float, last: float = float("inf")) -> list[Answer]:
        """Those that began between two moments."""
        return [answer for answer in list(self.answers) if first <= answer.began <= last]

    def in_flight_at(self, moment: float) -> list[Answer]:
        return [answer for answer in list(self.answers) if answer.began <= moment <= answer.ended]

    @abstractmethod
    async def _run(self) -> None: ...

    async def _ask(self, due: float) -> None:
        number, self.asked = self.asked, self.asked + 1
        began = time.monotonic()
        try:
            status, headers, body = await asyncio.wait_for(self._exchange(number), self._timeout)
            answer = Answer(number, due, began, time.monotonic(), status, headers, body)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError) as error:
            answer = Answer(number, due, began, time.monotonic(), 0, error=f"{type(error).__name__}: {error}")
        self.answers.append(answer)

    async def _exchange(self, number: int) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await self._stream()
        whole = False
        try:
            body = self._body(number)
            head = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
            writer.write(f"POST {self._url.path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            found = await read_answer(reader)
            whole = found[1].get("connection") != "close"
            return found
        finally:
            if whole:
                self._idle.append((reader, writer))
            else:
                writer.close()

    async def _stream(self) -> Stream:
        """A kept connection that the other side has not closed, or a new one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._url.hostname, self._url.port)

    async def _close(self) -> None:
        for _, writer in self._idle:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                continue


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer, whose length must be given."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return int(head[0].split(" ")[1]), headers, await reader.readexactly(int(headers["content-length"]))


class OpenLoad(Load):
    """``rate`` requests a second."""

    def __init__(self, url: str, rate: float, **options: object) -> None:
        super().__init__(url, **options)  # type: ignore[arg-type]
        self.rate = rate

    async def _run(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not self._over.is_set():
            while due <= time.monotonic():
                task = asyncio.ensure_future(self._ask(due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                due += 1 / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if tasks:
            await asyncio.wait(tasks)
        await self._close()


class ClosedLoad(Load):
    """``clients`` that each ask again once they were answered, ``limit`` requests in all."""

    def __init__(self, url: str, clients: int, limit: int | None = None, **options: object) -> None:
        super().__init__(url, **options)  # type: ignore[arg-type]
        self.clients, self.limit = clients, limit

    def run(self) -> Self:
        """All ``limit`` requests, and their answers."""
        assert self.limit is not None
        self.start()
        self._thread.join()
        return self

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self.clients)))
        await self._close()

    async def _client(self) -> None:
        while not self._over.is_set() and (self.limit is None or self.asked < self.limit):
            await self._ask(time.monotonic())
            if self.answers[-1].status == 0:
                await asyncio.sleep(0.01)
