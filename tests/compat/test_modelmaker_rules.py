"""ModelMaker's parameter tables: for every row one call that is accepted and one that is refused, with its words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from headway.domain.jobs import Job
from headway.testing.server import ServerProcess
from modelmaker.estimator import Estimator
from modelmaker.exceptions import ApiException, ModelMakerError
from modelmaker.ids import to_native
from modelmaker.model import Model
from modelmaker.predictor import Predictor
from modelmaker.session import Session
from modelmaker.training_checks import check

HARDWARE = {"train_instance_type": 500050, "train_instance_count": 1, "volume_size": 1}
PRESET = {
    **HARDWARE,
    "framework_type": "PRESET_ALGORITHM",
    "algorithm": 500000,
    "output_path": "s3://rows/out/",
}
BASIC = {
    **HARDWARE,
    "framework_type": "BASIC_FRAMEWORK",
    "code_dir": "s3://rows/code/",
    "framework": 500100,
    "boot_file": "train.py",
    "output_path": "s3://rows/out/",
}
CUSTOM = {
    **HARDWARE,
    "framework_type": "CUSTOM",
    "user_image_url": "172.16.14.172/test/custom:v1.0",
    "user_command": "/bin/sh",
    "user_command_args": "-c 'exit 0'",
    "output_path": "s3://rows/out/",
}
GIT = {"url": "https://git.invalid/code.git", "username": "XXX", "password": "git-secret-word", "branch": "main"}
MONITORS = [{"name": "Loss", "regular": r"loss=\d+", "sample": "loss=20"}]
PARAMETERS = [{"name": "max_iter", "value": "50"}]
NOT_LISTED = "is not exist, please check it!"


class Row(NamedTuple):
    """A row of a table: a value that is taken, one that is not, and what is said of that. ``asks``: a server is needed."""

    form: dict[str, Any]
    keyword: str
    accepted: Any
    refused: Any
    message: str
    error: type[Exception] = ValueError
    asks: bool = False


TRAINING = [
    Row(CUSTOM, "train_instance_type", 500550, None, "train_instance_type must set!"),
    Row(CUSTOM, "train_instance_type", 500550, 1, f"train_instance_type {NOT_LISTED}", asks=True),
    Row(CUSTOM, "train_instance_count", 10, 11, "train_instance_count < 10!"),
    Row(CUSTOM, "train_instance_count", 2, "2", "train_instance_count must type of int!"),
    Row(CUSTOM, "train_instance_count", 1, None, "train_instance_count must set!"),
    Row(CUSTOM, "volume_size", 10, 11, "volume_size < 10!"),
    Row(CUSTOM, "volume_size", 2, 1.5, "volume_size must type of int!"),
    Row(CUSTOM, "volume_size", 1, None, "volume_size must set!"),
    Row(PRESET, "algorithm", 500000, None, "algorithm must set when framework_type is PRESET_ALGORITHM!"),
    Row(PRESET, "algorithm", 500001, 1, f"algorithmId {NOT_LISTED}", asks=True),
    Row(PRESET, "output_path", "s3://rows", None, "output_path must set when framework_type is PRESET_ALGORITHM!"),
    Row(PRESET, "framework_type", "PRESET_ALGORITHM", "PRESET", "framework_type must be one of BASIC_FRAMEWORK"),
    Row(PRESET, "max_runtime", 24 * 3600, "1 h", "max_runtime must type of int!"),
    Row(PRESET, "hyperparameters", PARAMETERS, {"max_iter": 50}, "hyperparameters must type of list!"),
    Row(PRESET, "init_model", "docker://sd", 5, "init_model must type of str!"),
    Row(BASIC, "code_dir", "s3://rows/code/", None, "code_dir or git_info must set!"),
    Row(BASIC, "code_dir", "docker://sd", 5, "code_dir must type of str!", TypeError, asks=True),
    Row({**BASIC, "code_dir": None}, "git_info", GIT, "https://…", "git_info must type of dict!"),
    Row(BASIC, "framework", 500101, 1, f"framework {NOT_LISTED}", asks=True),
    Row(BASIC, "framework", 500100, None, "framework must set when framework_type is BASIC_FRAMEWORK!"),
    Row(BASIC, "framework_type", "BASIC_FRAMEWORK", None, "framework_type must be one of BASIC_FRAMEWORK"),
    Row(BASIC, "boot_file", "train.py", None, "boot_file must set when framework_type is BASIC_FRAMEWORK!"),
    Row(BASIC, "output_path", "s3://rows/o", "/o", 'output_path must conform to "s3://XXX"', asks=True),
    Row(BASIC, "input_files", [{"name": "sf", "path": "docker://sd"}], [{"name": "sf"}], "input_files must be a list of"),
    Row(BASIC, "monitors", MONITORS, "loss", "monitors must type of list!"),
    Row(BASIC, "hyperparameters", [{"name": "lr", "value": 0.1}], [{"lr": 0.1}], "hyperparameters must be a list of"),
    Row(BASIC, "max_runtime", 60, 1.5, "max_runtime must type of int!"),
    Row(CUSTOM, "code_dir", "s3://rows/code/", 5, "code_dir must type of str!", TypeError),
    Row(CUSTOM, "git_info", GIT, [GIT], "git_info must type of dict!"),
    Row(CUSTOM, "framework_type", "CUSTOM", 3, "framework_type must be one of BASIC_FRAMEWORK"),
    Row(CUSTOM, "user_image_url", "镜像url", None, "user_image_url must set when framework_type is CUSTOM!"),
    Row(CUSTOM, "output_path", "s3://rows/out", "rows/out", 'output_path must conform to "s3://XXX"'),
    Row(CUSTOM, "user_command", "/bin/bash", ["/bin/bash"], "user_command must type of str!"),
    Row(CUSTOM, "user_command_args", "/home/test/start.sh", ["x"], "user_command_args must type of str!"),
    Row(CUSTOM, "user_command_args", "-c 'a b'", "-c 'a b", "user_command_args: No closing quotation!"),
    Row(BASIC, "input_files", [{"name": "x", "path": "s3://rows/data/"}], [{"name": "train", "path": "s3://a"}], "'train'"),
    Row(CUSTOM, "env", [{"name": "sf", "evn2": "docker://sd"}], ["sf=1"], "env must be a list of {name, value}!"),
    Row(CUSTOM, "monitors", [{"loss": r"loss=(\d+)"}], [{"loss": 5}], "monitors must be a list of {name, regular"),
    Row(CUSTOM, "max_runtime", 60, True, "max_runtime must type of int!"),
    Row(CUSTOM, "resource_pool_type", "PUBLIC_POOL", "OWN", "resource_pool_type must be one of PUBLIC_POOL"),
    Row(
        {**CUSTOM, "resource_pool_type": "PERSONAL_POOL"},
        "custom_resource",
        {"cpu": 1, "memory": 1, "gpuModel": "", "gpuCount": 0},
        {"cpu": 1},
        "custom_resource must be a dict of cpu, gpuCount, gpuModel, memory!",
    ),
]  # fmt: skip

BASIC_MODEL = {
    "model_framework_type": "BASIC_FRAMEWORK",
    "model_name": "basic-row",
    "model_framework": 500150,
    "model_path": "s3://rows/data/",
    "model_code_dir": "s3://rows/code/",
    "model_boot_file": "predict.py",
}
PRESET_MODEL = {
    "model_framework_type": "PRESET_MODEL",
    "model_name": "preset-row",
    "model_framework": 500000,
    "model_path": "s3://rows/data/",
}
CUSTOM_MODEL = {
    "model_framework_type": "CUSTOM",
    "model_name": "custom-row",
    "model_mirrorUrl": "docker:/sdf",
    "model_path": "s3://rows/data/",
}
MODELS = [
    Row(PRESET_MODEL, "model_version", "1.1.1.2", None, "model_version must set when model_framework_type is"),
    Row(PRESET_MODEL, "model_framework_type", "PRESET_MODEL", "PRESET", "model_framework_type must be one of"),
    Row(PRESET_MODEL, "model_name", "preset1-model", None, "model_name must set!"),
    Row(PRESET_MODEL, "model_framework", 500001, 1, f"model_framework {NOT_LISTED}", asks=True),
    Row(PRESET_MODEL, "model_path", "s3://rows/data", None, "model_path must set when model_framework_type is"),
    Row(BASIC_MODEL, "model_framework_type", None, 5, "model_framework_type must be one of BASIC_FRAMEWORK"),
    Row(BASIC_MODEL, "model_name", "basic-model", 5, "model_name must type of str!"),
    Row(BASIC_MODEL, "model_version", "1.12.1", 1.12, "model_version must type of str!"),
    Row(BASIC_MODEL, "model_framework", 500151, 1, f"model_framework {NOT_LISTED}", asks=True),
    Row(BASIC_MODEL, "model_path", None, "/data", 'model_path must conform to "s3://XXX"'),
    Row(BASIC_MODEL, "model_code_dir", "s3://rows/code", None, "model_code_dir or model_git_info must set!"),
    Row(BASIC_MODEL, "model_git_info", [GIT], "git", "model_git_info must be a dict, or a list of dict!"),
    Row(BASIC_MODEL, "model_boot_file", "train.py", None, "model_boot_file must set when model_framework_type is"),
    Row(CUSTOM_MODEL, "model_framework_type", None, "custom", "model_framework_type must be one of BASIC_FRAMEWORK"),
    Row(CUSTOM_MODEL, "model_name", "xxx", "", "model_name must set!"),
    Row(CUSTOM_MODEL, "model_version", "7", None, "model_version must set when model_framework_type is CUSTOM!"),
    Row(CUSTOM_MODEL, "model_mirrorUrl", "docker:/other", None, "model_mirrorUrl must set when model_framework_type is"),
    Row(CUSTOM_MODEL, "model_path", "s3://nothing/here", 5, "model_path must type of str!"),
]  # fmt: skip


def entry(**changes: Any) -> list[dict[str, Any]]:
    found = {"weight": 100, "resourceId": 500151, "instanceCount": 1, "modelVersionId": 1, **changes}
    return [{key: value for key, value in found.items() if value is not None}]


SERVICES = [
    ("service_name", None, "service_name, service_type and service_models must set"),
    ("service_type", "BATCH", "service_type must be ONLINE_SERVICE, not 'BATCH'!"),
    ("service_models", {"weight": 100}, "service_models must be a list of dict!"),
    ("service_models", entry(weight=None), "service_models: weight must set!"),
    ("service_models", entry(resourceId=None), "service_models: resourceId must set!"),
    ("service_models", entry(instanceCount=None), "service_models: instanceCount must set!"),
    ("service_models", entry(instanceCount="1"), "instanceCount must type of int!"),
    ("service_models", entry(instanceCount=11), "instanceCount must < 10!"),
    ("service_models", entry(modelVersionId=None), "Please use create_model first, or input parameter"),
    ("service_models", entry(envs=[{"A": "1"}]), "envs must be a list of {name, value}!"),
    ("service_models", entry(replicas=1), "service_models: replicas is surplus"),
    ("service_models", entry(resourcePoolType="MINE"), "resourcePoolType must be one of PUBLIC_POOL"),
]


def name_of(row: Row) -> str:
    return f"{row.form.get('framework_type', row.form.get('model_framework_type'))}-{row.keyword}-{row.refused}"[:60]


@pytest.fixture(scope="module")
def session(running_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Connected, with code and data in the bucket ``rows``."""
    folder = tmp_path_factory.mktemp("rows") / "code"
    folder.mkdir()
    (folder / "train.py").write_text("print('loss=20')\n")
    (folder / "predict.py").write_text("class Predictor:\n    def predict(self, inputs):\n        return inputs\n")
    data = folder.parent / "data"
    data.mkdir()
    (data / "table.csv").write_text("a,y\n1,0\n2,1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PROJECT_ID", raising=False)
        made = Session(username="admin", password=running_server.token, host_base=running_server.url)
        made.upload_data("rows/", [str(folder), str(data)])
        yield made


