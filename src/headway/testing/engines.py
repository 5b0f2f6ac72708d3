"""The contract of engines, as tests: subclass :class:`EngineContract`, supply the fixtures ``make_engine`` and ``peer``.

::

    class TestLocalEngine(EngineContract):
        @pytest.fixture
        def make_engine(self, tmp_path):
            return partial(LocalEngine, tmp_path / "engine")

Agents report to a :class:`headway.testing.scripted.ScriptedServer`, over real connections.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headway.domain.base import new_id
from headway.domain.replicas import OwnerKind, ReplicaPhase, ReplicaSpec, ServerAddress
from headway.engines.base import AgentObservation, AgentState, Engine, ForgetsAttempts, KeepsJournals
from headway.errors import ConflictError
from headway.journal.reader import read_header
from headway.kinship import Kin, descendants, process_table, replica_marks
from headway.testing.scripted import ScriptedServer

MakeEngine = Callable[[], Engine]
SLOWEST_VERB = 2.0
"""Seconds that a verb may take."""

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(1, b"away\\n")
        time.sleep(600)
os.write(1, b"ready\\n")
time.sleep(600)
"""
"""Deaf to SIGTERM, and so are the two processes that it double-forks into sessions of their own."""


def gang(peer: ScriptedServer, command: Sequence[str], *, size: int = 1, **changes: Any) -> list[ReplicaSpec]:
    """The specifications of one attempt."""
    token = new_id("token")
    values: dict[str, Any] = {
        "attempt_token": token,
        "attempt_id": new_id("att"),
        "attempt": 1,
        "owner_kind": OwnerKind.JOB,
        "owner_id": "job1",
        "owner_name": "job",
        "project_id": "prj1",
        "run_id": "run1",
        "role": "worker",
        "world_size": size,
        "command": tuple(command),
        "server": ServerAddress(url=peer.url, address_file=str(peer.address_file)),
        "token": peer.token,
        "grace_seconds": 0.3,
    }
    return [
        ReplicaSpec.model_validate({**values, **changes, "replica_id": new_id("rep"), "index": rank, "rank": rank})
        for rank in range(size)
    ]


def members(specs: Sequence[ReplicaSpec]) -> list[int]:
    """Processes of these replicas that run."""
    return sorted(Kin([replica_marks(spec.attempt_token, spec.name) for spec in specs]).members())


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return value


def quickly(verb: Callable[[], Any]) -> Any:
    """Call ``verb`` and hold it to its time; the machine may be busy, so a slow try may be repeated."""
    for _ in range(5):
        began = time.monotonic()
        answer = verb()
        if time.monotonic() - began <= SLOWEST_VERB:
            return answer
    raise AssertionError(f"a verb took longer than {SLOWEST_VERB} s")


def _start_elsewhere(make_engine: MakeEngine, documents: Sequence[str], barrier: Any) -> None:
    engine = make_engine()
    barrier.wait()
    engine.start([ReplicaSpec.model_validate_json(document) for document in documents])


