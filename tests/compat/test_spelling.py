"""What scripts import and how they may call it: names, parameters in order, defaults, constants, printed forms."""

from __future__ import annotations

import inspect

import pytest

import gradient
from gradient import constants, sdk_client
from gradient.constants import ExperimentState, ExperimentType

EXPERIMENT_TAIL = (
    "ports=None, workspace_url=None, working_directory=None, artifact_directory=None, cluster_id=None, "
    "experiment_env=None, model_type=None, model_path=None, is_preemptible=False, "
)
SINGLE = (
    "name, project_id, machine_type, command, " + EXPERIMENT_TAIL + "container=None, container_user=None, "
    "registry_username=None, registry_password=None, registry_url=None, use_vpc=False"
)
MULTI = (
    "name, project_id, experiment_type_id, worker_container, worker_machine_type, worker_command, worker_count, "
    "parameter_server_container, parameter_server_machine_type, parameter_server_command, parameter_server_count, "
    + EXPERIMENT_TAIL
    + "worker_container_user=None, worker_registry_username=None, worker_registry_password=None, "
    "worker_registry_url=None, parameter_server_container_user=None, parameter_server_registry_username=None, "
    "parameter_server_registry_password=None, parameter_server_registry_url=None, use_vpc=False"
)
SEARCH_HEAD = "name, project_id, tuning_command, worker_container, worker_machine_type, worker_command, worker_count, "
SEARCH_MIDDLE = (
    "is_preemptible=False, ports=None, workspace_url=None, artifact_directory=None, cluster_id=None, "
    "experiment_env=None, trigger_event_id=None, model_type=None, model_path=None, dockerfile_path=None, "
    "hyperparameter_server_registry_username=None, hyperparameter_server_registry_password=None, "
)
SEARCH_TAIL = "hyperparameter_server_machine_type=None, working_directory=None, use_dockerfile=False"

