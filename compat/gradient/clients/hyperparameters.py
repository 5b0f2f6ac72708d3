"""``client.hyperparameters``."""

from __future__ import annotations

import builtins
from typing import Any

from gradient.builders import experiment_type, to_hyperparameter
from gradient.connection import BaseClient
from gradient.constants import ExperimentType
from gradient.exceptions import CREATE, FETCH, START_EXPERIMENT, ResourceFetchingError, reported_as
from gradient.labels import to_labels
from gradient.records import Hyperparameter
from gradient.submissions import given, job_values, role
from headway.domain.jobs import Job


class HyperparameterJobsClient(BaseClient):
    """Searches. This version records the search and runs ``worker_command`` as its one trial."""

    def create(
        self,
        name: str,
        project_id: str,
        tuning_command: str,
        worker_container: str,
        worker_machine_type: str,
        worker_command: str,
        worker_count: int,
        worker_container_user: str | None = None,
        worker_registry_username: str | None = None,
        worker_registry_password: str | None = None,
        is_preemptible: bool = False,
        ports: str | None = None,
        workspace_url: str | None = None,
        artifact_directory: str | None = None,
        cluster_id: str | None = None,
        experiment_env: dict[str, Any] | None = None,
        trigger_event_id: str | None = None,
        model_type: str | None = None,
        model_path: str | None = None,
        dockerfile_path: str | None = None,
        hyperparameter_server_registry_username: str | None = None,
        hyperparameter_server_registry_password: str | None = None,
        hyperparameter_server_container: str | None = None,
        hyperparameter_server_container_user: str | None = None,
        hyperparameter_server_machine_type: str | None = None,
        working_directory: str | None = None,
        use_dockerfile: bool = False,
    ) -> str:
        """Record a search without starting it; its id."""
        return self._submit(given(locals()), start=False)

    def run(
        self,
        name: str,
        project_id: str,
        tuning_command: str,
        worker_container: str,
        worker_machine_type: str,
        worker_command: str,
        worker_count: int,
        worker_registry_username: str | None = None,
        worker_registry_password: str | None = None,
        worker_container_user: str | None = None,
        is_preemptible: bool = False,
        ports: str | None = None,
        workspace_url: str | None = None,
        artifact_directory: str | None = None,
        cluster_id: str | None = None,
        experiment_env: dict[str, Any] | None = None,
        trigger_event_id: str | None = None,
        model_type: str | None = None,
        model_path: str | None = None,
        dockerfile_path: str | None = None,
        hyperparameter_server_registry_username: str | None = None,
        hyperparameter_server_registry_password: str | None = None,
        hyperparameter_server_container_user: str | None = None,
        hyperparameter_server_container: str | None = None,
        hyperparameter_server_machine_type: str | None = None,
        working_directory: str | None = None,
        use_dockerfile: bool = False,
    ) -> str:
        """Record a search and start it; its id."""
        return self._submit(given(locals()), start=True)

    def get(self, id_: str) -> Hyperparameter:
        """The search."""
        with reported_as(FETCH):
            return to_hyperparameter(self._search(id_))

    def start(self, id_: str) -> None:
        """Start what was created."""
        with reported_as(START_EXPERIMENT):
            self._headway.jobs.start(self._search(id_).id)

    def list(self) -> builtins.list[Hyperparameter]:
        """All searches that the key may see."""
        with reported_as(FETCH):
            return [to_hyperparameter(job) for job in self._headway.jobs.list() if _is_search(job)]

    def _search(self, id_: str) -> Job:
        job = self._headway.jobs.get(id_)
        if not _is_search(job):
            raise ResourceFetchingError(f"{FETCH}: {id_!r} is no hyperparameter search.")
        return job

    def _submit(self, values: dict[str, Any], *, start: bool) -> str:
        with reported_as(CREATE):
            trial = {**role(values, "worker_", self._known_instance_types()), "count": 1}
            request = job_values(values, {"worker": trial}, kind=ExperimentType.HYPERPARAMETER_TUNING, start=start)
            request["labels"] |= to_labels({"tuning": values["tuning_command"]})
            return self._headway.jobs.create(**request).id


def _is_search(job: Job) -> bool:
    return experiment_type(job) == ExperimentType.HYPERPARAMETER_TUNING
