"""``client.experiments``."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any, TypeAlias

from gradient.builders import END_OF_LOG, PARAMETER_SERVER, experiment_type, to_experiment
from gradient.connection import BaseClient
from gradient.constants import ExperimentType
from gradient.exceptions import CREATE, FETCH, START_EXPERIMENT, STOP_EXPERIMENT, reported_as
from gradient.logger import Logger, MuteLogger
from gradient.logs import DEFAULT_LIMIT, follow_logs, read_logs
from gradient.records import LogRow, MultiNodeExperiment, SingleNodeExperiment
from gradient.states import STATE_NUMBERS, Watcher
from gradient.submissions import given, job_values, role

Experiment: TypeAlias = "SingleNodeExperiment | MultiNodeExperiment"


class ExperimentsClient(BaseClient):
    """Experiments are Headway jobs: one role for a single node, ``worker`` and ``ps`` for several."""

    def __init__(self, api_key: str | None, logger: Logger = MuteLogger()) -> None:
        super().__init__(api_key, logger)
        self._watcher = Watcher()

    def create_single_node(
        self,
        name: str,
        project_id: str,
        machine_type: str,
        command: str,
        ports: str | None = None,
        workspace_url: str | None = None,
        working_directory: str | None = None,
        artifact_directory: str | None = None,
        cluster_id: str | None = None,
        experiment_env: dict[str, Any] | None = None,
        model_type: str | None = None,
        model_path: str | None = None,
        is_preemptible: bool = False,
        container: str | None = None,
        container_user: str | None = None,
        registry_username: str | None = None,
        registry_password: str | None = None,
        registry_url: str | None = None,
        use_vpc: bool = False,
    ) -> str:
        """Record an experiment of one replica without starting it; its id."""
        return self._submit_single(given(locals()), start=False)

    def run_single_node(
        self,
        name: str,
        project_id: str,
        machine_type: str,
        command: str,
        ports: str | None = None,
        workspace_url: str | None = None,
        working_directory: str | None = None,
        artifact_directory: str | None = None,
        cluster_id: str | None = None,
        experiment_env: dict[str, Any] | None = None,
        model_type: str | None = None,
        model_path: str | None = None,
        is_preemptible: bool = False,
        container: str | None = None,
        container_user: str | None = None,
        registry_username: str | None = None,
        registry_password: str | None = None,
        registry_url: str | None = None,
        use_vpc: bool = False,
    ) -> str:
        """Record an experiment of one replica and start it; its id."""
        return self._submit_single(given(locals()), start=True)

    def create_multi_node(
        self,
        name: str,
        project_id: str,
        experiment_type_id: int,
        worker_container: str,
        worker_machine_type: str,
        worker_command: str,
        worker_count: int,
        parameter_server_container: str,
        parameter_server_machine_type: str,
        parameter_server_command: str,
        parameter_server_count: int,
        ports: str | None = None,
        workspace_url: str | None = None,
        working_directory: str | None = None,
        artifact_directory: str | None = None,
        cluster_id: str | None = None,
        experiment_env: dict[str, Any] | None = None,
        model_type: str | None = None,
        model_path: str | None = None,
        is_preemptible: bool = False,
        worker_container_user: str | None = None,
        worker_registry_username: str | None = None,
        worker_registry_password: str | None = None,
        worker_registry_url: str | None = None,
        parameter_server_container_user: str | None = None,
        parameter_server_registry_username: str | None = None,
        parameter_server_registry_password: str | None = None,
        parameter_server_registry_url: str | None = None,
        use_vpc: bool = False,
    ) -> str:
        """Record an experiment of workers and parameter servers without starting it; its id."""
        return self._submit_multi(given(locals()), start=False)

    def run_multi_node(
        self,
        name: str,
        project_id: str,
        experiment_type_id: int,
        worker_container: str,
        worker_machine_type: str,
        worker_command: str,
        worker_count: int,
        parameter_server_container: str,
        parameter_server_machine_type: str,
        parameter_server_command: str,
        parameter_server_count: int,
        ports: str | None = None,
        workspace_url: str | None = None,
        working_directory: str | None = None,
        artifact_directory: str | None = None,
        cluster_id: str | None = None,
        experiment_env: dict[str, Any] | None = None,
        model_type: str | None = None,
        model_path: str | None = None,
        is_preemptible: bool = False,
        worker_container_user: str | None = None,
        worker_registry_username: str | None = None,
        worker_registry_password: str | None = None,
        worker_registry_url: str | None = None,
        parameter_server_container_user: str | None = None,
        parameter_server_registry_username: str | None = None,
        parameter_server_registry_password: str | None = None,
        parameter_server_registry_url: str | None = None,
        use_vpc: bool = False,
    ) -> str:
        """Record an experiment of workers and parameter servers and start it; its id."""
        return self._submit_multi(given(locals()), start=True)

    def start(self, experiment_id: str, use_vpc: bool = False) -> None:
        """Start what was created."""
        with reported_as(START_EXPERIMENT):
            self._headway.jobs.start(experiment_id)
        self._watcher.begin(experiment_id)

    def stop(self, experiment_id: str, use_vpc: bool = False) -> None:
        """End all of its replicas."""
        with reported_as(STOP_EXPERIMENT):
            self._headway.jobs.stop(experiment_id)

    def list(self, project_id: str | builtins.list[str] | None = None) -> builtins.list[Experiment]:
        """Experiments of one project, of several, or of all that the key may see."""
        projects = [project_id] if isinstance(project_id, str) or project_id is None else project_id
        with reported_as(FETCH):
            jobs = [job for project in projects for job in self._headway.jobs.list(project=project)]
        searches = ExperimentType.HYPERPARAMETER_TUNING
        return [to_experiment(job, STATE_NUMBERS[job.state]) for job in jobs if experiment_type(job) != searches]

    def get(self, experiment_id: str) -> Experiment:
        """The experiment. Called in a loop it shows every move of the state once and in order, however short it was."""
        with reported_as(FETCH):
            job, number = self._watcher.look(self._headway, experiment_id)
        return to_experiment(job, number)

    def logs(self, experiment_id: str, line: int = 0, limit: int = DEFAULT_LIMIT) -> builtins.list[LogRow]:
        """Rows that exist now, from line number ``line`` on; a row ``PSEOF`` ends them once the log is over."""
        rows = read_logs(self._headway, experiment_id, line, limit)
        if rows and rows[-1].message == END_OF_LOG:
            self._watcher.end(experiment_id)
        return rows

    def yield_logs(self, experiment_id: str, line: int = 0, limit: int = DEFAULT_LIMIT) -> Iterator[LogRow]:
        """Rows as they come, to the end of the log. ``limit`` was the size of a page and has no effect here."""
        yield from follow_logs(self._headway, experiment_id, line)
        self._watcher.end(experiment_id)

    def _submit_single(self, values: dict[str, Any], *, start: bool) -> str:
        with reported_as(CREATE):
            roles = {"worker": role(values, "", self._known_instance_types())}
            return self._submit(job_values(values, roles, kind=ExperimentType.SINGLE_NODE, start=start))

    def _submit_multi(self, values: dict[str, Any], *, start: bool) -> str:
        MultiNodeExperiment(experiment_type_id=values["experiment_type_id"])
        with reported_as(CREATE):
            known = self._known_instance_types()
            roles = {"worker": role(values, "worker_", known)}
            if values["parameter_server_count"] != 0:
                roles[PARAMETER_SERVER] = role(values, "parameter_server_", known)
            return self._submit(job_values(values, roles, kind=values["experiment_type_id"], start=start))

    def _submit(self, values: dict[str, Any]) -> str:
        job = self._headway.jobs.create(**values)
        self._watcher.begin(job.id)
        return job.id