SIGNATURES = {
    "projects.create": "name, repository_name=None, repository_url=None",
    "projects.list": "",
    "experiments.create_single_node": SINGLE,
    "experiments.run_single_node": SINGLE,
    "experiments.create_multi_node": MULTI,
    "experiments.run_multi_node": MULTI,
    "experiments.start": "experiment_id, use_vpc=False",
    "experiments.stop": "experiment_id, use_vpc=False",
    "experiments.list": "project_id=None",
    "experiments.get": "experiment_id",
    "experiments.logs": "experiment_id, line=0, limit=10000",
    "experiments.yield_logs": "experiment_id, line=0, limit=10000",
    "models.list": "experiment_id=None, project_id=None",
    "deployments.create": (
        "deployment_type, model_id, name, machine_type, image_url, instance_count, use_vpc=False, *, cluster_id=None"
    ),
    "deployments.start": "deployment_id, use_vpc=False",
    "deployments.stop": "deployment_id, use_vpc=False",
    "deployments.list": "state=None, project_id=None, model_id=None, use_vpc=False",
    "hyperparameters.create": (
        SEARCH_HEAD + "worker_container_user=None, worker_registry_username=None, worker_registry_password=None, "
        + SEARCH_MIDDLE + "hyperparameter_server_container=None, hyperparameter_server_container_user=None, "
        + SEARCH_TAIL
    ),
    "hyperparameters.run": (
        SEARCH_HEAD + "worker_registry_username=None, worker_registry_password=None, worker_container_user=None, "
        + SEARCH_MIDDLE + "hyperparameter_server_container_user=None, hyperparameter_server_container=None, "
        + SEARCH_TAIL
    ),
    "hyperparameters.get": "id_",
    "hyperparameters.start": "id_",
    "hyperparameters.list": "",
    "jobs.create": (
        "machine_type, container, project_id, data=None, name=None, command=None, ports=None, is_public=None, "
        "workspace=None, workspace_archive=None, workspace_url=None, working_directory=None, ignore_files=None, "
        "experiment_id=None, job_env=None, use_dockerfile=None, is_preemptible=None, project=None, "
        "started_by_user_id=None, rel_dockerfile_path=None, registry_username=None, registry_password=None, "
        "cluster=None, cluster_id=None, node_attrs=None, workspace_file_name=None"
    ),
    "jobs.delete": "job_id",
    "jobs.stop": "job_id",
    "jobs.list": "project_id=None, project=None, experiment_id=None",
    "jobs.logs": "job_id, line=0, limit=10000",
    "jobs.yield_logs": "job_id, line=0, limit=10000",
    "jobs.artifacts_delete": "job_id, files=None",
    "jobs.artifacts_get": "job_id",
    "jobs.artifacts_list": "job_id, files=None, size=False, links=True",
    "machines.create": (
        "name, machine_type, region, size, billing_type, template_id, assign_public_ip=None, dynamic_public_ip=None, "
        "network_id=None, team_id=None, user_id=None, email=None, password=None, first_name=None, last_name=None, "
        "notification_email=None, script_id=None"
    ),
    "machines.get": "id",
    "machines.is_available": "machine_type, region",
    "machines.restart": "id",
    "machines.start": "id",
    "machines.stop": "id",
    "machines.update": (
        "id, name=None, shutdown_timeout_in_hours=None, shutdown_timeout_forces=None, perform_auto_snapshot=None, "
        "auto_snapshot_frequency=None, auto_snapshot_save_count=None, dynamic_public_ip=None"
    ),
    "machines.get_utilization": "id, billing_month",
    "machines.delete": "machine_id, release_public_ip=False",
    "machines.wait_for_state": "machine_id, state, interval=5",
    "machines.list": (
        "id=None, name=None, os=None, ram=None, cpus=None, gpu=None, storage_total=None, storage_used=None, "
        "usage_rate=None, shutdown_timeout_in_hours=None, perform_auto_snapshot=None, auto_snapshot_frequency=None, "
        "auto_snapshot_save_count=None, agent_type=None, created_timestamp=None, state=None, updates_pending=None, "
        "network_id=None, private_ip_address=None, public_ip_address=None, region=None, user_id=None, team_id=None, "
        "last_run_timestamp=None"
    ),
    "notebooks.create": (
        "vm_type_id, container_id, cluster_id, container_name=None, name=None, registry_username=None, "
        "registry_password=None, default_entrypoint=None, container_user=None, shutdown_timeout=None, "
        "is_preemptible=None"
    ),
    "notebooks.get": "id",
    "notebooks.delete": "id",
    "notebooks.list": "",
}  # fmt: skip

CLIENTS = {
    "projects": "ProjectsClient",
    "experiments": "ExperimentsClient",
    "models": "ModelsClient",
    "deployments": "DeploymentsClient",
    "hyperparameters": "HyperparameterJobsClient",
    "jobs": "JobsClient",
    "machines": "MachinesClient",
    "notebooks": "NotebooksClient",
}


