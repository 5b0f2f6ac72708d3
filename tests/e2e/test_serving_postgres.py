"""The serving plane with PostgreSQL behind the server: what a deployment goes through, under load, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headway import Client
from headway.domain.deployments import Deployment, DeploymentState, Guard, RevisionState, Scaling
from headway.domain.events import Event
from headway.testing.faults import repetitions, until
from headway.testing.faulty import BROKEN_MODEL, save_model
from headway.testing.load import Answer, ClosedLoad, OpenLoad
from headway.testing.server import ServerProcess
from headway.testing.serving import await_whole, deploy_faulty, gateway_of, patient_client, running

WAIT = 120.0
RATE = 40.0
"""Requests a second: few enough for any machine."""
FAILS_HALF_THE_TIME = """
class Predictor:
    calls = 0

    def predict(self, instances):
        type(self).calls += 1
        if self.calls % 2:
            raise RuntimeError("not this time")
        return [2 * value for value in instances]
"""


@pytest.fixture(scope="module")
def database(new_postgres_database: Callable[[], str]) -> str:
    return new_postgres_database()


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One that the tests may kill and start again."""
    data = tmp_path_factory.mktemp("server") / "data"
    with ServerProcess(data, arguments=("--database-url", database)) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """With a model: versions 1 and 2 double, 3 cannot be loaded, 4 fails half the time."""
    root = tmp_path_factory.mktemp("models")
    with patient_client(server, "serving") as found:
        for number in (1, 2):
            found.models.register("double", save_model(root / str(number)))
        found.models.register("double", save_model(root / "3", BROKEN_MODEL))
        found.models.register("double", save_model(root / "4", FAILS_HALF_THE_TIME))
        yield found


