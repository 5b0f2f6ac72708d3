"""client.deployments: models behind an endpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from headway.domain.base import parse_request
from headway.domain.deployments import Deployment, DeploymentCreate, DeploymentState
from headway.domain.events import Event
from headway.domain.logs import LogRow
from headway.errors import ConflictError, InvalidRequestError, NotFoundError, PlatformError, WaitTimeoutError
from headway.sdk.endpoints import Prediction, post_to_endpoint
from headway.sdk.resources.base import Resource
from headway.sdk.resources.events import follow_events
from headway.sdk.resources.logs import read_logs
from headway.sdk.session import Session

STATE_CHANGED = "deployment.state_changed"


class Deployments(Resource):
    path = "/api/v1/deployments"
    noun = "deployment"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._endpoints: dict[tuple[str, str | None], str] = {}

    def create(
        self, name: str, model: str, *, replicas: int = 1, project: str | None = None, **fields: Any
    ) -> Deployment:
        """Put a model version behind an endpoint; it starts at once unless ``start=False``.

        Args:
            name: Unique in the project.
            model: A version's id, ``models:/name/3``, ``models:/name@alias``, ``name:v3``, or a bare name for the
                newest.
            replicas: How many processes serve it.
            project: Id or name; the client's own without it.
            fields: ``instance_type``, ``public``, ``start``, ``environment``, ``labels``.
        """
        values = {"project": self._project(project), "name": name, "model": model, "replicas": replicas, **fields}
        request = parse_request(DeploymentCreate, values, what="The deployment")
        return self._session.create(Deployment, self.path, request)

    def get(self, deployment: str, *, project: str | None = None) -> Deployment:
        """By id, or by name within a project."""
        return self._get_named(Deployment, deployment, project)

    def list(
        self,
        *,
        project: str | None = None,
        state: DeploymentState | str | None = None,
        name: str | None = None,
        model_version: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Deployment]:
        """Deployments, newest first."""
        query = {"project": self._scope(project), "state": state, "name": name, "model_version": model_version}
        return self._session.pages(Deployment, self.path, query, limit)

    def start(self, deployment: str, *, project: str | None = None) -> Deployment:
        """Ask for its replicas; :meth:`wait` until they answer."""
        return self._act(deployment, "start", project)

    def stop(self, deployment: str, *, project: str | None = None) -> Deployment:
        """Drain and end its replicas; the endpoint keeps its address."""
        return self._act(deployment, "stop", project)

    def delete(self, deployment: str, *, project: str | None = None) -> None:
        """Stop it and forget it; its model versions stay."""
        self._session.call("DELETE", self._address(self._id(Deployment, deployment, project)))

    def wait(
        self,
        deployment: str,
        *,
        state: DeploymentState | str = DeploymentState.RUNNING,
        timeout: float | None = None,
        raise_on_error: bool = True,
        project: str | None = None,
    ) -> Deployment:
        """The deployment once it is in ``state``: running (as many replicas answer as were asked for), or stopped.

        Raises:
            ConflictError: It was asked for the opposite, so the state will not come.
            PlatformError: Its replicas keep failing; the message says why. Not with ``raise_on_error=False``.
            WaitTimeoutError: It is not there in time.
        """
        wanted = _state(state)
        deadline = None if timeout is None else time.monotonic() + timeout
        found = self.get(deployment, project=project)
        if _reached(found, wanted, raise_on_error):
            return found
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        try:
            for event in self.watch(found.id, timeout=left):
                if event.data.get("to") in (wanted.value, DeploymentState.ERROR.value):
                    found = self.get(found.id)
                    if _reached(found, wanted, raise_on_error):
                        return found
        except WaitTimeoutError:
            pass
        found = self.get(found.id)
        raise WaitTimeoutError(
            f"Deployment {found.name!r} is still {found.state.value!r}, not {wanted.value!r}.",
            hint=found.reason or None,
        )

    def watch(self, deployment: str, *, timeout: float | None = None, project: str | None = None) -> Iterator[Event]:
        """Every state move of the deployment from its creation on, each once, without end."""
        subject = self._id(Deployment, deployment, project)
        query: dict[str, object] = {"subject": subject, "type": STATE_CHANGED, "after": 0}
        what = f"The next event of deployment {deployment!r}"
        for event in follow_events(self._session, query, timeout=timeout, what=what):
            if event.type == STATE_CHANGED:
                yield event

    def logs(
        self,
        deployment: str,
        *,
        follow: bool = False,
        replica: str | None = None,
        attempt: int | None = None,
        tail: int | None = None,
        timeout: float | None = None,
        project: str | None = None,
    ) -> Iterator[LogRow]:
        """What its replicas printed; as for jobs."""
        path = self._address(self._id(Deployment, deployment, project), "logs")
        return read_logs(
            self._session, path, follow=follow, replica=replica, attempt=attempt, tail=tail, timeout=timeout
        )

    def predict(
        self,
        deployment: str,
        inputs: Any = None,
        *,
        instances: Any = None,
        timeout: float | None = None,
        project: str | None = None,
    ) -> Prediction:
        """Ask the endpoint.

        Args:
            deployment: Id or name.
            inputs: The column form, answered in ``.outputs``: one value, or names to values; arrays are accepted.
            instances: The row form, answered in ``.predictions``: a list.
            timeout: Seconds to wait for the answer; the client's own without it.

        Raises:
            InvalidRequestError: The model cannot take this input.
            UnavailableError: No replica answers now.
        """
        if (inputs is None) == (instances is None):
            raise InvalidRequestError("A prediction needs either inputs= or instances=.")
        body = {"inputs": inputs} if instances is None else {"instances": instances}
        key = (deployment, self._scope(project))
        known = self._endpoints.get(key)
        if known is not None:
            try:
                return post_to_endpoint(self._session, known, body, timeout=timeout)
            except NotFoundError:
                self._endpoints.pop(key, None)  # deleted, and perhaps made anew under this name
        found = self._endpoints[key] = self.get(deployment, project=project).endpoint
        return post_to_endpoint(self._session, found, body, timeout=timeout)

    def _act(self, deployment: str, verb: str, project: str | None) -> Deployment:
        return self._session.act(Deployment, "POST", self._address(self._id(Deployment, deployment, project), verb))


def _state(state: DeploymentState | str) -> DeploymentState:
    try:
        wanted = DeploymentState(state)
    except ValueError:
        raise InvalidRequestError(
            f"{state!r} is not a deployment state.", hint="Wait for running or stopped."
        ) from None
    if wanted not in (DeploymentState.RUNNING, DeploymentState.STOPPED):
        raise InvalidRequestError(f"{wanted.value!r} may pass unseen.", hint="Wait for running or stopped.")
    return wanted


def _reached(found: Deployment, wanted: DeploymentState, raise_on_error: bool) -> bool:
    if found.desired is not wanted:
        verb = "start" if wanted is DeploymentState.RUNNING else "stop"
        raise ConflictError(
            f"Deployment {found.name!r} was asked to be {found.desired.value}.",
            hint=f"Run `headway deploy {verb} {found.id}`.",
        )
    if raise_on_error and wanted is DeploymentState.RUNNING and found.state is DeploymentState.ERROR:
        raise PlatformError(f"Deployment {found.name!r} cannot run: {found.reason}")
    return found.state is wanted
