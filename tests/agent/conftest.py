"""Agents as real processes, beside a small real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headway.attempts import ReplicaDirectory
from headway.domain.base import new_id
from headway.domain.replicas import OwnerKind, ReplicaSpec, ServerAddress
from headway.kinship import Kin, end_hard, replica_marks
from headway.testing.scripted import ScriptedServer


class Rig:
    """Makes specifications and starts agents; ends everything afterwards."""

    def __init__(self, root: Path, server: ScriptedServer) -> None:
        self.root = root
        self.server = server
        self.agents: list[subprocess.Popen[bytes]] = []
        self.specs: list[ReplicaSpec] = []

    def spec(self, command: str | list[str], **changes: Any) -> ReplicaSpec:
        """A replica that runs ``command``: a text through the shell, a list as it is."""
        words = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
        values = {
            "attempt_token": new_id("token"),
            "attempt_id": "att1",
            "attempt": 1,
            "replica_id": new_id("rep"),
            "owner_kind": OwnerKind.JOB,
            "owner_id": "job1",
            "owner_name": "job",
            "project_id": "prj1",
            "run_id": "run1",
            "role": "worker",
            "index": 0,
            "rank": 0,
            "world_size": 1,
            "command": words,
            "server": ServerAddress(url="http://127.0.0.1:1", address_file=str(self.server.address_file)),
            "token": self.server.token,
            "grace_seconds": 5.0,
        }
        spec = ReplicaSpec.model_validate({**values, **changes})
        self.specs.append(spec)
        return spec

    def directory(self, spec: ReplicaSpec) -> ReplicaDirectory:
        return ReplicaDirectory(self.root / spec.attempt_token / spec.name)

    def start(self, spec: ReplicaSpec, **environment: str) -> subprocess.Popen[bytes]:
        """An agent for ``spec``; more than one may be started for the same."""
        directory = self.directory(spec)
        directory.path.mkdir(parents=True, exist_ok=True)
        if not directory.spec_file.exists():
            directory.write_spec(spec)
        with directory.log_file.open("ab") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "headway.agent", str(directory.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        self.agents.append(agent)
        return agent

    def end(self, agent: subprocess.Popen[bytes], seconds: float = 30.0) -> int:
        """Wait until the agent ended by itself."""
        return agent.wait(seconds)

    def survivors(self, spec: ReplicaSpec) -> list[int]:
        """Processes of the replica that still run."""
        return sorted(Kin([replica_marks(spec.attempt_token, spec.name)]).members())

    def log(self, spec: ReplicaSpec) -> str:
        return self.directory(spec).log_file.read_text()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self.agents:
            if agent.poll() is None:
                os.kill(agent.pid, signal.SIGKILL)
            agent.wait()
        for spec in self.specs:
            assert end_hard(Kin([replica_marks(spec.attempt_token, spec.name)]).members)


def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return value


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    scripted = ScriptedServer(tmp_path)
    scripted.up()
    yield scripted
    scripted.down()


@pytest.fixture
def rig(tmp_path: Path, server: ScriptedServer) -> Iterator[Rig]:
    with Rig(tmp_path / "attempts", server) as made:
        yield made
