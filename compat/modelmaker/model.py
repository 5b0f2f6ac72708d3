"""The Model: make versions of models, and services of them."""

from __future__ import annotations

from typing import Any

from headway.domain.catalogue import CatalogueKind
from modelmaker import catalogues, models, services
from modelmaker.ids import to_number
from modelmaker.logger import logger
from modelmaker.predictor import Predictor
from modelmaker.session import Session

__all__ = ["Model", "Predictor"]


class Model:
    """Makes models and deploys them. Numbers of what it made last are defaults of its calls."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._model_id: int | None = None
        self._model_version_id: int | None = None
        self._service_id: int | None = None

    def __repr__(self) -> str:
        return f"Model(model_id={self._model_id!r}, model_version_id={self._model_version_id!r})"

    def create_model(self, **kwargs: Any) -> dict[str, Any]:
        """The next version of a model; its numbers as ``id`` and ``versionId``.

        Args:
            kwargs: ``model_name``, ``model_version``, ``model_path``, ``model_framework``, ``model_framework_type``,
                ``model_code_dir``, ``model_boot_file``, ``model_call_specs``, ``model_description``, ``model_mirrorUrl``,
                ``model_id``, ``model_git_info``.

        Raises:
            ValueError: One is unknown, missing or wrong; found before anything is made.
            ApiException: The server refused.
        """
        return self._create(**kwargs)

    def _create(self, *, left_by: str | None = None, job: str | None = None, **words: Any) -> dict[str, Any]:
        """:meth:`create_model` of what a training left."""
        version = models.create(self.session, words, left_by=left_by, job=job)
        self._model_id, self._model_version_id = to_number(version.model_id), to_number(version.id)
        return {"id": self._model_id, "versionId": self._model_version_id}

    def deploy_predictor(self, **kwargs: Any) -> Predictor:
        """A service, started at once.

        Args:
            kwargs: ``service_name``, ``service_type`` (``ONLINE_SERVICE``) and ``service_models``: dicts with ``weight``,
                ``resourceId``, ``instanceCount``, and ``modelVersionId`` where it is not the version made last.
        """
        self._service_id = services.create(self.session, kwargs, self._model_version_id)
        return Predictor(self.session, self._service_id)

    def model_info(self, model_id: int | None = None) -> dict[str, Any]:
        """All models, or one with its versions."""
        return models.listed(self.session) if model_id is None else models.info(self.session, model_id)

    def get_model_info(self, model_id: int | None = None) -> dict[str, Any]:
        """The older name of :meth:`model_info`."""
        return self.model_info(model_id)

    def get_model_version_info(self, model_version_id: int | None = None) -> dict[str, Any] | None:
        """One version, the one made last without a number."""
        meant = self._meant(model_version_id)
        return None if meant is None else models.version_words(models.find_version(self.session, meant))

    def preset_model(self) -> dict[str, Any]:
        """``{"presetModels": [{"id", "name"}]}``"""
        return catalogues.listed(self.session, CatalogueKind.PRESET_MODEL)

    def predict_machine(self) -> dict[str, Any]:
        """``{"resources": [{"id", "name"}]}``"""
        return catalogues.listed(self.session, CatalogueKind.PREDICT_MACHINE)

    def predict_framework(self) -> dict[str, Any]:
        """``{"frameWorks": [{"id", "name"}]}``"""
        return catalogues.listed(self.session, CatalogueKind.PREDICT_FRAMEWORK)

    def destory_model(self, model_id: int) -> dict[str, Any]:
        """Delete a model with all its versions."""
        return models.delete(self.session, model_id)

    def destory_model_version(self, model_version_id: int) -> dict[str, Any]:
        """Delete one version."""
        return models.delete_version(self.session, model_version_id)

    def delete_model(self, model_version_id: int | None = None) -> dict[str, Any] | None:
        """Delete one version, the one made last without a number."""
        meant = self._meant(model_version_id)
        return None if meant is None else models.delete_version(self.session, meant)

    def delete_service(self, service_id: int | None = None) -> dict[str, Any]:
        """Delete a service, the one made last without a number."""
        return Predictor(self.session, self._service_id).delete(service_id)

    def get_service_id(self) -> int | None:
        """Of the service made last."""
        return self._service_id

    def get_model_id(self) -> int | None:
        """Of the model made last."""
        return self._model_id

    def get_model_version_id(self) -> int | None:
        """Of the version made last."""
        return self._model_version_id

    def _meant(self, model_version_id: int | None) -> int | None:
        meant = self._model_version_id if model_version_id is None else model_version_id
        if meant is None:
            logger.error("create_model first, or give model_version_id!")
        return meant
