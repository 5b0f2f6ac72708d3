"""What the clients return. Field order is the order of the printed form; every field is None unless it was given."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from gradient.constants import ExperimentType

LogRow = namedtuple("LogRow", ["line", "message", "timestamp"])
LogRow.__doc__ = "One line of a log. ``timestamp`` is ISO 8601, UTC, with milliseconds and ``Z``."


class _Printed:
    """Prints as ``Name(field=value, …)``, with passwords masked."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={_masked(field.name, self)}" for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({shown})"


def _masked(name: str, record: object) -> str:
    value = getattr(record, name)
    return repr("***") if name.endswith("password") and value is not None else repr(value)


@dataclass(repr=False)
class Project(_Printed):
    id: str | None = None
    name: str | None = None
    repository_name: str | None = None
    repository_url: str | None = None
    created: datetime | None = None


@dataclass(repr=False)
class Model(_Printed):
    """A model version of Headway: what one experiment left. ``id`` is the version's."""

    id: str | None = None
    name: str | None = None
    project_id: str | None = None
    experiment_id: str | None = None
    tags: list[str] | None = None
    model_type: str | None = None
    url: str | None = None
    model_path: str | None = None
    deployment_state: str | None = None
    summary: dict[str, Any] | None = None
    detail: dict[str, Any] | None = None


@dataclass(repr=False)
class Deployment(_Printed):
    """A model behind an endpoint. ``state`` is capitalised: Stopped, Starting, Running, Stopping, Error."""

    id_: str | None = None
    name: str | None = None
    endpoint: str | None = None
    api_type: str | None = None
    state: str | None = None
    model_id: str | None = None
    project_id: str | None = None
    image_url: str | None = None
    deployment_type: str | None = None
    machine_type: str | None = None
    instance_count: int | None = None

    @property
    def id(self) -> str | None:
        """The same as ``id_``."""
        return self.id_


@dataclass(repr=False)
class BaseExperiment(_Printed):
    """What all experiments have. ``state`` is a number of :class:`gradient.constants.ExperimentState`."""

    name: str | None = None
    ports: str | None = None
    workspace_url: str | None = None
    working_directory: str | None = None
    artifact_directory: str | None = None
    cluster_id: str | None = None
    experiment_env: dict[str, Any] | None = None
    project_id: str | None = None
    model_type: str | None = None
    model_path: str | None = None
    is_preemptible: bool | None = None
    id: str | None = None
    state: int | None = None


@dataclass(repr=False)
class SingleNodeExperiment(BaseExperiment):
    container: str | None = None
    machine_type: str | None = None
    command: str | None = None
    container_user: str | None = None
    registry_username: str | None = None
    registry_password: str | None = None
    registry_url: str | None = None
    experiment_type_id: int | None = ExperimentType.SINGLE_NODE

    def __post_init__(self) -> None:
        if self.experiment_type_id != ExperimentType.SINGLE_NODE:
            raise ValueError("Single node experiment's type must equal 1")


@dataclass(repr=False)
class MultiNodeExperiment(BaseExperiment):
    experiment_type_id: int | None = None
    worker_container: str | None = None
    worker_machine_type: str | None = None
    worker_command: str | None = None
    worker_count: int | None = None
    parameter_server_container: str | None = None
    parameter_server_machine_type: str | None = None
    parameter_server_command: str | None = None
    parameter_server_count: int | None = None
    worker_container_user: str | None = None
    worker_registry_username: str | None = None
    worker_registry_password: str | None = None
    worker_registry_url: str | None = None
    parameter_server_container_user: str | None = None
    parameter_server_registry_username: str | None = None
    parameter_server_registry_password: str | None = None
    parameter_server_registry_url: str | None = None

    def __post_init__(self) -> None:
        if self.experiment_type_id not in (ExperimentType.GRPC_MULTI_NODE, ExperimentType.MPI_MULTI_NODE):
            raise ValueError("Multi node experiment's type must equal 2 or 3")


