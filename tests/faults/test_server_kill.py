"""kill -9 of the server at any instant: jobs go on, and nothing is lost, doubled or started twice."""

from __future__ import annotations

import random
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from headway import Client
from headway.domain.base import now
from headway.domain.jobs import Job, JobState
from headway.domain.logs import LogRow
from headway.processes import is_alive
from headway.testing.faults import carriers, placed_replicas, repetitions, until
from headway.testing.server import ServerProcess

Connect = Callable[[ServerProcess], Client]

IN_ORDER = ["queued", "provisioning", "provisioned", "network setting up", "network setup", "running"]
ADOPTED_SECONDS = 10.0

TRAINING = """
import os, sys, time
name, scratch = os.environ["HEADWAY_REPLICA"], sys.argv[1]
with open(f"{scratch}/started", "a") as file:
    file.write(f"{name} {os.getpid()}\\n")
step = 0
while not os.path.exists(f"{scratch}/enough"):
    step += 1
    print(f"{name} step {step}", flush=True)
    time.sleep(0.003)
print(f"{name} did {step} steps", flush=True)
with open(os.environ["HEADWAY_MODEL_DIR"] + "/predict.py", "w") as file:
    file.write("class Predictor:\\n    pass\\n")
sys.exit(int(sys.argv[2]) if os.environ["RANK"] == "1" else 0)
"""


def train(client: Client, scratch: Path, *, exit_code: int = 0, count: int = 3) -> Job:
    command = [sys.executable, "-c", TRAINING, str(scratch), str(exit_code)]
    return client.jobs.create("training", command=command, count=count, model_name="trained")


def starts(scratch: Path) -> list[str]:
    file = scratch / "started"
    return sorted(line.split()[0] for line in file.read_text().splitlines()) if file.exists() else []


def check_log(rows: list[LogRow], name: str) -> None:
    """Every line of one replica, once and in order."""
    mine = [row for row in rows if row.replica == name]
    assert [row.line for row in mine] == list(range(1, len(mine) + 1))
    steps = len(mine) - 1
    assert [row.message for row in mine] == [
        *(f"{name} step {step}" for step in range(1, steps + 1)),
        f"{name} did {steps} steps",
    ]


def newest(client: Client, job: Job, name: str) -> LogRow | None:
    return next(iter(client.jobs.logs(job.id, replica=name, tail=1)), None)


def await_adoption(client: Client, job: Job, names: list[str]) -> float:
    """Seconds until the server shows lines that every replica printed after this moment."""
    began, moment = time.monotonic(), now()

    def speak() -> bool:
        rows = [newest(client, job, name) for name in names]
        return all(row is not None and row.timestamp > moment for row in rows)

    until(speak, ADOPTED_SECONDS, "lines of every replica after the restart", pause=0.05)
    return time.monotonic() - began


def moves(client: Client, job: Job) -> list[str]:
    return [str(event.data["to"]) for event in client.jobs.watch(job.id, timeout=60)]


