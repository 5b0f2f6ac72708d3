"""Clients over a mock transport, and a small HTTP server that answers from a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from headway import Client
from headway.sdk.transport import MockTransport, Request, Response

Step = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Recorded:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """Answers each request with the next step of its script; the last step stays."""

    url: str = ""
    script: list[Step] = field(default_factory=list)
    requests: list[Recorded] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        headers = {key.lower(): value for key, value in handler.headers.items()}
        with self.lock:
            self.requests.append(Recorded(handler.command, handler.path, headers, handler.rfile.read(length)))
            step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        step(handler)


def answer(status: int, body: Any = None, **headers: str) -> Step:
    """One whole JSON answer."""

    def step(handler: BaseHTTPRequestHandler) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return step


def drop(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a word."""
    handler.close_connection = True


def events(*parts: str, hold: threading.Event | None = None) -> Step:
    """An event stream of raw ``parts`` that then breaks off, or stays open until ``hold`` is set."""

    def step(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(part.encode())
            handler.wfile.flush()
        if hold is not None:
            hold.wait(30)
        handler.close_connection = True

    return step


class Script:
    """The steps, for tests that cannot import this file."""

    answer = staticmethod(answer)
    drop = staticmethod(drop)
    events = staticmethod(events)


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    found = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.handle(self)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that went away is part of the script

    server = Server(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def scripted_client(scripted: ScriptedServer) -> Iterator[Client]:
    with Client(scripted.url, "hw_secret", "digits", timeout=5) as client:
        yield client


@dataclass
class Mock:
    """A client whose answers come from ``routes``: ``"GET /path"`` to a value, an error pair or a function."""

    routes: dict[str, Any] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        path = request.url.removeprefix("http://mock").split("?")[0]
        found = self.routes.get(f"{request.method} {path}", (404, {"code": "not_found", "detail": f"No {path}."}))
        if callable(found):
            found = found(request)
        if isinstance(found, Response):
            return found
        status, body = found if isinstance(found, tuple) else (200, found)
        return Response(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())

    def body(self, index: int = -1) -> Any:
        content = self.requests[index].content
        assert isinstance(content, bytes)
        return json.loads(content)

    def client(self, **options: Any) -> Client:
        return Client("http://mock", "hw_secret", options.pop("project", "digits"), transport=MockTransport(self))


@pytest.fixture
def mock() -> Mock:
    return Mock()


@pytest.fixture
def records() -> type[Records]:
    return Records


TIME = "2026-01-02T03:04:05.678Z"


class Records:
    """Records as a server sends them."""

    @staticmethod
    def job(**changes: Any) -> dict[str, Any]:
        base = {
            "id": "job1",
            "project_id": "prj1",
            "name": "digits",
            "run_id": "run1",
            "spec": {"roles": {"worker": {"command": ["true"]}}},
            "state": "queued",
            "created_at": TIME,
            "created_by": "usr1",
            "state_changed_at": TIME,
        }
        return {**base, **changes}

    @staticmethod
    def deployment(**changes: Any) -> dict[str, Any]:
        base = {
            "id": "dep1",
            "project_id": "prj1",
            "name": "digits",
            "run_id": "run1",
            "versions": [],
            "state": "starting",
            "endpoint": "http://mock:81/model-serving/dep1:predict",
            "created_at": TIME,
            "created_by": "usr1",
            "state_changed_at": TIME,
        }
        return {**base, **changes}

    @staticmethod
    def version(files: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": "mvs1",
            "model_id": "mdl1",
            "project_id": "prj1",
            "name": "m",
            "version": 1,
            "model_type": "any",
            "size": 1,
            "digest": "0" * 64,
            "files": files,
            "created_at": TIME,
            "created_by": "usr1",
        }

    @staticmethod
    def event(sequence: int, to: str, kind: str = "job") -> str:
        data = {
            "sequence": sequence,
            "time": TIME,
            "type": f"{kind}.state_changed",
            "subject_id": f"{kind}1",
            "data": {"from": "x", "to": to, "reason": ""},
        }
        return f"id: {sequence}\nevent: event\ndata: {json.dumps(data)}\n\n"

    @staticmethod
    def rows(cursor: str, *lines: int) -> str:
        rows = [{"line": n, "message": f"line {n}", "timestamp": TIME, "replica": "worker-0"} for n in lines]
        return f"id: {cursor}\nevent: rows\ndata: {json.dumps(rows)}\n\n"

    END = "event: end\ndata: {}\n\n"
