"""Real processes over real sockets, and a small scripted peer that plays the server's route feed."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import hypothesis
import pytest
import uvloop

from headway.domain.base import now
from headway.domain.deployments import DeploymentState, Route, RouteReplica, RouteTable, RouteToken, RouteVersion
from headway.domain.traffic import TrafficReport
from headway.domain.users import token_digest
from headway.serving.http.exchange import Exchange
from headway.serving.http.limits import Limits
from headway.serving.http.messages import Request, Response, json_response
from headway.serving.http.server import HttpServer

# `make test-torch` runs it, in a virtual environment of its own.
collect_ignore = [] if importlib.util.find_spec("torch") else ["test_runtimes_torch.py"]

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

GATEWAY_TOKEN = "hw_gateway-secret"

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"

SMUGGLING = {
    "length and chunked": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two equal lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "list of lengths": HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
    "plus length": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "minus length": HEAD + b"Content-Length: -3\r\n\r\nabc",
    "hex length": HEAD + b"Content-Length: 0x3\r\n\r\nabc",
    "empty length": HEAD + b"Content-Length: \r\n\r\nabc",
    "huge length": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    "unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "gzip, chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and identity": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "vertical tab coding": HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "quoted coding": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
    "folded header": HEAD + b"X: a\r\n b\r\n\r\n",
    "folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare LF lines": b"POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
    "bare LF after header": HEAD + b"X: a\nContent-Length: 3\r\n\r\nabc",
    "bare CR in header": HEAD + b"X: a\rContent-Length: 3\r\n\r\nabc",
    "NUL in header": HEAD + b"X: a\x00b\r\n\r\n",
    "header without colon": HEAD + b"X\r\n\r\n",
    "header without name": HEAD + b": x\r\n\r\n",
    "negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "0x chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "overflowing chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nabc",
    "chunk with bare LF": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "chunk too long": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "no Host": b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two Hosts": HEAD + b"Host: other\r\nContent-Length: 0\r\n\r\n",
    "absolute target": b"POST http://other/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "control in target": b"POST /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "unknown method": b"SMUGGLE / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"POST / HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

PREDICTOR = """
import os, time, threading, signal
import numpy as np

class Predictor:
    def __init__(self, model_dir):
        self.model_dir = model_dir
        self.thread = threading.get_ident()

    def predict(self, inputs):
        if not isinstance(inputs, dict):
            return {"size": [len(str(item)) for item in inputs]}
        if "wait_for" in inputs:
            open(inputs["started"], "a").write("x")
            while not os.path.exists(inputs["wait_for"]):
                time.sleep(0.005)
        if "raise" in inputs:
            kinds = {"value": ValueError, "type": TypeError, "key": KeyError, "exit": SystemExit}
            raise kinds[inputs["raise"]]("the reason")
        if "answer" in inputs:
            return {
                "nan": {"x": [float("nan"), float("inf"), -float("inf"), 1.0, None]},
                "numpy": {"a": np.arange(3, dtype=np.int32), "b": np.float32(1.5), "c": np.array([np.nan, 1.0])},
                "bytes": {"b": b"abc"},
                "object": object(),
                "same_thread": self.thread == threading.get_ident(),
            }[inputs["answer"]]
        return {"pid": os.getpid(), "got": inputs.get("echo")}
"""


def wait_until(condition: Callable[[], Any], seconds: float = 30.0, what: str = "the condition") -> Any:
    """The first true value of ``condition``; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come within {seconds} s")


