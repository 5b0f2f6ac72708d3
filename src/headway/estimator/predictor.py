"""A deployment to be asked and changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway.domain.deployments import Deployment
from headway.errors import InvalidRequestError
from headway.sdk.client import Client
from headway.sdk.predictor import Predictor


class DeployedPredictor(Predictor):
    """A :class:`headway.Predictor` that also changes what it asks.

    ::

        predictor = estimator.deploy(name="digits", replicas=2)
        predictor.predict(images)
        predictor.update(traffic={"v2": 90, "v3": 10})
        predictor.rollback()
        predictor.delete()
    """

    def __init__(self, deployment: Deployment, client: Client) -> None:
        super().__init__(deployment.id, project=deployment.project_id, client=client)
        self._client = client
        self.name = deployment.name

    def __repr__(self) -> str:
        return f"DeployedPredictor({self.name!r})"

    def describe(self) -> Deployment:
        """How it stands now."""
        return self._client.deployments.get(self.deployment)

    @property
    def endpoint(self) -> str | None:
        """Where it is asked over HTTP."""
        return self.describe().endpoint

    def update(
        self,
        *,
        traffic: Mapping[str, int] | None = None,
        wait: bool = True,
        timeout: float | None = None,
        **fields: Any,
    ) -> Deployment:
        """Make another revision: ``traffic`` over versions (``{"v2": 90, "v3": 10}``), ``model``, ``replicas``, ``scaling``,
        ``shadow``, ``guard``, … as :meth:`client.deployments.update` takes them. The old revision serves until the new one
        answers.

        Args:
            wait: Until the revision is live.
            timeout: Seconds to wait at most.
        """
        if traffic is not None:
            fields["traffic"] = dict(traffic)
        if not fields:
            raise InvalidRequestError("Nothing is to change.", hint="Give traffic, model, replicas or another setting.")
        return self._settled(self._client.deployments.update(self.deployment, **fields), wait, timeout)

    def rollback(self, revision: int | None = None, *, wait: bool = True, timeout: float | None = None) -> Deployment:
        """Go back to the revision that was live before, or to any other."""
        return self._settled(self._client.deployments.rollback(self.deployment, revision=revision), wait, timeout)

    def _settled(self, changed: Deployment, wait: bool, timeout: float | None) -> Deployment:
        if not wait:
            return changed
        return self._client.deployments.wait(changed.id, revision=changed.last_revision, timeout=timeout)

    def start(self, *, wait: bool = True, timeout: float | None = None) -> Deployment:
        """Serve again."""
        found = self._client.deployments.start(self.deployment)
        return self._client.deployments.wait(found.id, timeout=timeout) if wait else found

    def stop(self) -> Deployment:
        """End its replicas; the address and the revisions stay."""
        return self._client.deployments.stop(self.deployment)

    def delete(self) -> None:
        """Remove the deployment; its models stay."""
        self._client.deployments.delete(self.deployment)
