"""A replica whose model is served by a program of its own; requests are passed on to it as they are."""

from __future__ import annotations

import asyncio
import re
import time
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from headway.errors import EngineError, ModelLoadError
from headway.ports import lease_port
from headway.serving.gateway.messages import HOP_BY_HOP
from headway.serving.gateway.replies import Reply, UpstreamError
from headway.serving.gateway.upstream import ConnectionPool, Handle
from headway.serving.http.exchange import Exchange
from headway.serving.http.messages import Request, Response, error_response, json_response
from headway.serving.http.server import HttpServer
from headway.serving.metrics import CONTENT_TYPE, RequestMetrics, exposition
from headway.serving.protocols.base import Served
from headway.serving.runtimes.command import ServingCommand
from headway.serving.screening import has_foreign_origin, misdirected, names_another_host
from headway.serving.subprocesses import OwnProgram, how_it_ended

LOOPBACK = "127.0.0.1"
HEALTH_SECONDS = 5.0
"""How long its health path may take to answer."""
POLL_SECONDS = 0.05
"""Between two looks whether it answers yet: a program that starts to listen tells nobody."""
LEFT = 499
RETRY = (("Retry-After", "1"),)
KNOWN_STATUSES = frozenset(status.value for status in HTTPStatus)
_NOT_FORWARDED = HOP_BY_HOP | {b"content-length", b"expect"}
_NOT_RETURNED = HOP_BY_HOP | {b"content-length", b"content-type", b"date", b"x-content-type-options"}
_DEPLOYMENT = re.compile(r"/model-serving/[^/:]+(?::([A-Za-z]+)|(/.*))?")


class Passthrough:
    """Answers ``/health`` (as the program's own health path does) and ``/metrics``; all else is the program's.

    Args:
        command: How it is started.
        model_dir: Where it runs.
        served: What it serves.
        only_loopback: Whether this replica listens on this machine alone.
    """

    def __init__(self, command: ServingCommand, model_dir: Path, served: Served, *, only_loopback: bool) -> None:
        self.command, self.model_dir, self.served, self.only_loopback = command, model_dir, served, only_loopback
        self.server = HttpServer(self.handle, screen=self.screen, channels=True)
        self.draining = False
        self._metrics = RequestMetrics()
        self._program: OwnProgram | None = None
        self._pool: ConnectionPool | None = None
        self._host = b""
        self._ready = False

    async def load(self) -> None:
        """Start the program and wait until its health path answers 2xx.

        Raises:
            ModelLoadError: It cannot be started, or ended before.
        """
        directory = self.model_dir.resolve()
        try:
            port = lease_port(LOOPBACK)
            words = self.command.filled(LOOPBACK, port, directory)
            self._program = OwnProgram(words, directory, self.command.variables(LOOPBACK, port, directory))
        except (OSError, EngineError) as error:
            raise ModelLoadError(f"The command {self.command.command[0]!r} cannot be started: {error}.") from error
        self._pool, self._host = ConnectionPool(LOOPBACK, port), f"{LOOPBACK}:{port}".encode()
        while not await self._is_healthy():
            await asyncio.wait({self._program.ended}, timeout=POLL_SECONDS)
            if self._program.ended.done():
                raise ModelLoadError(f"The command {how_it_ended(self._program.ended.result())} before it answered.")
        self._ready = True

    async def failure(self) -> str:
        """Why this replica must end, once the program has ended by itself."""
        assert self._program is not None
        code = await asyncio.shield(self._program.ended)
        self._ready = False
        return f"The command {how_it_ended(code)}."

    async def close(self, grace: float) -> None:
        """End the program."""
        self._ready = False
        if self._pool is not None:
            self._pool.close()
        if self._program is not None:
            await self._program.end(grace)

    async def _is_healthy(self) -> bool:
        if self._pool is None:
            return False
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        question = _Question(answer)
        head = f"GET {self.command.health} HTTP/1.1\r\nhost: ".encode() + self._host + b"\r\n\r\n"
        self._pool.send(head, question, time.monotonic())
        try:
            reply = await asyncio.wait_for(answer, HEALTH_SECONDS)
        except (UpstreamError, asyncio.TimeoutError):
            return False
        finally:
            if question.handle is not None:
                question.handle.break_off()
        return 200 <= reply.status < 300

    def screen(self, request: Request) -> Response | None:
        """Refuse what a web page of somebody else sends, and names that are not this machine's."""
        if has_foreign_origin(request) or (self.only_loopback and names_another_host(request)):
            return misdirected()
        return None

    def handle(self, exchange: Exchange) -> None:
        """Pass the request on, or answer for the replica itself."""
        path = exchange.request.path
        if path == "/health":
            self.server.answer_later(exchange, self._health())
        elif path == "/metrics":
            text = exposition("headway_model", [(self._metrics, {})], self.server.refused)
            exchange.respond(Response(200, text, content_type=CONTENT_TYPE))
        elif not self._ready or self._pool is None:
            exchange.respond(error_response(503, "The model is being loaded.", headers=RETRY))
        else:
            passing = _Passing(exchange, self._metrics)
            self._pool.send(self._message(exchange.request), passing, time.monotonic())
            exchange.when_gone(passing.leave)

    async def _health(self) -> Response:
        state = "loading" if not self._ready else "draining" if self.draining else "ok"
        if state == "ok" and not await self._is_healthy():
            state = "unhealthy"
        body = {"status": state, "model": self.served.name, "version": self.served.version}
        return json_response(200 if state == "ok" else 503, body)

    def _message(self, request: Request) -> bytes:
        """The request anew, for the program."""
        path = inner_path(request.path, self.command.protocol, self.served.name)
        target = f"{path}?{request.query}" if request.query else path
        # A HEAD is asked for as a GET: the answer's body is left out when it is written to the client.
        method = "GET" if request.method == "HEAD" else request.method
        lines = [f"{method} {target} HTTP/1.1\r\n".encode("latin-1")]
        lines += [b"%b: %b\r\n" % header for header in request.headers if header[0] not in _NOT_FORWARDED]
        return b"".join([*lines, b"content-length: %d\r\n\r\n" % len(request.body), request.body])


