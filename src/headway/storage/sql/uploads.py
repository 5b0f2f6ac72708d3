"""Blobs on their way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from headway.domain.uploads import Upload
from headway.storage.sql import artifact_tables as tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import RecordTable


class Uploads(RecordTable[Upload]):
    table = tables.uploads
    record = Upload
    noun = "upload"
    unique = True

    def by_digest(self, project_id: str, digest: str) -> Upload | None:
        return self._first(self.table.c.project_id == project_id, self.table.c.digest == digest)

    def begun_before(self, moment: datetime) -> Sequence[Upload]:
        columns = self.table.c
        return self._all(columns.created_at < to_milliseconds(moment), order=[columns.created_at, columns.id])

    def _columns(self, record: Upload) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "digest": record.digest,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: Upload) -> str:
        return f"The blob {record.digest} is being uploaded to this project already."
