"""One replica's life: started once, captured, ended, its status kept."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.domain.replicas import Action, ReplicaPhase

PREPARING, PREPARED, RUNNING, EXITED = (
    ReplicaPhase.PREPARING,
    ReplicaPhase.PREPARED,
    ReplicaPhase.RUNNING,
    ReplicaPhase.EXITED,
)


def test_a_program_runs_and_everything_about_it_arrives(rig: Any, server: Any) -> None:
    spec = rig.spec("echo out; echo err >&2; echo model > $HEADWAY_MODEL_DIR/m.txt; echo r > $HEADWAY_OUTPUT_DIR/r.txt")
    agent = rig.start(spec)
    last = server.wait_phase(spec.replica_id, EXITED)
    assert rig.end(agent) == 0
    assert (last.exit_code, last.signal, last.reason) == (0, None, "")
    assert server.lines() == ["out", "err"]
    assert [stream.closed for stream in server.streams.values()] == [True]
    assert [file.path for file in last.model_files] == ["m.txt"]
    assert [server.blobs[file.digest] for file in last.output_files] == [b"r\n"]
    phases = list(dict.fromkeys(report.phase for report in server.reports[spec.replica_id]))
    assert phases == [PREPARING, PREPARED, RUNNING, EXITED]
    assert last.finished_at >= last.started_at
    kept = json.loads(rig.directory(spec).exit_file.read_text())
    assert kept["exit_code"] == 0


def test_the_gang_learns_addresses_from_the_directive(rig: Any, server: Any) -> None:
    server.environment = {"MASTER_PORT": "4711", "RANK": "0"}
    spec = rig.spec("echo $MASTER_PORT $RANK $PORT $HEADWAY_REPLICA $HEADWAY_TOKEN")
    rig.start(spec)
    last = server.wait_phase(spec.replica_id, EXITED)
    assert server.lines() == [f"4711 0 {last.ports[0]} worker-0 {server.token}"]
    assert (last.host, len(last.ports)) == ("127.0.0.1", 2)


@pytest.mark.parametrize(
    ("command", "code", "number", "reason"),
    [
        ("exit 3", 3, None, "exited with code 3"),
        ("kill -SEGV $$", None, signal.SIGSEGV, "killed (SIGSEGV)"),
        ("kill -KILL $$", None, signal.SIGKILL, "killed (SIGKILL), perhaps out of memory"),
        ("no-such-program-here", 127, None, "the command does not exist"),
        (["no-such-program-here"], 127, None, "the command does not exist: no-such-program-here"),
        (["/etc/passwd"], 126, None, "the command cannot be executed: /etc/passwd"),
        (["/bin/sh", "-c", "exit 127"], 127, None, "exited with code 127"),
    ],
)
def test_how_it_ended_is_told_in_words(
    rig: Any, server: Any, command: Any, code: int | None, number: int | None, reason: str
) -> None:
    spec = rig.spec(command)
    agent = rig.start(spec)
    last = server.wait_phase(spec.replica_id, EXITED)
    assert (last.exit_code, last.signal) == (code, number)
    assert reason in last.reason
    rig.end(agent)
    kept = rig.directory(spec).read_exit()
    assert (kept.exit_code, kept.signal) == (code, number)


def test_a_failure_brings_its_last_lines(rig: Any, server: Any) -> None:
    spec = rig.spec("for i in 1 2 3; do echo line $i; done; exit 1")
    rig.start(spec)
    assert server.wait_phase(spec.replica_id, EXITED).last_lines == ("line 1", "line 2", "line 3")


def test_of_many_agents_for_one_replica_one_executes_the_program(rig: Any, server: Any, tmp_path: Path) -> None:
    spec = rig.spec(f"echo x >> {tmp_path}/executed")
    agents = [rig.start(spec) for _ in range(4)]
    server.wait_phase(spec.replica_id, EXITED)
    assert [rig.end(agent) for agent in agents] == [0, 0, 0, 0]
    assert (tmp_path / "executed").read_text() == "x\n"


def test_it_waits_for_the_word_to_start(rig: Any, server: Any) -> None:
    server.auto_start = False
    spec = rig.spec("echo started")
    rig.start(spec)
    server.wait_phase(spec.replica_id, PREPARED)
    assert not server.streams
    server.direct(spec.replica_id, Action.START)
    server.wait_phase(spec.replica_id, EXITED)
    assert server.lines() == ["started"]


def test_stopped_before_the_start_it_never_runs(rig: Any, server: Any, tmp_path: Path) -> None:
    server.auto_start = False
    spec = rig.spec(f"touch {tmp_path}/ran")
    agent = rig.start(spec)
    server.wait_phase(spec.replica_id, PREPARED)
    server.direct(spec.replica_id, Action.STOP)
    last = server.wait_phase(spec.replica_id, EXITED)
    assert (last.exit_code, last.signal, last.reason) == (None, None, "stopped before it started")
    rig.end(agent)
    assert not (tmp_path / "ran").exists()


def test_a_polite_program_ends_within_its_grace(rig: Any, server: Any) -> None:
    spec = rig.spec("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done", grace_seconds=60)
    rig.start(spec)
    server.wait(lambda: "ready" in server.lines())
    server.direct(spec.replica_id, Action.STOP)
    last = server.wait_phase(spec.replica_id, EXITED)
    assert (last.exit_code, last.reason) == (7, "stopped")
    assert server.lines()[-1] == "bye"


def test_a_stubborn_program_is_killed_after_its_grace(rig: Any, server: Any) -> None:
    spec = rig.spec("trap '' TERM; echo ready; while :; do sleep 0.05; done", grace_seconds=0.2)
    rig.start(spec)
    server.wait(lambda: "ready" in server.lines())
    server.direct(spec.replica_id, Action.STOP)
    last = server.wait_phase(spec.replica_id, EXITED)
    assert (last.signal, last.reason) == (signal.SIGKILL, "stopped")
    assert rig.survivors(spec) == []


def test_sigterm_to_the_agent_ends_the_program_in_order(rig: Any, server: Any) -> None:
    spec = rig.spec("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    agent = rig.start(spec)
    server.wait(lambda: "ready" in server.lines())
    agent.terminate()
    assert rig.end(agent) == 0
    assert server.reported(spec.replica_id, EXITED).reason == "stopped"
    assert server.lines()[-1] == "bye"


def test_terminal_signals_do_not_reach_it(rig: Any, server: Any) -> None:
    spec = rig.spec("echo ready; read line < $HEADWAY_OUTPUT_DIR/../go || sleep 1; echo end")
    agent = rig.start(spec)
    server.wait(lambda: "ready" in server.lines())
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(agent.pid, number)
    last = server.wait_phase(spec.replica_id, EXITED)
    assert (last.exit_code, server.lines()[-1]) == (0, "end")


def test_a_program_that_runs_too_long_is_ended(rig: Any, server: Any) -> None:
    spec = rig.spec(["sleep", "600"], max_runtime=0.3)
    rig.start(spec)
    last = server.wait_phase(spec.replica_id, EXITED)
    assert last.signal == signal.SIGTERM
    assert last.reason == "ran longer than max_runtime (0.3 s)"


ESCAPE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("away", os.getpid(), flush=True)
        time.sleep(600)
    os._exit(0)
os.wait()
print("ready", flush=True)
if sys.argv[1] == "stay":
    time.sleep(600)
"""