class EngineContract:
    """What every engine promises (headway/engines/base.py)."""

    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        """A picklable function that makes engine objects which all see the same place."""
        raise NotImplementedError("supply make_engine")

    @pytest.fixture
    def peer(self, tmp_path: Path) -> Iterator[ScriptedServer]:
        scripted = ScriptedServer(tmp_path)
        scripted.up()
        yield scripted
        scripted.down()

    @pytest.fixture
    def engine(self, make_engine: MakeEngine) -> Iterator[Engine]:
        made = make_engine()
        yield made
        for token in made.list():
            made.stop(token, hard=True)
            eventually(lambda token=token: not _alive(made.observe(token)))  # type: ignore[misc]

    def test_capacity_is_told(self, engine: Engine) -> None:
        capacity = quickly(engine.capacity)
        assert capacity.cpu > 0 and capacity.memory_mb > 0 and capacity.gpu >= 0

    def test_an_unknown_attempt_is_empty_and_can_be_stopped(self, engine: Engine) -> None:
        assert list(engine.observe("unknown")) == []
        engine.stop("unknown")
        engine.stop("unknown", hard=True)
        assert "unknown" not in engine.list()

    def test_started_replicas_run_and_leave_their_exit_codes(self, engine: Engine, peer: ScriptedServer) -> None:
        specs = gang(peer, ["/bin/sh", "-c", "exit $((HEADWAY_TEST + 3))"], size=2, environment={"HEADWAY_TEST": "1"})
        quickly(lambda: engine.start(specs))
        seen = eventually(lambda: _all_gone(engine.observe(specs[0].attempt_token), 2))
        assert {found.replica_id: found.exit_code for found in seen} == {spec.replica_id: 4 for spec in specs}
        assert engine.list() == [specs[0].attempt_token]
        assert [peer.reports[spec.replica_id][-1].exit_code for spec in specs] == [4, 4]

    def test_a_living_agent_is_alive(self, engine: Engine, peer: ScriptedServer) -> None:
        specs = gang(peer, ["sleep", "600"])
        engine.start(specs)
        peer.wait_phase(specs[0].replica_id, ReplicaPhase.RUNNING)
        (seen,) = quickly(lambda: engine.observe(specs[0].attempt_token))
        assert (seen.state, seen.exit_code, seen.host_changed) == (AgentState.ALIVE, None, False)

    def test_start_is_idempotent_in_one_process(self, engine: Engine, peer: ScriptedServer, tmp_path: Path) -> None:
        specs = gang(peer, ["/bin/sh", "-c", f"echo x >> {tmp_path}/executed"], size=2)
        for _ in range(3):
            engine.start(specs)
        eventually(lambda: _all_gone(engine.observe(specs[0].attempt_token), 2))
        engine.start(specs)
        assert _all_gone(engine.observe(specs[0].attempt_token), 2)
        assert (tmp_path / "executed").read_text() == "x\nx\n"

    def test_start_is_idempotent_from_two_processes_at_once(
        self, engine: Engine, make_engine: MakeEngine, peer: ScriptedServer, tmp_path: Path
    ) -> None:
        specs = gang(peer, ["/bin/sh", "-c", f"echo x >> {tmp_path}/executed"], size=2)
        documents = [spec.model_dump_json() for spec in specs]
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(2)
        starters = [context.Process(target=_start_elsewhere, args=(make_engine, documents, barrier)) for _ in range(2)]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join(60)
            assert starter.exitcode == 0
        eventually(lambda: _all_gone(engine.observe(specs[0].attempt_token), 2))
        assert (tmp_path / "executed").read_text() == "x\nx\n"

    def test_another_engine_object_adopts(self, engine: Engine, make_engine: MakeEngine, peer: ScriptedServer) -> None:
        specs = gang(peer, ["sleep", "600"])
        engine.start(specs)
        peer.wait_phase(specs[0].replica_id, ReplicaPhase.RUNNING)
        other = make_engine()
        assert [seen.state for seen in other.observe(specs[0].attempt_token)] == [AgentState.ALIVE]
        other.stop(specs[0].attempt_token)
        assert peer.wait_phase(specs[0].replica_id, ReplicaPhase.EXITED).signal == signal.SIGTERM
        eventually(lambda: _all_gone(engine.observe(specs[0].attempt_token), 1))

    @pytest.mark.parametrize("hard", [False, True])
    def test_stop_leaves_no_survivor(self, engine: Engine, peer: ScriptedServer, hard: bool) -> None:
        specs = gang(peer, [sys.executable, "-c", STUBBORN], size=2)
        engine.start(specs)
        for spec in specs:
            peer.wait(lambda spec=spec: sorted(peer.lines(spec.name)) == ["away", "away", "ready"])  # type: ignore[misc]
        assert len(members(specs)) == 6
        quickly(lambda: engine.stop(specs[0].attempt_token, hard=hard))
        eventually(lambda: _all_gone(engine.observe(specs[0].attempt_token), 2))
        assert members(specs) == []

    def test_stop_before_the_start_means_never(self, engine: Engine, peer: ScriptedServer, tmp_path: Path) -> None:
        peer.auto_start = False
        specs = gang(peer, ["/bin/sh", "-c", f"touch {tmp_path}/executed"])
        engine.start(specs)
        engine.stop(specs[0].attempt_token)
        eventually(lambda: _all_gone(engine.observe(specs[0].attempt_token), 1))
        engine.start(specs)
        assert _all_gone(engine.observe(specs[0].attempt_token), 1)
        assert not (tmp_path / "executed").exists()

    def test_a_killed_agent_is_gone_and_leaves_nothing_running(self, engine: Engine, peer: ScriptedServer) -> None:
        specs = gang(peer, [sys.executable, "-c", STUBBORN])
        engine.start(specs)
        peer.wait(lambda: sorted(peer.lines()) == ["away", "away", "ready"])
        agent = _agent_of(specs)
        os.kill(agent, signal.SIGKILL)
        seen = eventually(lambda: _all_gone(engine.observe(specs[0].attempt_token), 1))
        assert (seen[0].exit_code, seen[0].signal) == (None, None)
        assert members(specs) == []

    def test_verbs_may_be_called_from_many_threads(self, engine: Engine, peer: ScriptedServer, tmp_path: Path) -> None:
        specs = gang(peer, ["/bin/sh", "-c", f"echo x >> {tmp_path}/executed"])
        failures: list[BaseException] = []

        def work() -> None:
            try:
                engine.start(specs)
                engine.observe(specs[0].attempt_token)
                engine.list()
            except BaseException as error:  # noqa: BLE001  (handed to the test)
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        eventually(lambda: _all_gone(engine.observe(specs[0].attempt_token), 1))
        assert (tmp_path / "executed").read_text() == "x\n"

    def test_journals_of_a_dead_agent_can_be_read(self, engine: Engine, peer: ScriptedServer) -> None:
        if not isinstance(engine, KeepsJournals):
            pytest.skip("this engine keeps no journals")
        specs = gang(peer, ["/bin/sh", "-c", "echo ready; exec sleep 600"])
        engine.start(specs)
        peer.wait(lambda: peer.lines() == ["ready"])
        engine.stop(specs[0].attempt_token, hard=True)
        (journal,) = engine.journals(specs[0].attempt_token, specs[0].replica_id)
        header = read_header(journal)
        assert (header.run, header.replica, header.attempt) == ("run1", "worker-0", 1)
        assert engine.journals(specs[0].attempt_token, "somebody") == []

    def test_an_ended_attempt_can_be_forgotten(self, engine: Engine, peer: ScriptedServer) -> None:
        if not isinstance(engine, ForgetsAttempts):
            pytest.skip("this engine keeps nothing")
        specs = gang(peer, ["sleep", "600"])
        token = specs[0].attempt_token
        engine.start(specs)
        peer.wait_phase(specs[0].replica_id, ReplicaPhase.RUNNING)
        with pytest.raises(ConflictError):
            engine.forget(token)
        engine.stop(token, hard=True)
        eventually(lambda: _all_gone(engine.observe(token), 1))
        engine.forget(token)
        engine.forget(token)
        assert list(engine.list()) == [] and list(engine.observe(token)) == []


def _alive(seen: Sequence[AgentObservation]) -> bool:
    return any(found.state is AgentState.ALIVE for found in seen)


def _all_gone(seen: Sequence[AgentObservation], count: int) -> Sequence[AgentObservation] | None:
    return seen if len(seen) == count and all(found.state is AgentState.GONE for found in seen) else None


def _agent_of(specs: Sequence[ReplicaSpec]) -> int:
    """The agent above the replica's program: the one ancestor that carries no mark and is no server."""
    table = process_table()
    program = min(members(specs), key=lambda pid: table[pid].started)
    agent = table[program].parent
    assert program in descendants(table, [agent])
    assert b"headway.agent" in Path(f"/proc/{agent}/cmdline").read_bytes()
    return agent
