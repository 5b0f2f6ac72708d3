"""kill -9 of what serves, under steady load: only requests in flight fail, and the deployment becomes whole again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from headway import Client
from headway.domain.deployments import Deployment
from headway.domain.replicas import ReplicaPhase
from headway.processes import is_alive
from headway.serving.gateway.record import GatewayRecord, read_record
from headway.testing.faults import PlacedReplica, kill, placed_replicas, repetitions, until
from headway.testing.server import ServerProcess

THREADS = 4
WHOLE_SECONDS = 10.0
NOTICE_SECONDS = 0.5
"""A request that began so soon after a kill may have been sent before the gateway could know."""

PREDICT = """
import os, time
class Predictor:
    def predict(self, instances):
        time.sleep(0.01)
        return [2 * value for value in instances]
"""


@dataclass
class Answer:
    began: float
    status: int
    """0 when there was no answer at all."""
    right: bool


class Load:
    """Threads that ask, one request at a time each, on kept connections."""

    def __init__(self, deployment: Deployment) -> None:
        self.url = deployment.endpoint
        self.answers: list[Answer] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(THREADS)]

    @contextmanager
    def applied(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            self.await_answers(10 * THREADS)
            yield
            self.await_answers(10 * THREADS)
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def await_answers(self, count: int) -> None:
        """Until so many more were answered right."""
        wanted = self.count_right() + count
        until(lambda: self.count_right() >= wanted, 30, "right answers")

    def count_right(self) -> int:
        return sum(answer.right for answer in list(self.answers))

    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if not answer.right]

    def _ask(self, number: int) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._over.is_set():
                began, number = time.monotonic(), number + 1
                try:
                    response = client.post(self.url, json={"instances": [number, 1]})
                    right = response.status_code == 200 and response.json() == {"predictions": [2 * number, 2]}
                    self.answers.append(Answer(began, response.status_code, right))
                except httpx.HTTPError:
                    self.answers.append(Answer(began, 0, False))
                    self._over.wait(0.01)


@pytest.fixture(scope="module")
def client(running_server: ServerProcess) -> Iterator[Client]:
    with Client(running_server.url, running_server.token, project="faults", retry_for=30.0) as found:
        found.projects.create("faults")
        yield found


@pytest.fixture(scope="module")
def deployment(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    model = tmp_path_factory.mktemp("model")
    (model / "predict.py").write_text(PREDICT)
    client.models.register("double", model)
    found = client.deployments.create("double", "double", replicas=2, public=True)
    return client.deployments.wait(found.id, timeout=60)


@pytest.fixture(autouse=True)
def whole(client: Client, deployment: Deployment) -> None:
    """Every test begins with two replicas that answer."""
    await_whole(client, deployment, set(), 60)


def running(client: Client, deployment: Deployment) -> set[str]:
    return {
        replica.name
        for replica in client.deployments.get(deployment.id).replicas
        if replica.phase is ReplicaPhase.RUNNING
    }


def await_whole(client: Client, deployment: Deployment, without: set[str], seconds: float = WHOLE_SECONDS) -> float:
    """Seconds until two replicas answer, none of them among ``without``."""
    began = time.monotonic()
    until(lambda: len(running(client, deployment) - without) == 2, seconds, "two running replicas", pause=0.05)
    return time.monotonic() - began


def serving_replica(server: ServerProcess, client: Client, deployment: Deployment, name: str) -> PlacedReplica:
    """The processes of the replica that the deployment shows as ``name``."""
    (status,) = [replica for replica in client.deployments.get(deployment.id).replicas if replica.name == name]
    assert status.address is not None
    for path in (server.data / "engine").iterdir():
        for replica in placed_replicas(server.data, path.name).values():
            if serves(replica, int(status.address.rpartition(":")[2])):
                return replica
    raise AssertionError(f"{name} is not placed")


def serves(replica: PlacedReplica, port: int) -> bool:
    if not is_alive(replica.agent):
        return False
    variables = Path(f"/proc/{replica.program.pid}/environ").read_bytes().split(b"\0")
    return f"PORT={port}".encode() in variables


def gateway_of(server: ServerProcess) -> GatewayRecord:
    record = read_record(server.data / "gateway")
    assert record is not None
    return record


@pytest.mark.parametrize("whom", ["program", "agent"])
def test_a_killed_replica_costs_the_requests_in_flight_and_is_replaced(
    running_server: ServerProcess, client: Client, deployment: Deployment, whom: str, chance: random.Random
) -> None:
    load, kills, slowest = Load(deployment), [], 0.0
    with load.applied():
        for _ in range(repetitions(1, 10)):
            name = chance.choice(sorted(running(client, deployment)))
            victim = serving_replica(running_server, client, deployment, name)
            kills.append(time.monotonic())
            kill(victim.program if whom == "program" else victim.agent)
            slowest = max(slowest, await_whole(client, deployment, {name}))
            load.await_answers(10 * THREADS)
    print(f"whole again after {slowest:.2f} s; {len(load.failed())} of {len(load.answers)} requests failed")
    for answer in load.failed():
        assert answer.status == 502
        assert any(answer.began <= moment + NOTICE_SECONDS for moment in kills)
    assert len(load.failed()) <= THREADS * len(kills)


def test_a_hung_replica_that_was_killed_while_stopped_is_replaced_too(
    running_server: ServerProcess, client: Client, deployment: Deployment
) -> None:
    name = sorted(running(client, deployment))[0]
    victim = serving_replica(running_server, client, deployment, name)
    kill(victim.program, signal.SIGSTOP)
    kill(victim.agent)
    await_whole(client, deployment, {name})
    assert not is_alive(victim.program)


def test_a_killed_gateway_comes_back_at_the_same_address(
    running_server: ServerProcess, client: Client, deployment: Deployment
) -> None:
    before, load = gateway_of(running_server), Load(deployment)
    with load.applied():
        killed = time.monotonic()
        kill(before.identity)
        load.await_answers(10 * THREADS)
        back = next(answer.began for answer in load.answers if answer.right and answer.began > killed)
    after = gateway_of(running_server)
    print(f"the gateway answered again after {back - killed:.2f} s")
    assert back - killed < WHOLE_SECONDS
    assert after.url == before.url
    assert after.identity != before.identity
    assert client.deployments.get(deployment.id).endpoint == deployment.endpoint
    assert {answer.status for answer in load.failed()} <= {0}


def test_predictions_go_on_while_the_server_is_dead_and_when_it_comes_back(
    running_server: ServerProcess, client: Client, deployment: Deployment
) -> None:
    before, names, load = gateway_of(running_server), running(client, deployment), Load(deployment)
    with load.applied():
        running_server.kill()
        load.await_answers(50 * THREADS)
        running_server.start()
        load.await_answers(50 * THREADS)
    assert load.failed() == []
    assert gateway_of(running_server) == before
    assert running(client, deployment) == names


def test_a_gateway_started_while_the_server_is_away_serves_from_its_saved_routes(
    running_server: ServerProcess, client: Client, deployment: Deployment
) -> None:
    before = gateway_of(running_server)
    running_server.kill()
    kill(before.identity)
    by_hand = start_gateway(running_server, before.url)
    try:
        until(lambda: answers(deployment), 20, "an answer by the gateway started by hand")
        assert read_record(running_server.data / "gateway") != before
        running_server.start()
        assert gateway_of(running_server).identity.pid == by_hand.pid
        assert answers(deployment)
        client.deployments.stop(deployment.id)
        until(lambda: ask(deployment) == 503, 20, "the new server's word has reached the gateway")
        client.deployments.start(deployment.id)
        assert ask(deployment) == 200
    finally:
        if running_server.process is None or running_server.process.poll() is not None:
            running_server.start()
        by_hand.kill()
        by_hand.wait()


def start_gateway(server: ServerProcess, url: str) -> subprocess.Popen[bytes]:
    arguments = ["--directory", str(server.data / "gateway"), "--port", url.rpartition(":")[2]]
    return subprocess.Popen(
        [sys.executable, "-m", "headway.serving.gateway", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def ask(deployment: Deployment) -> int:
    answer = httpx.post(deployment.endpoint, json={"instances": [1]}, trust_env=False, timeout=60)
    return answer.status_code


def answers(deployment: Deployment) -> bool:
    try:
        return ask(deployment) == 200
    except httpx.HTTPError:
        return False
