"""The Estimator: a training job, described once, run as often as one likes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from headway.domain.base import did_you_mean, parse_request
from headway.domain.catalogue import CatalogueKind
from headway.domain.jobs import Job, JobState
from headway.domain.models import ModelVersion
from headway.domain.monitors import MonitorSpec
from headway.errors import InvalidRequestError, NotFoundError
from headway.estimator.forms import Settings, masked
from headway.estimator.predictor import DeployedPredictor
from headway.sdk.client import Client
from headway.sdk.inputs import InputSource

MODEL_OUTPUTS = "model/"
"""Where a job keeps what its program left in the model directory, among its outputs."""
Inputs = InputSource | Mapping[str, InputSource] | None
_KEYWORDS = (
    "framework",
    "entry_point",
    "source_dir",
    "git",
    "image",
    "command",
    "algorithm",
    "hyperparameters",
    "instance_type",
    "instance_count",
    "monitors",
    "environment",
    "secrets",
    "init_model",
    "output_path",
    "max_runtime",
    "workspace_gib",
    "retries",
    "labels",
    "project",
    "client",
)


class Estimator:
    """From code to an endpoint.

    ::

        est = Estimator(framework="sklearn", entry_point="train.py", source_dir="code/", hyperparameters={"C": 0.3})
        job = est.fit({"train": "artifact:digits:latest"})
        model = est.create_model("digits")
        predictor = est.deploy(name="digits", replicas=2)
        predictor.predict(x)

    Exactly one of ``framework``, ``command`` and ``algorithm`` says what is run; :mod:`headway.estimator.forms` has the
    three forms. Hyperparameters reach the program as ``--name value``, as HEADWAY_PARAM_<NAME> and in HEADWAY_PARAMS_FILE.

    Args:
        framework: Name or number of a framework in the catalogue (``headway catalogue list train-framework``).
        entry_point: The file to run, relative to the code.
        source_dir: A folder, an archive, or ``s3://bucket/prefix``.
        git: A URL, or ``{"url", "ref", "username", "password"}``.
        image: What containers use; recorded where commands run as plain processes.
        command: A text for the shell, or a list.
        algorithm: Name or number of a preset algorithm.
        hyperparameters: Name to any JSON value.
        instance_type: Name of an instance type, or number of a machine in the catalogue.
        instance_count: Replicas; the program finds RANK, WORLD_SIZE, MASTER_ADDR and TF_CONFIG.
        monitors: Mappings with ``name``, ``regex`` and ``sample``, or MonitorSpecs.
        environment: More variables.
        secrets: More variables, never shown again.
        init_model: A model to go on training from: ``models:/digits/3``, ``s3://…``.
        output_path: ``s3://bucket/prefix``: where outputs are named after a success.
        max_runtime: Seconds.
        workspace_gib: What a workspace may hold, in GiB.
        retries: Further attempts after a failure.
        labels: Of its jobs.
        project: Id or name; the client's own without it.
        client: To ask through; one of the configured connection without it.

    Raises:
        InvalidRequestError: A keyword is unknown, or the form is none of the three; found before anything is sent.
    """

    def __init__(
        self,
        *,
        framework: str | int | None = None,
        entry_point: str | None = None,
        source_dir: str | Path | None = None,
        git: str | Mapping[str, Any] | None = None,
        image: str | None = None,
        command: str | Sequence[str] | None = None,
        algorithm: str | int | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        instance_type: str | int | None = None,
        instance_count: int = 1,
        monitors: Sequence[MonitorSpec | Mapping[str, Any]] = (),
        environment: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        init_model: str | None = None,
        output_path: str | None = None,
        max_runtime: float | None = None,
        workspace_gib: float | None = None,
        retries: int = 0,
        labels: Mapping[str, str] | None = None,
        project: str | None = None,
        client: Client | None = None,
        **unknown: Any,
    ) -> None:
        for word in unknown:
            hint = did_you_mean(word, _KEYWORDS) or f"It takes {', '.join(_KEYWORDS)}."
            raise InvalidRequestError(f"An Estimator has no keyword {word!r}.", hint=hint)
        if isinstance(instance_count, bool) or not isinstance(instance_count, int) or instance_count < 1:
            raise InvalidRequestError(f"instance_count is a whole number above 0, not {instance_count!r}.")
        self._settings = Settings(
            image, command, framework, entry_point, source_dir, masked(git), algorithm, dict(hyperparameters or {})
        )
        self._settings.check()
        self._instance_type, self._instance_count = instance_type, instance_count
        self._monitors = tuple(_monitor(each) for each in monitors)
        optional = {
            "environment": dict(environment) if environment else None,
            "secrets": {name: SecretStr(value) for name, value in secrets.items()} if secrets else None,
            "init_model": init_model,
            "output_path": output_path,
            "max_runtime": max_runtime,
            "workspace_gib": workspace_gib,
            "labels": dict(labels) if labels else None,
        }
        self._fields = {name: value for name, value in optional.items() if value is not None}
        self._retries = retries
        self._project = project
        self._given_client = client
        self._framework: str | None = None
        self.job: Job | None = None
        """The newest job, as it was when it was last looked at."""
        self.model: ModelVersion | None = None
        """What :meth:`create_model` made last."""

    @property
    def client(self) -> Client:
        """The connection; made when it is first needed."""
        if self._given_client is None:
            self._given_client = Client(project=self._project)
        return self._given_client

    def __repr__(self) -> str:
        job = "not run yet" if self.job is None else f"{self.job.id} {self.job.state.value}"
        return f"<Estimator {self._title()}: {job}>"

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"

    def _title(self) -> str:
        settings = self._settings
        return str(settings.framework or settings.algorithm or settings.image or "command")

    # Training.

    def fit(
        self,
        inputs: Inputs = None,
        *,
        job_name: str | None = None,
        wait: bool = True,
        logs: bool = True,
        timeout: float | None = None,
    ) -> Job:
        """Train.

        Args:
            inputs: Name to source: ``artifact:digits:latest``, ``s3://bucket/prefix``, ``models:/…``, ``runs:/…``,
                ``https://…`` or a local path, which is uploaded. A single source is the input ``train``. They lie in
                HEADWAY_INPUT_<NAME>.
            job_name: What to call the job; made of what is run without it.
            wait: Until the job has ended.
            logs: While waiting, print what it prints.
            timeout: Seconds to wait at most.

        Returns:
            The job: ended with ``wait``, else as it was submitted.

        Raises:
            JobFailedError: It failed, was stopped or was lost; says who failed first and the last lines. With ``wait`` only.
            WaitTimeoutError: It has not ended in time; it goes on.
            InvalidRequestError: Something is wrong with what was given.
        """
        program = self._settings.program(self.client)
        fields: dict[str, Any] = {**program.fields, **self._fields, "retries": self._retries}
        fields["count"], fields["register_model"] = self._instance_count, False
        if self._instance_type is not None:
            fields["instance_type"] = self._machine(CatalogueKind.TRAIN_MACHINE, self._instance_type)
        if self._monitors:
            fields["monitors"] = [monitor.model_dump(exclude_none=True) for monitor in self._monitors]
        if inputs is not None:
            fields["inputs"] = inputs if isinstance(inputs, Mapping) else {"train": inputs}
        name = job_name or f"fit-{self._title()}".replace("/", "-")[:256]
        self._framework, self.model = program.framework, None
        self.job = self.client.jobs.create(name, project=self._project, **fields)
        if wait:
            self._follow(logs, timeout)
        return self.job

    def _follow(self, logs: bool, timeout: float | None) -> None:
        assert self.job is not None
        if logs:
            for row in self.client.jobs.logs(self.job.id, follow=True, timeout=timeout):
                prefix = f"[{row.replica}] " if self._instance_count > 1 else ""
                sys.stdout.write(f"{prefix}{row.message}\n")
            sys.stdout.flush()
        self.job = self.client.jobs.wait(self.job.id, timeout=timeout, raise_on_failure=False)
        if self.job.state is not JobState.SUCCEEDED:
            self.client.jobs.wait(self.job.id)

    def _machine(self, kind: CatalogueKind, given: str | int) -> str:
        """The name of an instance type; a number is looked up among the machines of ``kind``."""
        if isinstance(given, str) and not given.isdecimal():
            return given
        entry = self.client.catalogue.get(kind, given)
        assert entry.instance_type is not None
        return entry.instance_type

    def stop(self, *, hard: bool = False) -> Job:
        """Ask the newest job to end."""
        self.job = self.client.jobs.stop(self._newest_job().id, hard=hard)
        return self.job

    def attach(self, job: str) -> Job:
        """Go on with a job that was made before, by its id: create a model of it, deploy it."""
        self.job, self.model = self.client.jobs.get(job), None
        return self.job

    def _newest_job(self) -> Job:
        if self.job is None:
            raise InvalidRequestError("Nothing was trained yet.", hint="Call fit first, or attach(job).")
        return self.job

    # Models.

    def create_model(
        self,
        name: str,
        *,
        version_name: str | None = None,
        aliases: Sequence[str] = (),
        signature: Any = None,
        description: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """What the newest job left, as the next version of the model ``name``. No byte is sent again.

        Raises:
            InvalidRequestError: It has not ended, or has not succeeded.
            NotFoundError: It left no model.
        """
        job = self.client.jobs.get(self._newest_job().id)
        if job.state is not JobState.SUCCEEDED:
            raise InvalidRequestError(
                f"The job {job.name!r} is {job.state.value}; only one that has succeeded makes a model."
            )
        if not any(entry.path.startswith(MODEL_OUTPUTS) for entry in job.outputs):
            raise NotFoundError(
                f"The job {job.name!r} left no model.", hint="A program leaves one in the directory HEADWAY_MODEL_DIR."
            )
        optional = {"model_type": self._framework, "version_name": version_name, "signature": signature}
        self.model = self.client.models.register(
            name,
            source=f"runs:/{job.run_id}/{MODEL_OUTPUTS.rstrip('/')}",
            project=job.project_id,
            aliases=tuple(aliases),
            description=description,
            labels=dict(labels or {}),
            run=job.run_id,
            job=job.id,
            **{key: value for key, value in optional.items() if value is not None},
        )
        return self.model

    # Deployments.

    def deploy(
        self,
        name: str,
        *,
        replicas: int = 1,
        model: str | ModelVersion | None = None,
        instance_type: str | int | None = None,
        wait: bool = True,
        timeout: float | None = None,
        **fields: Any,
    ) -> DeployedPredictor:
        """Put the model behind an endpoint; where a deployment of that name exists, the model becomes its next revision.

        Args:
            name: Of the deployment.
            replicas: Processes that answer.
            model: Another one than the last of :meth:`create_model`; without any, what the newest job left becomes a model
                with the deployment's name.
            instance_type: Name of an instance type, or number of a machine for prediction.
            wait: Until it answers.
            timeout: Seconds to wait at most.
            fields: ``public``, ``scaling``, ``guard``, ``sticky``, … as :meth:`client.deployments.create` takes them.
        """
        version = self._version(model, name)
        if instance_type is not None:
            fields["instance_type"] = self._machine(CatalogueKind.PREDICT_MACHINE, instance_type)
        deployments, project = self.client.deployments, version.project_id
        try:
            found = deployments.get(name, project=project)
        except NotFoundError:
            found = deployments.create(name, version.id, replicas=replicas, project=project, **fields)
        else:
            found = deployments.update(found.id, model=version.id, replicas=replicas, **fields)
        if wait:
            found = deployments.wait(found.id, revision=found.last_revision, timeout=timeout)
        return DeployedPredictor(found, self.client)

    def _version(self, model: str | ModelVersion | None, name: str) -> ModelVersion:
        if isinstance(model, ModelVersion):
            return model
        if model is not None:
            return self.client.models.version(model, project=self._project)
        return self.model or self.create_model(name)


def _monitor(given: MonitorSpec | Mapping[str, Any]) -> MonitorSpec:
    return given if isinstance(given, MonitorSpec) else parse_request(MonitorSpec, dict(given), what="The monitor")
