"""The server dies and comes back: the program does not notice, and everything arrives once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from headway.domain.replicas import Action, ReplicaPhase

EXITED = ReplicaPhase.EXITED


def numbered(count: int) -> list[str]:
    return [f"line {number}" for number in range(1, count + 1)]


def test_away_at_the_start(rig: Any, server: Any, eventually: Any) -> None:
    server.down()
    spec = rig.spec("echo here > $HEADWAY_OUTPUT_DIR/o; echo line 1")
    rig.start(spec)
    eventually(lambda: rig.directory(spec).claim_file.exists())
    server.up()
    last = server.wait_phase(spec.replica_id, EXITED)
    assert (last.exit_code, server.lines()) == (0, ["line 1"])


def test_away_in_the_middle_and_at_another_port_afterwards(rig: Any, server: Any, tmp_path: Path) -> None:
    spec = rig.spec(
        f"echo line 1; until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo line 2; "
        f"touch {tmp_path}/done; until [ -e {tmp_path}/end ]; do sleep 0.02; done; echo line 3"
    )
    agent = rig.start(spec)
    server.wait(lambda: server.lines() == numbered(1))
    server.down()
    (tmp_path / "go").touch()
    server.up()
    server.wait(lambda: server.lines() == numbered(2))
    server.down()
    (tmp_path / "end").touch()
    server.up()
    last = server.wait_phase(spec.replica_id, EXITED)
    assert (last.exit_code, server.lines()) == (0, numbered(3))
    assert rig.end(agent) == 0


def test_away_at_the_end(rig: Any, server: Any, tmp_path: Path, eventually: Any) -> None:
    spec = rig.spec(
        f"echo line 1; until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo line 2; echo m > model/m; exit 5"
    )
    agent = rig.start(spec)
    server.wait(lambda: server.lines() == numbered(1))
    server.down()
    (tmp_path / "go").touch()
    kept = eventually(lambda: rig.directory(spec).read_exit())
    assert kept.exit_code == 5
    assert agent.poll() is None
    server.up()
    last = server.wait_phase(spec.replica_id, EXITED)
    assert (last.exit_code, server.lines(), [f.path for f in last.model_files]) == (5, numbered(2), ["m"])
    assert rig.end(agent) == 0


def test_an_answer_that_was_lost_doubles_nothing(rig: Any, server: Any) -> None:
    """The server stores a piece and dies before it says so."""
    spec = rig.spec("i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.01; done")
    deaths = iter(range(3))

    def die() -> None:
        if next(deaths, None) is not None:
            server.down()
            threading.Timer(0.05, server.up).start()

    server.after_commit = die
    rig.start(spec)
    last = server.wait_phase(spec.replica_id, EXITED)
    assert (last.exit_code, server.lines()) == (0, numbered(40))
    assert len(server.streams) == 1


def test_a_stop_given_while_away_is_heard_later(rig: Any, server: Any) -> None:
    spec = rig.spec("echo line 1; exec sleep 600")
    rig.start(spec)
    server.wait(lambda: server.lines() == numbered(1))
    server.down()
    server.direct(spec.replica_id, Action.STOP)
    server.up()
    assert server.wait_phase(spec.replica_id, EXITED).reason == "stopped"


@pytest.mark.parametrize("answers", [1])
def test_a_strange_server_for_a_moment_changes_nothing(rig: Any, server: Any, answers: int) -> None:
    """Somebody else took the port: its refusal is not believed at once."""
    spec = rig.spec("echo line 1; exec sleep 600")
    rig.start(spec)
    server.wait_phase(spec.replica_id, ReplicaPhase.RUNNING)
    before = server.requests
    server.refuse_token = True
    server.direct(spec.replica_id, Action.WAIT)
    server.wait(lambda: server.requests >= before + answers)
    server.refuse_token = False
    server.direct(spec.replica_id, Action.STOP)
    assert server.wait_phase(spec.replica_id, EXITED).reason == "stopped"
