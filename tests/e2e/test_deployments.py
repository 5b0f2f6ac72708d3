"""Deployments from a registered model to predictions by plain HTTP, on a real server, gateway and replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import skops.io
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from headway import Client
from headway.domain.base import new_id
from headway.domain.deployments import Deployment, DeploymentState
from headway.domain.logs import LogPage
from headway.domain.replicas import ReplicaPhase
from headway.errors import (
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PlatformError,
    UnavailableError,
)
from headway.testing.faults import until
from headway.testing.server import ServerProcess

DOUBLE = """
class Predictor:
    def predict(self, inputs):
        return [2 * value for value in inputs]
"""
WAIT = 60.0


@pytest.fixture
def double(client: Client, tmp_path: Path) -> str:
    """A model that doubles numbers; its name."""
    register(client, tmp_path, "double", "predict.py", DOUBLE)
    return "double"


def register(client: Client, scratch: Path, name: str, file: str, content: str | bytes) -> str:
    folder = scratch / name
    folder.mkdir()
    (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
    return client.models.register(name, folder).id


def running(client: Client, name: str, model: str, **fields: object) -> Deployment:
    found = client.deployments.create(name, model, **fields)
    return client.deployments.wait(found.id, timeout=WAIT)


def post(deployment: Deployment | str, body: object, token: str | None = None) -> requests.Response:
    """As anybody without the SDK would ask."""
    url = deployment if isinstance(deployment, str) else deployment.endpoint
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url, json=body, headers=headers, timeout=90)


def test_a_deployment_from_its_creation_to_its_end(client: Client, double: str, running_server: ServerProcess) -> None:
    made = client.deployments.create("first", double, replicas=2, public=True, labels={"team": "a"})
    assert made.state is DeploymentState.STARTING
    found = client.deployments.wait("first", timeout=WAIT)
    assert found.id == made.id
    assert (found.state, found.replica_count, found.labels) == (DeploymentState.RUNNING, 2, {"team": "a"})
    assert [replica.phase for replica in found.replicas] == [ReplicaPhase.RUNNING] * 2
    assert len({replica.address for replica in found.replicas}) == 2
    assert [entry.id for entry in client.deployments.list()] == [found.id]
    assert [entry.id for entry in client.deployments.list(state="running", name="first")] == [found.id]
    assert list(client.deployments.list(state="stopped")) == []

    client.deployments.stop("first")
    stopped = client.deployments.wait("first", state="stopped", timeout=WAIT)
    assert stopped.replicas == ()
    client.deployments.start("first")
    again = client.deployments.wait("first", timeout=WAIT)
    assert again.endpoint == stopped.endpoint == found.endpoint
    assert post(again, {"instances": [1]}).json() == {"predictions": [2]}

    client.deployments.delete("first")
    with pytest.raises(NotFoundError):
        client.deployments.get(found.id)
    assert until(lambda: post(found, {"instances": [1]}).status_code == 404, 10, "the endpoint is unknown")
    moves = [event.data["to"] for event in client.events.list(subject=found.id, type="deployment.state_changed")]
    assert moves == ["running", "stopping", "stopped", "starting", "running"]


def test_rows_and_columns_get_tensorflow_servings_answers(client: Client, double: str) -> None:
    found = running(client, "forms", double, public=True)
    assert post(found, {"instances": [1, 2.5]}).json() == {"predictions": [2, 5.0]}
    assert post(found, {"inputs": [3]}).json() == {"outputs": [6]}
    assert client.deployments.predict("forms", instances=[4]).predictions == [8]
    assert client.deployments.predict(found.id, [5]).outputs == [10]
    wrong: list[tuple[object, str]] = [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, "expecting only one of"),
        ({"instances": 1}, "Expecting 'instances' to be a list/array"),
        ([], "expecting an object"),
        ({"instances": [None]}, "unsupported operand"),
    ]
    for body, words in wrong:
        answer = post(found, body)
        assert answer.status_code == 400
        assert words in answer.json()["error"]
    with pytest.raises(InvalidRequestError, match="unsupported operand"):
        client.deployments.predict("forms", instances=[None])


def test_a_scikit_learn_model_answers_as_it_does_in_python(client: Client, tmp_path: Path) -> None:
    pixels, labels = load_digits(return_X_y=True)
    estimator = LogisticRegression(max_iter=500).fit(pixels[:300] / 16, labels[:300])
    (tmp_path / "digits").mkdir()
    skops.io.dump(estimator, tmp_path / "digits" / "model.skops")
    version = client.models.register("digits", tmp_path / "digits")
    assert version.runtime == "sklearn"
    found = running(client, "digits", version.id, public=True)
    held_out = (pixels[300:310] / 16).tolist()
    rows = post(found, {"instances": held_out}).json()["predictions"]
    expected, scores = estimator.predict(held_out), estimator.predict_proba(held_out)
    assert [row["classes"] for row in rows] == expected.tolist()
    assert np.allclose([row["probabilities"] for row in rows], scores)


def test_a_private_endpoint_wants_a_token_and_a_public_one_does_not(
    client: Client, double: str, running_server: ServerProcess
) -> None:
    private, public = running(client, "private", double), running(client, "public", double, public=True)
    body = {"instances": [1]}
    assert not private.public
    for token in (None, "hw_wrong", running_server.token[:-1]):
        answer = post(private, body, token)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "token" in answer.json()["error"]
        assert post(public, body, token).status_code == 200
    assert post(private, body, running_server.token).json() == {"predictions": [2]}
    other = client.projects.create(new_id("project"))
    stranger = client.tokens.create("stranger", project=other.name)
    assert post(private, body, stranger.secret).status_code == 401
    with Client(client.url, "hw_wrong") as nobody, pytest.raises(AuthenticationError):
        nobody.deployments.list(project=client.project).__next__()


def test_a_revoked_token_closes_the_endpoint_within_two_seconds(client: Client, double: str) -> None:
    found = running(client, "revoked", double)
    created = client.tokens.create("for predictions", project=client.project, role="viewer")
    until(lambda: post(found, {"instances": [1]}, created.secret).status_code == 200, 2, "the new token is known")
    client.tokens.delete(created.token.id)
    until(lambda: post(found, {"instances": [1]}, created.secret).status_code == 401, 2, "the token is refused")


def test_what_is_not_there_is_404_with_and_without_a_key(
    client: Client, double: str, running_server: ServerProcess
) -> None:
    base = running(client, "known", double).endpoint.rpartition("/")[0]
    for name in ("depnosuch", "nobody-made-this", "known%2F..%2Fother", "%00"):
        for token in (None, "hw_wrong", running_server.token):
            answer = post(f"{base}/{name}:predict", {"instances": [1]}, token)
            assert answer.status_code == 404
            assert answer.headers["Content-Type"].startswith("application/json")
            assert answer.json()["error"]
    with pytest.raises(NotFoundError):
        client.deployments.predict("nobody-made-this", instances=[1])


def test_a_name_of_another_project_is_not_suggested(client: Client, double: str) -> None:
    client.deployments.create("elsewhere", double, start=False)
    other = client.projects.create(new_id("project"))
    lookups = (client.deployments.get, "elsewhere"), (client.models.get, double)
    for find, name in lookups:
        with pytest.raises(NotFoundError) as caught:
            find(name, project=other.name)
        assert "Did you mean" not in str(caught.value)
        assert "list`" in str(caught.value)
    with pytest.raises(NotFoundError, match="Did you mean 'elsewhere'"):
        client.deployments.get("elsewhre")


def test_a_stopped_deployment_answers_503_and_its_start_is_waited_for(client: Client, double: str) -> None:
    found = client.deployments.create("idle", double, start=False, public=True)
    assert found.state is DeploymentState.STOPPED
    until(lambda: post(found, {"instances": [1]}).status_code == 503, 10, "the stopped deployment is known")
    answer = post(found, {"instances": [1]})
    assert "stopped" in answer.json()["error"]
    assert int(answer.headers["Retry-After"]) > 0
    with pytest.raises(UnavailableError, match="stopped"):
        client.deployments.predict("idle", instances=[1])
    client.deployments.start("idle")
    until(lambda: post(found, {"instances": [1]}).status_code == 200, 10, "an answer after the start", pause=0)
    client.deployments.stop("idle")
    until(lambda: post(found, {"instances": [1]}).status_code == 503, 10, "stopped again")


def test_a_prediction_right_after_the_creation_waits_for_the_replicas(client: Client, double: str) -> None:
    found = client.deployments.create("eager", double, public=True)
    answer = post(found, {"instances": [21]})
    assert (answer.status_code, answer.text) == (200, '{"predictions":[42]}')


def test_a_model_that_cannot_be_loaded_is_an_error_in_words_and_leaves_others_alone(
    client: Client, double: str, tmp_path: Path
) -> None:
    fine = running(client, "fine", double, public=True)
    raising = "raise RuntimeError('the weights are missing')"
    register(client, tmp_path, "broken", "predict.py", raising)
    broken = client.deployments.create("broken", "broken", public=True)
    with pytest.raises(PlatformError, match="the weights are missing"):
        client.deployments.wait(broken.id, timeout=WAIT)
    assert client.deployments.get(broken.id).state is DeploymentState.ERROR
    assert any("the weights are missing" in row.message for row in client.deployments.logs(broken.id))
    assert client.deployments.get(fine.id).replicas == fine.replicas
    assert post(fine, {"instances": [1]}).status_code == 200
    client.deployments.delete(broken.id)


def test_files_without_a_runtime_are_kept_and_refused_with_that_reason(client: Client, tmp_path: Path) -> None:
    version = client.models.version(register(client, tmp_path, "other", "weights.bin", b"\x08\x01"))
    assert version.runtime is None
    with pytest.raises(InvalidRequestError, match="fit no runtime"):
        client.deployments.create("other", version.id)
    assert list(client.deployments.list()) == []


def test_a_version_that_is_deployed_cannot_be_deleted(client: Client, double: str) -> None:
    found = client.deployments.create("user-of-it", double, start=False)
    for delete in (lambda: client.models.delete_version("double:v1"), lambda: client.models.delete("double")):
        with pytest.raises(ConflictError, match="user-of-it"):
            delete()
    client.deployments.delete(found.id)
    client.models.delete_version("double:v1")
    assert list(client.models.versions("double")) == []


def test_wrong_requests_make_nothing(client: Client, double: str) -> None:
    wrong: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: client.deployments.create("d", "no-such-model"), NotFoundError, "no-such-model"),
        (lambda: client.deployments.create("d", "double:v7"), NotFoundError, "7"),
        (lambda: client.deployments.create("d", double, replicas=0), InvalidRequestError, "replicas"),
        (lambda: client.deployments.create("d", double, replica=2), InvalidRequestError, "Did you mean 'replicas'"),
        (lambda: client.deployments.create("d", double, instance_type="cpu.smal"), NotFoundError, "cpu.small"),
        (lambda: client.deployments.create("", double), InvalidRequestError, "name"),
    ]
    for create, error, words in wrong:
        with pytest.raises(error, match=words):
            create()
    assert list(client.deployments.list()) == []
    client.deployments.create("taken", double, start=False)
    with pytest.raises(ConflictError, match="taken"):
        client.deployments.create("taken", double)


@pytest.fixture
def restarted(running_server: ServerProcess) -> Iterator[Callable[[], None]]:
    def restart() -> None:
        running_server.stop()
        running_server.start()

    yield restart
    if running_server.process is None or running_server.process.poll() is not None:
        running_server.start()


def test_the_endpoint_keeps_its_address_when_the_server_starts_anew(
    client: Client, double: str, restarted: Callable[[], None]
) -> None:
    found = running(client, "lasting", double, public=True)
    restarted()
    assert client.deployments.get(found.id) == found
    assert post(found, {"instances": [1]}).json() == {"predictions": [2]}
    client.deployments.stop(found.id)
    client.deployments.wait(found.id, state="stopped", timeout=WAIT)
    restarted()
    client.deployments.start(found.id)
    assert client.deployments.wait(found.id, timeout=WAIT).endpoint == found.endpoint
    assert post(found, {"instances": [2]}).json() == {"predictions": [4]}


def test_the_log_of_one_replica_is_chosen_by_the_server_and_ends_with_it(
    client: Client, double: str, running_server: ServerProcess
) -> None:
    deployment = running(client, "logged", double, replicas=2)
    every = list(client.deployments.logs(deployment.id))
    assert {row.attempt for row in every} == {1, 2}
    second = [row for row in every if row.attempt == 2]
    assert list(client.deployments.logs(deployment.id, replica="server-2")) == second
    assert list(client.deployments.logs(deployment.id, attempt=2, tail=1)) == second[-1:]
    with requests.Session() as session:
        session.trust_env = False
        address = f"{running_server.url}/api/v1/deployments/{deployment.id}/logs"
        headers = {"Authorization": f"Bearer {running_server.token}"}
        page = session.get(address, params={"replica": "server-2"}, headers=headers, timeout=WAIT).content
    assert list(LogPage.model_validate_json(page).rows) == second
    (replica,) = [each for each in client.deployments.get(deployment.id).replicas if each.name == "server-2"]
    assert list(client.deployments.logs(deployment.id, replica=replica.id)) == second, "as headers of answers name it"
    for unknown in ("server-99", new_id("rep")):
        with pytest.raises(NotFoundError, match="replica"):
            list(client.deployments.logs(deployment.id, replica=unknown))
    with pytest.raises(InvalidRequestError, match="server-2 is of attempt 2, not 1"):
        list(client.deployments.logs(deployment.id, replica="server-2", attempt=1))

    live = client.deployments.logs(deployment.id, follow=True, replica="server-2", timeout=WAIT)
    assert next(live) == second[0]
    client.deployments.stop(deployment.id)
    assert {row.attempt for row in live} <= {2}, "and it came to an end"
    stopped = list(client.deployments.logs(deployment.id, attempt=2))
    assert list(client.deployments.logs(deployment.id, follow=True, attempt=2, timeout=WAIT)) == stopped
    client.deployments.delete(deployment.id)