class Process:
    """A module of ours as its own process; ``line`` is what it printed when it was ready."""

    def __init__(self, module: str, arguments: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as stderr:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **(environment or {})},
                text=True,
            )
        assert self.popen.stdout is not None
        self.line = self.popen.stdout.readline().strip()

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def url(self) -> str:
        assert "http://" in self.line, f"not ready: {self.log.read_text()}"
        return "http://" + self.line.partition("http://")[2]

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        return self.popen.wait(seconds)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(10)
        assert self.popen.stdout is not None
        self.popen.stdout.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument ``smuggled`` runs once for each request that two parsers could read differently."""
    if "smuggled" in metafunc.fixturenames:
        metafunc.parametrize("smuggled", SMUGGLING.values(), ids=list(SMUGGLING))


@pytest.fixture(scope="module")
def spawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Process]]:
    """Starts processes that end with the module."""
    started: list[Process] = []
    logs = tmp_path_factory.mktemp("logs")

    def start(module: str, *arguments: str, environment: dict[str, str] | None = None) -> Process:
        process = Process(module, list(arguments), logs / f"{len(started)}.log", environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.end()


@pytest.fixture(scope="module")
def predictor_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("predictor")
    (directory / "predict.py").write_text(PREDICTOR)
    return directory


@pytest.fixture(scope="module")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import skops.io
    from sklearn.datasets import load_digits
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    directory = tmp_path_factory.mktemp("digits")
    images, labels = load_digits(return_X_y=True)
    skops.io.dump(LinearDiscriminantAnalysis(solver="lsqr").fit(images, labels), directory / "model.skops")
    return directory


@pytest.fixture(scope="module")
def start_replica(spawn: Callable[..., Process]) -> Callable[..., Process]:
    def start(model_dir: Path, *options: str, name: str = "m") -> Process:
        return spawn("headway.serving", "--model-dir", str(model_dir), "--name", name, *options)

    return start


class FeedServer:
    """Plays ``GET /api/v1/gateway/routes`` of the server, long poll included."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.version = 0
        self.routes: tuple[Route, ...] = ()
        self.asked: list[dict[str, str]] = []
        self.reports: list[TrafficReport] = []
        self.report_status = 200
        self._changed = threading.Condition()
        self._listener: ThreadingHTTPServer | None = None

    def publish(self, *routes: Route, quietly: bool = False) -> None:
        """Change the routes; ``quietly`` leaves a long poll that waits in the dark."""
        with self._changed:
            self.version += 1
            self.routes = routes
            if not quietly:
                self._changed.notify_all()

    def start(self) -> None:
        feed = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                feed.answer(self)

            def do_POST(self) -> None:
                feed.take(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._listener.daemon_threads = True
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{self._listener.server_port}"
        (self.directory / "server.json").write_text(json.dumps({"url": url, "pid": 1, "instance": "i"}))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = {key: values[0] for key, values in parse_qs(urlsplit(handler.path).query).items()}
        if handler.headers["Authorization"] != f"Bearer {GATEWAY_TOKEN}":
            handler.send_error(401)
            return
        with self._changed:
            self.asked.append(asked)
            known = int(asked["known"])
            listening = self._listener
            self._changed.wait_for(
                lambda: self.version > known or self._listener is not listening, timeout=int(asked["wait"])
            )
            body = RouteTable(version=self.version, routes=self.routes).model_dump_json().encode()
        if self._listener is not listening:
            return
        try:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except ConnectionError:
            pass

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Plays ``POST /api/v1/gateway/traffic``: reports must be as the contract says."""
        content = handler.rfile.read(int(handler.headers["Content-Length"]))
        right = handler.path == "/api/v1/gateway/traffic"
        if not right or handler.headers["Authorization"] != f"Bearer {GATEWAY_TOKEN}":
            handler.send_error(404 if not right else 401)
            return
        report = TrafficReport.model_validate_json(content)
        with self._changed:
            if self.report_status == 200:
                self.reports.append(report)
        handler.send_response(self.report_status)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    def stop(self) -> None:
        with self._changed:
            listener, self._listener = self._listener, None
            self._changed.notify_all()
        if listener is not None:
            listener.shutdown()
            listener.server_close()


class GatewayHome:
    """A server's directory with a gateway's below it, the feed, and whoever is started there."""

    def __init__(self, directory: Path, spawn: Callable[..., Process]) -> None:
        self.directory = directory / "gateway"
        self.directory.mkdir(mode=0o700)
        (self.directory / "token").write_text(GATEWAY_TOKEN + "\n")
        self.feed = FeedServer(directory)
        self._spawn = spawn

    def start(self, *options: str) -> Process:
        return self._spawn("headway.serving.gateway", "--directory", str(self.directory), *options)


@pytest.fixture
def home(tmp_path: Path, spawn: Callable[..., Process]) -> Iterator[GatewayHome]:
    found = GatewayHome(tmp_path, spawn)
    found.feed.start()
    yield found
    found.feed.stop()


def make_route(
    deployment: str = "dep1",
    *versions: tuple[int, int, dict[str, str]],
    name: str = "digits",
    public: bool = True,
    state: DeploymentState = DeploymentState.RUNNING,
    desired: DeploymentState = DeploymentState.RUNNING,
    secrets: dict[str, float | None] | None = None,
    shadow: int | None = None,
    labels: dict[int, tuple[str, ...]] | None = None,
    **settings: Any,
) -> Route:
    """A route; each version is ``(number, weight, {replica id: address})``, each secret maps to seconds it is valid.

    ``shadow`` is the number of the version that gets copies, ``settings`` are fields of the route.
    """
    from datetime import timedelta

    return Route(
        deployment_id=deployment,
        name=name,
        public=public,
        desired=desired,
        state=state,
        versions=tuple(
            RouteVersion(
                model="m",
                version=number,
                weight=weight,
                replicas=tuple(RouteReplica(id=key, address=address) for key, address in replicas.items()),
                shadow=number == shadow,
                labels=(labels or {}).get(number, ()),
            )
            for number, weight, replicas in versions
        ),
        tokens=tuple(
            RouteToken(
                digest=token_digest(secret),
                expires_at=None if seconds is None else now() + timedelta(seconds=seconds),
            )
            for secret, seconds in (secrets or {}).items()
        ),
        **settings,
    )


class Tools:
    """Helpers that tests share (the test modules are not a package)."""

    wait_until = staticmethod(wait_until)
    route = staticmethod(make_route)

    @staticmethod
    def raw(port: int, data: bytes, seconds: float = 5.0) -> bytes:
        """Send bytes; everything that comes back until the other side closes, or nothing comes for ``seconds``."""
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            connection.sendall(data)
            return Tools.read_all(connection)

    @staticmethod
    def read_all(connection: socket.socket) -> bytes:
        found = b""
        while True:
            try:
                part = connection.recv(65536)
            except (TimeoutError, ConnectionError):
                return found
            if not part:
                return found
            found += part

    @staticmethod
    def post(path: str, body: bytes, *headers: str, host: str = "localhost") -> bytes:
        """A request as bytes."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", *headers]
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    @staticmethod
    def pause(process: Process) -> None:
        process.signal(signal.SIGSTOP)

    @staticmethod
    def resume(process: Process) -> None:
        process.signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    return Tools