@pytest.fixture
def create(client: Client, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Makes public deployments that end with the test."""
    made: list[Deployment] = []

    def creating(version: str = "v1", **settings: Any) -> Deployment:
        made.append(deploy_faulty(client, f"double:{version}", tmp_path, **settings))
        return made[-1]

    yield creating
    for deployment in made:
        client.deployments.delete(deployment.id)


def live(client: Client, changed: Deployment) -> Deployment:
    return client.deployments.wait(changed.id, revision=changed.last_revision, timeout=WAIT)


def share(answers: Sequence[Answer], version: str) -> float:
    assert all(answer.right for answer in answers), Counter(answer.status for answer in answers)
    return sum(answer.version == version for answer in answers) / len(answers)


def asked(deployment: Deployment, times: int) -> list[Answer]:
    return ClosedLoad(deployment.endpoint, 4, times).run().answers


def events(client: Client, deployment: Deployment, type: str) -> list[Event]:
    return list(client.events.list(subject=deployment.id, type=type))


def test_two_versions_share_the_traffic_and_weights_change_under_load(
    client: Client, create: Callable[..., Deployment]
) -> None:
    made = create(replicas=2)
    load = OpenLoad(made.endpoint, RATE)
    with load.applied():
        weighed = live(client, client.deployments.update(made.id, traffic={"v1": 90, "v2": 10}, replicas={"v2": 1}))
        assert {version.key: (version.weight, version.replicas) for version in weighed.versions} == {
            "v1": (90, 2),
            "v2": (10, 1),
        }
        load.await_right(20)
        until(lambda: share(asked(made, 100), "v2") > 0, WAIT, "the gateway knows of v2")
        assert share(asked(made, 1000), "v2") == pytest.approx(0.1, abs=0.02)
        changed = client.deployments.traffic(made.id, {"v1": 50, "v2": 50})
        assert changed.pending is None
        until(lambda: share(asked(made, 200), "v2") > 0.4, WAIT, "the gateway knows the new weights")
        assert share(asked(made, 1000), "v2") == pytest.approx(0.5, abs=0.02)
    assert load.failed() == []


def test_an_update_a_broken_version_and_a_rollback_lose_no_request(
    client: Client, create: Callable[..., Deployment]
) -> None:
    made = create()
    load = OpenLoad(made.endpoint, RATE)
    with load.applied():
        live(client, client.deployments.update(made.id, model="double:v2"))
        until(lambda: load.answers[-1].version == "v2", WAIT, "answers of v2")
        number = client.deployments.update(made.id, model="double:v3").last_revision
        until(lambda: client.deployments.revision(made.id, number).ended_at, WAIT, "the end of the broken revision")
        failed = client.deployments.revision(made.id, number)
        assert failed.state is RevisionState.FAILED
        assert "weights are not there" in failed.reason
        live(client, client.deployments.rollback(made.id))
        until(lambda: load.answers[-1].version == "v1", WAIT, "answers of v1 again")
    assert load.failed() == []
    assert {answer.version for answer in load.answers} == {"v1", "v2"}
    states = {revision.number: revision.state for revision in client.deployments.revisions(made.id)}
    assert states == {
        1: RevisionState.SUPERSEDED,
        2: RevisionState.ROLLED_BACK,
        3: RevisionState.FAILED,
        4: RevisionState.LIVE,
    }
    await_whole(client, made, count=1)


def test_the_guard_takes_a_bad_version_back(client: Client, create: Callable[..., Deployment]) -> None:
    made = create(guard=Guard(max_error_rate=0.1, minimum_requests=20))
    load = OpenLoad(made.endpoint, RATE)
    with load.applied():
        client.deployments.update(made.id, traffic={"v1": 50, "v4": 50})
        until(lambda: events(client, made, "deployment.rolled_back"), WAIT, "the guard", pause=0.1)
        until(lambda: not load.failed(load.answers[-50].began), WAIT, "fifty right answers", pause=0.1)
    assert {(answer.version, answer.status) for answer in load.failed()} == {("v4", 500)}
    (event,) = events(client, made, "deployment.rolled_back")
    assert "v4 answered" in event.message
    assert [version.key for version in client.deployments.get(made.id).versions] == ["v1"]


def test_replicas_come_with_the_load_and_one_wakes_for_a_request_that_came_while_the_server_was_dead(
    server: ServerProcess, client: Client, create: Callable[..., Deployment]
) -> None:
    scaling = Scaling(minimum=0, maximum=2, target_in_flight=2, idle_seconds=1)
    made = create(seconds=0.2, scaling=scaling)
    load = ClosedLoad(made.endpoint, 8)
    with load.applied(8):
        await_whole(client, made, count=2, seconds=WAIT)
    assert load.failed() == []

    def asleep() -> bool:
        found = client.deployments.get(made.id)
        return found.replica_count == 0 and found.replicas == ()

    until(asleep, WAIT, "all replicas to go", pause=0.1)
    server.kill()
    cold = ClosedLoad(made.endpoint, 1, 1, timeout=WAIT).start()
    until(lambda: cold.asked == 1, WAIT, "the request to be sent")
    server.start()
    until(lambda: cold.answers, WAIT, "its answer")
    assert cold.failed() == []
    told = events(client, made, "deployment.scaled")
    assert max(event.data["to"] for event in told) == 2
    assert any(event.data["reason"] == "a request waits for a replica" for event in told)


def test_a_server_killed_amid_updates_loses_neither_a_request_nor_a_revision_nor_a_count(
    server: ServerProcess, database: str, client: Client, create: Callable[..., Deployment]
) -> None:
    made = create(replicas=2)
    before = gateway_of(server)
    load = OpenLoad(made.endpoint, RATE)
    with load.applied():
        for number in range(repetitions(2, 20)):
            version = "v1" if number % 2 else "v2"
            changed = client.deployments.update(made.id, model=f"double:{version}")
            assert changed.pending == changed.last_revision
            server.kill()
            load.await_right(20)
            server.start()
            live(client, changed)
            until(lambda wanted=version: load.answers[-1].version == wanted, WAIT, f"answers by {version}")  # type: ignore[misc]
        await_whole(client, made)
        names = running(client, made)
        server.kill()
        load.await_right(20)
        server.start()
        load.await_right(20)
        assert running(client, made) == names
    assert load.failed() == []
    assert gateway_of(server) == before
    assert client.deployments.get(made.id).state is DeploymentState.RUNNING
    count = len(load.answers)
    until(lambda: told(client, made) >= count, WAIT, "all requests to be told of", pause=0.1)
    assert told(client, made) == count
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT count(*) FROM deployments WHERE id = %s", [made.id]).fetchone()
    assert found == (1,)
    assert not (server.data / "headway.db").exists()


def told(client: Client, deployment: Deployment) -> int:
    """How many requests the server knows of."""
    return client.deployments.metrics(deployment.id, since=3600).total.requests
