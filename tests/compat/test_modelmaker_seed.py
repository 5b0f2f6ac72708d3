"""The snippets of ModelMaker's documentation, in their order, against a real server: train, make models, serve, delete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import headway
from headway.testing.server import ServerProcess
from modelmaker.estimator import Estimator
from modelmaker.exceptions import ApiException, ModelMakerError
from modelmaker.ids import to_native
from modelmaker.model import Model
from modelmaker.predictor import Predictor
from modelmaker.session import Session

SECONDS = 120.0
START = """#!/bin/bash
echo "loss = 0.5 , step = 10"
echo "accuracy = 0.9"
echo "loss = 0.25 , step = 20"
echo result > "$HEADWAY_OUTPUT_DIR/result.txt"
"""
PREDICT = """
class Predictor:
    def __init__(self, model_dir):
        with open(f"{model_dir}/offset.txt") as file:
            self.offset = int(file.read())

    def predict(self, inputs):
        return [value + self.offset for value in inputs]
"""
TRAIN = """
import os, sys
print(sys.argv[1:], sorted(os.listdir(os.environ["HEADWAY_INPUT_DIR"])), os.environ["HEADWAY_PARAM_LR"])
with open(os.path.join(os.environ["HEADWAY_OUTPUT_DIR"], "offset.txt"), "w") as file:
    file.write("7")
