"""How the shim finds its server, what it sends, how it shows moves and errors; the server's answers are scripted."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

import gradient
import headway
from gradient import connection, states
from gradient.constants import ExperimentState
from headway.domain.base import format_time, now
from headway.domain.jobs import JobCreate, JobState
from headway.sdk.transport import MockTransport, Request, Response

MULTI_NODE = {
    "name": "multinode_mnist",
    "project_id": "prj1",
    "experiment_type_id": 2,
    "worker_container": "tensorflow/tensorflow:1.13.1-gpu-py3",
    "worker_machine_type": "K80",
    "worker_command": "python mnist.py",
    "experiment_env": {"EPOCHS_EVAL": 5, "RATE": 0.1, "FLAG": True, "NOTHING": None},
    "worker_count": 2,
    "parameter_server_container": "tensorflow/tensorflow:1.13.1-gpu-py3",
    "parameter_server_machine_type": "cpu.medium",
    "parameter_server_command": "python mnist.py",
    "parameter_server_count": 1,
    "workspace_url": "https://example.org/mnist-sample.git",
    "model_path": "/storage/models/tutorial-mnist/",
    "model_type": "Tensorflow",
    "worker_registry_username": "me",
    "worker_registry_password": "s3cret",
    "is_preemptible": True,
}


class FakeServer:
    """Answers like a server whose one job makes scripted moves."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.refusals: list[Response] = []
        self.log_rows = 0
        self.moves_after_stream: tuple[str, ...] = ()
        """Happen between the end of an event stream and the next request."""

    def handle(self, request: Request) -> Response:
        path, _, query = request.url.removeprefix("http://server:1").partition("?")
        body = json.loads(request.content) if isinstance(request.content, bytes) and request.content else None
        self.requests.append((request.method, path, body))
        if self.refusals:
            return self.refusals.pop()
        if path == "/api/v1/instance-types":
            return answer(
                {"items": [{"name": "cpu.small", "cpu": 1, "default": True}, {"name": "cpu.medium", "cpu": 2}]}
            )
        if (request.method, path) == ("POST", "/api/v1/jobs"):
            return answer(self.add_job(body), 201)
        if path == "/api/v1/events":
            return self.event_answer(query, "text/event-stream" in str(request.headers))
        if path.endswith("/logs/stream"):
            return self.log_answer()
        return answer(self.jobs[path.removeprefix("/api/v1/jobs/")])

    def log_answer(self) -> Response:
        row = {"message": "text", "timestamp": format_time(now()), "replica": "worker-0"}
        rows = [{"line": line, **row} for line in range(1, self.log_rows + 1)]
        text = f"id: 1\nevent: rows\ndata: {json.dumps(rows)}\n\nevent: end\ndata: {{}}\n\n"
        return Response(200, content=text.encode())

    def event_answer(self, query: str, streamed: bool) -> Response:
        after = int(dict(part.split("=") for part in query.split("&")).get("after", 0))
        found = [event for event in self.events if event["sequence"] > after]
        if not streamed:
            return answer({"items": found})
        lines = [f"id: {e['sequence']}\nevent: event\ndata: {json.dumps(e)}\n\n" for e in found]
        names, self.moves_after_stream = self.moves_after_stream, ()
        self.move(*names)
        return Response(200, content="".join([*lines, "event: end\ndata: {}\n\n"]).encode())

    def add_job(self, body: dict[str, Any], created: str | None = None) -> dict[str, Any]:
        spec = JobCreate.model_validate(body).to_spec().model_dump(mode="json")
        moment = created or format_time(now())
        job = {
            "id": "job1",
            "project_id": "prj1",
            "name": body["name"],
            "run_id": "run1",
            "spec": spec,
            "state": "created",
            "created_at": moment,
            "created_by": "usr1",
            "state_changed_at": moment,
        }
        self.jobs["job1"] = job
        return job

    def move(self, *names: str, seconds_ago: float = 0.0) -> None:
        moment = format_time(now() - timedelta(seconds=seconds_ago))
        for name in names:
            change = {"from": self.jobs["job1"]["state"], "to": name, "reason": ""}
            event = {
                "sequence": len(self.events) + 1,
                "time": moment,
                "type": "job.state_changed",
                "subject_id": "job1",
            }
            self.events.append({**event, "project_id": "prj1", "data": change})
            self.jobs["job1"].update(state=name, state_changed_at=moment)


