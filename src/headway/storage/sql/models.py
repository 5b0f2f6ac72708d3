"""Models and their versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, select, true

from headway.domain.base import Page, PageRequest
from headway.domain.models import Model, ModelVersion
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.matching import contains as holds
from headway.storage.sql.records import RecordTable, among, equal
from headway.storage.sql.references import NamesBlobs

_aliases, _labels = tables.model_aliases, tables.model_version_labels


class Models(RecordTable[Model]):
    table = tables.models
    record = Model
    noun = "model"
    unique = True

    def add(self, record: Model, /) -> None:
        super().add(record)
        self._add_aliases(record)

    def put(self, record: Model, /) -> None:
        super().put(record)
        columns = _aliases.c
        known = select(columns.alias, columns.version).where(columns.model_id == record.id)
        if {row.alias: row.version for row in self._transaction.rows(known)} != record.aliases:
            self._delete_aliases(record.id)
            self._add_aliases(record)

    def delete(self, id: str) -> None:
        super().delete(id)
        self._delete_aliases(id)

    def by_name(self, project_id: str, name: str) -> Model | None:
        return self._first(self.table.c.project_id == project_id, self.table.c.name == name)

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        name: str | None = None,
        contains: str | None = None,
    ) -> Page[Model]:
        columns = self.table.c
        return self._page(
            page,
            among(columns.project_id, project_ids),
            equal(columns.name, name),
            true() if contains is None else holds(columns.name, contains),
        )

    def _add_aliases(self, record: Model) -> None:
        rows = [{"model_id": record.id, "alias": alias, "version": n} for alias, n in record.aliases.items()]
        self._transaction.insert_many(_aliases, rows)

    def _delete_aliases(self, id: str) -> None:
        self._transaction.change(delete(_aliases).where(_aliases.c.model_id == id))

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

    def add(self, record: ModelVersion, /) -> None:
        super().add(record)
        self._add_labels(record)

    def put(self, record: ModelVersion, /) -> None:
        super().put(record)
        known = select(_labels.c.key, _labels.c.value).where(_labels.c.version_id == record.id)
        if {row.key: row.value for row in self._transaction.rows(known)} != record.labels:
            self._delete_labels(record.id)
            self._add_labels(record)

    def delete(self, id: str) -> None:
        super().delete(id)
        self._delete_labels(id)

    def by_number(self, model_id: str, version: int) -> ModelVersion | None:
        return self._first(self.table.c.model_id == model_id, self.table.c.version == version)

    def by_version_name(self, model_id: str, version_name: str) -> ModelVersion | None:
        return self._first(self.table.c.model_id == model_id, self.table.c.version_name == version_name)

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        model_id: str | None = None,
        job_id: str | None = None,
        run_id: str | None = None,
        contains: str | None = None,
        version_name: str | None = None,
        alias: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Page[ModelVersion]:
        columns = self.table.c
        return self._page(
            page,
            among(columns.project_id, project_ids),
            equal(columns.model_id, model_id),
            equal(columns.job_id, job_id),
            equal(columns.run_id, run_id),
            equal(columns.version_name, version_name),
            true() if contains is None else self._of_models(contains),
            true() if alias is None else self._named_by(alias),
            *[self._labelled(key, value) for key, value in (labels or {}).items()],
        )

    def _of_models(self, part: str) -> ColumnElement[bool]:
        models = tables.models.c
        return self.table.c.model_id.in_(select(models.id).where(holds(models.name, part)))

    def _named_by(self, alias: str) -> ColumnElement[bool]:
        columns, names = self.table.c, _aliases.c
        same = and_(names.model_id == columns.model_id, names.version == columns.version)
        return exists().where(same, names.alias == alias)

    def _labelled(self, key: str, value: str) -> ColumnElement[bool]:
        columns = _labels.c
        return self.table.c.id.in_(select(columns.version_id).where(columns.key == key, columns.value == value))

    def _add_labels(self, record: ModelVersion) -> None:
        rows = [{"version_id": record.id, "key": key, "value": value} for key, value in record.labels.items()]
        self._transaction.insert_many(_labels, rows)

    def _delete_labels(self, id: str) -> None:
        self._transaction.change(delete(_labels).where(_labels.c.version_id == id))

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
        named = "" if record.version_name is None else f", or one named {record.version_name!r},"
        return f"The model {record.name!r} has a version {record.version}{named} already."