def inputs_of(row: Row) -> str | None:
    return None if row.form["framework_type"] == "CUSTOM" else "s3://rows/data/"


@pytest.mark.parametrize("row", TRAINING, ids=name_of)
def test_a_training_is_made_with_what_the_row_says(row: Row, session: Session) -> None:
    made = Estimator(**{**row.form, row.keyword: row.accepted}, modelmaker_session=session)
    answer = made.fit(inputs_of(row), job_name=f"row-{name_of(row)}")
    job = session.client.jobs.stop(to_native("job", answer["versionId"]), hard=True)
    info = Estimator.version_info(session, version_id=answer["versionId"])

    assert (info["versionId"], info["type"]) == (answer["versionId"], made.framework_type)
    assert_native(job, made)


def assert_native(job: Job, made: Estimator) -> None:
    """What Headway was asked for is what ModelMaker's words mean."""
    (role,) = job.spec.roles.values()
    assert role.count == made.train_instance_count
    assert role.instance_type == {500050: "cpu.small", 500550: "cpu.medium"}[made.train_instance_type or 0]
    assert job.spec.workspace_gib == made.volume_size
    assert job.spec.output_path == made.output_path
    assert job.spec.max_runtime == made.max_runtime
    assert [monitor.name for monitor in job.spec.monitors] == [item.get("name", "loss") for item in made.monitors or ()]
    assert "git-secret-word" not in job.model_dump_json()