def test_a_training_job_survives_kills_of_the_server_at_random_instants(
    own_server: ServerProcess, client: Client, tmp_path: Path, chance: random.Random
) -> None:
    names = ["worker-0", "worker-1", "worker-2"]
    job = train(client, tmp_path)
    until(lambda: client.jobs.get(job.id).state is JobState.RUNNING, 30)
    slowest = 0.0
    for _ in range(repetitions(6, 20)):
        time.sleep(chance.uniform(0.0, 0.8))  # the random instant
        own_server.kill()
        time.sleep(chance.choice([0.0, chance.uniform(0.0, 1.0)]))
        own_server.start()
        assert client.jobs.get(job.id).state is JobState.RUNNING
        slowest = max(slowest, await_adoption(client, job, names))
    print(f"the slowest adoption took {slowest:.2f} s")
    (tmp_path / "enough").touch()
    done = client.jobs.wait(job.id, timeout=60)

    assert starts(tmp_path) == names
    assert moves(client, job) == [*IN_ORDER, "succeeded"]
    assert [replica.exit_code for replica in done.replicas] == [0, 0, 0]
    rows = list(client.jobs.logs(job.id))
    for name in names:
        check_log(rows, name)
    assert [version.job_id for version in client.models.versions("trained")] == [job.id]
    assert len(client.jobs.attempts(job.id)) == 1
    own_server.kill()
    with closing(sqlite3.connect(own_server.data / "headway.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_exit_code_left_while_the_server_was_dead_is_kept(
    own_server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    job = train(client, tmp_path, exit_code=7, count=2)
    until(lambda: client.jobs.get(job.id).state is JobState.RUNNING, 30)
    placed = placed_replicas(own_server.data, client.jobs.attempts(job.id)[0].token)
    own_server.kill()
    (tmp_path / "enough").touch()
    for replica in placed.values():
        until(replica.directory.read_exit, 20, f"the end of {replica.name}")
    own_server.start()
    done = client.jobs.wait(job.id, timeout=60, raise_on_failure=False)

    assert done.state is JobState.FAILED
    assert done.failure is not None
    assert (done.failure.replica, done.failure.rank, done.failure.exit_code) == ("worker-1", 1, 7)
    assert [replica.exit_code for replica in done.replicas] == [0, 7]
    rows = list(client.jobs.logs(job.id))
    for name in ("worker-0", "worker-1"):
        check_log(rows, name)
    assert list(client.models.versions()) == []


def test_agents_find_a_server_that_came_back_on_another_port(
    own_server: ServerProcess, client: Client, connect: Connect, tmp_path: Path
) -> None:
    job = train(client, tmp_path, count=2)
    until(lambda: client.jobs.get(job.id).state is JobState.RUNNING, 30)
    before = own_server.url
    own_server.kill()
    blocker = socket.create_server(("127.0.0.1", own_server.port))
    own_server.port = 0
    own_server.start()
    blocker.close()
    assert own_server.url != before
    moved = connect(own_server)
    await_adoption(moved, job, ["worker-0", "worker-1"])
    (tmp_path / "enough").touch()
    assert moved.jobs.wait(job.id, timeout=60).state is JobState.SUCCEEDED
    assert starts(tmp_path) == ["worker-0", "worker-1"]
    rows = list(moved.jobs.logs(job.id))
    for name in ("worker-0", "worker-1"):
        check_log(rows, name)


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the request was sent": lambda engine: True,
    "the attempt's directory is there": lambda engine: any(engine.glob("*/*")),
    "a specification is written": lambda engine: any(engine.glob("*/*/spec.json")),
    "an agent claimed": lambda engine: any(engine.glob("*/*/claim")),
    "both agents prepared": lambda engine: len(list(engine.glob("*/*/state.json"))) == 2,
    "a program prints": lambda engine: any(engine.glob("*/*/journal/*.hwj")),
    "a program ended": lambda engine: any(engine.glob("*/*/exit.json")),
    "both programs ended": lambda engine: len(list(engine.glob("*/*/exit.json"))) == 2,
}
"""When to kill, seen from outside: below the engine's directory, where each job of this test leaves nothing behind."""


def submit(client: Client, scratch: Path, answers: list[Job | BaseException]) -> threading.Thread:
    def run() -> None:
        try:
            answers.append(train(client, scratch, count=2))
        except BaseException as error:  # noqa: BLE001  (the thread's boundary; the test looks at it)
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_kill_while_a_job_comes_or_goes_changes_nothing(
    own_server: ServerProcess, client: Client, tmp_path: Path, chance: random.Random
) -> None:
    for number, moment in enumerate([*MOMENTS] * repetitions(1, 3), 1):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        (scratch / "enough").touch()
        answers: list[Job | BaseException] = []
        submitting = submit(client, scratch, answers)
        until(partial(MOMENTS[moment], own_server.data / "engine"), 30, moment, pause=0.001)
        time.sleep(chance.uniform(0.0, 0.02))
        own_server.kill()
        print(f"killed when {moment}")
        own_server.start()
        submitting.join()

        (job, *earlier) = client.jobs.list()
        assert answers == [job] or isinstance(answers[0], Job), answers
        assert len(earlier) == number - 1
        check_whole(client, job.id, scratch, versions=number)
        clear(own_server, client, job)


def check_whole(client: Client, job_id: str, scratch: Path, *, versions: int) -> None:
    rows = list(client.jobs.logs(job_id, follow=True, timeout=60))
    done = client.jobs.get(job_id)
    assert done.state is JobState.SUCCEEDED, done.reason
    assert moves(client, done) == [*IN_ORDER, "succeeded"]
    assert starts(scratch) == ["worker-0", "worker-1"]
    assert len(list(client.models.versions("trained"))) == versions
    assert len(list(client.models.versions(job=job_id))) == 1
    for name in ("worker-0", "worker-1"):
        check_log(rows, name)


def clear(server: ServerProcess, client: Client, job: Job) -> None:
    """Wait until nothing of the job runs, and put its directory where the next one does not see it."""
    (attempt,) = client.jobs.attempts(job.id)
    until(lambda: not carriers(attempt.token), 20, "the end of every process")
    placed = placed_replicas(server.data, attempt.token)
    until(lambda: not any(is_alive(replica.agent) for replica in placed.values()), 20, "the end of the agents")
    (server.data / "engine" / attempt.token).rename(server.data / f"over-{attempt.token}")
