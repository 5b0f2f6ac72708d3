"""Monitors over real servers, jobs and trackers: points appear while a job runs, and afterwards are those of its log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.domain.jobs import Job, JobState
from headway.domain.monitors import Monitor, MonitorState
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.testing.faults import until
from headway.testing.server import ServerProcess

LOSS = r"loss = (\S+), step = (\d+)"

TRAIN = """
import os, sys, time
scratch, steps = sys.argv[1], int(sys.argv[2])
name = os.environ["HEADWAY_REPLICA"]
for step in range(steps):
    print(f"{name} loss = {1 / (step + 1)}, step = {step}", flush=True)
    if step == steps // 2:
        while not os.path.exists(f"{scratch}/go"):
            time.sleep(0.02)
print("done without a number")
"""


@pytest.fixture(scope="module")
def client(running_server: ServerProcess) -> Iterator[Client]:
    with Client(running_server.url, running_server.token, project="monitors") as found:
        found.projects.create("monitors")
        yield found


def points(client: Client, run: str, name: str = "loss", **query: object) -> list[tuple[str, int | None, float]]:
    """Replica, step and value of each point as readers see them."""
    series = client.runs.metrics(run, name, **query)
    return [
        (line.replica, step, value)
        for line in series.lines
        for step, value in zip(line.steps, line.values, strict=True)
    ]


def complete(client: Client, run: str, name: str = "loss") -> Monitor:
    """The monitor, once it has read the whole log of a run that ended."""
    found: list[Monitor] = []

    def ended() -> bool:
        found[:] = [client.monitors.get(name, run=run)]
        return found[0].state is MonitorState.COMPLETE

    until(ended, 60, "the monitor has read all")
    return found[0]


def train(client: Client, scratch: Path, steps: int = 20, **fields: object) -> Job:
    command = [sys.executable, "-c", TRAIN, str(scratch), str(steps)]
    return client.jobs.create("training", command=command, **fields)


def expected(name: str, steps: range) -> list[tuple[str, int, float]]:
    return [(name, step, 1 / (step + 1)) for step in steps]


def test_points_of_a_job_appear_while_it_runs_and_are_its_log_when_it_has_ended(client: Client, tmp_path: Path) -> None:
    monitor = {"name": "loss", "regex": LOSS, "sample": "loss = 0.3, step = 159"}
    job = train(client, tmp_path, count=2, monitors=[monitor])
    halves = [*expected("worker-0", range(11)), *expected("worker-1", range(11))]
    until(lambda: sorted(points(client, job.run_id)) == halves, 60, "points of the lines that were printed")
    assert client.jobs.get(job.id).state is JobState.RUNNING
    live = client.monitors.get("loss", job=job.id)
    assert live.state in (MonitorState.SCANNING, MonitorState.FOLLOWING)

    (tmp_path / "go").touch()
    client.jobs.wait(job.id, timeout=60)
    found = complete(client, job.run_id)
    assert (found.lines, found.matches, found.points) == (42, 40, 40)
    assert found.last_match is not None
    assert found.last_match.endswith("step = 19")
    everything = [*expected("worker-0", range(20)), *expected("worker-1", range(20))]
    assert sorted(points(client, job.run_id)) == everything
    assert [(s.name, s.replica, s.count) for s in client.runs.series(job.run_id)] == [
        ("loss", "worker-0", 20),
        ("loss", "worker-1", 20),
    ]
    summary = until(lambda: client.runs.get(job.run_id).summary.get("loss"), 30, "the summary")
    assert summary.last == 1 / 20
    query = "metrics.loss.min < 0.06 and metrics.loss.count = 40"
    until(lambda: [run.id for run in client.runs.query(query)] == [job.run_id], 30, "the search finds it")


def test_a_monitor_that_is_added_changed_and_deleted_afterwards_always_is_its_log(
    client: Client, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    job = train(client, tmp_path)
    client.jobs.wait(job.id, timeout=60)
    report = client.monitors.test(LOSS, job=job.id, limit=3)
    assert (report.lines, report.matches, report.points, report.complete) == (21, 20, 20, True)
    assert [(match.replica, match.line, match.value, match.step) for match in report.shown] == [
        ("worker-0", 1, 1.0, 0),
        ("worker-0", 2, 0.5, 1),
        ("worker-0", 3, 1 / 3, 2),
    ]
    assert client.runs.series(job.run_id) == []

    client.monitors.create("loss", LOSS, job=job.id)
    complete(client, job.run_id)
    assert points(client, job.run_id) == expected("worker-0", range(20))
    with pytest.raises(ConflictError, match="'loss' already"):
        client.monitors.create("loss", "x", job=job.id)

    changed = client.monitors.update("loss", job=job.id, regex=r"step = (\d)$")
    assert changed.revision == 2
    assert client.monitors.wait("loss", job=job.id, timeout=60).points == 10
    assert points(client, job.run_id) == [("worker-0", None, float(step)) for step in range(10)]
    until(lambda: client.runs.get(job.run_id).summary["loss"].count == 10, 30, "the summary is the new one's")

    client.monitors.delete("loss", job=job.id)
    assert client.monitors.list(job=job.id) == []
    assert points(client, job.run_id) == []
    assert client.runs.series(job.run_id) == []
    until(lambda: not list(client.runs.query(f"id = '{job.run_id}' and metrics.loss.count > 0")), 30, "no search")
    with pytest.raises(NotFoundError, match="no monitor 'loss'"):
        client.monitors.get("loss", job=job.id)


def test_lines_of_an_attempt_are_points_of_that_attempt(client: Client, tmp_path: Path) -> None:
    program = """
