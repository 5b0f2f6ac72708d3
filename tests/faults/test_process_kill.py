"""kill -9 and worse for what a job runs: programs, agents, and processes that do not want to end."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from headway import Client
from headway.domain.jobs import Job, JobState
from headway.errors import JobFailedError
from headway.processes import is_alive
from headway.testing.faults import FULL, PlacedReplica, carriers, kill, placed_replicas, until
from headway.testing.server import ServerProcess

STEADY = """
import os, sys, time
name, scratch = os.environ["HEADWAY_REPLICA"], sys.argv[1]
with open(f"{scratch}/started", "a") as file:
    file.write(f"{name} {os.environ['HEADWAY_ATTEMPT']}\\n")
step = 0
while not os.path.exists(f"{scratch}/enough"):
    step += 1
    print(f"{name} step {step}", flush=True)
    time.sleep(0.005)
"""


def run_steadily(client: Client, scratch: Path, *, count: int = 3, retries: int = 0) -> Job:
    command = [sys.executable, "-c", STEADY, str(scratch)]
    job = client.jobs.create("steady", command=command, count=count, retries=retries, grace_seconds=5)
    until(lambda: client.jobs.get(job.id).state is JobState.RUNNING, 30, "running")
    for rank in range(count):
        await_line(client, job, f"worker-{rank}")  # a program that runs need not have said anything yet
    return job


def replicas_of(server: ServerProcess, client: Client, job: Job) -> dict[str, PlacedReplica]:
    return placed_replicas(server.data, client.jobs.attempts(job.id)[-1].token)


def await_line(client: Client, job: Job, name: str, attempt: int = 1) -> int:
    """The newest step of a replica that the server knows of."""
    rows = until(
        lambda: list(client.jobs.logs(job.id, replica=name, attempt=attempt, tail=1)),
        20,
        f"a line of {name}",
        pause=0.05,
    )
    return int(rows[0].message.rpartition(" ")[2])


def check_contiguous(client: Client, job: Job, name: str, at_least: int, attempt: int = 1) -> None:
    rows = list(client.jobs.logs(job.id, replica=name, attempt=attempt))
    assert [row.line for row in rows] == list(range(1, len(rows) + 1))
    assert [row.message for row in rows] == [f"{name} step {step}" for step in range(1, len(rows) + 1)]
    assert len(rows) >= at_least


def test_a_killed_program_fails_the_job_by_name_and_ends_the_others(
    running_server: ServerProcess, client_of_running: Client, tmp_path: Path
) -> None:
    client = client_of_running
    job = run_steadily(client, tmp_path)
    seen = await_line(client, job, "worker-1")
    replicas_of(running_server, client, job)["worker-1"].kill_program()
    with pytest.raises(JobFailedError, match=r"worker-1 \(rank 1\).*SIGKILL"):
        client.jobs.wait(job.id, timeout=60)
    done = client.jobs.get(job.id)
    assert done.failure is not None
    assert (done.failure.replica, done.failure.rank, done.failure.signal) == ("worker-1", 1, signal.SIGKILL)
    assert done.failure.exit_code is None
    assert all(replica.phase.ended for replica in done.replicas)
    assert not carriers(client.jobs.attempts(job.id)[0].token)
    for name in ("worker-0", "worker-1", "worker-2"):
        check_contiguous(client, job, name, seen if name == "worker-1" else 1)


def test_a_killed_agent_takes_its_program_with_it_and_what_it_had_journaled_is_in_the_log(
    running_server: ServerProcess, client_of_running: Client, tmp_path: Path
) -> None:
    client = client_of_running
    job = run_steadily(client, tmp_path)
    victim = replicas_of(running_server, client, job)["worker-2"]
    seen, program = await_line(client, job, "worker-2"), victim.program
    victim.kill_agent()
    until(lambda: not is_alive(program), 10, "the end of the program")
    with pytest.raises(JobFailedError, match=r"worker-2 \(rank 2\)"):
        client.jobs.wait(job.id, timeout=60)
    failure = client.jobs.get(job.id).failure
    assert failure is not None
    assert (failure.replica, failure.rank) == ("worker-2", 2)
    assert not carriers(victim.token)
    for name in ("worker-0", "worker-1", "worker-2"):
        check_contiguous(client, job, name, seen if name == "worker-2" else 1)


def test_lines_that_an_agent_journaled_while_the_server_was_away_survive_the_agents_death(
    own_server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    job = run_steadily(client, tmp_path, count=1)
    seen = await_line(client, job, "worker-0")
    victim = replicas_of(own_server, client, job)["worker-0"]
    own_server.kill()
    journal = next(victim.directory.journal.glob("*.hwj"))
    size = journal.stat().st_size
    until(lambda: journal.stat().st_size > size + 4096, 20, "lines that were only journaled")
    victim.kill_agent()
    own_server.start()
    done = client.jobs.wait(job.id, timeout=60, raise_on_failure=False)
    assert done.state is JobState.FAILED
    check_contiguous(client, job, "worker-0", seen + 100)


@pytest.mark.parametrize("whom", ["program", "agent"])
def test_a_kill_is_retried_where_retries_are_left(
    running_server: ServerProcess, client_of_running: Client, tmp_path: Path, whom: str
) -> None:
    client = client_of_running
    job = run_steadily(client, tmp_path, count=2, retries=1)
    first = replicas_of(running_server, client, job)["worker-0"]
    kill(first.program if whom == "program" else first.agent)
    until(lambda: (found := client.jobs.get(job.id)).attempt == 2 and found.state is JobState.RUNNING, 60, "attempt 2")
    for name in ("worker-0", "worker-1"):
        await_line(client, job, name, attempt=2)
    (tmp_path / "enough").touch()
    done = client.jobs.wait(job.id, timeout=60)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
    started = sorted((tmp_path / "started").read_text().split("\n")[:-1])
    assert started == ["worker-0 1", "worker-0 2", "worker-1 1", "worker-1 2"]
    assert not carriers(first.token)
    moves = [str(event.data["to"]) for event in client.jobs.watch(job.id, timeout=30)]
    assert moves.count("retrying") == 1
    assert moves[-1] == "succeeded"
    for attempt in (1, 2):
        for name in ("worker-0", "worker-1"):
            check_contiguous(client, job, name, 1, attempt)


STUBBORN = {
    "ignores SIGTERM": """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("up", flush=True)
        while True:
            time.sleep(1)
    """,
    "leaves a daemon behind": """
        import os, signal, time
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                os.write(writing, b"x")
                time.sleep(600)
            os._exit(0)
        os.read(reading, 1)
        print("up", flush=True)
        time.sleep(600)
    """,
    "forks children that close everything": """
        import os, signal, subprocess, sys, time
        deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        child = [sys.executable, "-c", deaf + "os.closerange(0, 64); time.sleep(600)"]
        children = [subprocess.Popen(child, start_new_session=number % 2 == 0) for number in range(4)]
        print("up", flush=True)
        time.sleep(600)
    """,
    "clears its environment": """
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        child = [sys.executable, "-c", deaf + "print('up', flush=True); time.sleep(600)", sys.argv[1]]
        subprocess.Popen(child, env={}, start_new_session=True)
        time.sleep(600)
    """,
}


ENDS = ["stop", "kill the agent", *(["hard stop", "program ends"] if FULL else [])]
UNREACHABLE = pytest.mark.xfail(
    reason="A process in a session of its own that cleared its environment is tied to the job by its agent alone; "
    "once SIGKILL took that, only a control group could still name it."
)


def cases() -> list[Any]:
    found = []
    for how in STUBBORN:
        for end in ENDS:
            lost = how == "clears its environment" and end == "kill the agent"
            found.append(pytest.param(how, end, marks=[UNREACHABLE] if lost else []))
    return found


def marked(text: str) -> list[psutil.Process]:
    """Processes that were started with ``text`` as one of their arguments."""
    return [found for found in psutil.process_iter(["cmdline"]) if text in (found.info["cmdline"] or ())]


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """An argument for a program, by which all that survives is found, and ended after the test."""
    text = f"mark-{os.getpid()}-{tmp_path.name}"
    yield text
    for survivor in marked(text):
        survivor.kill()


@pytest.mark.parametrize(("how", "end"), cases())
def test_nothing_of_a_job_survives_its_end(
    running_server: ServerProcess, client_of_running: Client, mark: str, how: str, end: str
) -> None:
    client = client_of_running
    command = [sys.executable, "-c", textwrap.dedent(STUBBORN[how]), mark]
    job = client.jobs.create("stubborn", command=command, grace_seconds=0.5)
    next(iter(client.jobs.logs(job.id, follow=True, timeout=30)))
    replica = replicas_of(running_server, client, job)["worker-0"]
    assert carriers(replica.token)
    if end == "kill the agent":
        replica.kill_agent()
    elif end == "program ends":
        replica.kill_program()
    else:
        client.jobs.stop(job.id, hard=end == "hard stop")
    done = client.jobs.wait(job.id, timeout=60, raise_on_failure=False)
    assert done.state is (JobState.STOPPED if "stop" in end else JobState.FAILED)
    assert not carriers(replica.token)
    assert not marked(mark)


def test_a_paused_agent_is_neither_declared_dead_nor_replaced(
    own_server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    job = run_steadily(client, tmp_path, count=2)
    paused = replicas_of(own_server, client, job)["worker-0"]
    kill(paused.agent, signal.SIGSTOP)
    try:
        own_server.kill()  # so that a server looks that has never heard of this agent
        own_server.start()
        seen = await_line(client, job, "worker-1")
        until(lambda: await_line(client, job, "worker-1") > seen + 300, 30, "the other one goes on")
        assert client.jobs.get(job.id).state is JobState.RUNNING
        assert is_alive(paused.program)
    finally:
        kill(paused.agent, signal.SIGCONT)
    seen = await_line(client, job, "worker-0")
    until(lambda: await_line(client, job, "worker-0") > seen + 10, 30, "it goes on")
    (tmp_path / "enough").touch()
    assert client.jobs.wait(job.id, timeout=60).state is JobState.SUCCEEDED
    assert sorted((tmp_path / "started").read_text().split("\n")[:-1]) == ["worker-0 1", "worker-1 1"]
    assert len(client.jobs.attempts(job.id)) == 1
    for name, lines in (("worker-0", seen), ("worker-1", 300)):
        check_contiguous(client, job, name, lines)
