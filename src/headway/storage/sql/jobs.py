"""Jobs, their attempts and replicas."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import select

from headway.domain.base import Page, PageRequest
from headway.domain.jobs import FINISHED_STATES, Job, JobState
from headway.domain.replicas import Attempt, OwnerKind, Replica
from headway.storage.sql import tables
from headway.storage.sql.columns import to_milliseconds
from headway.storage.sql.records import RecordTable, among, equal
from headway.storage.sql.references import RECORDS_AT_ONCE, NamesBlobs

UNFINISHED_STATES = [state for state in JobState if state is not JobState.CREATED and state not in FINISHED_STATES]

IDS_PER_QUERY = 500
"""Well below what either database takes as parameters of one statement."""


class Jobs(NamesBlobs, RecordTable[Job]):
    table = tables.jobs
    record = Job
    noun = "job"

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        states: Collection[JobState] | None = None,
        name: str | None = None,
    ) -> Page[Job]:
        columns = self.table.c
        return self._page(
            page, among(columns.project_id, project_ids), among(columns.state, states), equal(columns.name, name)
        )

    def unfinished(self) -> Sequence[Job]:
        columns = self.table.c
        return self._all(among(columns.state, UNFINISHED_STATES), order=[columns.created_at, columns.id])

    def manifests(self) -> Iterator[str]:
        columns, after = self.table.c, ""
        statement = select(columns.id, columns.document).order_by(columns.id).limit(RECORDS_AT_ONCE)
        while rows := self._transaction.rows(statement.where(columns.id > after)):
            for row in rows:
                if '"manifest":"' in row.document:
                    yield from _manifests(Job.model_validate_json(row.document))
            after = rows[-1].id

    def _columns(self, record: Job) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "name": record.name,
            "state": record.state.value,
            "created_at": to_milliseconds(record.created_at),
        }


def _manifests(job: Job) -> Iterator[str]:
    inputs = [*job.spec.inputs.values(), *([job.spec.init_model] if job.spec.init_model else ())]
    yield from (given.manifest for given in inputs if given.manifest is not None)


class Attempts(RecordTable[Attempt]):
    table = tables.attempts
    record = Attempt
    noun = "attempt"

    def of_owner(self, kind: OwnerKind, owner_id: str) -> Sequence[Attempt]:
        columns = self.table.c
        return self._all(
            columns.owner_kind == kind.value, columns.owner_id == owner_id, order=[columns.number, columns.id]
        )

    def open(self) -> Sequence[Attempt]:
        columns = self.table.c
        return self._all(columns.ended_at.is_(None), order=[columns.created_at, columns.id])

    def by_tokens(self, tokens: Collection[str]) -> Sequence[Attempt]:
        columns = self.table.c
        found: list[Attempt] = []
        for some in _portions(tokens):
            found += self._all(among(columns.token, some), order=[columns.id])
        return found

    def _columns(self, record: Attempt) -> dict[str, Any]:
        return {
            "token": record.token,
            "owner_kind": record.owner_kind.value,
            "owner_id": record.owner_id,
            "number": record.number,
            "created_at": to_milliseconds(record.created_at),
            "ended_at": None if record.ended_at is None else to_milliseconds(record.ended_at),
        }


class Replicas(RecordTable[Replica]):
    table = tables.replicas
    record = Replica
    noun = "replica"

    def of_attempt(self, attempt_id: str) -> Sequence[Replica]:
        return self.of_attempts([attempt_id])

    def of_attempts(self, attempt_ids: Collection[str]) -> Sequence[Replica]:
        columns = self.table.c
        order = [columns.attempt_id, columns.rank, columns.id]
        found: list[Replica] = []
        for some in _portions(attempt_ids):
            found += self._all(among(columns.attempt_id, some), order=order)
        return found

    def _columns(self, record: Replica) -> dict[str, Any]:
        return {"attempt_id": record.attempt_id, "rank": record.rank}


def _portions(ids: Collection[str]) -> Iterator[list[str]]:
    """``ids``, sorted and each once, in lists that fit into one statement."""
    remaining = iter(sorted(set(ids)))
    while some := list(islice(remaining, IDS_PER_QUERY)):
        yield some