@pytest.mark.parametrize("manner", ["stay", "leave"])
def test_nothing_it_forked_survives(rig: Any, server: Any, manner: str) -> None:
    """Double-forked, in a session of its own, deaf to SIGTERM, its environment emptied."""
    spec = rig.spec(["env", "-i", sys.executable, "-c", ESCAPE, manner], grace_seconds=0.2)
    rig.start(spec)
    away = server.wait(lambda: next((line for line in server.lines() if line.startswith("away")), None))
    assert Path(f"/proc/{away.split()[1]}").exists() or manner == "leave"
    if manner == "stay":
        server.wait(lambda: "ready" in server.lines())
        server.direct(spec.replica_id, Action.STOP)
    server.wait_phase(spec.replica_id, EXITED)
    assert not Path(f"/proc/{away.split()[1]}").exists()


def test_a_killed_agent_takes_its_program_along(rig: Any, server: Any, eventually: Any) -> None:
    spec = rig.spec([sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"])
    agent = rig.start(spec)
    server.wait(lambda: "ready" in server.lines())
    program = rig.directory(spec).read_state().program.pid
    assert rig.survivors(spec) == [program]
    agent.kill()
    eventually(lambda: rig.survivors(spec) == [])


def test_secrets_are_in_no_argument_list_log_or_state(rig: Any, server: Any) -> None:
    secret = "canary-8c1f"
    spec = rig.spec("echo ready; sleep 600", secrets={"API_KEY": secret}, workspace_password=secret)
    agent = rig.start(spec)
    server.wait(lambda: "ready" in server.lines())
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            assert secret.encode() not in words and server.token.encode() not in words
    directory = rig.directory(spec)
    agent.terminate()
    rig.end(agent)
    for file in (directory.log_file, directory.state_file, directory.exit_file, directory.claim_file):
        assert secret not in file.read_text() and server.token not in file.read_text()
    assert directory.spec_file.stat().st_mode & 0o777 == 0o600


def test_the_program_sees_no_setting_of_the_server(rig: Any, server: Any) -> None:
    spec = rig.spec("env", environment={"MINE": "1"}, secrets={"KEY": "s"})
    rig.start(spec, HEADWAY_DATABASE="postgresql://u:p@h/db", SECRET_OF_SERVER="1")
    server.wait_phase(spec.replica_id, EXITED)
    names = dict(line.split("=", 1) for line in server.lines() if "=" in line)
    assert "HEADWAY_DATABASE" not in names and "SECRET_OF_SERVER" not in names
    assert (names["MINE"], names["KEY"], names["HEADWAY_JOB_ID"]) == ("1", "s", "job1")


def test_a_replaced_attempt_ends_at_once(rig: Any, server: Any) -> None:
    spec = rig.spec("trap '' TERM; echo ready; while :; do sleep 0.05; done", grace_seconds=600)
    agent = rig.start(spec)
    server.wait(lambda: "ready" in server.lines())
    with server.changed:
        server.stale.add(spec.attempt_token)
        server._direct(spec.replica_id, Action.WAIT, {})
    assert rig.end(agent) == 0
    assert rig.survivors(spec) == []
    assert server.reported(spec.replica_id, EXITED) is None


def test_a_revoked_token_ends_it(rig: Any, server: Any) -> None:
    spec = rig.spec("echo ready; sleep 600")
    agent = rig.start(spec)
    server.wait(lambda: "ready" in server.lines())
    server.wait_phase(spec.replica_id, RUNNING)
    server.refuse_token = True
    server.direct(spec.replica_id, Action.WAIT)
    assert rig.end(agent) == 0
    assert rig.survivors(spec) == []