@dataclass(repr=False)
class Hyperparameter(BaseExperiment):
    """A hyperparameter search."""

    experiment_type_id: int | None = ExperimentType.HYPERPARAMETER_TUNING
    tuning_command: str | None = None
    worker_container: str | None = None
    worker_machine_type: str | None = None
    worker_command: str | None = None
    worker_count: int | None = None
    worker_use_dockerfile: bool | None = None
    worker_dockerfile_path: str | None = None
    worker_container_user: str | None = None
    worker_registry_username: str | None = None
    worker_registry_password: str | None = None
    hyperparameter_server_machine_type: str | None = None
    hyperparameter_server_container: str | None = None
    hyperparameter_server_container_user: str | None = None
    hyperparameter_server_registry_username: str | None = None
    hyperparameter_server_registry_password: str | None = None
    trigger_event_id: str | None = None
    dockerfile_path: str | None = None
    use_dockerfile: bool | None = None

    def __post_init__(self) -> None:
        if self.experiment_type_id != ExperimentType.HYPERPARAMETER_TUNING:
            raise ValueError("Hyperparameter experiment's type must equal 4")


@dataclass(repr=False)
class Job(_Printed):
    """One job. Fields that only the original platform knew (TPU, storage region, …) stay None."""

    id_: str | None = None
    name: str | None = None
    state: str | None = None
    workspace_url: str | None = None
    working_directory: str | None = None
    artifacts_directory: str | None = None
    entrypoint: str | None = None
    project_id: str | None = None
    project: str | None = None
    container: str | None = None
    container_url: str | None = None
    base_container: str | None = None
    base_container_url: str | None = None
    machine_type: str | None = None
    cluster: str | None = None
    cluster_id: str | None = None
    usage_rate: str | None = None
    started_by_user_id: str | None = None
    parent_job_id: str | None = None
    job_error: str | None = None
    dt_created: str | None = None
    dt_modified: str | None = None
    dt_provisioning_started: str | None = None
    dt_provisioning_finished: str | None = None
    dt_started: str | None = None
    dt_finished: str | None = None
    dt_teardown_started: str | None = None
    dt_teardown_finished: str | None = None
    dt_deleted: str | None = None
    exit_code: str | None = None
    queue_position: str | None = None
    seq_num: int | None = None
    storage_region: str | None = None
    cluster_machine: str | None = None
    fqdn: str | None = None
    ports: str | None = None
    is_public: bool | None = None
    container_user: str | None = None
    has_code: bool | None = None
    code_uploaded: bool | None = None
    code_commit: str | None = None
    run_till_cancelled: bool | None = None
    push_on_completion: bool | None = None
    new_image_name: str | None = None
    cpu_hostname: str | None = None
    cpu_count: int | None = None
    cpu_model: str | None = None
    cpu_flags: str | None = None
    cpu_mem: str | None = None
    gpu_name: str | None = None
    gpu_serial: str | None = None
    gpu_device: str | None = None
    gpu_driver: str | None = None
    gpu_count: int | None = None
    gpu_mem: str | None = None
    tpu_type: str | None = None
    tpu_name: str | None = None
    tpu_grpc_url: str | None = None
    tpu_tf_version: str | None = None
    tpu_dataset_dir: str | None = None
    tpu_model_dir: str | None = None
    target_node_attrs: dict[str, Any] | None = None
    job_env: dict[str, Any] | None = None
    shared_mem_mbytes: int | None = None
    shutdown_timeout: int | None = None
    is_preemptible: bool | None = None
    metrics_url: str | None = None
    custom_metrics: str | None = None
    experiment_id: str | None = None
    command: str | None = None
    workspace: str | None = None
    workspace_archive: str | None = None
    workspace_file_name: str | None = None
    ignore_files: str | None = None
    use_dockerfile: bool | None = None
    rel_dockerfile_path: str | None = None
    registry_username: str | None = None
    registry_password: str | None = None

    @property
    def id(self) -> str | None:
        """The same as ``id_``."""
        return self.id_
