"""Deployments, and which model versions they hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, select, true

from headway.domain.base import Page, PageRequest
from headway.domain.deployments import Deployment
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import RecordTable, among, equal

_versions = tables.deployed_versions


class Deployments(RecordTable[Deployment]):
    table = tables.deployments
    record = Deployment
    noun = "deployment"
    unique = True

    def add(self, record: Deployment, /) -> None:
        super().add(record)
        self._add_versions(record)

    def put(self, record: Deployment, /) -> None:
        super().put(record)
        known = select(_versions.c.model_version_id).where(_versions.c.deployment_id == record.id)
        stored = {row.model_version_id for row in self._transaction.rows(known)}
        if stored != {version.model_version_id for version in record.versions}:
            self._delete_versions(record.id)
            self._add_versions(record)

    def delete(self, id: str) -> None:
        super().delete(id)
        self._delete_versions(id)

    def by_name(self, project_id: str, name: str) -> Deployment | None:
        return self._first(self.table.c.project_id == project_id, self.table.c.name == name)

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        states: Collection[str] | None = None,
        name: str | None = None,
        model_version_id: str | None = None,
    ) -> Page[Deployment]:
        columns = self.table.c
        return self._page(
            page,
            among(columns.project_id, project_ids),
            among(columns.state, states),
            equal(columns.name, name),
            self._holding(model_version_id),
        )

    def all(self) -> Sequence[Deployment]:
        return self._all(order=[self.table.c.created_at, self.table.c.id])

    def _holding(self, model_version_id: str | None) -> ColumnElement[bool]:
        if model_version_id is None:
            return true()
        holders = select(_versions.c.deployment_id).where(_versions.c.model_version_id == model_version_id)
        return self.table.c.id.in_(holders)

    def _add_versions(self, record: Deployment) -> None:
        for version in record.versions:
            values = {"deployment_id": record.id, "model_version_id": version.model_version_id}
            self._transaction.insert(_versions, values)

    def _delete_versions(self, id: str) -> None:
        self._transaction.change(delete(_versions).where(_versions.c.deployment_id == id))

    def _columns(self, record: Deployment) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "name": record.name,
            "state": record.state.value,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: Deployment) -> str:
        return f"There is already a deployment named {record.name!r} in this project."