"""


@pytest.fixture(scope="module")
def session(running_server: ServerProcess) -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PROJECT_ID", raising=False)
        made = Session(
            username="admin", password=running_server.token, host_base=running_server.url, project_id=0, bucket="aiteam"
        )
        made.project_id = made.client.projects.create("modelmaker-seed").id
        yield made


@pytest.fixture(scope="module")
def custom(session: Session, tmp_path_factory: pytest.TempPathFactory) -> tuple[Estimator, dict[str, Any]]:
    """Snippet 2, with a start.sh that is there."""
    start = tmp_path_factory.mktemp("custom") / "start.sh"
    start.write_text(START)
    monitors = [
        {
            "name": r".*?loss\s=\s(.*)\s,\sstep\s=\s(.*)",
            "accuracy": r".*?accuracy\s=\s(.*)",
            "loss1": r".*?loss\s=\s(.*)\s,\sstep\s=\s(.*)",
        }
    ]
    custom_estimator = Estimator(
        modelmaker_session=session,
        framework_type="CUSTOM",
        user_image_url="172.16.14.172/test/custom:v1.0",
        user_command="/bin/bash",
        user_command_args=str(start),
        monitors=monitors,
        output_path="s3://aiteam/wjm_output/",
        train_instance_type=500050,
        train_instance_count=1,
        volume_size=1,
    )
    answer = custom_estimator.fit(inputs=None, wait=True, logs=True, job_name="custom-train1")
    return custom_estimator, answer


def await_status(predictor: Predictor, *wanted: str) -> dict[str, Any]:
    """Its info, once it has come to one of these."""
    info = predictor.info()
    moves = predictor.session.client.deployments.watch(to_native("dep", info["id"]), timeout=SECONDS)
    while info["status"] not in wanted:
        next(moves)
        info = predictor.info()
    return info


def predict(info: dict[str, Any], session: Session, instances: list[Any]) -> Any:
    headers = {"Authorization": f"Bearer {session.token}"}
    answer = requests.post(info["endpoint"], json={"instances": instances}, headers=headers, timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_a_custom_training_is_followed_to_its_end(custom: tuple[Estimator, dict[str, Any]]) -> None:
    estimator, answer = custom
    assert answer["id"] == answer["versionId"] == estimator.job_id == estimator.version_id
    assert (estimator.job_name, estimator.log_id) == ("custom-train1", 3)


def test_the_instance_calls_answer_dictionaries(custom: tuple[Estimator, dict[str, Any]]) -> None:
    estimator, answer = custom
    info, metric, log = estimator.info(), estimator.metric(), estimator.log(log_id=0)
    artifacts, stopped = estimator.artifacts(), estimator.stop()
    assert info and metric and log and artifacts and stopped

    assert estimator.resource() == {"metrics": []}
    assert (info["status"], info["name"], info["mirrorUrl"]) == (
        "FINISH",
        "custom-train1",
        "172.16.14.172/test/custom:v1.0",
    )
    series = {each["name"]: [(point["x"], point["y"]) for point in each["data"]] for each in metric["metrics"]}
    assert series["loss1"] == series["name"] == [(10, 0.5), (20, 0.25)]
    assert [value for _, value in series["accuracy"]] == [0.9]
    lines = ["loss = 0.5 , step = 10", "accuracy = 0.9", "loss = 0.25 , step = 20"]
    assert [(row["id"], row["content"]) for row in log["logs"]] == [*enumerate(lines)]
    rest = estimator.log(log_id=2)
    last = log["logs"][1]
    after = estimator.log_v2(last["time"], last["nanTime"])
    assert rest and after and rest["logs"] == after["logs"] == log["logs"][2:]
    assert [(each["name"], each["url"]) for each in artifacts["outputs"]] == [
        ("result.txt", "s3://aiteam/wjm_output/result.txt")
    ]
    assert stopped["status"] == "FINISH"
    assert Estimator.get_job_version_status(estimator.modelmaker_session, answer["versionId"]) == {
        "id": answer["versionId"],
        "status": "FINISH",
    }


def test_an_image_without_a_model_is_deployed_and_says_why_it_does_not_start(
    custom: tuple[Estimator, dict[str, Any]], session: Session
) -> None:
    custom_estimator, answer = custom
    model = custom_estimator.create_model(
        model_name="custom-model",
        model_version="1.1.3",
        model_path="s3://aiteam/image-class/",
        model_framework_type="CUSTOM",
        model_mirrorUrl="172.16.14.172/test/cuda:9.0-devel-ubuntu16.04",
    )
    version_id = model.get_model_version_id()
    predictor_instance = custom_estimator.deploy_predictor(
        service_name="wjm-custom-predictor1",
        service_type="ONLINE_SERVICE",
        service_models=[{"modelVersionId": version_id, "weight": 100, "resourceId": 500151, "instanceCount": 1}],
    )
    info = await_status(predictor_instance, "DEPLOYING_FAIL")

    assert "172.16.14.172/test/cuda:9.0-devel-ubuntu16.04" in info["message"]
    assert info["serviceModels"][0]["modelVersionId"] == version_id
    version = session.client.models.version(to_native("mv", version_id or 0))
    assert version.job_id == to_native("job", answer["versionId"])
    with pytest.raises(ApiException, match="wjm-custom-predictor1"):
        model.delete_model()
    model.delete_service(predictor_instance.service_id)


@pytest.mark.parametrize(
    ("method", "key", "number"),
    [
        ("train_machine", "resources", 500050),
        ("train_machine", "resources", 500550),
        ("development_machine", "resources", None),
        ("predict_machine", "resources", 500151),
        ("preset_algorithm", "presetAlgorithms", 500000),
        ("train_framework", "frameWorks", 500100),
        ("development_framework", "frameWorks", None),
        ("preset_model", "presetModels", 500000),
        ("predict_framework", "frameWorks", 500150),
    ],
)
def test_catalogues_are_lists_of_ids_and_names(method: str, key: str, number: int | None, session: Session) -> None:
    found = getattr(Estimator, method)(session)[key]
    assert all(isinstance(each["id"], int) and each["name"] for each in found)
    assert number is None or number in [each["id"] for each in found]


def test_spec_lists_by_environment(session: Session) -> None:
    assert Estimator.get_spec_list(session, "PREDICT") == Estimator.predict_machine(session)
    with pytest.raises(ValueError, match="env must be one of TRAIN, DEVELOPMENT, PREDICT"):
        Estimator.get_spec_list(session, "SERVE")


def test_basic_from_local_code_to_predictions(session: Session, tmp_path: Path) -> None:
    """A framework's training of local code; its output and a code directory become one model version, and a service."""
    code, data = tmp_path / "code", tmp_path / "data"
    code.mkdir()
    data.mkdir()
    (code / "train.py").write_text(TRAIN)
    (code / "predict.py").write_text(PREDICT)
    (data / "table.csv").write_text("a,b\n")
    session.upload_data("aiteam/", str(data))
    session.upload_data("aiteam/mnist/", str(code))
    estimator = Estimator(
        modelmaker_session=session,
        framework_type="BASIC_FRAMEWORK",
        framework=500100,
        code_dir=str(code),
        boot_file="train.py",
        hyperparameters=[{"name": "lr", "value": "0.1"}],
        output_path="s3://aiteam/basic/",
        train_instance_type=500550,
        train_instance_count=1,
        volume_size=1,
    )
    first = estimator.fit("s3://aiteam/data/", wait=True, job_name="basic")
    log = estimator.log(0)
    assert log and log["logs"][0]["content"] == "['--lr', '0.1'] ['table.csv'] 0.1"

    model = estimator.create_model(
        model_version="1.1.1", model_code_dir="s3://aiteam/mnist/code/", model_boot_file="predict.py"
    )
    info = model.model_info(model.get_model_id())
    assert (info["name"], info["versions"][0]["frameworkId"]) == ("basic", 500150)
    assert info["versions"][0]["files"] == ["offset.txt", "predict.py", "train.py"]
    predictor = estimator.deploy_predictor(
        service_name="basic", service_models=[{"weight": 100, "resourceId": 500151, "instanceCount": 1}]
    )
    assert predict(await_status(predictor, "RUNNING"), session, [1, 2]) == [8, 9]
    predictor.delete()

    second = estimator.fit("s3://aiteam/data/", job_name="basic")
    assert (second["id"], second["versionId"] == first["versionId"]) == (first["id"], False)
    estimator.stop()
    assert [each["version"] for each in Estimator.Info(session, job_id=first["id"])["versions"]] == ["V0001", "V0002"]
    Estimator.destory_job_version(session, version_id=first["versionId"])
    found = Estimator.Info(session, job_id=first["id"])
    assert [each["versionId"] for each in found["versions"]] == [second["versionId"]]
    Estimator.destory_job(session, job_id=first["id"])
    assert first["id"] not in [each["id"] for each in Estimator.Info(session)["trainTasks"]]