def inner_path(path: str, protocol: str, name: str) -> str:
    """Where a path leads in the program: what comes below a deployment's path, or where its protocol predicts.

    >>> inner_path("/model-serving/digits/v1/chat", "plain", "m"), inner_path("/model-serving/digits:predict", "plain", "m")
    ('/v1/chat', '/predict')
    """
    found = _DEPLOYMENT.fullmatch(re.sub("%3a", ":", path, flags=re.IGNORECASE))
    if found is None:
        return path
    verb, below = found.groups()
    if below is not None:
        return below
    model = quote(name, safe="")
    if protocol == "tensorflow":
        return f"/v1/models/{model}:{verb}" if verb else f"/v1/models/{model}"
    if protocol == "openinference":
        return f"/v2/models/{model}/infer" if verb else f"/v2/models/{model}"
    if not verb:
        return "/"
    return "/invocations" if protocol == "invocations" else "/predict"


class _Question:
    """A request whose reply a coroutine waits for."""

    def __init__(self, answer: asyncio.Future[Reply]) -> None:
        self.handle: Handle | None = None
        self._answer = answer

    def replied(self, reply: Reply) -> None:
        if not self._answer.done():
            self._answer.set_result(reply)

    def failed(self, error: UpstreamError) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)


class _Passing:
    """A request on its way to the program."""

    def __init__(self, exchange: Exchange, metrics: RequestMetrics) -> None:
        self.handle: Handle | None = None
        self._exchange, self._metrics = exchange, metrics
        self._started = time.perf_counter()
        metrics.in_flight += 1

    def replied(self, reply: Reply) -> None:
        if reply.status not in KNOWN_STATUSES:
            self._respond(error_response(502, f"The model's program answered with the status {reply.status}."))
            return
        content_type, headers = "application/octet-stream", []
        for name, value in reply.head.headers:
            if name == b"content-type":
                content_type = value.decode("latin-1")
            elif name not in _NOT_RETURNED:
                headers.append((name.decode("latin-1"), value.decode("latin-1")))
        self._respond(Response(reply.status, reply.body, content_type=content_type, headers=tuple(headers)))

    def failed(self, error: UpstreamError) -> None:
        self._respond(error_response(502, f"The model's program did not answer: {error}"))

    def leave(self) -> None:
        """The client has left: the program hears of it."""
        if self.handle is not None:
            self.handle.break_off()
            self._finish(LEFT)

    def _respond(self, response: Response) -> None:
        self._finish(response.status)
        self._exchange.respond(response)

    def _finish(self, status: int) -> None:
        self._metrics.in_flight -= 1
        self._metrics.observe(status, time.perf_counter() - self._started)
