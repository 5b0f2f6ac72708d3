"""``client.deployments``."""

from __future__ import annotations

import builtins

from gradient import records
from gradient.builders import to_deployment
from gradient.connection import BaseClient
from gradient.exceptions import CREATE, FETCH, START_INSTANCE, STOP_INSTANCE, reported_as
from gradient.labels import to_labels
from gradient.naming import first_free_name

PUBLIC_NOTICE = (
    "Everybody who can reach the endpoint of deployment {name!r} may use it: Gradient's endpoints take no key. "
    "Make it with headway.Client for one that asks for a token."
)


class DeploymentsClient(BaseClient):
    """Models behind endpoints."""

    def create(
        self,
        deployment_type: str,
        model_id: str,
        name: str,
        machine_type: str,
        image_url: str,
        instance_count: int,
        use_vpc: bool = False,
        *,
        cluster_id: str | None = None,
    ) -> str:
        """A deployment, stopped; its id. Type and image are kept as given: the model's files choose the runtime."""
        words = {
            "deployment_type": deployment_type,
            "image_url": image_url,
            "machine_type": machine_type,
            "name": name,
            "cluster_id": cluster_id,
            "use_vpc": use_vpc or None,
        }
        with reported_as(CREATE):
            version = self._headway.models.version(model_id)
            known = self._known_instance_types()

            def make(free_name: str) -> str:
                deployment = self._headway.deployments.create(
                    free_name,
                    version.id,
                    project=version.project_id,
                    replicas=instance_count,
                    instance_type=machine_type if machine_type in known else None,
                    public=True,
                    start=False,
                    labels=to_labels(words),
                )
                return deployment.id

            made = first_free_name(name, make, self.logger)
        self.logger.warning(PUBLIC_NOTICE.format(name=name))
        return made

    def start(self, deployment_id: str, use_vpc: bool = False) -> None:
        """Ask for its replicas; they come up by themselves."""
        with reported_as(START_INSTANCE):
            self._headway.deployments.start(deployment_id)

    def stop(self, deployment_id: str, use_vpc: bool = False) -> None:
        """Drain and end its replicas."""
        with reported_as(STOP_INSTANCE):
            self._headway.deployments.stop(deployment_id)

    def list(
        self,
        state: str | None = None,
        project_id: str | None = None,
        model_id: str | None = None,
        use_vpc: bool = False,
    ) -> builtins.list[records.Deployment]:
        """Deployments by state (in any case), project and model."""
        with reported_as(FETCH):
            if model_id is not None and project_id is None:
                project_id = self._headway.models.version(model_id).project_id
            found = [
                to_deployment(deployment)
                for deployment in self._headway.deployments.list(project=project_id, model_version=model_id)
            ]
        return [d for d in found if state is None or str(d.state).lower() == state.lower()]
