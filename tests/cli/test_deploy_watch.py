"""``headway deploy show --watch``: through a pipe, as JSON, and on a terminal, until the deployment is deleted."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.testing.server import ServerProcess

LIMIT = 180.0
"""Seconds after which a process that says nothing is ended, so that its test fails."""


@pytest.fixture
def client(logged_in: ServerProcess, environment: dict[str, str], tmp_path: Path) -> Iterator[Client]:
    """A project with the model ``double`` and its running deployment ``d``."""
    name = environment["HEADWAY_PROJECT"] = new_id("project")
    (tmp_path / "predict.py").write_text("class Predictor:\n    def predict(self, inputs):\n        return inputs\n")
    with Client(logged_in.url, logged_in.token, project=name) as found:
        found.projects.create(name)
        found.models.register("double", tmp_path / "predict.py")
        found.deployments.create("d", "double")
        found.deployments.wait("d", timeout=LIMIT)
        yield found


@contextmanager
def watching(environment: dict[str, str], *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "headway", "deploy", "show", "d", "--watch", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    with subprocess.Popen(command, env=environment, **options) as process:
        timer = threading.Timer(LIMIT, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def read_until(process: subprocess.Popen[str], wanted: Callable[[str], object]) -> list[str]:
    """The lines up to the one that is wanted."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if wanted(line):
            return lines
    raise AssertionError(f"it ended before that came: {lines}, {process.stderr and process.stderr.read()}")


def test_a_pipe_gets_a_line_for_each_change(client: Client, environment: dict[str, str]) -> None:
    with watching(environment) as people, watching(environment, "--json") as programs:
        first = read_until(people, lambda line: "server-1" in line)
        assert "revision 1 live: double:v1" in first[0]
        assert "running  1 of 1 replicas answer" in first[1]
        assert "server-1  running" in first[2]
        [line] = read_until(programs, lambda line: line)
        shown = json.loads(line)
        assert (shown["revision"], shown["state"], shown["pending_revision"]) == (1, "running", None)
        assert "total" in shown["traffic"]

        client.deployments.update("d", environment={"A": "1"})
        told = read_until(people, lambda line: "server-1  gone" in line)
        assert any("revision 2 live: double:v1" in line for line in told)
        assert any("server-2  running" in line for line in told)
        assert not any("revision 1 live" in line for line in told), "what did not change is not told again"
        records = [json.loads(each) for each in read_until(programs, lambda line: json.loads(line)["revision"] == 2)]
        facts = [{name: value for name, value in each.items() if name != "traffic"} for each in (shown, *records)]
        assert all(one != next_ for one, next_ in itertools.pairwise(facts))

        client.deployments.delete("d")
        for process in (people, programs):
            _, said = process.communicate(timeout=LIMIT)
            assert (process.returncode, said.strip()) == (0, "The deployment was deleted.")


def test_a_terminal_is_drawn_anew_and_keeps_the_last_page(client: Client, environment: dict[str, str]) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    screen = {**environment, "TERM": "xterm-256color"}
    try:
        with watching(screen, stdout=follower, stderr=subprocess.PIPE) as process:
            os.close(follower)
            seen = b""
            while b"server-1" not in seen:
                seen += os.read(leader, 65536)
            assert b"\x1b[?1049h" in seen, "a screen of its own"
            process.send_signal(signal.SIGINT)
            for part in iter(lambda: _read(leader), b""):
                seen += part
            assert process.wait(LIMIT) == 130
        left = seen.rpartition(b"\x1b[?1049l")[2]
        assert b"server-1" in left
        assert b"double:v1" in left
    finally:
        os.close(leader)


def _read(terminal: int) -> bytes:
    """More of what is written to a terminal; nothing once its last writer is gone."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_a_deployment_that_is_not_there_is_named(client: Client, headway: Any) -> None:
    found = headway("deploy", "show", "nothing", "--watch")
    assert (found.returncode, "nothing" in found.stderr) == (4, True), found.stderr