def answer(body: Any, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(body).encode())


def problem(status: int, code: str, detail: str, **headers: str) -> Response:
    return Response(status, headers, json.dumps({"code": code, "detail": detail}).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    monkeypatch.setenv("HEADWAY_URL", "http://server:1")
    monkeypatch.delenv("HEADWAY_PROJECT", raising=False)

    def make(**values: Any) -> headway.Client:
        return headway.Client(**values, transport=MockTransport(fake.handle), retry_for=0.0)

    monkeypatch.setattr(connection, "Client", make)
    yield fake


@pytest.fixture
def client(server: FakeServer) -> gradient.SdkClient:
    return gradient.SdkClient("hw_key")


def words(client: gradient.SdkClient, looks: int) -> list[str]:
    """What the document's loop would print in so many looks."""
    seen = [ExperimentState.get_state_str(client.experiments.get("job1").state) for _ in range(looks)]
    return [word for word, _ in itertools.groupby(seen)]


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"HEADWAY_URL": "http://a:1"}, None),
        ({"HEADWAY_URL": "http://a:1", "PAPERSPACE_CONFIG_HOST": "http://b:2/some/path"}, "http://b:2"),
        ({"PAPERSPACE_CONFIG_LOG_HOST": "https://b:2/"}, "https://b:2"),
        ({"PAPERSPACE_CONFIG_EXPERIMENTS_HOST": "http://b:2/experiments/v1/"}, "http://b:2"),
        ({"PAPERSPACE_CONFIG_EXPERIMENTS_HOST_V2": "http://b:2/experiments/v2/"}, "http://b:2"),
    ],
)
def test_any_of_the_old_addresses_names_the_server(
    settings: dict[str, str], url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEADWAY_URL", *connection.HOST_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    assert connection.server_url() == url


def test_the_key_is_the_argument_or_comes_from_either_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in connection.KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert connection.api_token(None) is None
    monkeypatch.setenv("PAPERSPACE_API_KEY", "second")
    assert connection.api_token(None) == "second"
    monkeypatch.setenv("PS_API_KEY", "first")
    assert connection.api_token(None) == "first"
    assert connection.api_token("given") == "given"


def test_without_any_server_a_call_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("HEADWAY_URL", *connection.HOST_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADWAY_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gradient.GradientSdkError, match="HEADWAY_URL"):
        gradient.SdkClient("key").projects.list()


def test_several_nodes_become_workers_and_parameter_servers(client: gradient.SdkClient, server: FakeServer) -> None:
    assert client.experiments.run_multi_node(**MULTI_NODE) == "job1"

    _, _, sent = next(each for each in server.requests if each[0] == "POST")
    assert {name: (role["count"], role.get("instance_type")) for name, role in sent["roles"].items()} == {
        "worker": (2, None),
        "ps": (1, "cpu.medium"),
    }
    assert sent["roles"]["worker"]["command"] == ["/bin/sh", "-c", "python mnist.py"]
    assert sent["roles"]["worker"]["container"]["registry"] == {"username": "me", "password": "s3cret"}
    assert sent["environment"] == {"EPOCHS_EVAL": "5", "RATE": "0.1", "FLAG": "true", "NOTHING": ""}
    assert sent["workspace"] == {"kind": "git", "url": "https://example.org/mnist-sample.git"}
    assert (sent["cluster_style"], sent["start"]) == ("gradient", True)
    assert (sent["model_path"], sent["model_type"]) == ("/storage/models/tutorial-mnist/", "Tensorflow")
    assert sent["labels"]["gradient.worker_machine_type"] == "K80"
    assert sent["labels"]["gradient.worker_container"] == "tensorflow/tensorflow:1.13.1-gpu-py3"
    assert "s3cret" not in json.dumps(sent["labels"])


def test_what_was_given_comes_back(client: gradient.SdkClient) -> None:
    client.experiments.run_multi_node(**MULTI_NODE)
    found = client.experiments.get("job1")

    assert isinstance(found, gradient.MultiNodeExperiment)
    changed = {"experiment_env", "worker_registry_password"}
    for name in set(MULTI_NODE) - changed:
        assert getattr(found, name) == MULTI_NODE[name], name
    assert found.id == "job1"
    assert found.experiment_env["EPOCHS_EVAL"] == "5"


def test_a_single_node_comes_back_too(client: gradient.SdkClient, server: FakeServer) -> None:
    client.experiments.create_single_node(
        "one", "prj1", "P5000", "python train.py", working_directory="/paperspace/code", ports="5000:5000"
    )
    found = client.experiments.get("job1")

    _, _, sent = next(each for each in server.requests if each[0] == "POST")
    assert (sent["start"], sent["working_directory"], list(sent["roles"])) == (False, "code", ["worker"])
    assert isinstance(found, gradient.SingleNodeExperiment)
    assert (found.machine_type, found.command, found.ports) == ("P5000", "python train.py", "5000:5000")
    assert found.state == ExperimentState.CREATED


def test_no_parameter_server_is_no_role(client: gradient.SdkClient, server: FakeServer) -> None:
    client.experiments.run_multi_node(**{**MULTI_NODE, "parameter_server_count": 0, "experiment_type_id": 3})

    assert list(server.jobs["job1"]["spec"]["roles"]) == ["worker"]
    found = client.experiments.get("job1")
    assert (found.parameter_server_count, found.experiment_type_id) == (0, 3)


def test_a_wrong_type_sends_nothing(client: gradient.SdkClient, server: FakeServer) -> None:
    with pytest.raises(ValueError, match="must equal 2 or 3"):
        client.experiments.run_multi_node(**{**MULTI_NODE, "experiment_type_id": 1})
    assert server.requests == []


def test_a_busy_watcher_sees_every_move_of_a_job_that_is_long_over(
    client: gradient.SdkClient, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "WAIT_SECONDS", 0.01)
    client.experiments.run_multi_node(**MULTI_NODE)
    server.move("queued", "provisioning", "provisioned", "network setting up", "network setup", "running", "succeeded")

    assert words(client, 9) == [
        "created",
        "provisioning",
        "provisioned",
        "network setting up",
        "network setup",
        "running",
        "stopped",
    ]


def test_moves_that_come_while_watching_are_each_shown_once(
    client: gradient.SdkClient, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "WAIT_SECONDS", 0.01)
    client.experiments.run_multi_node(**MULTI_NODE)
    seen = []
    for moves in (("queued",), ("provisioning",), ("provisioned", "network setting up"), (), (), ("failed",), ()):
        server.move(*moves)
        seen += words(client, 1)
    assert seen == [
        "created", "provisioning", "provisioned", "network setting up", "network setting up", "failed", "failed",
    ]  # fmt: skip


def test_a_first_look_at_an_old_job_sees_the_present(client: gradient.SdkClient, server: FakeServer) -> None:
    server.add_job({"name": "old", "project": "prj1", "command": "true"}, format_time(now() - timedelta(hours=1)))
    server.move("queued", "provisioning", "provisioned", seconds_ago=3000)
    server.move("network setting up", "network setup", "running", seconds_ago=60)

    assert words(client, 2) == ["running"]


def test_a_first_look_replays_what_is_young(client: gradient.SdkClient, server: FakeServer) -> None:
    server.add_job({"name": "young", "project": "prj1", "command": "true"}, format_time(now() - timedelta(hours=1)))
    server.move("queued", "provisioning", seconds_ago=60)
    server.move("provisioned", "network setting up", "network setup", "running", "succeeded")

    assert words(client, 5) == ["provisioned", "network setting up", "network setup", "running", "stopped"]


def test_each_client_object_has_its_own_replay(client: gradient.SdkClient, server: FakeServer) -> None:
    client.experiments.run_multi_node(**MULTI_NODE)
    server.move("queued", "provisioning", "provisioned")
    other = gradient.ExperimentsClient("hw_key")

    assert words(client, 3) == ["created", "provisioning", "provisioned"]
    assert other.get("job1").state == ExperimentState.CREATED
    assert other.get("job1").state == ExperimentState.PROVISIONING


@pytest.mark.parametrize(("age", "word"), [(0.0, "created"), (60.0, "pending")])
def test_only_waiting_in_the_queue_is_a_state(
    client: gradient.SdkClient, server: FakeServer, age: float, word: str
) -> None:
    server.add_job({"name": "waits", "project": "prj1", "command": "true"}, format_time(now() - timedelta(seconds=age)))
    server.move("queued", seconds_ago=age)

    assert words(client, 1) == [word]


@pytest.mark.parametrize(
    ("state", "number"),
    [("succeeded", 5), ("failed", 7), ("stopped", 8), ("lost", 6), ("running", 4), ("stopping", 13), ("retrying", 10)],
)
def test_how_a_job_stands_as_a_number(client: gradient.SdkClient, server: FakeServer, state: str, number: int) -> None:
    server.add_job({"name": "j", "project": "prj1", "command": "true"}, format_time(now() - timedelta(hours=1)))
    server.move(state, seconds_ago=100)

    assert client.experiments.get("job1").state == number


def test_every_native_state_has_a_number() -> None:
    assert set(states.STATE_NUMBERS) == set(JobState)


def test_too_many_looks_are_never_an_error(client: gradient.SdkClient, server: FakeServer) -> None:
    client.experiments.run_multi_node(**MULTI_NODE)
    server.refusals = [problem(429, "rate_limited", "Too many.", **{"retry-after": "0.01"}) for _ in range(5)]

    assert client.experiments.get("job1").state == ExperimentState.CREATED


def test_a_busy_look_waits_for_a_move_and_no_longer_than_it_may(
    client: gradient.SdkClient, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.experiments.run_multi_node(**MULTI_NODE)
    server.move("queued", "provisioning", "provisioned", "network setting up", "network setup", "running", "succeeded")
    words(client, 7)
    started = time.monotonic()
    client.experiments.get("job1")
    assert time.monotonic() - started >= states.WAIT_SECONDS * 0.9


PREFIXES = {
    "Failed to fetch data": lambda c: c.experiments.get("job1"),
    "Failed to create resource": lambda c: c.projects.create("p"),
    "Failed to start experiment": lambda c: c.experiments.start("job1"),
    "Failed to stop experiment": lambda c: c.experiments.stop("job1"),
    "Unable to start instance": lambda c: c.deployments.start("dep1"),
    "Unable to stop instance": lambda c: c.deployments.stop("dep1"),
    "Failed to delete resource": lambda c: c.jobs.delete("job1"),
}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_errors_carry_the_known_prefix_and_what_the_server_said(
    client: gradient.SdkClient, server: FakeServer, prefix: str
) -> None:
    server.refusals = [problem(403, "permission_denied", "You may not.")]
    with pytest.raises(gradient.ResourceFetchingError) as caught:
        PREFIXES[prefix](client)

    assert str(caught.value) == f"{prefix}: You may not."
    assert (caught.value.status, caught.value.code) == (403, "permission_denied")


def test_a_server_that_is_away_is_an_error_of_both_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(connection, "Client", lambda **values: headway.Client(**values, retry_for=0.0))
    with pytest.raises(gradient.GradientConnectionError) as caught:
        gradient.ProjectsClient("key").list()
    assert isinstance(caught.value, requests.ConnectionError)
    assert isinstance(caught.value, gradient.GradientSdkError)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.machines.create("n", "P4000", "East Coast (NY2)", 50, "hourly", "t1"),
        lambda c: c.machines.list(),
        lambda c: c.machines.wait_for_state("m1", "ready"),
        lambda c: c.notebooks.create(1, 2, 3),
        lambda c: c.notebooks.list(),
    ],
)
def test_machines_and_notebooks_are_not_offered(client: gradient.SdkClient, server: FakeServer, call: Any) -> None:
    with pytest.raises(gradient.GradientSdkError, match="does not offer"):
        call(client)
    assert server.requests == []


def test_who_has_read_the_log_to_its_end_sees_the_present(client: gradient.SdkClient, server: FakeServer) -> None:
    client.experiments.run_multi_node(**MULTI_NODE)
    server.move("queued", "provisioning", "provisioned", "network setting up", "network setup", "running", "succeeded")
    server.log_rows = 2

    assert len(list(client.experiments.yield_logs("job1"))) == 2
    assert client.experiments.get("job1").state == ExperimentState.STOPPED


def test_moves_that_come_while_nobody_listens_are_shown_before_the_present(
    server: FakeServer, client: gradient.SdkClient
) -> None:
    experiment = client.experiments.run_multi_node(**MULTI_NODE)
    server.move("queued", "provisioning")
    first = [client.experiments.get(experiment).state for _ in range(2)]
    server.moves_after_stream = ("provisioned", "network setting up", "network setup")
    seen = [*first, *(client.experiments.get(experiment).state for _ in range(3))]
    assert [ExperimentState.get_state_str(state) for state in seen] == [
        "created",
        "provisioning",
        "provisioned",
        "network setting up",
        "network setup",
    ]