@pytest.mark.parametrize("row", TRAINING, ids=name_of)
def test_a_training_is_refused_for_the_row(row: Row, session: Session) -> None:
    values = {**row.form, row.keyword: row.refused}
    made = Estimator(**values, modelmaker_session=session if row.asks else None)

    with pytest.raises(row.error, match=re.escape(row.message)) as caught:
        made.fit(inputs_of(row), job_name="refused")
    assert caught.type is row.error
    assert made.job_id is None


@pytest.mark.parametrize("form", [BASIC, PRESET], ids=["basic", "preset"])
def test_inputs_are_needed_but_by_images(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="inputs must set when framework_type is"):
        Estimator(**form).fit(job_name="without")


def test_inputs_are_an_address() -> None:
    with pytest.raises(ValueError, match='inputs must conform to "s3://XXX"'):
        Estimator(**CUSTOM).fit("/data", job_name="local")


def test_a_training_needs_a_name() -> None:
    with pytest.raises(ValueError, match="job name is needed for training"):
        Estimator(**CUSTOM).fit()


def test_rules_are_checked_in_their_order() -> None:
    """With everything wrong, mending one thing after another shows the next rule."""
    wrong: dict[str, Any] = {"train_instance_count": None, "volume_size": 11, "train_instance_type": None}
    wrong |= {"framework_type": "?", "output_path": "out", "code_dir": 5, "user_image_url": None}
    mended: list[tuple[str, Any, str]] = [
        ("train_instance_count", 1, "train_instance_count must set!"),
        ("volume_size", 1, "volume_size < 10!"),
        ("train_instance_type", 500050, "train_instance_type must set!"),
        ("framework_type", "CUSTOM", "framework_type must be one of"),
        ("user_image_url", "image", "user_image_url must set"),
        ("output_path", "s3://out", "output_path must conform"),
    ]
    for keyword, value, message in mended:
        with pytest.raises(ValueError, match=re.escape(message)):
            check(Estimator(**wrong), None)
        wrong[keyword] = value
    with pytest.raises(TypeError, match="code_dir must type of str!"):
        check(Estimator(**wrong), None)


