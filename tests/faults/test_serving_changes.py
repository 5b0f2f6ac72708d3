"""R38, R39: weights are kept, and changing, stopping and updating what is served loses no request."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from headway import Client
from headway.domain.deployments import Deployment, DeploymentState, RevisionState
from headway.testing.faults import FULL, kill, repetitions, until
from headway.testing.faulty import BROKEN_MODEL, save_model
from headway.testing.load import Answer, ClosedLoad, OpenLoad
from headway.testing.server import ServerProcess
from headway.testing.serving import WHOLE_SECONDS, await_whole, deploy_faulty, patient_client, running, serving_replica

RATE = 100.0
COUNT = repetitions(2_000, 10_000)
"""Requests by which weights are judged …"""
WITHIN = 0.02 if FULL else 0.045
"""… and by how much shares may differ: four to six standard deviations."""


@pytest.fixture(scope="module")
def client(running_server: ServerProcess) -> Iterator[Client]:
    with patient_client(running_server) as found:
        yield found


@pytest.fixture(scope="module")
def model(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Versions 1 and 2 double, version 3 cannot be loaded."""
    root = tmp_path_factory.mktemp("models")
    client.models.register("double", save_model(root / "first"))
    client.models.register("double", save_model(root / "second"))
    client.models.register("double", save_model(root / "third", BROKEN_MODEL))
    return "double"


@pytest.fixture
def deployment(client: Client, model: str, tmp_path: Path) -> Iterator[Deployment]:
    """Version 1, one replica."""
    found = deploy_faulty(client, f"{model}:v1", tmp_path)
    yield found
    client.deployments.delete(found.id)


def share(answers: Sequence[Answer], version: str) -> float:
    assert {answer.status for answer in answers} == {200}, Counter(answer.status for answer in answers)
    return sum(answer.version == version for answer in answers) / len(answers)


def change(client: Client, deployment: Deployment, weights: dict[str, int], **more: object) -> Deployment:
    """Live with these weights."""
    changed = client.deployments.update(deployment.id, traffic=weights, **more)  # type: ignore[arg-type]
    return client.deployments.wait(changed.id, revision=changed.last_revision, timeout=WHOLE_SECONDS)


def test_weights_are_seen_and_kept_while_replicas_die(
    running_server: ServerProcess, client: Client, deployment: Deployment, chance: random.Random
) -> None:
    change(client, deployment, {"v1": 90, "v2": 10}, replicas=2)
    await_whole(client, deployment, count=4)
    calm = ClosedLoad(deployment.endpoint, 8, COUNT).run().answers
    assert share(calm, "v2") == pytest.approx(0.1, abs=WITHIN)
    load = OpenLoad(deployment.endpoint, RATE)
    with load.applied():
        began = time.monotonic()
        while len(load.between(began)) < COUNT:
            name = chance.choice(sorted(running(client, deployment)))
            kill(serving_replica(running_server, client, deployment, name).program)
            await_whole(client, deployment, {name}, count=4)
            load.await_right(int(RATE))
    answered = [answer for answer in load.between(began) if answer.right]
    print(f"{len(load.failed())} of {len(load.answers)} failed, v2 had {share(answered, 'v2'):.4f}")
    assert share(answered, "v2") == pytest.approx(0.1, abs=WITHIN)
    assert {answer.status for answer in load.failed()} <= {502}


def test_a_live_change_of_weights_loses_no_request_and_holds(client: Client, deployment: Deployment) -> None:
    change(client, deployment, {"v1": 90, "v2": 10})
    load = OpenLoad(deployment.endpoint, RATE)
    with load.applied():
        for _ in range(repetitions(3, 20)):
            change(client, deployment, {"v1": 50, "v2": 50})
            load.await_right(20)
            change(client, deployment, {"v1": 90, "v2": 10})
            load.await_right(20)
        change(client, deployment, {"v1": 50, "v2": 50})
    assert load.failed() == []
    until(lambda: gateway_knows(client, deployment, {"v1": 50, "v2": 50}), 30, "the gateway knows the weights")
    after = ClosedLoad(deployment.endpoint, 8, COUNT).run().answers
    assert share(after, "v2") == pytest.approx(0.5, abs=WITHIN)


