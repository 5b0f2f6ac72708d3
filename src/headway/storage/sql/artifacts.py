"""Artifacts and their versions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select

from headway.domain.artifacts import Artifact, ArtifactVersion
from headway.domain.base import Page, PageRequest
from headway.storage.sql import artifact_tables as tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import RecordTable, among, equal


class Artifacts(RecordTable[Artifact]):
    table = tables.artifacts
    record = Artifact
    noun = "artifact"
    unique = True

    def by_name(self, project_id: str, folder: str, name: str) -> Artifact | None:
        columns = self.table.c
        return self._first(columns.project_id == project_id, columns.folder == folder, columns.name == name)

    def named(self, project_id: str, name: str) -> Sequence[Artifact]:
        columns = self.table.c
        return self._all(columns.project_id == project_id, columns.name == name, order=[columns.folder])

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        folder: str | None = None,
        name: str | None = None,
        type: str | None = None,
    ) -> Page[Artifact]:
        columns = self.table.c
        return self._page(
            page,
            among(columns.project_id, project_ids),
            equal(columns.folder, folder),
            equal(columns.name, name),
            equal(columns.type, type),
        )

    def _columns(self, record: Artifact) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "folder": record.folder,
            "name": record.name,
            "type": record.type,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: Artifact) -> str:
        return f"There is already an artifact named {record.name!r} in the folder {record.folder!r} of this project."


class ArtifactVersions(RecordTable[ArtifactVersion]):
    table = tables.artifact_versions
    record = ArtifactVersion
    noun = "artifact version"
    unique = True

    def by_number(self, artifact_id: str, version: int) -> ArtifactVersion | None:
        return self._first(self.table.c.artifact_id == artifact_id, self.table.c.version == version)

    def by_content(self, artifact_id: str, digest: str) -> ArtifactVersion | None:
        return self._first(self.table.c.artifact_id == artifact_id, self.table.c.digest == digest)

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        artifact_id: str | None = None,
        run_id: str | None = None,
    ) -> Page[ArtifactVersion]:
        columns = self.table.c
        return self._page(
            page,
            among(columns.project_id, project_ids),
            equal(columns.artifact_id, artifact_id),
            equal(columns.run_id, run_id),
        )

    def manifests(self, *, after: str, limit: int) -> Sequence[str]:
        column = self.table.c.manifest
        statement = select(column).where(column > after).distinct().order_by(column).limit(limit)
        return [row.manifest for row in self._transaction.rows(statement)]

    def _columns(self, record: ArtifactVersion) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "artifact_id": record.artifact_id,
            "version": record.version,
            "digest": record.digest,
            "manifest": record.manifest,
            "run_id": record.run_id,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: ArtifactVersion) -> str:
        return f"The artifact {record.name!r} has a version {record.version}, or one of that content, already."
