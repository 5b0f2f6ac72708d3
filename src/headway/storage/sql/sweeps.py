"""Sweeps and their trials."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Column, Index, Table, UniqueConstraint, select

from headway.domain.base import Page, PageRequest
from headway.domain.sweeps import Sweep, SweepState, Trial, TrialState
from headway.storage.sql.columns import PlainText, WholeNumber, to_milliseconds
from headway.storage.sql.records import RecordTable, among, equal
from headway.storage.sql.references import NamesBlobs
from headway.storage.sql.tables import metadata

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", PlainText, primary_key=True),
    Column("project_id", PlainText, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("state", PlainText, nullable=False),
    Column("created_at", WholeNumber, nullable=False),
    Column("document", PlainText, nullable=False),
    UniqueConstraint("project_id", "name", name="sweeps_name"),
    Index("sweeps_newest", "created_at", "id"),
    Index("sweeps_state", "state", "created_at", "id"),
)

trials = Table(
    "trials",
    metadata,
    Column("id", PlainText, primary_key=True),
    Column("sweep_id", PlainText, nullable=False),
    Column("number", WholeNumber, nullable=False),
    Column("state", PlainText, nullable=False),
    Column("created_at", WholeNumber, nullable=False),
    Column("document", PlainText, nullable=False),
    UniqueConstraint("sweep_id", "number", name="trials_number"),
)


class Sweeps(NamesBlobs, RecordTable[Sweep]):
    table = sweeps
    record = Sweep
    noun = "sweep"
    unique = True

    def by_name(self, project_id: str, name: str) -> Sweep | None:
        return self._first(self.table.c.project_id == project_id, self.table.c.name == name)

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        states: Collection[SweepState] | None = None,
        name: str | None = None,
    ) -> Page[Sweep]:
        columns = self.table.c
        return self._page(
            page, among(columns.project_id, project_ids), among(columns.state, states), equal(columns.name, name)
        )

    def active(self) -> Sequence[Sweep]:
        columns = self.table.c
        unfinished = [state.value for state in SweepState if not state.finished]
        return self._all(columns.state.in_(unfinished), order=[columns.created_at, columns.id])

    def _columns(self, record: Sweep) -> dict[str, Any]:
        return {
            "project_id": record.project_id,
            "name": record.name,
            "state": record.state.value,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: Sweep) -> str:
        return f"There is already a sweep named {record.name!r} in this project."


class Trials(RecordTable[Trial]):
    table = trials
    record = Trial
    noun = "trial"
    unique = True

    def of_sweep(self, sweep_id: str) -> Sequence[Trial]:
        return self._all(self.table.c.sweep_id == sweep_id, order=[self.table.c.number])

    def list(
        self, sweep_id: str, *, after: int = 0, limit: int = 100, states: Collection[TrialState] | None = None
    ) -> Sequence[Trial]:
        columns = self.table.c
        statement = (
            select(columns.document)
            .where(columns.sweep_id == sweep_id, columns.number > after, among(columns.state, states))
            .order_by(columns.number)
            .limit(limit)
        )
        return [self._load(row.document) for row in self._transaction.rows(statement)]

    def _columns(self, record: Trial) -> dict[str, Any]:
        return {
            "sweep_id": record.sweep_id,
            "number": record.number,
            "state": record.state.value,
            "created_at": to_milliseconds(record.created_at),
        }

    def _conflict(self, record: Trial) -> str:
        return f"The sweep has a trial {record.number} already."
