"""A small real HTTP server that speaks the agents' part of the contract: reports, streams, blobs.

For tests of engines and agents only: it starts whatever is prepared, keeps what it is sent, and can die and come back.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from headway.domain.replicas import Action, Directive, ReplicaPhase, ReplicaReport
from headway.errors import (
    AuthenticationError,
    HeadwayError,
    InvalidRequestError,
    NotFoundError,
    OffsetConflictError,
    StaleAttemptError,
)
from headway.journal.codec import KIND_LOG, decode_lines, scan
from headway.journal.compression import decompress

_STREAM = re.compile(r"^/api/v1/runs/([^/]+)/streams/([a-z]+/[A-Za-z0-9_.-]+)$")
_REPORT = re.compile(r"^/api/v1/replicas/([^/]+)/report$")
_BLOB = re.compile(r"^/api/v1/projects/([^/]+)/blobs/([0-9a-f]{64}|missing|bundle)$")


@dataclass
class StoredStream:
    """Bytes of one stream, and who writes it."""

    writer: str
    replica: str
    attempt: int
    data: bytearray = field(default_factory=bytearray)
    closed: bool = False

    def lines(self) -> list[str]:
        """Every line, in the order of their numbers, which must be 1, 2, 3 …"""
        found: list[str] = []
        scanned = scan(bytes(self.data))
        assert not scanned.damage and not scanned.torn
        for frame in scanned.frames:
            if frame.kind == KIND_LOG:
                batch = decode_lines(frame.payload)
                assert batch.first_line == len(found) + 1
                found += [line.decode("utf-8", "replace") for line in batch.lines.split(b"\n")]
        return found


class ScriptedServer:
    """Keeps its state while it is down, as a server with a disk does.

    Args:
        directory: Where ``server.json`` goes.
        token: The token that every request must carry.
        start: Whether a replica that is PREPARED is told to start (with ``environment``).
    """

    def __init__(self, directory: Path, token: str = "secret-token", *, start: bool = True) -> None:
        self.address_file = directory / "server.json"
        self.token = token
        self.auto_start = start
        self.environment: dict[str, str] = {}
        self.changed = threading.Condition()
        self.reports: dict[str, list[ReplicaReport]] = {}
        self.directives: dict[str, Directive] = {}
        self.streams: dict[str, StoredStream] = {}
        self.blobs: dict[str, bytes] = {}
        self.stale: set[str] = set()
        self.refuse_token = False
        self.git_password: str | None = None
        """Set: paths that end in ``.git`` want a password, and note those that they are given."""
        self.git_hangs = False
        self.git_asked: set[str] = set()
        self.requests = 0
        self.before_blob: Callable[[str], None] | None = None
        """Called with a blob's digest, or ``bundle``, before it is answered."""
        self.after_commit: Callable[[], None] | None = None
        """Called once a stream write is stored and before it is answered."""
        self._server: ThreadingHTTPServer | None = None
        self.url = "http://127.0.0.1:1"

    # Life and death

    def up(self) -> None:
        """Listen on a new port and say so in the address file."""
        state = self

        class Handler(_Handler):
            server_state = state

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        temporary = self.address_file.with_suffix(".new")
        temporary.write_text(json.dumps({"url": self.url, "pid": 0, "instance": "scripted"}))
        temporary.replace(self.address_file)

    def down(self) -> None:
        """Stop listening and drop every connection, also those that wait."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            with self.changed:
                self.changed.notify_all()

    @property
    def is_up(self) -> bool:
        return self._server is not None

    # What tests look at

    def wait(self, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        """The first true value of ``condition``, asked whenever a request changed something."""
        with self.changed:
            value = self.changed.wait_for(condition, seconds)
        assert value, f"not within {seconds} s; the last reports: {[r[-1] for r in self.reports.values()]}"
        return value

    def wait_phase(self, replica: str, phase: ReplicaPhase, seconds: float = 30.0) -> ReplicaReport:
        found: ReplicaReport = self.wait(lambda: self.reported(replica, phase), seconds)
        return found

    def reported(self, replica: str, phase: ReplicaPhase) -> ReplicaReport | None:
        return next((r for r in self.reports.get(replica, []) if r.phase is phase), None)

    def lines(self, replica_name: str = "worker-0") -> list[str]:
        """All lines of all streams of a replica (one stream is what there should be)."""
        return [line for s in list(self.streams.values()) if s.replica == replica_name for line in s.lines()]

    def direct(self, replica: str, action: Action, environment: dict[str, str] | None = None) -> None:
        """Change what a replica is told."""
        with self.changed:
            self._direct(replica, action, environment or {})

    def _direct(self, replica: str, action: Action, environment: dict[str, str]) -> None:
        version = self.directives.get(replica, Directive()).version + 1
        self.directives[replica] = Directive(version=version, action=action, environment=environment)
        self.changed.notify_all()

    def add_blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    # What the handler does

    def report(self, replica: str, report: ReplicaReport, known: int, wait: float) -> Directive:
        with self.changed:
            if report.attempt_token in self.stale:
                raise StaleAttemptError("This attempt has been replaced.")
            self.reports.setdefault(replica, []).append(report)
            fresh = self.directives.setdefault(replica, Directive()).action is Action.WAIT
            if report.phase is ReplicaPhase.PREPARED and self.auto_start and fresh:
                self._direct(replica, Action.START, self.environment)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.directives[replica].version > known or not self.is_up, wait)
            if report.attempt_token in self.stale:
                raise StaleAttemptError("This attempt has been replaced.")
            return self.directives[replica]

    def write(self, key: str, query: dict[str, str], data: bytes) -> int:
        with self.changed:
            who = StoredStream(query["writer"], query["replica"], int(query["attempt"]))
            stream = self.streams.setdefault(key, who)
            offset, committed = int(query["offset"]), len(stream.data)
            if stream.writer != query["writer"] or offset > committed:
                raise OffsetConflictError("Go on elsewhere.", details={"committed": committed})
            stream.data += data[committed - offset :]
            stream.closed |= query["close"] == "true"
            self.changed.notify_all()
        if self.after_commit is not None:
            self.after_commit()
        return len(stream.data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Peers that are killed hang up in the middle; that is what tests do."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: ScriptedServer

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server_state.changed:
            self.server_state.requests += 1
            self.server_state.changed.notify_all()
        try:
            status, answer = 200, self._route(body)
        except HeadwayError as error:
            status, answer = error.status, json.dumps(error.to_problem()).encode()
        if not self.server_state.is_up:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        if status == AuthenticationError.status:
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.end_headers()
        self.wfile.write(answer)

    def _route(self, body: bytes) -> bytes:
        state = self.server_state
        if ".git/" in self.path:
            return self._git()
        if state.refuse_token or self.headers.get("Authorization") != f"Bearer {state.token}":
            raise AuthenticationError("The token is not valid.")
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        if match := _REPORT.match(url.path):
            report = ReplicaReport.model_validate_json(body)
            known, wait = int(query.get("known", 0)), float(query.get("wait", 0))
            return state.report(match[1], report, known, wait).model_dump_json().encode()
        if match := _STREAM.match(url.path):
            assert self.headers["Content-Type"] == "application/zstd"
            committed = state.write(f"{match[1]}/{match[2]}", query, decompress(body, 4 << 20))
            return json.dumps({"committed": committed}).encode()
        if match := _BLOB.match(url.path):
            return self._blob(match[2], body)
        raise NotFoundError(f"No route {url.path}.")

    def _git(self) -> bytes:
        """No repository is here: only who asks for one, and with what."""
        state = self.server_state
        given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        with state.changed:
            state.git_asked.add(given)
            state.changed.notify_all()
            state.changed.wait_for(lambda: not (state.git_hangs and state.is_up))
        if state.git_password is not None and given.partition(":")[2] != state.git_password:
            raise AuthenticationError("Who are you?")
        raise NotFoundError("There is no repository.")

    def _blob(self, digest: str, body: bytes) -> bytes:
        state = self.server_state
        if digest == "missing":
            return json.dumps({"missing": [d for d in json.loads(body)["digests"] if d not in state.blobs]}).encode()
        if state.before_blob is not None and self.command != "PUT":
            state.before_blob(digest)
        if digest == "bundle":
            return self._bundle(json.loads(body)["digests"])
        if self.command == "PUT":
            if hashlib.sha256(body).hexdigest() != digest:
                raise InvalidRequestError("The bytes do not have that digest.")
            state.blobs[digest] = body
            return json.dumps({"digest": digest, "size": len(body)}).encode()
        if digest not in state.blobs:
            raise NotFoundError(f"There is no blob {digest}.")
        return state.blobs[digest]

    def _bundle(self, digests: list[str]) -> bytes:
        blobs = self.server_state.blobs
        absent = [digest for digest in digests if digest not in blobs]
        if absent:
            raise NotFoundError(f"There is no blob {absent[0]}.", details={"missing": absent})
        return b"".join(len(blobs[digest]).to_bytes(8, "big") + blobs[digest] for digest in digests)
