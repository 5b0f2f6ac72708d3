"""Replicas that listen: starting until they answer, ended when they stop answering."""

from __future__ import annotations

import sys
from typing import Any

from headway.domain.replicas import ReplicaPhase

LISTENER = """
import http.server, os, sys, threading
healthy = sys.argv[1]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/go":
            open(healthy, "w").close()
        self.send_response(200 if os.path.exists(healthy) or self.path == "/go" else 503)
        self.end_headers()

print("listening", flush=True)
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_it_runs_once_it_answers_and_is_ended_when_it_is_silent(rig: Any, server: Any, tmp_path: Any) -> None:
    healthy = tmp_path / "healthy"
    spec = rig.spec([sys.executable, "-c", LISTENER, str(healthy)], health_path="/health")
    rig.start(spec)
    server.wait(lambda: "listening" in server.lines())
    server.wait_phase(spec.replica_id, ReplicaPhase.STARTING)
    assert server.reported(spec.replica_id, ReplicaPhase.RUNNING) is None
    healthy.touch()
    server.wait_phase(spec.replica_id, ReplicaPhase.RUNNING)
    healthy.unlink()
    last = server.wait_phase(spec.replica_id, ReplicaPhase.EXITED)
    assert last.reason == "does not answer its health path"
    assert rig.survivors(spec) == []


def test_one_that_ends_while_starting_says_how(rig: Any, server: Any) -> None:
    spec = rig.spec("echo 'no model here' >&2; exit 3", health_path="/health")
    rig.start(spec)
    last = server.wait_phase(spec.replica_id, ReplicaPhase.EXITED)
    assert (last.exit_code, last.last_lines) == (3, ("no model here",))
