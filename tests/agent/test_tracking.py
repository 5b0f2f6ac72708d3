"""What a training program tracked reaches the server although the program was killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from headway.domain.replicas import ReplicaPhase
from headway.journal.codec import scan
from headway.journal.frames import KIND_FACT
from headway.journal.rows import RowDecoder

TRAINER = """
import os, sys
from pathlib import Path
from headway.domain.base import now
from headway.journal.codec import JournalHeader
from headway.journal.facts import FactsWriter
from headway.journal.metrics import MetricsWriter

def directory(run):
    path = Path(os.environ["HEADWAY_DIR"]) / "runs" / run
    path.mkdir(parents=True)
    return path

def header(run, kind, writer):
    return JournalHeader(run=run, stream=f"{kind}/rank0-{writer}", writer=writer, attempt=0, replica="rank0", created=now())

run = os.environ["HEADWAY_RUN_ID"]
own = directory(run)
metrics = MetricsWriter(own / "metrics-rank0-aa.hwj", header(run, "metrics", "aa"))
facts = FactsWriter(own / "facts-rank0-bb.hwj", header(run, "facts", "bb"))
facts.write({"type": "config", "set": {"lr": 0.1}})
for step in range(COUNT):
    metrics.log({"loss": 1 / (step + 1)}, step=step)
blob = own / "blobs" / "sha256" / "ab"
blob.mkdir(parents=True)
(blob / "content").write_bytes(b"a picture")
"""
DIE = "os.kill(os.getpid(), 9)\n"


def trainer(count: int, *rest: str) -> list[str]:
    return [sys.executable, "-c", TRAINER.replace("COUNT", str(count)) + "".join(rest)]


def rows(server: Any, stream: str) -> list[tuple[Any, ...]]:
    scanned = scan(bytes(server.streams[f"run1/{stream}"].data))
    assert not scanned.damage
    return [(row.step, row.values) for row in RowDecoder().feed(scanned.frames)]


def test_a_killed_program_has_lost_nothing_that_it_logged(rig: Any, server: Any) -> None:
    spec = rig.spec(trainer(5000, DIE))
    agent = rig.start(spec)
    last = server.wait_phase(spec.replica_id, ReplicaPhase.EXITED)
    assert last.signal == 9
    assert rows(server, "metrics/rank0-aa") == [(step, (1 / (step + 1),)) for step in range(5000)]
    assert [frame.kind for frame in scan(bytes(server.streams["run1/facts/rank0-bb"].data)).frames].count(
        KIND_FACT
    ) == 1
    assert all(stream.closed for stream in server.streams.values())
    assert b"a picture" in server.blobs.values()
    assert rig.end(agent) == 0


def test_it_arrives_before_the_end_is_reported_also_when_the_server_was_away(
    rig: Any, server: Any, eventually: Any
) -> None:
    spec = rig.spec(
        trainer(100, "open('logged', 'w')\nimport time\nwhile not os.path.exists('go'): time.sleep(0.01)\n", DIE)
    )
    rig.start(spec)
    workspace = rig.directory(spec).workspace
    eventually((workspace / "logged").exists)
    server.down()
    (workspace / "go").touch()
    eventually(lambda: rig.directory(spec).read_exit())
    server.up()
    server.wait_phase(spec.replica_id, ReplicaPhase.EXITED)
    assert len(rows(server, "metrics/rank0-aa")) == 100


def test_other_runs_stay_and_are_named(rig: Any, server: Any) -> None:
    spec = rig.spec(trainer(3, "MetricsWriter(directory('mine') / 'm.hwj', header('mine', 'metrics', 'cc'))\n", DIE))
    agent = rig.start(spec)
    server.wait_phase(spec.replica_id, ReplicaPhase.EXITED)
    assert not any(stream.endswith("-cc") for stream in server.streams)
    assert rig.end(agent) == 0
    assert "runs/mine" in rig.log(spec)


def test_a_journal_that_claims_another_run_is_refused_alone(rig: Any, server: Any) -> None:
    forged = (
        "MetricsWriter(own / 'metrics-rank0-dd.hwj', header('other', 'metrics', 'dd'))\n"
        "MetricsWriter(own / 'metrics-rank0-ee.hwj', header(run, '../../../x', 'ee'))\n"
        "(own / 'metrics-rank0-ff.hwj').write_bytes(b'no journal')\n"
    )
    spec = rig.spec(trainer(3, forged))
    rig.start(spec)
    last = server.wait_phase(spec.replica_id, ReplicaPhase.EXITED)
    assert last.exit_code == 0
    assert set(server.streams) >= {"run1/metrics/rank0-aa", "run1/facts/rank0-bb"}
    assert not any(stream.endswith(("-dd", "-ee", "-ff", "/x")) for stream in server.streams)
    assert all(f"rank0-{name}" in last.reason for name in ("dd", "ee", "ff"))
    assert server.streams["run1/metrics/rank0-aa"].closed


def test_a_program_that_tracks_nothing_costs_nothing(rig: Any, server: Any) -> None:
    spec = rig.spec('test -n "$HEADWAY_DIR" && test ! -e "$HEADWAY_DIR"')
    rig.start(spec)
    last = server.wait_phase(spec.replica_id, ReplicaPhase.EXITED)
    assert (last.exit_code, last.reason) == (0, "")
    assert not Path(rig.directory(spec).tracking).exists()
