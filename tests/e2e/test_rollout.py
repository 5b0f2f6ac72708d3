"""Revisions on a real server, gateway and replicas: a new one comes up beside the old one, and only what answers serves."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from headway import Client
from headway.domain.deployments import Deployment, RevisionState
from headway.errors import ConflictError, HeadwayError, InvalidRequestError, NotFoundError
from headway.testing.faults import until

WAIT = 60.0
ANSWERS = "class Predictor:\n    def predict(self, inputs):\n        return [{number}] * len(inputs)\n"
BROKEN = "raise RuntimeError('the weights are missing')\n"


@pytest.fixture
def versions(client: Client, tmp_path: Path) -> str:
    """A model of which version n answers n; version 4 cannot be loaded."""
    for number in (1, 2, 3, 4):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "predict.py").write_text(BROKEN if number == 4 else ANSWERS.format(number=number))
        client.models.register("numbers", folder)
    return "numbers"


@pytest.fixture
def deployed(client: Client, versions: str) -> Iterator[Deployment]:
    made = client.deployments.create("numbers", "numbers:v1", public=True)
    yield client.deployments.wait(made.id, timeout=WAIT)
    client.deployments.delete(made.id)


def ask(deployment: Deployment, session: requests.Session, **headers: str) -> requests.Response:
    return session.post(deployment.endpoint, json={"instances": [0]}, headers=headers, timeout=90)


def counted(deployment: Deployment, times: int, **headers: str) -> Counter[int]:
    """Which versions answered, by what they answered and by what the headers say: the same."""
    found: Counter[int] = Counter()
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(times):
            answer = ask(deployment, session, **headers)
            assert answer.status_code == 200, answer.text
            number = answer.json()["predictions"][0]
            assert answer.headers["X-Headway-Version"] == f"v{number}"
            found[number] += 1
    return found


@contextmanager
def asked_all_the_time(deployment: Deployment) -> Iterator[list[str]]:
    """Four clients ask without a pause; what went wrong."""
    wrong: list[str] = []
    asked = threading.Semaphore(0)
    ends = threading.Event()

    def work() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not ends.is_set():
                try:
                    answer = ask(deployment, session)
                    if answer.status_code != 200:
                        wrong.append(f"{answer.status_code} {answer.text}")
                except requests.RequestException as error:
                    wrong.append(repr(error))
                asked.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            assert asked.acquire(timeout=WAIT)
        yield wrong
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def live(client: Client, deployment: Deployment, number: int) -> Deployment:
    return client.deployments.wait(deployment.id, revision=number, timeout=WAIT)


def test_a_new_version_takes_over_once_it_answers_and_no_request_is_lost(client: Client, deployed: Deployment) -> None:
    with asked_all_the_time(deployed) as wrong:
        changed = client.deployments.update(deployed.id, model="numbers:v2")
        assert (changed.revision, changed.pending, changed.last_revision) == (1, 2, 2)
        assert [version.key for version in changed.versions] == ["v1"]
        found = live(client, deployed, 2)
        assert [version.key for version in found.versions] == ["v2"]
        until(lambda: len(client.deployments.get(deployed.id).replicas) == 1, WAIT, "the end of the old replica")
    assert wrong == []
    assert counted(deployed, 20) == {2: 20}
    states = {revision.number: revision.state for revision in client.deployments.revisions(deployed.id)}
    assert states == {1: RevisionState.SUPERSEDED, 2: RevisionState.LIVE}


def test_weights_change_at_once_and_start_nothing(client: Client, deployed: Deployment) -> None:
    client.deployments.traffic(deployed.id, {"v1": 50, "v2": 50})
    before = live(client, deployed, 2)
    share = counted(deployed, 400)
    assert set(share) == {1, 2} and abs(share[1] - 200) <= 40
    changed = client.deployments.traffic(deployed.id, {"v1": 10, "v2": 90})
    assert (changed.revision, changed.pending) == (3, None)
    assert {replica.address for replica in changed.replicas or client.deployments.get(deployed.id).replicas} == {
        replica.address for replica in before.replicas
    }
    until(lambda: counted(deployed, 200)[1] < 60, WAIT, "the new weights")


def test_a_version_that_does_not_load_never_takes_traffic(client: Client, deployed: Deployment) -> None:
    with asked_all_the_time(deployed) as wrong:
        client.deployments.update(deployed.id, model="numbers:v4", reason="nightly")
        with pytest.raises(HeadwayError, match="the weights are missing"):
            live(client, deployed, 2)
    assert wrong == []
    found = client.deployments.get(deployed.id)
    assert (found.revision, found.pending, [version.key for version in found.versions]) == (1, None, ["v1"])
    failed = client.deployments.revision(deployed.id, 2)
    assert failed.state is RevisionState.FAILED and "the weights are missing" in failed.reason
    assert counted(deployed, 20) == {1: 20}
    until(lambda: len(client.deployments.get(deployed.id).replicas) == 1, WAIT, "only the old replica")


def test_rolling_back_serves_what_was_served_before(client: Client, deployed: Deployment) -> None:
    client.deployments.update(deployed.id, model="numbers:v2")
    live(client, deployed, 2)
    client.deployments.rollback(deployed.id, reason="v2 is worse")
    found = live(client, deployed, 3)
    assert [version.key for version in found.versions] == ["v1"]
    taken_back = client.deployments.revision(deployed.id, 2)
    assert taken_back.state is RevisionState.ROLLED_BACK and "v2 is worse" in taken_back.reason
    assert counted(deployed, 20) == {1: 20}
    client.deployments.rollback(deployed.id, 2)
    assert [version.key for version in live(client, deployed, 4).versions] == ["v2"]


def test_a_rollback_gives_up_what_is_coming_up(client: Client, deployed: Deployment) -> None:
    client.deployments.update(deployed.id, model="numbers:v4")
    found = client.deployments.rollback(deployed.id)
    assert (found.revision, found.pending) == (1, None)
    assert client.deployments.revision(deployed.id, 2).state is RevisionState.ROLLED_BACK
    with pytest.raises(ConflictError, match="nothing to go back to"):
        client.deployments.rollback(deployed.id)


def test_the_newest_update_counts(client: Client, deployed: Deployment) -> None:
    client.deployments.update(deployed.id, model="numbers:v2")
    client.deployments.update(deployed.id, model="numbers:v3", replicas=2)
    found = live(client, deployed, 3)
    assert [(version.key, version.replicas) for version in found.versions] == [("v3", 2)]
    assert client.deployments.revision(deployed.id, 2).state is RevisionState.SUPERSEDED
    assert counted(deployed, 20) == {3: 20}


def test_one_key_goes_to_one_version(client: Client, deployed: Deployment) -> None:
    client.deployments.update(deployed.id, traffic={"v1": 50, "v2": 50}, sticky="X-User")
    live(client, deployed, 2)
    until(lambda: len(counted(deployed, 20, **{"X-User": "ada"})) == 1, WAIT, "the sticky header")
    found = [next(iter(counted(deployed, 3, **{"X-User": f"user {number}"}))) for number in range(40)]
    assert set(found) == {1, 2}
    again = [next(iter(counted(deployed, 1, **{"X-User": f"user {number}"}))) for number in range(40)]
    assert again == found


def test_a_shadow_is_compared_and_never_answers(client: Client, deployed: Deployment) -> None:
    client.deployments.shadow(deployed.id, "v2")
    live(client, deployed, 2)
    assert counted(deployed, 50) == {1: 50}

    def different() -> int:
        counted(deployed, 5)
        traffic = {version.version: version for version in client.deployments.metrics(deployed.id).versions}
        return traffic["v2"].shadow_different if "v2" in traffic else 0

    until(lambda: different() >= 5, WAIT, "answers of the shadow that differ")
    client.deployments.shadow(deployed.id, None)
    assert [version.key for version in live(client, deployed, 3).versions] == ["v1"]


def test_what_cannot_be_done_is_refused_and_changes_nothing(client: Client, deployed: Deployment) -> None:
    for wrong, error in (
        ({"traffic": {"v9": 1}}, NotFoundError),
        ({"traffic": {"v1": 1, "numbers:v1": 1}}, InvalidRequestError),
        ({"shadow": "v1"}, InvalidRequestError),
        ({"replicas": {"v2": 2}}, InvalidRequestError),
        ({"model": "nothing"}, NotFoundError),
        ({"model": "numbers:v2", "expected_revision": 7}, ConflictError),
    ):
        with pytest.raises(error):
            client.deployments.update(deployed.id, **wrong)  # type: ignore[arg-type]
    same = client.deployments.update(deployed.id, traffic={"v1": 100}, expected_revision=1)
    assert (same.revision, same.last_revision, same.pending) == (1, 1, None)
    with pytest.raises(NotFoundError):
        client.deployments.rollback(deployed.id, 5)


def test_a_stopped_deployment_is_changed_at_once_and_starts_with_that(client: Client, deployed: Deployment) -> None:
    client.deployments.stop(deployed.id)
    client.deployments.wait(deployed.id, state="stopped", timeout=WAIT)
    changed = client.deployments.update(deployed.id, model="numbers:v3")
    assert (changed.revision, changed.pending) == (2, None)
    client.deployments.start(deployed.id)
    client.deployments.wait(deployed.id, timeout=WAIT)
    assert counted(deployed, 5) == {3: 5}


def test_a_version_that_is_coming_up_cannot_be_deleted(client: Client, deployed: Deployment) -> None:
    client.deployments.update(deployed.id, model="numbers:v2")
    with pytest.raises(ConflictError, match="numbers"):
        client.models.delete_version("numbers:v2")
    live(client, deployed, 2)
    client.models.delete_version("numbers:v1")
    with pytest.raises(ConflictError, match="deleted since"):
        client.deployments.rollback(deployed.id)
