"""client.sweeps: searches for the parameters with which a job does best."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from headway.domain.base import parse_request
from headway.domain.jobs import JobCreate, JobTemplate
from headway.domain.sweeps import Sweep, SweepCreate, SweepState, Trial, TrialState
from headway.errors import WaitTimeoutError
from headway.sdk.inputs import LocalInputs
from headway.sdk.resources.artifacts import Artifacts
from headway.sdk.resources.base import Resource
from headway.sdk.resources.blobs import Blobs
from headway.sdk.resources.events import follow_events
from headway.sdk.workspaces import WorkspaceInput, describe_workspace, send_workspace


class Sweeps(Resource):
    path = "/api/v1/sweeps"
    noun = "sweep"

    def create(
        self,
        name: str,
        job: Mapping[str, Any],
        space: Mapping[str, Any],
        *,
        metric: str,
        goal: str = "minimize",
        statistic: str = "last",
        project: str | None = None,
        **fields: Any,
    ) -> Sweep:
        """Start a search.

        ::

            sweep = client.sweeps.create(
                "lr", {"command": ["python", "train.py"], "workspace": "code/", "parameter_arguments": True},
                {"lr": {"low": 1e-5, "high": 1e-1, "log": True}, "optimizer": ["adam", "sgd"]},
                metric="val.loss", trials=50, parallel=4,
            )
            best = client.sweeps.wait(sweep.id).best

        Args:
            name: Unique in the project.
            job: What every trial runs, as :meth:`client.jobs.create` takes it; ``parameters`` that are not searched too.
            space: By parameter a range (``{"low", "high", "log", "step"}``; whole numbers make whole numbers) or a list of
                values.
            metric: The series to look at, as ``loss`` or ``val.loss``.
            goal: ``minimize`` or ``maximize``.
            statistic: ``last``, ``min``, ``max`` or ``mean`` of the series.
            project: Id or name; the client's own without it.
            fields: ``sampler`` (``tpe``, ``random``, ``grid``), ``pruner`` (``none``, ``median``), ``trials``, ``parallel``,
                ``max_failures``, ``seed``, ``description``, ``labels``.

        Raises:
            InvalidRequestError: Something is wrong or unknown; found before anything is sent.
        """
        scope = self._project(project)
        template = dict(job)
        workspace: WorkspaceInput = template.pop("workspace", None)
        inputs, init_model = template.pop("inputs", None) or {}, template.pop("init_model", None)
        local = LocalInputs.take(template, inputs, init_model)
        parsed = parse_request(JobTemplate, template, what="The sweep's job")
        objective = {"metric": metric, "goal": goal, "statistic": statistic}
        values = {"project": scope, "name": name, "job": parsed, "space": dict(space), "objective": objective, **fields}
        request = parse_request(SweepCreate, values, what="The sweep")
        record = send_workspace(Blobs(self._session), describe_workspace(workspace), project=scope)
        if record is not None:
            parsed = parsed.model_copy(update={"workspace": record})
        fields_of = {field: getattr(parsed, field) for field in JobTemplate.model_fields}
        sent = local.send(Artifacts(self._session), JobCreate.model_construct(**fields_of, name=name, project=scope))
        if local.inputs or local.init_model is not None:
            parsed = parsed.model_copy(update={"inputs": sent.inputs, "init_model": sent.init_model})
        return self._session.create(Sweep, self.path, request.model_copy(update={"job": parsed}))

    def get(self, sweep: str, *, project: str | None = None) -> Sweep:
        """By id, or by name within a project."""
        return self._get_named(Sweep, sweep, project)

    def list(
        self,
        *,
        project: str | None = None,
        state: SweepState | str | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Sweep]:
        """Sweeps, newest first."""
        query = {"project": self._scope(project), "state": state, "name": name}
        return self._session.pages(Sweep, self.path, query, limit)

    def trials(
        self,
        sweep: str,
        *,
        state: TrialState | str | None = None,
        project: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Trial]:
        """Its trials by number."""
        return self._session.pages(
            Trial, self._address(self._id(Sweep, sweep, project), "trials"), {"state": state}, limit
        )

    def stop(self, sweep: str, *, project: str | None = None) -> Sweep:
        """Make no more trials and stop those that run."""
        return self._session.act(Sweep, "POST", self._address(self._id(Sweep, sweep, project), "stop"))

    def delete(self, sweep: str, *, project: str | None = None) -> None:
        """Delete a sweep that has ended; the jobs and runs of its trials stay."""
        self._session.call("DELETE", self._address(self._id(Sweep, sweep, project)))

    def wait(self, sweep: str, *, timeout: float | None = None, project: str | None = None) -> Sweep:
        """The sweep once it has ended, however; WaitTimeoutError when it has not in time."""
        found = self.get(sweep, project=project)
        deadline = None if timeout is None else time.monotonic() + timeout
        query: dict[str, object] = {"subject": found.id, "type": "sweep.ended", "after": 0}
        what = f"The end of sweep {found.name!r}"
        while not found.state.finished:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise WaitTimeoutError(f"The sweep {found.name!r} is still {found.state.value}.")
            for event in follow_events(self._session, query, timeout=left, what=what):
                if event.type == "sweep.ended":
                    break
            found = self.get(found.id)
        return found
