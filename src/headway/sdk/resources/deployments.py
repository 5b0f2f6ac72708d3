"""client.deployments: models behind an endpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from headway.domain.base import parse_request
from headway.domain.deployments import Deployment, DeploymentCreate, DeploymentState, Scaling
from headway.domain.events import Event
from headway.domain.logs import LogRow
from headway.errors import InvalidRequestError, WaitTimeoutError
from headway.sdk.resources.asking import DeploymentEndpoints
from headway.sdk.resources.events import follow_events
from headway.sdk.resources.logs import read_logs
from headway.sdk.resources.revisions import DeploymentRevisions, check_words
from headway.sdk.resources.waiting import REVISION_EVENTS, has_reached, is_live, waited_state

STATE_CHANGED = "deployment.state_changed"


class Deployments(DeploymentRevisions, DeploymentEndpoints):
    def create(
        self,
        name: str,
        model: str,
        *,
        replicas: int | None = None,
        scaling: Scaling | Mapping[str, Any] | None = None,
        project: str | None = None,
        **fields: Any,
    ) -> Deployment:
        """Put a model version behind an endpoint; it starts at once unless ``start=False``.

        Args:
            name: Unique in the project.
            model: A version's id, ``models:/name/3``, ``models:/name@alias``, ``name:v3``, or a bare name for the
                newest.
            replicas: How many processes serve it; one without this and ``scaling``.
            scaling: In place of ``replicas``: :class:`headway.domain.deployments.Scaling`, or its fields as a dict.
            project: Id or name; the client's own without it.
            fields: ``instance_type``, ``public``, ``start``, ``environment``, ``labels``, ``sticky``, ``guard``,
                ``batching``, ``deadline_seconds``, ``max_waiting``, ``rollout``, ``hedge_after_seconds``; see
                :meth:`update`.

        Raises:
            InvalidRequestError: A field is wrong or unknown; found before anything is sent.
        """
        if replicas is not None and scaling is not None:
            raise InvalidRequestError("A deployment has either replicas= or scaling=.", hint="Leave one out.")
        given = {"replicas": replicas, "scaling": scaling, **fields}
        values = {key: value for key, value in given.items() if value is not None}
        values |= {"project": self._project(project), "name": name, "model": model}
        check_words(values)
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
        revision: int | None = None,
        timeout: float | None = None,
        raise_on_error: bool = True,
        project: str | None = None,
    ) -> Deployment:
        """The deployment once it is in ``state``: running (as many replicas answer as were asked for), or stopped.

        With ``revision``, once that revision is live, too::

            changed = client.deployments.update("digits", model="digits:v3")
            client.deployments.wait("digits", revision=changed.last_revision)

        Raises:
            ConflictError: It was asked for the opposite, or the revision was replaced, so what is waited for will not come.
            PlatformError: Its replicas keep failing (not with ``raise_on_error=False``), or the revision failed or was
                rolled back; the message says why.
            WaitTimeoutError: It is not there in time.
        """
        wanted = waited_state(state)
        deadline = None if timeout is None else time.monotonic() + timeout
        found = self.get(deployment, project=project)
        if revision is not None:
            found = self._await_revision(found, revision, deadline)
        if has_reached(found, wanted, raise_on_error):
            return found
        try:
            for event in self.watch(found.id, timeout=_left(deadline)):
                if event.data.get("to") in (wanted.value, DeploymentState.ERROR.value):
                    found = self.get(found.id)
                    if has_reached(found, wanted, raise_on_error):
                        return found
        except WaitTimeoutError:
            pass
        found = self.get(found.id)
        raise WaitTimeoutError(
            f"Deployment {found.name!r} is still {found.state.value!r}, not {wanted.value!r}.",
            hint=found.reason or None,
        )

    def _await_revision(self, found: Deployment, number: int, deadline: float | None) -> Deployment:
        if is_live(found, self.revision(found.id, number)):
            return self.get(found.id)
        query: dict[str, object] = {"subject": found.id, "after": 0}
        what = f"Revision {number} of deployment {found.name!r}"
        try:
            for event in follow_events(self._session, query, timeout=_left(deadline), what=what):
                if event.type in REVISION_EVENTS and is_live(self.get(found.id), self.revision(found.id, number)):
                    return self.get(found.id)
        except WaitTimeoutError:
            pass
        found, revision = self.get(found.id), self.revision(found.id, number)
        if is_live(found, revision):
            return found
        raise WaitTimeoutError(f"{what} is still {revision.state.value}.", hint=found.reason or None)

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
        """What its replicas printed; as for jobs. ``replica`` is a name as :meth:`get` shows it: ``server-9`` is that of the
        ninth attempt, whose rows say ``attempt=9``. With ``follow`` it goes on to the end of the replica that is named, or
        without end.
        """
        path = self._address(self._id(Deployment, deployment, project), "logs")
        return read_logs(
            self._session, path, follow=follow, replica=replica, attempt=attempt, tail=tail, timeout=timeout
        )

    def _act(self, deployment: str, verb: str, project: str | None) -> Deployment:
        return self._session.act(Deployment, "POST", self._address(self._id(Deployment, deployment, project), verb))


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)
