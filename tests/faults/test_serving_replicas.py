"""R38: a replica that is killed, stopped, slow or out of memory costs next to nothing while another one answers."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from headway import Client
from headway.domain.deployments import Deployment
from headway.processes import is_alive
from headway.testing.faults import FULL, PlacedReplica, kill, repetitions, until
from headway.testing.faulty import save_model
from headway.testing.load import OpenLoad
from headway.testing.server import ServerProcess
from headway.testing.serving import WHOLE_SECONDS, await_whole, deploy_faulty, patient_client, running, serving_replica

RATE = 200.0 if FULL else 100.0
"""Requests a second."""
WINDOW_SECONDS = 5.0 if FULL else 10.0
"""How long after a fault requests may still suffer."""
SHARE = 0.005
"""Of the requests in the window that may fail."""


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("control")


@pytest.fixture(scope="module")
def client(running_server: ServerProcess) -> Iterator[Client]:
    with patient_client(running_server) as found:
        yield found


@pytest.fixture(scope="module")
def deployment(client: Client, control: Path) -> Deployment:
    client.models.register("double", save_model(control / "model"))
    return deploy_faulty(client, "double", control, replicas=2, deadline_seconds=20)


@pytest.fixture(autouse=True)
def whole(client: Client, deployment: Deployment) -> None:
    """Every test begins with two replicas that answer."""
    await_whole(client, deployment)


@pytest.fixture
def victim_of(
    running_server: ServerProcess, client: Client, deployment: Deployment, chance: random.Random
) -> Callable[[], tuple[str, PlacedReplica]]:
    """Names one of the two replicas, and its processes."""

    def choose() -> tuple[str, PlacedReplica]:
        name = chance.choice(sorted(running(client, deployment)))
        return name, serving_replica(running_server, client, deployment, name)

    return choose


def busiest(load: OpenLoad, first: float, last: float) -> int:
    """The most requests that were in flight at once; on a machine that stands still for a moment these are many."""
    answers = load.between(first, last)
    moves = sorted(
        [(answer.began, 1) for answer in answers] + [(answer.ended, -1) for answer in answers if answer.right]
    )
    level = most = 0
    for _, change in moves:
        level += change
        most = max(most, level)
    return most


def check(load: OpenLoad, moments: list[float]) -> None:
    """Within the windows of all faults at most ``SHARE`` failed, and outside of all windows none.

    No single window may be worse either, unless more requests were in flight at once on a machine that is busy with other
    things: those that were with the replica when it died are lost.
    """
    lost = asked = 0
    for moment in moments:
        end = moment + WINDOW_SECONDS
        failed = [answer for answer in load.failed() if answer.ended >= moment and answer.began <= end]
        window = load.between(moment, end)
        most = busiest(load, moment - 0.5, end)
        print(
            f"{len(failed)} of {len(window)} failed, {most} at once in flight: {Counter(bad.status for bad in failed)}"
        )
        assert len(failed) <= max(SHARE * max(len(window), RATE * WINDOW_SECONDS), most), failed[:5]
        lost, asked = lost + len(failed), asked + len(window)
    if FULL:
        assert lost <= SHARE * asked, f"{lost} of {asked}"
    strays = [
        answer
        for answer in load.failed()
        if not any(answer.ended >= moment and answer.began <= moment + WINDOW_SECONDS for moment in moments)
    ]
    assert strays == []


def test_a_killed_replica(
    client: Client, deployment: Deployment, victim_of: Callable[[], tuple[str, PlacedReplica]]
) -> None:
    load, moments = OpenLoad(deployment.endpoint, RATE), []
    with load.applied():
        for _ in range(repetitions(2, 20)):
            name, victim = victim_of()
            moments.append(time.monotonic())
            kill(victim.program)
            await_whole(client, deployment, {name})
            load.await_right(int(RATE * WINDOW_SECONDS))
    check(load, moments)


def test_a_stopped_replica_is_left_out_and_taken_back(
    client: Client, deployment: Deployment, victim_of: Callable[[], tuple[str, PlacedReplica]]
) -> None:
    load, moments = OpenLoad(deployment.endpoint, RATE), []
    with load.applied():
        for _ in range(repetitions(1, 20)):
            _, victim = victim_of()
            moments.append(time.monotonic())
            kill(victim.program, signal.SIGSTOP)
            load.await_right(int(RATE * (WINDOW_SECONDS + 2)))
            if is_alive(victim.program):
                kill(victim.program, signal.SIGCONT)
            load.await_right(int(RATE))
            await_whole(client, deployment)
    check(load, moments)


def test_a_slow_replica_gets_little_and_fails_nothing(
    client: Client, control: Path, deployment: Deployment, victim_of: Callable[[], tuple[str, PlacedReplica]]
) -> None:
    load = OpenLoad(deployment.endpoint, RATE)
    with load.applied():
        for _ in range(repetitions(1, 20)):
            name, victim = victim_of()
            mark = control / f"slow-{victim.program.pid}"
            mark.touch()
            began = time.monotonic()
            load.await_right(int(RATE * WINDOW_SECONDS))
            ended = time.monotonic()
            mark.unlink()
            load.await_right(int(RATE))
            seen = Counter(answer.replica for answer in load.between(began, ended) if answer.right)
            print(f"{name} was slow: {dict(seen)}")
            assert len(seen) == 2
            assert min(seen.values()) < (0.2 if FULL else 0.4) * seen.total()
    assert load.failed() == []


def test_a_request_that_kills_its_replica_is_not_tried_on_the_other_one(client: Client, deployment: Deployment) -> None:
    load, moments = OpenLoad(deployment.endpoint, RATE), []
    with load.applied():
        for _ in range(repetitions(1, 20)):
            before = running(client, deployment)
            moments.append(time.monotonic())
            answer = httpx.post(deployment.endpoint, json={"instances": ["die"]}, trust_env=False, timeout=60)
            assert answer.status_code == 502
            assert answer.json()["error"]
            load.await_right(int(RATE * WINDOW_SECONDS))
            until(lambda: len(running(client, deployment)) == 2, WHOLE_SECONDS, "both replicas")
            assert len(running(client, deployment) & before) == 1
    check(load, moments)


def test_a_replica_out_of_memory_says_so_and_lives(client: Client, deployment: Deployment) -> None:
    before, load = running(client, deployment), OpenLoad(deployment.endpoint, RATE)
    with load.applied():
        for _ in range(repetitions(2, 20)):
            answer = httpx.post(deployment.endpoint, json={"instances": ["allocate"]}, trust_env=False, timeout=60)
            assert answer.status_code == 500
            assert "MemoryError" in answer.json()["error"] or "memory" in answer.json()["error"]
    assert load.failed() == []
    assert running(client, deployment) == before