import os, sys
attempt = int(os.environ["HEADWAY_ATTEMPT"])
for step in range(3 * (attempt - 1), 6):
    print(f"loss = {attempt}, step = {step}")
sys.exit(attempt == 1)
"""
    monitors = [{"name": "loss", "regex": LOSS}]
    job = client.jobs.create("twice", command=[sys.executable, "-c", program], retries=1, monitors=monitors)
    client.jobs.wait(job.id, timeout=90)
    assert complete(client, job.run_id).points == 9
    every = client.runs.metrics(job.run_id, "loss", view="all")
    assert [(line.attempt, line.steps, set(line.values)) for line in every.lines] == [
        (1, [0, 1, 2, 3, 4, 5], {1.0}),
        (2, [3, 4, 5], {2.0}),
    ]
    # What the first attempt logged from step 3 on was done again by the second.
    assert [(step, value) for _, step, value in points(client, job.run_id)] == [
        *((step, 1.0) for step in range(3)),
        *((step, 2.0) for step in range(3, 6)),
    ]


def test_the_console_of_a_tracked_program_is_watched_like_a_job(client: Client, tmp_path: Path) -> None:
    program = """
import headway
with headway.init(project="monitors", capture=False) as run:
    print("run:", run.id)
    for step in range(5):
        print(f"loss = {step}, step = {step}")
"""
    environment = {"HEADWAY_URL": client.url, "HEADWAY_TOKEN": str(client.connection.token), "PATH": "/usr/bin:/bin"}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    run = next(line.partition(": ")[2] for line in found.stdout.splitlines() if line.startswith("run: "))
    client.monitors.create("loss", LOSS, run=run)
    assert complete(client, run).points == 5
    assert [(step, value) for _, step, value in points(client, run)] == [(step, float(step)) for step in range(5)]


def test_one_that_never_matches_ends_too(client: Client, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    job = train(client, tmp_path, monitors=[{"name": "never", "regex": r"(a+)+$"}])
    client.jobs.wait(job.id, timeout=60)
    found = complete(client, job.run_id, "never")
    assert (found.lines, found.matches, found.points, found.last_match) == (21, 0, 0, None)
    assert client.runs.series(job.run_id) == []


def test_a_sample_that_does_not_match_makes_no_job(client: Client) -> None:
    name = new_id("refused")
    monitors = [{"name": "loss", "regex": LOSS, "sample": "acc = 1"}]
    with pytest.raises(InvalidRequestError, match="does not match the sample 'acc = 1'"):
        client.jobs.create(name, command="true", monitors=monitors)
    assert list(client.jobs.list(name=name)) == []