def gateway_knows(client: Client, deployment: Deployment, weights: dict[str, int]) -> bool:
    """Whether a few hundred requests look more like these weights than like 90 to 10."""
    assert client.deployments.get(deployment.id).pending is None
    seen = ClosedLoad(deployment.endpoint, 8, 200).run().answers
    wanted = weights["v2"] / sum(weights.values())
    return abs(share(seen, "v2") - wanted) < abs(share(seen, "v2") - 0.1)


def test_updates_to_another_version_and_back_lose_no_request(client: Client, deployment: Deployment) -> None:
    load = OpenLoad(deployment.endpoint, RATE)
    with load.applied():
        for number in range(repetitions(2, 20)):
            version = "v2" if number % 2 == 0 else "v1"
            changed = client.deployments.update(deployment.id, model=f"double:{version}")
            client.deployments.wait(deployment.id, revision=changed.last_revision, timeout=WHOLE_SECONDS)
            until(lambda wanted=version: load.answers[-1].version == wanted, 30, f"answers by {version}")  # type: ignore[misc]
            load.await_right(20)
        rolled = client.deployments.rollback(deployment.id)
        client.deployments.wait(deployment.id, revision=rolled.last_revision, timeout=WHOLE_SECONDS)
        load.await_right(20)
    assert load.failed() == []


def test_fewer_replicas_and_more_again_lose_no_request(client: Client, deployment: Deployment) -> None:
    load = OpenLoad(deployment.endpoint, RATE)
    with load.applied():
        for count in (3, 1, 2) * repetitions(1, 7):
            changed = client.deployments.update(deployment.id, replicas=count)
            client.deployments.wait(deployment.id, revision=changed.last_revision, timeout=WHOLE_SECONDS)
            await_whole(client, deployment, count=count)
            load.await_right(20)
    assert load.failed() == []


def test_a_stop_answers_what_was_begun_and_refuses_the_rest(client: Client, deployment: Deployment) -> None:
    for _ in range(repetitions(2, 20)):
        load = OpenLoad(deployment.endpoint, RATE).start()
        load.await_right(40)
        stopped = time.monotonic()
        client.deployments.stop(deployment.id)
        until(lambda: load.answers[-1].status == 503, 30, "a refusal")  # noqa: B023
        client.deployments.wait(deployment.id, state=DeploymentState.STOPPED, timeout=WHOLE_SECONDS)
        load.stop()
        assert load.failed(last=stopped) == []
        assert {answer.status for answer in load.failed()} == {503}
        refused = load.failed()[-1]
        assert "stopped" in json.loads(refused.body)["error"]
        assert int(refused.headers["retry-after"]) > 0
        client.deployments.start(deployment.id)
        client.deployments.wait(deployment.id, timeout=WHOLE_SECONDS)


def test_a_broken_version_never_takes_traffic(client: Client, deployment: Deployment) -> None:
    load = OpenLoad(deployment.endpoint, RATE)
    with load.applied():
        for traffic in ({"v3": 100}, {"v1": 50, "v3": 50}):
            changed = client.deployments.update(deployment.id, traffic=traffic)
            number = changed.last_revision
            until(lambda: client.deployments.revision(deployment.id, number).ended_at, 90, "its end")  # noqa: B023
            failed = client.deployments.revision(deployment.id, number)
            assert failed.state is RevisionState.FAILED
            assert "weights are not there" in failed.reason
            load.await_right(20)
    assert load.failed() == []
    assert {answer.version for answer in load.answers} == {"v1"}
    found = client.deployments.get(deployment.id)
    assert (found.pending, [version.key for version in found.versions]) == (None, ["v1"])