class EchoServer:
    """Our HTTP server in a thread of its own, answering what it read; for limits that a process does not offer."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.port = 0
        self.seen: list[Request] = []
        self.held: list[Exchange] = []
        """Requests below ``/held``: the test answers them, through :meth:`on_loop`."""
        self.left: list[str] = []
        """Paths of those whose clients left."""
        self.cancelled = threading.Event()
        self.release = threading.Event()
        self.holding = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.server = HttpServer(self._handle, screen=self._screen, limits=self.limits)
        self.port = await self.server.start("127.0.0.1", 0)
        self._ready.set()
        await self._stop.wait()
        await self.server.drain(quiet=0.0, grace=0.0)

    @staticmethod
    def _screen(request: Request) -> Response | None:
        return json_response(401, {"error": "no"}) if request.path == "/refused" else None

    def _handle(self, exchange: Exchange) -> None:
        path = exchange.request.path
        if path == "/fault-at-once":
            raise RuntimeError("a fault")
        if path.startswith("/held"):
            exchange.when_gone(lambda: self.left.append(path))
            self.held.append(exchange)
            return
        self.server.answer_later(exchange, self._answer(exchange.request))

    async def _answer(self, request: Request) -> Response:
        self.seen.append(request)
        if request.path == "/fault":
            raise RuntimeError("a fault")
        if request.path == "/large":
            return Response(200, b"x" * int(request.query))
        try:
            while (self.holding or request.path == "/wait") and not self.release.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return json_response(200, {"path": request.path, "query": request.query, "size": len(request.body)})

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """What ``call`` returns or raises, made in the loop's thread."""

        async def calling() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(calling(), self.loop).result(10)

    def drain(self, quiet: float, grace: float) -> bool:
        return asyncio.run_coroutine_threadsafe(self.server.drain(quiet=quiet, grace=grace), self.loop).result(30)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def echo() -> Iterator[Callable[..., EchoServer]]:
    """Starts a server with some limits changed."""
    started: list[EchoServer] = []

    def start(**limits: Any) -> EchoServer:
        started.append(EchoServer(Limits(**limits)))
        return started[-1]

    yield start
    for server in started:
        server.end()


class ScriptedReplica:
    """A listener that answers whatever a test wants, byte by byte, over raw sockets; ``/health`` is answered apart.

    ``script`` is given a request's bytes and answers bytes, None to close without a word, or an awaitable of either.
    """

    def __init__(self, script: Callable[[bytes], Any] | None = None) -> None:
        self.script = script or (lambda request: self.json(200, {"outputs": 1}))
        self.healthy = True
        self.seen: list[bytes] = []
        """Requests but those for ``/health``, as they came."""
        self.probed = 0
        """How often it was asked for its health."""
        self.broken = 0
        """Connections that were closed while their request was worked on."""
        self.connections: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @staticmethod
    def json(status: int, value: Any, *headers: str) -> bytes:
        body = json.dumps(value).encode()
        lines = [f"HTTP/1.1 {status} Said", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in list(self.connections):
            writer.transport.abort()
        while self.connections:
            await asyncio.sleep(0.01)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            while not writer.is_closing():
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections.discard(writer)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(length[0].partition(b":")[2])) if length else b""
        if head.startswith(b"GET /health "):
            self.probed += 1
            answer = self.json(200 if self.healthy else 503, {})
        else:
            self.seen.append(head + body)
            answer = await self._answer(reader, head + body)
        if answer is None:
            writer.transport.abort()
            return
        writer.write(answer)
        await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, request: bytes) -> bytes | None:
        answer = self.script(request)
        if not asyncio.iscoroutine(answer):
            return answer
        working = asyncio.ensure_future(answer)
        ending = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            self.broken += 1
            working.cancel()
            return None
        ending.cancel()
        await asyncio.wait({ending})
        return working.result()

    def call(self, function: Callable[[], Any]) -> None:
        """Have ``function`` called by the thread that answers."""
        self.loop.call_soon_threadsafe(function)

    def end(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def make_scripted() -> Iterator[Callable[..., ScriptedReplica]]:
    """Starts scripted replicas that end with the module."""
    yield from scripted_replicas()


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedReplica]]:
    """Starts scripted replicas that end with the test."""
    yield from scripted_replicas()


def scripted_replicas() -> Iterator[Callable[..., ScriptedReplica]]:
    started: list[ScriptedReplica] = []

    def start(script: Callable[[bytes], Any] | None = None) -> ScriptedReplica:
        started.append(ScriptedReplica(script))
        return started[-1]

    yield start
    for replica in started:
        replica.end()