def test_local_code_needs_a_bucket_and_must_be_there(session: Session, tmp_path: Any) -> None:
    with pytest.raises(ModelMakerError, match=re.escape("Session(...,bucket=xxx) must be set!")):
        Estimator(**{**CUSTOM, "code_dir": str(tmp_path)}, modelmaker_session=session).fit(job_name="local")
    with pytest.raises(ModelMakerError, match="is not exist!"):
        other = Session(host_base=session.iam_server, username="admin", password=session.password, bucket="rows/up/")
        Estimator(**{**CUSTOM, "code_dir": str(tmp_path / "x")}, modelmaker_session=other).fit(job_name="local")


@pytest.mark.parametrize("count", [0, -1])
def test_no_machine_at_all_is_a_value_error_of_the_sdk(count: int, session: Session) -> None:
    made = Estimator(**{**CUSTOM, "train_instance_count": count}, modelmaker_session=session)
    with pytest.raises(ValueError, match="count") as caught:
        made.fit(job_name="none")
    assert isinstance(caught.value, ApiException)


@pytest.mark.parametrize(
    ("number", "row"), [*enumerate(MODELS)], ids=lambda e: name_of(e) if isinstance(e, Row) else ""
)
def test_a_model_is_made_with_what_the_row_says(number: int, row: Row, session: Session) -> None:
    words = {"model_version": f"2.0.{number}", **row.form, row.keyword: row.accepted}
    made = Model(session)
    answer = made.create_model(**{key: value for key, value in words.items() if value is not None})
    info = made.get_model_version_info()

    assert info is not None
    assert (info["id"], info["modelId"]) == (answer["versionId"], answer["id"])
    assert (info["name"], info["version"]) == (words["model_name"], words["model_version"])
    assert "git-secret-word" not in str(info)