def written(function: object) -> str:
    """The parameters of a bound method, without annotations."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(plain))[1:-1]


@pytest.mark.parametrize("method", sorted(SIGNATURES))
def test_every_method_takes_what_it_took(method: str) -> None:
    resource, _, name = method.partition(".")
    client = getattr(sdk_client.SdkClient("key"), resource)

    assert written(getattr(client, name)) == SIGNATURES[method]


def test_no_client_has_other_methods() -> None:
    client = sdk_client.SdkClient("key")
    found = {
        f"{resource}.{name}"
        for resource in CLIENTS
        for name, _ in inspect.getmembers(type(getattr(client, resource)), inspect.isfunction)
        if not name.startswith("_") and name != "share"
    }
    assert found == set(SIGNATURES)


@pytest.mark.parametrize(("resource", "name"), CLIENTS.items())
def test_clients_come_from_both_places_and_hang_on_the_one_client(resource: str, name: str) -> None:
    kind = getattr(sdk_client, name)

    assert getattr(gradient, name) is kind
    assert type(getattr(sdk_client.SdkClient("key"), resource)) is kind


@pytest.mark.parametrize("name", ["SdkClient", *CLIENTS.values()])
def test_clients_take_a_key_and_a_logger_and_send_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERSPACE_CONFIG_HOST", "not an address")
    kind = getattr(sdk_client, name)
    parameters = inspect.signature(kind).parameters

    assert list(parameters) == ["api_key", "logger"]
    assert isinstance(parameters["logger"].default, gradient.MuteLogger)
    logger = gradient.MuteLogger()
    made = kind("key", logger)
    if name != "SdkClient":
        assert (made.api_key, made.logger) == ("key", logger)


def test_every_public_name_is_there() -> None:
    for name in gradient.__all__:
        assert getattr(gradient, name) is not None
    assert gradient.__all__ == sorted(gradient.__all__)


def test_exceptions_form_the_known_tree() -> None:
    assert issubclass(gradient.ResourceFetchingError, gradient.GradientSdkError)
    assert issubclass(gradient.ResourceCreatingError, gradient.GradientSdkError)
    assert issubclass(gradient.ResourceCreatingDataError, gradient.ResourceCreatingError)
    assert not issubclass(gradient.ResourceFetchingError, gradient.ResourceCreatingError)


def test_the_mute_logger_takes_everything_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logger = gradient.MuteLogger()
    for say in (logger.log, logger.warning, logger.error, logger.debug):
        assert say("%s %s", 1, 2, extra={"a": 1}) is None
    assert capsys.readouterr() == ("", "")


STATES = {
    1: ("CREATED", "created"),
    2: ("PROVISIONED", "provisioned"),
    3: ("NETWORK_SETUP", "network setup"),
    4: ("RUNNING", "running"),
    5: ("STOPPED", "stopped"),
    6: ("ERROR", "error"),
    7: ("FAILED", "failed"),
    8: ("CANCELLED", "canceled"),
    9: ("NETWORK_TEARDOWN", "network teardown"),
    10: ("PENDING", "pending"),
    11: ("PROVISIONING", "provisioning"),
    12: ("NETWORK_SETTING_UP", "network setting up"),
    13: ("NETWORK_TEARING_DOWN", "network tearing down"),
}


@pytest.mark.parametrize(("number", "names"), STATES.items())
def test_states_have_the_numbers_and_words_of_release_0_3(number: int, names: tuple[str, str]) -> None:
    assert getattr(ExperimentState, names[0]) == number
    assert ExperimentState.get_state_str(number) == names[1]


@pytest.mark.parametrize("number", [0, 14, -1, None, "1"])
def test_an_unknown_number_is_undefined(number: object) -> None:
    assert ExperimentState.get_state_str(number) == "undefined"  # type: ignore[arg-type]
    assert ExperimentType.get_type_str(number) == "undefined"  # type: ignore[arg-type]


def test_types_regions_and_run_modes() -> None:
    kinds = [ExperimentType.SINGLE_NODE, ExperimentType.GRPC_MULTI_NODE, ExperimentType.MPI_MULTI_NODE]
    assert [*kinds, ExperimentType.HYPERPARAMETER_TUNING] == [1, 2, 3, 4]
    assert [ExperimentType.get_type_str(number) for number in (1, 2, 3, 4)] == [
        "single node",
        "GRPC multi node",
        "MPI multi node",
        "Hyperparameter tuning",
    ]
    assert constants.Region.NY2 == "East Coast (NY2)"
    assert constants.RunMode.RUN_MODE_PYTHON_MODULE == 4
    assert constants.BILLING_TYPES == ["hourly", "monthly"]
    assert len(constants.MACHINE_TYPES) == 19
    assert "GPU+" in constants.MACHINE_TYPES