def test_the_model_snippet_as_it_is_written(session: Session, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "predict.py").write_text("class Predictor:\n    def predict(self, inputs):\n        return inputs\n")
    session.upload_data("aiteam/written/", str(code))
    model_instance = Model(session)
    answer = model_instance.create_model(
        model_name="basic-model",
        model_version="1.1.1",
        model_framework=500150,
        model_code_dir="s3://aiteam/written/code/",
        model_boot_file="predict.py",
    )
    predictor_instance = model_instance.deploy_predictor(
        service_name="basic-predict",
        service_type="ONLINE_SERVICE",
        service_models=[{"weight": 100, "resourceId": 500151, "instanceCount": 1}],
    )
    info = await_status(predictor_instance, "RUNNING")
    assert info["endpoint"].startswith("http://")
    assert predict(info, session, [[1.5]]) == [[1.5]]

    assert model_instance.get_model_id() == answer["id"]
    assert model_instance.get_model_version_id() == answer["versionId"]
    assert model_instance.get_service_id() == predictor_instance.service_id == info["id"]
    assert "basic-model" in [each["name"] for each in model_instance.model_info()["models"]]
    assert model_instance.get_model_info(model_id=answer["id"]) == model_instance.model_info(answer["id"])
    assert model_instance.preset_model() == Estimator.preset_model(session)
    assert model_instance.predict_framework() == Estimator.predict_framework(session)
    assert model_instance.predict_machine() == Estimator.predict_machine(session)

    again = Predictor(session, service_id=info["id"])
    assert info["id"] in [each["id"] for each in again.info_list()["services"]]
    assert again.update()["name"] == "basic-predict"
    again.stop()
    await_status(again, "STOPPED")
    again.start()
    await_status(again, "RUNNING")
    again.delete()
    with pytest.raises(ApiException):
        again.info()

    more = model_instance.create_model(
        model_id=answer["id"],
        model_version="1.1.2",
        model_framework=500150,
        model_code_dir="s3://aiteam/written/code/",
        model_boot_file="predict.py",
    )
    assert more["id"] == answer["id"]
    assert model_instance.delete_model() == {"id": more["versionId"]}
    assert model_instance.destory_model_version(model_version_id=answer["versionId"]) == {"id": answer["versionId"]}
    assert model_instance.destory_model(model_id=answer["id"]) == {"id": answer["id"]}
    with pytest.raises(ApiException):
        model_instance.get_model_info(model_id=answer["id"])


