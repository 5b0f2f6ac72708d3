"""``client.models``."""

from __future__ import annotations

import builtins

from gradient import records
from gradient.builders import to_model
from gradient.connection import BaseClient
from gradient.exceptions import FETCH, reported_as


class ModelsClient(BaseClient):
    """What experiments left behind."""

    def list(self, experiment_id: str | None = None, project_id: str | None = None) -> builtins.list[records.Model]:
        """The models of an experiment, of a project, or all; newest first."""
        with reported_as(FETCH):
            if experiment_id is not None and project_id is None:
                project_id = self._headway.jobs.get(experiment_id).project_id
            versions = list(self._headway.models.versions(project=project_id, job=experiment_id))
            states = self._deployment_states(project_id) if versions else {}
        return [to_model(version, states.get(version.id)) for version in versions]

    def _deployment_states(self, project_id: str | None) -> dict[str, str]:
        """Model version to the state of a deployment that serves it."""
        return {
            version.model_version_id: deployment.state.value.capitalize()
            for deployment in self._headway.deployments.list(project=project_id)
            for version in deployment.versions
        }
