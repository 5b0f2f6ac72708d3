"""ModelMaker's names, parameters in order, defaults, printed forms and numbers; nothing of this uses a network."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.domain.base import ID_ALPHABET, ID_LENGTH
from modelmaker import estimator, ids
from modelmaker.estimator import Estimator
from modelmaker.exceptions import ApiException, ApiValueError, ModelMakerError
from modelmaker.model import Model
from modelmaker.predictor import Predictor
from modelmaker.session import Session

NOWHERE: Session = None  # type: ignore[assignment]  # what is tested asks no server

ESTIMATOR = (
    "code_dir, code_version, boot_file, boot_type, hyperparameters, framework, framework_type, algorithm, input_files, "
    "model_name, init_model, env, user_image_url, user_command, user_command_args, monitors, job_description, git_info, "
    "description, modelmaker_session, train_instance_count, train_instance_type, volume_size, output_path, max_runtime, "
    "resource_pool_type, custom_resource"
)
SIGNATURES = {
    (Session, "__init__"): "self, config_file=None, username=None, password=None, host_base=None, project_id=None, "
    "region=None, bucket=None, iam_server=None",
    (Session, "upload_data"): "self, bucket_path, path",
    (Session, "download_data"): "self, bucket_path, path",
    (Session, "create_directory"): "self, bucket_path, directory",
    (Session, "delete_directory"): "self, bucket_path, directory",
    (Estimator, "__init__"): "self, " + ", ".join(f"{name}=None" for name in ESTIMATOR.split(", ")) + ", **unknown",
    (Estimator, "fit"): "self, inputs=None, wait=False, logs=False, job_name=None",
    (Estimator, "info"): "self, version_id=None",
    (Estimator, "resource"): "self, version_id=None",
    (Estimator, "metric"): "self, version_id=None",
    (Estimator, "log"): "self, log_id, version_id=None",
    (Estimator, "log_v2"): "self, last_time, last_nan, version_id=None",
    (Estimator, "artifacts"): "self, version_id=None",
    (Estimator, "stop"): "self, version_id=None",
    (Estimator, "delete"): "self, version_id=None",
    (Estimator, "create_model"): "self, version_id=None, **kwargs",
    (Estimator, "deploy_predictor"): "self, **kwargs",
    (Estimator, "train_machine"): "session",
    (Estimator, "development_machine"): "session",
    (Estimator, "predict_machine"): "session",
    (Estimator, "train_framework"): "session",
    (Estimator, "development_framework"): "session",
    (Estimator, "predict_framework"): "session",
    (Estimator, "preset_algorithm"): "session",
    (Estimator, "preset_model"): "session",
    (Estimator, "Info"): "session, job_id=None",
    (Estimator, "version_info"): "session, version_id",
    (Estimator, "destory_job"): "session, job_id",
    (Estimator, "destory_job_version"): "session, version_id",
    (Estimator, "get_job_version_status"): "session, version_id",
    (Estimator, "get_spec_list"): "session, env",
    (Model, "__init__"): "self, session",
    (Model, "create_model"): "self, **kwargs",
    (Model, "deploy_predictor"): "self, **kwargs",
    (Model, "model_info"): "self, model_id=None",
    (Model, "get_model_info"): "self, model_id=None",
    (Model, "get_model_version_info"): "self, model_version_id=None",
    (Model, "preset_model"): "self",
    (Model, "predict_machine"): "self",
    (Model, "predict_framework"): "self",
    (Model, "destory_model"): "self, model_id",
    (Model, "destory_model_version"): "self, model_version_id",
    (Model, "delete_model"): "self, model_version_id=None",
    (Model, "delete_service"): "self, service_id=None",
    (Model, "get_service_id"): "self",
    (Model, "get_model_id"): "self",
    (Model, "get_model_version_id"): "self",
    (Predictor, "__init__"): "self, session, service_id=None",
    (Predictor, "info"): "self, service_id=None",
    (Predictor, "info_list"): "self",
    (Predictor, "start"): "self, service_id=None",
    (Predictor, "stop"): "self, service_id=None",
    (Predictor, "update"): "self, service_id=None",
    (Predictor, "delete"): "self, service_id=None",
}
ALIASES = {
    "get_train_instance_types": "train_machine",
    "get_train_framework_list": "train_framework",
    "get_preset_algorithm": "preset_algorithm",
    "get_preset_model": "preset_model",
    "get_job_info": "Info",
    "get_job_version_info": "version_info",
    "stop_job": "stop",
    "delete_job": "delete",
    "get_job_output": "artifacts",
    "get_resource_monitor": "resource",
    "get_performance_monitor": "metric",
}


@pytest.mark.parametrize(("kind", "method"), SIGNATURES, ids=lambda each: getattr(each, "__name__", each))
def test_every_method_takes_what_it_took(kind: type, method: str) -> None:
    signature = inspect.signature(getattr(kind, method))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(plain))[1:-1] == SIGNATURES[kind, method]


@pytest.mark.parametrize(("older", "newer"), ALIASES.items())
def test_the_older_names_are_the_same_methods(older: str, newer: str) -> None:
    first, second = getattr(Estimator, older), getattr(Estimator, newer)
    assert getattr(first, "__func__", first) is getattr(second, "__func__", second)


def test_the_estimator_module_holds_all_three() -> None:
    assert (estimator.Model, estimator.Predictor) == (Model, Predictor)


def test_printed_forms() -> None:
    assert repr(Estimator(framework_type="CUSTOM")) == (
        "Estimator(framework_type='CUSTOM', job_id=None, version_id=None)"
    )
    assert repr(Model(NOWHERE)) == "Model(model_id=None, model_version_id=None)"
    assert repr(Predictor(NOWHERE, service_id=1000)) == "Predictor(service_id=1000)"


def test_an_estimator_keeps_what_it_was_given() -> None:
    made = Estimator(code_dir="s3://a/b/", volume_size=3)
    assert (made.code_dir, made.volume_size, made.hyperparameters, made.framework) == ("s3://a/b/", 3, [], None)


def test_unknown_keywords_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="train_instance_cuont, volum is surplus"):
        Estimator(train_instance_cuont=1, volum=2)
    with pytest.raises(ValueError, match="model_nmae is surplus"):
        Model(NOWHERE).create_model(model_nmae="x")


def test_before_anything_was_trained_instance_queries_say_so_and_answer_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Estimator()
    for ask in (made.info, made.resource, made.metric, made.artifacts, made.stop, made.delete):
        caplog.clear()
        assert ask() is None
        assert "fit first" in caplog.text
    assert made.log(log_id=0) is None
    assert made.log_v2(0, 0) is None


def test_a_model_without_versions_has_no_numbers() -> None:
    made = Model(NOWHERE)
    assert made.get_model_id() is made.get_model_version_id() is made.get_service_id() is None
    assert made.delete_model() is None
    with pytest.raises(ValueError, match="service_id is need"):
        made.delete_service()


@pytest.mark.parametrize("verb", ["info", "start", "stop", "update", "delete"])
def test_a_predictor_needs_a_number(verb: str) -> None:
    with pytest.raises(ValueError, match="service_id is need"):
        getattr(Predictor(NOWHERE), verb)()
    with pytest.raises(TypeError, match="service_id type is int!"):
        getattr(Predictor(NOWHERE), verb)("1000")


def test_a_service_number_is_whole() -> None:
    with pytest.raises(TypeError, match="service_id type is int!"):
        Predictor(NOWHERE, service_id="1000")  # type: ignore[arg-type]


def test_exceptions_form_one_tree() -> None:
    assert issubclass(ApiValueError, ApiException)
    assert issubclass(ApiValueError, ValueError)
    assert issubclass(ApiException, ModelMakerError)


@given(st.text(ID_ALPHABET, min_size=ID_LENGTH, max_size=ID_LENGTH))
def test_every_native_id_is_one_number(digits: str) -> None:
    assert ids.to_native("job", ids.to_number(f"job{digits}")) == f"job{digits}"


@given(st.integers(0, ids.LIMIT - 1))
def test_every_number_is_one_native_id(number: int) -> None:
    assert ids.to_number(ids.to_native("mdl", number)) == number


@pytest.mark.parametrize("number", [-1, ids.LIMIT])
def test_other_numbers_are_nobodys(number: int) -> None:
    with pytest.raises(ValueError, match="nothing has the id"):
        ids.to_native("job", number)


@pytest.mark.parametrize("number", [None, "x", 1.5])
def test_what_is_no_number_is_no_id(number: object) -> None:
    with pytest.raises(TypeError, match="an id is of type int"):
        ids.to_native("job", number)  # type: ignore[arg-type]
