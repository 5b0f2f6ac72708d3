"""The clients one by one against a real server."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import requests

import gradient
import headway
from gradient.constants import ExperimentState, ExperimentType
from headway.testing.server import ServerProcess

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
T = TypeVar("T")


class HeardLogger(gradient.MuteLogger):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.warnings.append(str(msg))


@pytest.fixture
def logger() -> HeardLogger:
    return HeardLogger()


@pytest.fixture
def client(running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch, logger: HeardLogger) -> gradient.SdkClient:
    monkeypatch.delenv("HEADWAY_PROJECT", raising=False)
    monkeypatch.setenv("PAPERSPACE_CONFIG_HOST", running_server.url + "/any/path")
    return gradient.SdkClient(running_server.token, logger)


@pytest.fixture
def project(client: gradient.SdkClient) -> str:
    return client.projects.create("compat tests", repository_name="r", repository_url="https://example.org/r")


@pytest.fixture
def model(native: headway.Client, project: str, tmp_path: Path) -> headway.ModelVersion:
    """A digit classifier with zero weights: every class is equally likely."""
    (tmp_path / "predict.py").write_text((DIGITS / "predict.py").read_text())
    shapes = {"w1": (64, 2), "b1": (2,), "w2": (2, 10), "b2": (10,)}
    np.savez(tmp_path / "weights.npz", **{name: np.zeros(shape) for name, shape in shapes.items()})
    return native.models.register("zero", tmp_path, project=project)


def until(look: Callable[[], T], right: Callable[[T], bool], seconds: float = 60) -> T:
    """What ``look`` gives once it is right."""
    deadline = time.monotonic() + seconds
    while not right(found := look()):
        assert time.monotonic() < deadline, found
    return found


def run(client: gradient.SdkClient, project: str, command: str, **more: Any) -> str:
    return client.experiments.run_single_node("one", project, "K80", command, **more)


def ended(client: gradient.SdkClient, experiment: str) -> gradient.LogRow | None:
    """Follows the log to its end; the last row."""
    last = None
    for row in client.experiments.yield_logs(experiment):
        last = row
    return last


def test_projects_come_back_as_they_were_given(client: gradient.SdkClient, project: str) -> None:
    found = next(each for each in client.projects.list() if each.id == project)

    assert (found.repository_name, found.repository_url) == ("r", "https://example.org/r")
    assert found.created is not None
    assert found.created.year >= 2024


def test_a_project_name_may_repeat(client: gradient.SdkClient, logger: HeardLogger) -> None:
    ids = [client.projects.create("again and again") for _ in range(3)]

    assert len(set(ids)) == 3
    names = {each.id: each.name for each in client.projects.list()}
    assert [names[each] for each in ids] == ["again and again", "again and again (2)", "again and again (3)"]
    assert len(logger.warnings) == 2


def test_a_single_node_runs_and_its_log_ends(client: gradient.SdkClient, project: str) -> None:
    experiment = run(client, project, "for n in 1 2 3; do echo row $n; done", experiment_env={"A": 1})
    streamer = client.experiments.yield_logs(experiment)

    assert streamer.send(None).message == "row 1"  # type: ignore[attr-defined]
    assert [(row.line, row.message) for row in streamer] == [(2, "row 2"), (3, "row 3")]
    found = client.experiments.get(experiment)
    assert found.state == ExperimentState.STOPPED
    assert isinstance(found, gradient.SingleNodeExperiment)
    assert (found.machine_type, found.experiment_env, found.project_id) == ("K80", {"A": "1"}, project)


def test_logs_as_a_list_end_with_a_mark_and_begin_where_one_says(client: gradient.SdkClient, project: str) -> None:
    experiment = run(client, project, "seq 1 5")
    ended(client, experiment)

    messages = [row.message for row in client.experiments.logs(experiment)]
    assert messages == ["1", "2", "3", "4", "5", "PSEOF"]
    assert [row.message for row in client.experiments.logs(experiment, line=4)] == ["4", "5", "PSEOF"]
    assert [row.message for row in client.experiments.logs(experiment, line=2, limit=2)] == ["2", "3"]
    assert [row.message for row in client.experiments.logs(experiment, limit=5)] == [*"12345", "PSEOF"]
    assert [row.message for row in client.experiments.yield_logs(experiment, line=5)] == ["5"]
    assert client.jobs.logs(experiment) == client.experiments.logs(experiment)


def test_a_running_job_has_a_log_without_the_mark(client: gradient.SdkClient, project: str) -> None:
    experiment = run(client, project, "echo begun; exec sleep 600")
    assert next(client.experiments.yield_logs(experiment)).message == "begun"

    assert [row.message for row in client.experiments.logs(experiment)] == ["begun"]
    client.experiments.stop(experiment)
    until(lambda: client.experiments.get(experiment).state, lambda state: state == ExperimentState.CANCELLED)


def test_the_documents_loop_sees_running_also_when_the_job_is_over_at_once(
    client: gradient.SdkClient, project: str
) -> None:
    experiment = run(client, project, "true")
    seen: list[int] = []
    until(
        lambda: seen.append(client.experiments.get(experiment).state) or seen[-1],
        lambda s: s == ExperimentState.STOPPED,
    )
    words = [ExperimentState.get_state_str(state) for state, _ in itertools.groupby(seen)]
    assert words == [
        "created",
        "provisioning",
        "provisioned",
        "network setting up",
        "network setup",
        "running",
        "stopped",
    ]


def test_created_waits_for_start(client: gradient.SdkClient, project: str) -> None:
    experiment = client.experiments.create_single_node("later", project, "K80", "echo now")
    assert client.experiments.get(experiment).state == ExperimentState.CREATED
    assert client.experiments.logs(experiment) == []

    assert client.experiments.start(experiment) is None
    last = ended(client, experiment)
    assert last is not None
    assert last.message == "now"


def test_a_failure_is_failed_and_leaves_no_model(client: gradient.SdkClient, project: str) -> None:
    experiment = run(client, project, 'echo x > "$PS_MODEL_PATH/half.bin"; exit 3', model_path="/storage/models/m/")
    ended(client, experiment)

    assert client.experiments.get(experiment).state == ExperimentState.FAILED
    assert client.models.list(experiment_id=experiment) == []
    job = next(each for each in client.jobs.list(experiment_id=experiment) if each.id == experiment)
    assert (job.state, job.exit_code) == ("Failed", "3")


def test_experiments_are_listed_by_one_project_or_several(client: gradient.SdkClient, project: str) -> None:
    other = client.projects.create("other")
    first = client.experiments.create_single_node("a", project, "K80", "true")
    second = client.experiments.create_single_node("b", other, "K80", "true")

    assert [each.id for each in client.experiments.list(project)] == [first]
    assert {each.id for each in client.experiments.list([project, other])} == {first, second}
    assert {first, second} <= {each.id for each in client.experiments.list()}


def test_a_model_is_there_when_the_log_has_ended(client: gradient.SdkClient, project: str) -> None:
    experiment = run(
        client, project, 'echo 1 > "$PS_MODEL_PATH/weights.txt"', model_path="/storage/models/m/", model_type="Custom"
    )
    ended(client, experiment)
    (found,) = client.models.list(experiment_id=experiment)

    assert found.experiment_id == experiment
    assert (found.project_id, found.model_type, found.model_path) == (project, "Custom", "/storage/models/m/")
    assert found.deployment_state is None
    assert [each.id for each in client.models.list(project_id=project)] == [found.id]


def test_a_search_is_recorded_and_runs_one_trial(client: gradient.SdkClient, project: str) -> None:
    values = {
        "tuning_command": "python tune.py",
        "worker_container": "python:3",
        "worker_machine_type": "K80",
        "worker_command": 'echo "trial $LR"',
        "worker_count": 4,
        "experiment_env": {"LR": 0.1},
        "hyperparameter_server_machine_type": "C5",
    }
    recorded = client.hyperparameters.create("search", project, **values)
    found = client.hyperparameters.get(recorded)
    assert isinstance(found, gradient.Hyperparameter)
    for name in set(values) - {"experiment_env"}:
        assert getattr(found, name) == values[name], name
    assert found.experiment_type_id == ExperimentType.HYPERPARAMETER_TUNING
    assert found.state == ExperimentState.CREATED

    client.hyperparameters.start(recorded)
    started = client.hyperparameters.run("search", project, **values)
    for search in (recorded, started):
        assert [row.message for row in client.jobs.yield_logs(search)] == ["trial 0.1"]
        until(lambda: client.hyperparameters.get(search).state, lambda s: s == ExperimentState.STOPPED)  # noqa: B023
    assert {recorded, started} <= {each.id for each in client.hyperparameters.list()}
    assert {each.id for each in client.experiments.list(project)}.isdisjoint({recorded, started})


def test_a_search_is_no_experiment(client: gradient.SdkClient, project: str) -> None:
    search = client.hyperparameters.create("s", project, "tune", "c", "K80", "true", 1)
    with pytest.raises(gradient.GradientSdkError, match="is no experiment but a job of type 'Hyperparameter tuning'"):
        client.experiments.get(search)


def test_an_experiment_is_no_search(client: gradient.SdkClient, project: str) -> None:
    experiment = client.experiments.create_single_node("a", project, "K80", "true")
    with pytest.raises(gradient.ResourceFetchingError, match="is no hyperparameter search"):
        client.hyperparameters.get(experiment)
    with pytest.raises(gradient.ResourceFetchingError, match="is no hyperparameter search"):
        client.hyperparameters.start(experiment)


def test_a_job_brings_its_folder_and_leaves_artifacts(client: gradient.SdkClient, project: str, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "import os, pathlib\npathlib.Path(os.environ['HEADWAY_OUTPUT_DIR'], 'a.txt').write_text('ten bytes!')\n"
    )
    job = client.jobs.create(
        "K80", "python:3", project, name="plain", command="python main.py && echo done", workspace=str(tmp_path)
    )
    assert [row.message for row in client.jobs.yield_logs(job)] == ["done"]
    until(lambda: client.jobs.list(project_id=project)[0].state, lambda state: state == "Stopped")

    (found,) = client.jobs.list(project_id=project)
    assert (found.id_, found.name, found.command) == (job, "plain", "python main.py && echo done")
    assert (found.container, found.machine_type, found.exit_code) == ("python:3", "K80", "0")
    assert found.experiment_id is None
    assert found.dt_created
    (artifact,) = client.jobs.artifacts_list(job, size=True)
    assert (artifact["file"], artifact["size"]) == ("a.txt", 10)
    assert client.jobs.artifacts_list(job, files="*.txt", links=False) == [{"file": "a.txt"}]
    assert client.jobs.artifacts_list(job, files=["*.png"]) == []
    token = {"Authorization": f"Bearer {client.jobs.api_key}"}
    assert requests.get(client.jobs.artifacts_get(job)["files"]["a.txt"], headers=token).text == "ten bytes!"
    with pytest.raises(gradient.GradientSdkError, match=r"jobs\.delete"):
        client.jobs.artifacts_delete(job)
    client.jobs.delete(job)
    assert client.jobs.list(project_id=project) == []


def test_a_job_can_be_stopped(client: gradient.SdkClient, project: str) -> None:
    job = client.jobs.create("K80", "python:3", project, command="echo up; exec sleep 600")
    next(client.jobs.yield_logs(job))
    client.jobs.stop(job)

    until(lambda: client.jobs.list(project_id=project)[0].state, lambda state: state == "Cancelled")


def deploy(client: gradient.SdkClient, model: headway.ModelVersion, **more: Any) -> str:
    values = {"machine_type": "K80", "image_url": "tensorflow/serving:latest", "instance_count": 1, **more}
    return client.deployments.create("Tensorflow Serving on K8s", model.id, name="d", **values)


def test_a_deployment_goes_from_stopped_to_running_and_back(
    client: gradient.SdkClient, model: headway.ModelVersion, project: str, logger: HeardLogger
) -> None:
    made = deploy(client, model, cluster_id="cl1", use_vpc=True)
    (found,) = client.deployments.list(model_id=model.id)
    assert (found.id, found.name, found.state, found.project_id) == (made, "d", "Stopped", project)
    assert [warning for warning in logger.warnings if "take no key" in warning].__len__() == 1
    stopped = requests.post(str(found.endpoint), json={"inputs": [[0] * 64]})
    assert stopped.status_code >= 400
    assert stopped.json()["error"]

    assert client.deployments.start(made) is None
    answer = requests.post(str(found.endpoint), json={"inputs": [[0] * 64]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"]["probabilities"] == [[0.1] * 10]
    until(lambda: client.deployments.list(state="RUNNING", project_id=project), lambda found: len(found) == 1)
    assert client.models.list(project_id=project)[0].deployment_state == "Running"
    assert client.deployments.list(state="stopped", project_id=project) == []

    assert client.deployments.stop(made) is None
    until(lambda: client.deployments.list(state="sToPPed", project_id=project), lambda found: len(found) == 1)


def test_a_deployment_name_may_repeat_and_reads_as_given(
    client: gradient.SdkClient, model: headway.ModelVersion, native: headway.Client
) -> None:
    ids = [deploy(client, model) for _ in range(2)]

    assert {each.id: each.name for each in client.deployments.list(model_id=model.id)} == dict.fromkeys(ids, "d")
    assert native.deployments.get(ids[1]).name == "d (2)"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda c: c.experiments.run_single_node("e", "prjnone", "K80", "true"),
            "Failed to create resource: .*prjnone",
        ),
        (lambda c: c.experiments.get("jobnone"), "Failed to fetch data: "),
        (lambda c: c.experiments.start("jobnone"), "Failed to start experiment: "),
        (lambda c: c.experiments.stop("jobnone"), "Failed to stop experiment: "),
        (lambda c: c.experiments.logs("jobnone"), "Failed to fetch data: "),
        (lambda c: next(c.experiments.yield_logs("jobnone")), "Failed to fetch data: "),
        (lambda c: c.deployments.start("depnone"), "Unable to start instance: "),
        (lambda c: c.deployments.create("t", "mvnone", "n", "K80", "i", 1), "Failed to create resource: "),
        (lambda c: c.jobs.delete("jobnone"), "Failed to delete resource: "),
        (lambda c: c.models.list(experiment_id="jobnone"), "Failed to fetch data: "),
    ],
)
def test_what_is_not_there_is_one_clear_error(client: gradient.SdkClient, call: Any, said: str) -> None:
    with pytest.raises(gradient.ResourceFetchingError, match=said) as caught:
        call(client)
    assert caught.value.status in (404, 422)


def test_a_wrong_value_is_refused_before_anything_is_made(client: gradient.SdkClient, project: str) -> None:
    with pytest.raises(gradient.ResourceFetchingError, match=r"Failed to create resource: .*count"):
        client.experiments.run_multi_node("m", project, 2, "c", "K80", "true", -1, "c", "K80", "true", 1)
    assert client.experiments.list(project) == []


def test_a_wrong_key_is_refused(running_server: ServerProcess, client: gradient.SdkClient) -> None:
    with pytest.raises(gradient.ResourceFetchingError) as caught:
        gradient.ProjectsClient("hw_wrong").list()
    assert caught.value.status == 401
    assert "hw_wrong" not in str(caught.value)
