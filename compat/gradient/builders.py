"""Headway's records as Gradient's."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import Any, TypeVar

from gradient import records
from gradient.constants import ExperimentType
from gradient.exceptions import GradientSdkError
from gradient.labels import as_bool, from_labels
from gradient.records import LogRow
from gradient.states import STATE_NUMBERS
from headway.domain.base import format_time
from headway.domain.deployments import Deployment
from headway.domain.jobs import Job, RoleSpec
from headway.domain.logs import LogRow as NativeRow
from headway.domain.models import ModelVersion
from headway.domain.projects import Project
from headway.domain.workspaces import GitWorkspace

BOOLEANS = frozenset({"is_preemptible", "use_dockerfile", "worker_use_dockerfile", "is_public"})
PARAMETER_SERVER = "ps"
EXPERIMENT_TYPES = (ExperimentType.SINGLE_NODE, ExperimentType.GRPC_MULTI_NODE, ExperimentType.MPI_MULTI_NODE)
END_OF_LOG = "PSEOF"
"""The message of the row that :meth:`logs` adds once nothing more will come."""

R = TypeVar("R", bound=records.BaseExperiment)


def to_project(project: Project) -> records.Project:
    return records.Project(
        id=project.id,
        name=project.name,
        repository_name=project.repository_name,
        repository_url=project.repository_url,
        created=project.created_at,
    )


def to_log_row(row: NativeRow) -> LogRow:
    return LogRow(line=row.line, message=row.message, timestamp=format_time(row.timestamp))


def to_model(version: ModelVersion, deployment_state: str | None) -> records.Model:
    return records.Model(
        id=version.id,
        name=version.name,
        project_id=version.project_id,
        experiment_id=version.job_id,
        tags=[],
        model_type=version.model_type,
        url=version.uri,
        model_path=version.model_path,
        deployment_state=deployment_state,
        detail={"version": version.version, "digest": version.digest, "size": version.size, "runtime": version.runtime},
    )


def to_deployment(deployment: Deployment) -> records.Deployment:
    words = from_labels(deployment.labels)
    version = deployment.versions[0] if deployment.versions else None
    return records.Deployment(
        id_=deployment.id,
        name=words.get("name", deployment.name),
        endpoint=deployment.endpoint,
        api_type="REST",
        state=deployment.state.value.capitalize(),
        model_id=version.model_version_id if version else None,
        project_id=deployment.project_id,
        image_url=words.get("image_url"),
        deployment_type=words.get("deployment_type"),
        machine_type=words.get("machine_type") or (version.instance_type if version else None),
        instance_count=deployment.replica_count,
    )


def experiment_type(job: Job) -> int:
    """What a job is called here; one that came another way is told by its roles."""
    kept = from_labels(job.spec.labels).get("experiment_type_id")
    if kept is not None:
        return int(kept) if kept.isdecimal() else 0
    return ExperimentType.SINGLE_NODE if job.spec.world_size == 1 else ExperimentType.GRPC_MULTI_NODE


def to_experiment(job: Job, state: int) -> records.SingleNodeExperiment | records.MultiNodeExperiment:
    """``state`` is the number to show. GradientSdkError for a job that is another kind of thing."""
    kind = experiment_type(job)
    if kind not in EXPERIMENT_TYPES:
        raise GradientSdkError(f"{job.id!r} is no experiment but a job of type {ExperimentType.get_type_str(kind)!r}.")
    if kind == ExperimentType.SINGLE_NODE:
        return _filled(records.SingleNodeExperiment, job, state, _role_values(job, "", _first_role(job)))
    server = job.spec.roles.get(PARAMETER_SERVER)
    worker = next((role for name, role in job.spec.roles.items() if name != PARAMETER_SERVER), None)
    values = _role_values(job, "worker_", worker) | _role_values(job, "parameter_server_", server)
    return _filled(records.MultiNodeExperiment, job, state, values)


def to_hyperparameter(job: Job) -> records.Hyperparameter:
    values = _role_values(job, "worker_", _first_role(job))
    values["worker_count"] = int(from_labels(job.spec.labels).get("worker_count", values["worker_count"]))
    values["tuning_command"] = from_labels(job.spec.labels).get("tuning")
    return _filled(records.Hyperparameter, job, STATE_NUMBERS[job.state], values)


def _filled(kind: type[R], job: Job, state: int, values: dict[str, Any]) -> R:
    names = {field.name for field in fields(kind)}
    words: dict[str, Any] = {name: _typed(name, text) for name, text in from_labels(job.spec.labels).items()}
    own = {
        "id": job.id,
        "name": job.name,
        "state": state,
        "project_id": job.project_id,
        "experiment_env": dict(job.spec.environment),
        "workspace_url": job.spec.workspace.url if isinstance(job.spec.workspace, GitWorkspace) else None,
        "working_directory": job.spec.working_directory,
        "model_type": job.spec.model_type,
        "model_path": job.spec.model_path,
        "experiment_type_id": experiment_type(job),
    }
    merged = {**own, **words, **values, "project_id": job.project_id, "experiment_type_id": own["experiment_type_id"]}
    return kind(**{name: value for name, value in merged.items() if name in names})


def _typed(name: str, text: str) -> Any:
    return as_bool(text) if name in BOOLEANS else text


def _first_role(job: Job) -> RoleSpec:
    return next(iter(job.spec.roles.values()))


def _role_values(job: Job, prefix: str, role: RoleSpec | None) -> dict[str, Any]:
    """The fields of one role; machine type and image in the words that were used."""
    if role is None:
        return {prefix + "count": 0} if prefix else {}
    words = from_labels(job.spec.labels)
    image = role.container
    return {
        prefix + "container": image.image if image else None,
        prefix + "container_user": image.user if image else None,
        prefix + "registry_url": image.registry_url if image else None,
        prefix + "machine_type": words.get(prefix + "machine_type", role.instance_type),
        prefix + "command": command_text(role),
        prefix + "count": role.count,
    }


def command_text(role: RoleSpec) -> str:
    """A command as it would be typed."""
    if role.command[:2] == ("/bin/sh", "-c") and len(role.command) == 3:
        return role.command[2]
    return shlex.join(role.command)


def to_job(job: Job) -> records.Job:
    role = _first_role(job)
    words = from_labels(job.spec.labels)
    kept = {field.name for field in fields(records.Job)} & set(words)
    times = {
        "dt_created": job.created_at,
        "dt_modified": job.state_changed_at,
        "dt_provisioning_started": job.queued_at,
        "dt_started": job.started_at,
        "dt_finished": job.finished_at,
    }
    values: dict[str, Any] = {name: _typed(name, words[name]) for name in kept}
    values |= {name: format_time(moment) for name, moment in times.items() if moment is not None}
    values |= {
        "id_": job.id,
        "name": job.name,
        "state": JOB_WORDS.get(job.state.value, job.state.value).capitalize(),
        "project_id": job.project_id,
        "container": role.container.image if role.container else None,
        "machine_type": words.get("machine_type", role.instance_type),
        "command": command_text(role),
        "entrypoint": command_text(role),
        "job_env": dict(job.spec.environment),
        "started_by_user_id": job.created_by,
        "job_error": job.reason or None if job.state.finished else None,
        "exit_code": exit_code(job),
        "experiment_id": words.get("experiment_id") or (job.id if "experiment_type_id" in words else None),
    }
    return records.Job(**values)


JOB_WORDS = {"succeeded": "stopped", "stopped": "cancelled", "lost": "error", "queued": "pending"}
"""Job states that Gradient called otherwise."""


def exit_code(job: Job) -> str | None:
    """Of the replica that failed first, else of the first one that ended."""
    if job.failure is not None and job.failure.exit_code is not None:
        return str(job.failure.exit_code)
    return next((str(replica.exit_code) for replica in job.replicas if replica.exit_code is not None), None)
