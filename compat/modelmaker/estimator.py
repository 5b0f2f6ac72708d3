"""The Estimator: train, then make a model of it and a service of that."""

from __future__ import annotations

import sys
from typing import Any

from headway.domain.catalogue import CatalogueKind
from headway.domain.jobs import Job
from modelmaker import catalogues, trainings
from modelmaker.exceptions import ModelMakerError, reported_as
from modelmaker.ids import to_number
from modelmaker.logger import logger
from modelmaker.model import Model, Predictor
from modelmaker.model_checks import ONLINE, PRESET_MODEL, check_words
from modelmaker.session import Session
from modelmaker.training_checks import BASIC, PRESET, check, session_of
from modelmaker.training_requests import job_fields

__all__ = ["Estimator", "Model", "Predictor"]

Answer = dict[str, Any]
SPEC_KINDS = {
    "TRAIN": CatalogueKind.TRAIN_MACHINE,
    "DEVELOPMENT": CatalogueKind.DEVELOPMENT_MACHINE,
    "PREDICT": CatalogueKind.PREDICT_MACHINE,
}


class Catalogues:
    """What can be chosen, and train jobs by number: class methods whose first argument is a session."""

    @classmethod
    def train_machine(cls, session: Session) -> Answer:
        """``{"resources": [{"id", "name", …}]}``"""
        return catalogues.listed(session, CatalogueKind.TRAIN_MACHINE)

    @classmethod
    def development_machine(cls, session: Session) -> Answer:
        """``{"resources": [{"id", "name", …}]}``"""
        return catalogues.listed(session, CatalogueKind.DEVELOPMENT_MACHINE)

    @classmethod
    def predict_machine(cls, session: Session) -> Answer:
        """``{"resources": [{"id", "name", …}]}``"""
        return catalogues.listed(session, CatalogueKind.PREDICT_MACHINE)

    @classmethod
    def train_framework(cls, session: Session) -> Answer:
        """``{"frameWorks": [{"id", "name"}]}``"""
        return catalogues.listed(session, CatalogueKind.TRAIN_FRAMEWORK)

    @classmethod
    def development_framework(cls, session: Session) -> Answer:
        """``{"frameWorks": [{"id", "name"}]}``"""
        return catalogues.listed(session, CatalogueKind.DEVELOPMENT_FRAMEWORK)

    @classmethod
    def predict_framework(cls, session: Session) -> Answer:
        """``{"frameWorks": [{"id", "name"}]}``"""
        return catalogues.listed(session, CatalogueKind.PREDICT_FRAMEWORK)

    @classmethod
    def preset_algorithm(cls, session: Session) -> Answer:
        """``{"presetAlgorithms": [{"id", "name"}]}``"""
        return catalogues.listed(session, CatalogueKind.PRESET_ALGORITHM)

    @classmethod
    def preset_model(cls, session: Session) -> Answer:
        """``{"presetModels": [{"id", "name"}]}``"""
        return catalogues.listed(session, CatalogueKind.PRESET_MODEL)

    @classmethod
    def get_spec_list(cls, session: Session, env: str) -> Answer:
        """The machines for ``TRAIN``, ``DEVELOPMENT`` or ``PREDICT``."""
        if env not in SPEC_KINDS:
            raise ValueError(f"env must be one of {', '.join(SPEC_KINDS)}, not {env!r}!")
        return catalogues.listed(session, SPEC_KINDS[env])

    @classmethod
    def Info(cls, session: Session, job_id: int | None = None) -> Answer:
        """All train jobs, as ``{"trainTasks": […]}``, or one with its versions."""
        return trainings.listed(session) if job_id is None else trainings.task_info(session, job_id)

    @classmethod
    def version_info(cls, session: Session, version_id: int) -> Answer:
        """One version with its ``status``."""
        return trainings.version_info(session, version_id)

    @classmethod
    def get_job_version_status(cls, session: Session, version_id: int) -> Answer:
        """``{"id", "status"}`` of a version."""
        return {"id": version_id, "status": trainings.status_of(trainings.version(session, version_id))}

    @classmethod
    def destory_job(cls, session: Session, job_id: int) -> Answer:
        """Delete a train job with all its versions."""
        return trainings.delete_task(session, job_id)

    @classmethod
    def destory_job_version(cls, session: Session, version_id: int) -> Answer:
        """Delete one version."""
        return trainings.delete(session, version_id)

    get_train_instance_types = train_machine
    get_train_framework_list = train_framework
    get_preset_algorithm = preset_algorithm
    get_preset_model = preset_model
    get_job_info = Info
    get_job_version_info = version_info


