"""The local engine keeps the contract, and some promises of its own."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path

import pytest

from headway.attempts import ReplicaDirectory
from headway.domain.instances import Capacity
from headway.domain.replicas import ReplicaPhase
from headway.engines.base import AgentState
from headway.engines.local import CLAIM_SECONDS, LocalEngine
from headway.engines.machine import count_gpus
from headway.engines.registry import create_engine
from headway.errors import ConfigurationError, EngineError, InvalidRequestError
from headway.processes import ProcessIdentity, identify
from headway.testing.engines import EngineContract, MakeEngine, eventually, gang, members
from headway.testing.scripted import ScriptedServer


class TestLocalEngine(EngineContract):
    @pytest.fixture
    def make_engine(self, tmp_path: Path) -> MakeEngine:
        return partial(LocalEngine, tmp_path / "engine" / "attempts")


@pytest.fixture
def engine(tmp_path: Path) -> LocalEngine:
    return LocalEngine(tmp_path / "engine", Capacity(cpu=2, memory_mb=100, gpu=0))


@pytest.fixture
def peer(tmp_path: Path) -> ScriptedServer:
    """Never up: what is looked at here needs no server."""
    return ScriptedServer(tmp_path)


def place(engine: LocalEngine, peer: ScriptedServer, root: Path) -> tuple[str, ReplicaDirectory]:
    """A replica as an engine leaves it that was killed between writing the specification and spawning."""
    (spec,) = gang(peer, ["true"])
    directory = ReplicaDirectory(root / spec.attempt_token / spec.name)
    directory.path.mkdir(parents=True)
    directory.write_spec(spec)
    return spec.attempt_token, directory


def test_an_agent_that_never_claims_is_gone_after_a_while(
    engine: LocalEngine, peer: ScriptedServer, tmp_path: Path
) -> None:
    token, directory = place(engine, peer, tmp_path / "engine")
    assert [seen.state for seen in engine.observe(token)] == [AgentState.UNKNOWN]
    long_ago = time.time() - CLAIM_SECONDS - 1
    os.utime(directory.spec_file, (long_ago, long_ago))
    assert [seen.state for seen in engine.observe(token)] == [AgentState.GONE]
    late = identify()
    assert late is not None and not directory.claim(late)


def test_a_reused_process_id_is_not_the_agent(engine: LocalEngine, peer: ScriptedServer, tmp_path: Path) -> None:
    token, directory = place(engine, peer, tmp_path / "engine")
    mine = identify()
    assert mine is not None
    directory.claim(ProcessIdentity(pid=mine.pid, started=mine.started - 1, boot=mine.boot))
    (seen,) = engine.observe(token)
    assert (seen.state, seen.host_changed) == (AgentState.GONE, False)
    engine.stop(token, hard=True)


def test_a_restarted_machine_is_noticed(engine: LocalEngine, peer: ScriptedServer, tmp_path: Path) -> None:
    token, directory = place(engine, peer, tmp_path / "engine")
    mine = identify()
    assert mine is not None
    directory.claim(ProcessIdentity(pid=mine.pid, started=mine.started, boot="another-boot"))
    (seen,) = engine.observe(token)
    assert (seen.state, seen.host_changed) == (AgentState.GONE, True)


def test_what_cannot_be_placed_leaves_nothing(engine: LocalEngine, peer: ScriptedServer) -> None:
    specs = gang(peer, ["true"], size=2)
    blocked = [specs[0], specs[1].evolve(role="bad/../role")]
    with pytest.raises(EngineError):
        engine.start(blocked)
    assert engine.list() == []
    assert members(specs) == []


@pytest.mark.parametrize("token", ["../outside", "a/b", "", ".hidden"])
def test_a_token_is_no_path(engine: LocalEngine, token: str) -> None:
    with pytest.raises(InvalidRequestError):
        engine.observe(token)


def test_the_specification_is_private(tmp_path: Path) -> None:
    server = ScriptedServer(tmp_path)
    server.up()
    engine = LocalEngine(tmp_path / "engine")
    specs = gang(server, ["true"], secrets={"KEY": "canary"})
    engine.start(specs)
    server.wait_phase(specs[0].replica_id, ReplicaPhase.EXITED)
    path = tmp_path / "engine" / specs[0].attempt_token / "worker-0" / "spec.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "engine").stat().st_mode & 0o777 == 0o700
    eventually(lambda: engine.observe(specs[0].attempt_token)[0].state is AgentState.GONE)
    server.down()


def test_an_agent_that_ended_is_no_zombie(tmp_path: Path) -> None:
    server = ScriptedServer(tmp_path)
    server.up()
    engine = LocalEngine(tmp_path / "engine")
    specs = gang(server, ["true"])
    engine.start(specs)
    eventually(lambda: engine.observe(specs[0].attempt_token)[0].state is AgentState.GONE)
    claim = json.loads((tmp_path / "engine" / specs[0].attempt_token / "worker-0" / "claim").read_text())
    eventually(lambda: engine.list() and not Path(f"/proc/{claim['pid']}").exists())
    server.down()


def test_gpus_are_counted_as_the_driver_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert count_gpus() == 0
    program.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: GPU-1)'\necho 'GPU 1: A (UUID: GPU-2)'\n")
    program.chmod(0o755)
    assert count_gpus() == 2
    program.write_text("#!/bin/sh\necho 'GPU 0: none'\nexit 9\n")
    assert count_gpus() == 0


def test_the_registry_knows_local_and_suggests(tmp_path: Path) -> None:
    made = create_engine("local", root=tmp_path / "engine")
    assert isinstance(made, LocalEngine)
    with pytest.raises(ConfigurationError, match="Did you mean 'local'"):
        create_engine("locl")


def test_engines_do_not_hand_settings_of_the_server_to_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_SECRET_SETTING", "canary")
    server = ScriptedServer(tmp_path)
    server.up()
    engine = LocalEngine(tmp_path / "engine")
    specs = gang(server, ["sleep", "600"])
    engine.start(specs)
    server.wait_phase(specs[0].replica_id, ReplicaPhase.RUNNING)
    claim = json.loads((tmp_path / "engine" / specs[0].attempt_token / "worker-0" / "claim").read_text())
    assert b"canary" not in Path(f"/proc/{claim['pid']}/environ").read_bytes()
    engine.stop(specs[0].attempt_token, hard=True)
    eventually(lambda: engine.observe(specs[0].attempt_token)[0].state is AgentState.GONE)
    server.down()