def test_a_failed_training_returns_and_makes_no_model(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    estimator = Estimator(
        modelmaker_session=session,
        framework_type="CUSTOM",
        user_image_url="image",
        git_info={"username": "me", "password": "git-secret-word", "branch": "main"},
        output_path="s3://aiteam/failed/",
        train_instance_type=500050,
        train_instance_count=1,
        volume_size=1,
    )
    answer = estimator.fit(wait=True, job_name="failed")
    info = estimator.info()

    assert info and info["status"] == "TRAINING_FAIL"
    assert "git_info has no url" in info["message"]
    assert "TRAINING_FAIL" in caplog.text
    with pytest.raises(ModelMakerError, match="train job is not finish!"):
        estimator.create_model(model_version="1.0.0", model_mirrorUrl="image")
    assert estimator.delete() == {"id": answer["versionId"]}
    with pytest.raises(ApiException):
        estimator.info()


def test_a_preset_algorithm_becomes_a_preset_model_that_answers(session: Session, tmp_path: Path) -> None:
    data = tmp_path / "rows"
    data.mkdir()
    (data / "train.csv").write_text("x,label\n" + "".join(f"{n},{int(n >= 20)}\n" for n in range(40)))
    session.upload_data("aiteam/", str(data))
    estimator = Estimator(
        modelmaker_session=session,
        framework_type="PRESET_ALGORITHM",
        algorithm=500000,
        hyperparameters=[{"name": "max_iter", "value": "50"}],
        init_model="docker://sd",
        output_path="s3://aiteam/preset/",
        train_instance_type=500050,
        train_instance_count=1,
        volume_size=10,
    )
    estimator.fit("s3://aiteam/rows/", wait=True, job_name="preset")
    model = estimator.create_model(model_version="1.1.1.2")
    found = model.get_model_version_info()
    assert found and (found["type"], found["frameworkId"]) == ("PRESET_MODEL", 500000)
    predictor = estimator.deploy_predictor(
        service_name="preset", service_models=[{"weight": 100, "resourceId": 500151, "instanceCount": 1}]
    )
    classes = predict(await_status(predictor, "RUNNING"), session, [{"x": 1}, {"x": 39}])
    assert [row["classes"] if isinstance(row, dict) else row for row in classes] == [0, 1]
    predictor.delete()


def test_an_image_with_files_that_can_be_served_is_served_and_versions_share_the_traffic(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where HEADWAY_PROJECT names the project, numbers mean the same."""
    monkeypatch.setenv("HEADWAY_PROJECT", "modelmaker-seed")
    again = Session(username="admin", password=session.password, host_base=session.iam_server)
    assert again.project == session.project
    model, entries = Model(again), []
    for answer, weight in ((1, 0), (2, 100)):
        code = tmp_path / f"answer{answer}"
        code.mkdir()
        text = f"class Predictor:\n    def predict(self, inputs):\n        return [{answer} for _ in inputs]\n"
        (code / "predict.py").write_text(text)
        again.upload_data("aiteam/shared/", str(code))
        model.create_model(
            model_name="shared",
            model_version=f"1.0.{answer}",
            model_path=f"s3://aiteam/shared/answer{answer}/",
            model_mirrorUrl="172.16.14.172/test/image",
        )
        entries.append(
            {
                "weight": weight,
                "resourceId": 500151,
                "instanceCount": 1,
                "modelVersionId": model.get_model_version_id(),
                "envs": [{"name": "WHO", "value": "me"}],
            }
        )
    predictor = model.deploy_predictor(
        service_name="shared", service_type="ONLINE_SERVICE", service_models=list(reversed(entries))
    )
    info = await_status(predictor, "RUNNING")
    assert predict(info, again, [0, 0]) == [2, 2]
    assert again.client.deployments.get("shared").environment == {"WHO": "me"}
    predictor.delete()


def test_the_native_client_sees_the_same_things(custom: tuple[Estimator, dict[str, Any]], session: Session) -> None:
    with headway.Client(session.iam_server, session.token, project="modelmaker-seed") as client:
        job = client.jobs.get(to_native("job", custom[1]["versionId"]))
    assert (job.name, job.spec.output_path, job.spec.workspace_gib) == ("custom-train1", "s3://aiteam/wjm_output/", 1.0)