class Estimator(Catalogues):
    """A training, in one of three forms: ``BASIC_FRAMEWORK``, ``PRESET_ALGORITHM`` and ``CUSTOM``.

    Nothing is checked before :meth:`fit`, but unknown keywords.

    Raises:
        ValueError: A keyword is unknown.
    """

    def __init__(
        self,
        code_dir: str | None = None,
        code_version: str | None = None,
        boot_file: str | None = None,
        boot_type: str | None = None,
        hyperparameters: list[dict[str, Any]] | None = None,
        framework: int | None = None,
        framework_type: str | None = None,
        algorithm: int | None = None,
        input_files: list[dict[str, Any]] | None = None,
        model_name: str | None = None,
        init_model: str | None = None,
        env: list[dict[str, Any]] | None = None,
        user_image_url: str | None = None,
        user_command: str | None = None,
        user_command_args: str | None = None,
        monitors: list[dict[str, Any]] | None = None,
        job_description: str | None = None,
        git_info: dict[str, Any] | None = None,
        description: str | None = None,
        modelmaker_session: Session | None = None,
        train_instance_count: int | None = None,
        train_instance_type: int | None = None,
        volume_size: int | None = None,
        output_path: str | None = None,
        max_runtime: int | None = None,
        resource_pool_type: str | None = None,
        custom_resource: dict[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))} is surplus")
        self.code_dir, self.code_version = code_dir, code_version
        self.boot_file, self.boot_type = boot_file, boot_type
        self.hyperparameters = [] if hyperparameters is None else hyperparameters
        self.framework, self.framework_type, self.algorithm = framework, framework_type, algorithm
        self.input_files, self.model_name, self.init_model = input_files, model_name, init_model
        self.env, self.user_image_url = env, user_image_url
        self.user_command, self.user_command_args = user_command, user_command_args
        self.monitors, self.git_info = monitors, git_info
        self.job_description, self.description = job_description, description
        self.modelmaker_session = modelmaker_session
        self.train_instance_count, self.train_instance_type = train_instance_count, train_instance_type
        self.volume_size, self.output_path, self.max_runtime = volume_size, output_path, max_runtime
        self.resource_pool_type, self.custom_resource = resource_pool_type, custom_resource
        self.job_id: int | None = None
        self.version_id: int | None = None
        self.job_name: str | None = None
        self.log_id = 0
        self.model: Model | None = None

    def __repr__(self) -> str:
        return (
            f"Estimator(framework_type={self.framework_type!r}, job_id={self.job_id!r}, version_id={self.version_id!r})"
        )

    # Training.

    def fit(
        self, inputs: str | None = None, wait: bool = False, logs: bool = False, job_name: str | None = None
    ) -> Answer:
        """Train; where a train job of that name exists, as its next version.

        Args:
            inputs: ``s3://bucket/directory/`` of the data.
            wait: Until it has ended. A training that failed is logged and returned from like one that did not.
            logs: While waiting, print what it prints.
            job_name: What the train job is called.

        Returns:
            ``id`` of the train job and ``versionId``.

        Raises:
            ValueError, TypeError, ModelMakerError: A setting is wrong; nothing was made.
            ApiException: The server refused.
        """
        if not job_name:
            raise ValueError("job name is needed for training")
        check(self, inputs)
        session = session_of(self)
        with reported_as("create train job error!"):
            fields = job_fields(self, inputs)
        job = trainings.submit(session, job_name, fields)
        self.version_id, self.job_name, self.log_id = to_number(job.id), job_name, 0
        self.job_id = trainings.family_number([job])
        answer = {"id": self.job_id, "versionId": self.version_id, "name": job_name}
        logger.info("train job %s, version %s: %s", self.job_id, self.version_id, trainings.status_of(job))
        if wait:
            self._follow(session, job, logs)
        return answer

    def _follow(self, session: Session, job: Job, logs: bool) -> None:
        with reported_as("get train job error!"):
            if logs:
                for row in session.client.jobs.logs(job.id, follow=True):
                    sys.stdout.write(f"{row.message}\n")
                    sys.stdout.flush()
                    self.log_id += 1
            job = session.client.jobs.wait(job.id, raise_on_failure=False)
        status = trainings.status_of(job)
        if status == "FINISH":
            logger.info("%s: %s", status, trainings.outputs(session, to_number(job.id))["outputs"])
        else:
            logger.error("%s: %s", status, trainings.message_of(job))

    # The version that was trained last, or another one.

    def info(self, version_id: int | None = None) -> Answer | None:
        """The version with its ``status``."""
        return self._asked(trainings.version_info, version_id)

    def resource(self, version_id: int | None = None) -> Answer | None:
        """What it used of its machine, where the program tracked it: ``{"metrics": […]}``."""
        return self._asked(lambda session, number: trainings.metrics(session, number, system=True), version_id)

    def metric(self, version_id: int | None = None) -> Answer | None:
        """Its series: ``{"metrics": [{"name", "data": [{"x", "y", "time"}]}]}``."""
        return self._asked(trainings.metrics, version_id)

    def log(self, log_id: int, version_id: int | None = None) -> Answer | None:
        """Rows from number ``log_id`` on: ``{"logs": [{"id", "content", "time", "nanTime"}]}``."""

        def read(session: Session, number: int) -> Answer:
            return {"logs": [row for row in trainings.rows(session, number) if row["id"] >= log_id]}

        return self._asked(read, version_id)

    def log_v2(self, last_time: int, last_nan: int, version_id: int | None = None) -> Answer | None:
        """Rows after one that had this ``time`` (milliseconds since 1970) and ``nanTime``."""

        def read(session: Session, number: int) -> Answer:
            after = (last_time, last_nan)
            return {"logs": [row for row in trainings.rows(session, number) if (row["time"], row["nanTime"]) > after]}

        return self._asked(read, version_id)

    def artifacts(self, version_id: int | None = None) -> Answer | None:
        """The files that it left: ``{"outputs": [{"name", "size", "url"}]}``."""
        return self._asked(trainings.outputs, version_id)

    def stop(self, version_id: int | None = None) -> Answer | None:
        """Ask it to end."""
        return self._asked(trainings.stop, version_id)

    def delete(self, version_id: int | None = None) -> Answer | None:
        """Delete it; one that has not ended is stopped first."""
        return self._asked(trainings.delete, version_id)

    stop_job = stop
    delete_job = delete
    get_job_output = artifacts
    get_resource_monitor = resource
    get_performance_monitor = metric

    def _asked(self, ask: Any, version_id: int | None) -> Answer | None:
        meant = self.version_id if version_id is None else version_id
        if meant is None:
            logger.error("fit first, or give version_id!")
            return None
        answer: Answer = ask(session_of(self), meant)
        return answer

    # Models and services.

    def create_model(self, version_id: int | None = None, **kwargs: Any) -> Model:
        """A model of what was trained; what is not given follows from the training.

        Args:
            version_id: Another version than the last one.
            kwargs: See :meth:`modelmaker.model.Model.create_model`.

        Raises:
            ModelMakerError: The training has not finished, or has failed.
            ValueError: A keyword is unknown, missing or wrong.
        """
        check_words(kwargs)
        meant = self.version_id if version_id is None else version_id
        session = session_of(self)
        job = None if meant is None else trainings.version(session, meant)
        if job is None or trainings.status_of(job) != "FINISH":
            raise ModelMakerError("train job is not finish!")
        words = self._completed(session, job, {key: value for key, value in kwargs.items() if value is not None})
        own_files = words.get("model_path") == job.spec.output_path
        self.model = Model(session)
        self.model._create(left_by=trainings.left_model(job) if own_files else None, job=job.id, **words)
        return self.model

    def _completed(self, session: Session, job: Job, words: dict[str, Any]) -> dict[str, Any]:
        kind = PRESET_MODEL if self.framework_type == PRESET else self.framework_type
        found = {
            "model_name": job.name,
            "model_path": job.spec.output_path,
            "model_framework_type": kind,
            **words,
        }
        if "model_framework" not in found and found["model_framework_type"] == kind:
            framework = self._matching_framework(session)
            if framework is not None:
                found["model_framework"] = framework
        return {key: value for key, value in found.items() if value is not None}

    def _matching_framework(self, session: Session) -> int | None:
        """The choice for prediction with the name of the one that was trained with."""
        if self.framework_type not in (BASIC, PRESET):
            return None
        basic = self.framework_type == BASIC
        trained = CatalogueKind.TRAIN_FRAMEWORK if basic else CatalogueKind.PRESET_ALGORITHM
        served = CatalogueKind.PREDICT_FRAMEWORK if basic else CatalogueKind.PRESET_MODEL
        number = self.framework if basic else self.algorithm
        with reported_as():
            names = {entry.id: entry.name for entry in session.client.catalogue.list(trained)}
            found = [
                entry.id for entry in session.client.catalogue.list(served) if entry.name == names.get(number or 0)
            ]
        return found[0] if found else None

    def deploy_predictor(self, **kwargs: Any) -> Predictor:
        """A service of the model that was made; see :meth:`modelmaker.model.Model.deploy_predictor`."""
        model = self.model or Model(session_of(self))
        return model.deploy_predictor(**{"service_type": ONLINE, **kwargs})
