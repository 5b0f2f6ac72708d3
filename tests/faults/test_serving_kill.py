"""kill -9 of what serves, under steady load: only requests in flight fail, and the deployment becomes whole again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from headway import Client
from headway.domain.deployments import Deployment
from headway.processes import is_alive
from headway.serving.gateway.record import read_record
from headway.testing.faults import kill, repetitions, until
from headway.testing.faulty import save_model
from headway.testing.load import ClosedLoad
from headway.testing.server import ServerProcess
from headway.testing.serving import await_whole, deploy_faulty, gateway_of, patient_client, running, serving_replica

CLIENTS = 4
NOTICE_SECONDS = 0.5
"""A request that began so soon after a kill may have been sent before the gateway could know."""


@pytest.fixture(scope="module")
def client(running_server: ServerProcess) -> Iterator[Client]:
    with patient_client(running_server) as found:
        yield found


@pytest.fixture(scope="module")
def deployment(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    control = tmp_path_factory.mktemp("control")
    client.models.register("double", save_model(control / "model"))
    return deploy_faulty(client, "double", control, seconds=0.01, replicas=2)


@pytest.fixture(autouse=True)
def whole(client: Client, deployment: Deployment) -> None:
    """Every test begins with two replicas that answer."""
    await_whole(client, deployment)


@pytest.mark.parametrize("whom", ["program", "agent"])
def test_a_killed_replica_costs_the_requests_in_flight_and_is_replaced(
    running_server: ServerProcess, client: Client, deployment: Deployment, whom: str, chance: random.Random
) -> None:
    load, kills, slowest = ClosedLoad(deployment.endpoint, CLIENTS), [], 0.0
    with load.applied():
        for _ in range(repetitions(1, 20)):
            name = chance.choice(sorted(running(client, deployment)))
            victim = serving_replica(running_server, client, deployment, name)
            kills.append(time.monotonic())
            kill(victim.program if whom == "program" else victim.agent)
            slowest = max(slowest, await_whole(client, deployment, {name}))
            load.await_right(10 * CLIENTS)
    print(f"whole again after {slowest:.2f} s; {len(load.failed())} of {len(load.answers)} requests failed")
    for answer in load.failed():
        assert answer.status == 502
        assert any(answer.began <= moment + NOTICE_SECONDS for moment in kills)
    assert len(load.failed()) <= CLIENTS * len(kills)


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
    load = ClosedLoad(deployment.endpoint, CLIENTS)
    with load.applied():
        for _ in range(repetitions(2, 20)):
            before, killed = gateway_of(running_server), time.monotonic()
            kill(before.identity)
            load.await_right(10 * CLIENTS)
            back = next(answer.ended for answer in load.between(killed) if answer.right)
            after = gateway_of(running_server)
            print(f"the gateway answered again after {back - killed:.2f} s")
            assert after.url == before.url
            assert after.identity != before.identity
    assert client.deployments.get(deployment.id).endpoint == deployment.endpoint
    assert {answer.status for answer in load.failed()} <= {0}


def test_predictions_go_on_while_the_server_is_dead_and_when_it_comes_back(
    running_server: ServerProcess, client: Client, deployment: Deployment
) -> None:
    before, names = gateway_of(running_server), running(client, deployment)
    load = ClosedLoad(deployment.endpoint, CLIENTS)
    with load.applied():
        for _ in range(repetitions(2, 20)):
            running_server.kill()
            load.await_right(50 * CLIENTS)
            running_server.start()
            load.await_right(50 * CLIENTS)
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
