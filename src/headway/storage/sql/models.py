"""Models and their versions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from headway.domain.base import Page, PageRequest
from headway.domain.models import Model, ModelVersion
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import RecordTable, among, equal
from headway.storage.sql.references import NamesBlobs


class Models(RecordTable[Model]):
    table = tables.models
    record = Model
    noun = "model"
    unique = True

    def by_name(self, project_id: str, name: str) -> Model | None:
        return self._first(self.table.c.project_id == project_id, self.table.c.name == name)

    def list(
        self, page: PageRequest, *, project_ids: Collection[str] | None = None, name: str | None = None
    ) -> Page[Model]:
        return self._page(page, among(self.table.c.project_id, project_ids), equal(self.table.c.name, name))

    def _columns(self, record: Model) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "name": record.name,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: Model) -> str:
        return f"There is already a model named {record.name!r} in this project."


class ModelVersions(NamesBlobs, RecordTable[ModelVersion]):
    table = tables.model_versions
    record = ModelVersion
    noun = "model version"
    unique = True

    def by_number(self, model_id: str, version: int) -> ModelVersion | None:
        return self._first(self.table.c.model_id == model_id, self.table.c.version == version)

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        model_id: str | None = None,
        job_id: str | None = None,
        run_id: str | None = None,
    ) -> Page[ModelVersion]:
        columns = self.table.c
        return self._page(
            page,
            among(columns.project_id, project_ids),
            equal(columns.model_id, model_id),
            equal(columns.job_id, job_id),
            equal(columns.run_id, run_id),
        )

    def _columns(self, record: ModelVersion) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "model_id": record.model_id,
            "version": record.version,
            "version_name": record.version_name,
            "job_id": record.job_id,
            "run_id": record.run_id,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: ModelVersion) -> str:
        return f"The model {record.name!r} has a version {record.version} already."