@pytest.mark.parametrize("row", MODELS, ids=name_of)
def test_a_model_is_refused_for_the_row(row: Row, request: pytest.FixtureRequest) -> None:
    session = request.getfixturevalue("session") if row.asks else None
    words = {"model_version": "9.9.9", **row.form, row.keyword: row.refused}
    with pytest.raises(row.error, match=re.escape(row.message)):
        Model(session).create_model(**words)


@pytest.mark.parametrize(("keyword", "refused", "message"), SERVICES)
def test_a_service_is_refused_for_the_row(keyword: str, refused: Any, message: str) -> None:
    words = {"service_name": "rows", "service_type": "ONLINE_SERVICE", "service_models": entry(), keyword: refused}
    given = {key: value for key, value in words.items() if value is not None}
    with pytest.raises(ValueError, match=re.escape(message)):
        Model(None).deploy_predictor(**given)  # type: ignore[arg-type]


def test_a_service_needs_a_machine_that_is_listed(session: Session) -> None:
    words = {"service_name": "rows", "service_type": "ONLINE_SERVICE", "service_models": entry(resourceId=1)}
    with pytest.raises(ValueError, match="resourceId is not exist"):
        Model(session).deploy_predictor(**words)
    with pytest.raises(ApiException, match="model version"):
        Model(session).deploy_predictor(**{**words, "service_models": entry()})
    with pytest.raises(ValueError, match="see replicas!"):
        Model(session).deploy_predictor(**words, replicas=2)


@pytest.mark.parametrize("number", [502408, -1, 1 << 80])
def test_unknown_numbers_raise(number: int, session: Session) -> None:
    calls: list[Any] = [
        lambda: Estimator.Info(session, job_id=number),
        lambda: Estimator.version_info(session, version_id=number),
        lambda: Estimator.destory_job(session, job_id=number),
        lambda: Estimator.destory_job_version(session, version_id=number),
        lambda: Model(session).get_model_info(model_id=number),
        lambda: Model(session).destory_model(model_id=number),
        lambda: Model(session).destory_model_version(model_version_id=number),
        lambda: Model(session).delete_model(model_version_id=number),
        lambda: Model(session).delete_service(service_id=number),
        *(getattr(Predictor(session, service_id=number), verb) for verb in ("info", "start", "stop", "delete")),
    ]
    for call in calls:
        with pytest.raises(ApiException) as caught:
            call()
        assert caught.value.status == 404


def test_values_that_are_secrets_by_their_names_are_kept_nowhere(session: Session) -> None:
    estimator = Estimator(
        modelmaker_session=session,
        framework_type="CUSTOM",
        user_image_url="image",
        user_command="/bin/true",
        hyperparameters=[{"name": "api_key", "value": "parameter-secret-word"}],
        output_path="s3://rows/secret/",
        train_instance_type=500050,
        train_instance_count=1,
        volume_size=1,
    )
    answer = estimator.fit(job_name="secret")
    job = session.client.jobs.stop(to_native("job", answer["versionId"]), hard=True)
    assert "parameter-secret-word" not in job.model_dump_json()
    assert "parameter-secret-word" not in str(estimator.info())


def test_data_that_is_not_there_is_named(session: Session) -> None:
    estimator = Estimator(
        modelmaker_session=session,
        framework_type="PRESET_ALGORITHM",
        algorithm=500000,
        output_path="s3://rows/out/",
        train_instance_type=500050,
        train_instance_count=1,
        volume_size=1,
    )
    with pytest.raises(ApiException, match=r"create train job error! .*s3://rows/nothing/"):
        estimator.fit("s3://rows/nothing/", job_name="nothing")
    assert estimator.version_id is None
