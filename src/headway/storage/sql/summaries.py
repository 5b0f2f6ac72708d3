"""Summaries of series, as numbers that a search compares and from which the record is made again exactly.

A statistic is kept as the nearest float64, what is missing to it (whole numbers beyond 2**53), and its form, three bits
a statistic in the column ``forms``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, literal, select

from headway.domain.metrics import SeriesSummary, normal_stage
from headway.domain.search import NOT_FINITE, split_number
from headway.storage.sql import tables
from headway.storage.sql.columns import PlainText
from headway.storage.sql.transactions import Transaction

STATISTICS = ("last", "min", "max", "mean")
ABSENT, WHOLE, FLOAT, NAN, NEGATIVE_ZERO = range(5)
"""Forms of a statistic. A database may forget the sign of zero."""
FORM_BITS = 3
NAN_LAST = NAN
"""The bits of ``forms`` that say so of ``last``, which alone can be NaN."""
FORM_MASK = (1 << FORM_BITS) - 1
ROWS_PER_QUERY = 500

_NAMES = {math.inf: "Infinity", -math.inf: "-Infinity"}
_columns = tables.run_metrics.c


class RunMetrics:
    table = tables.run_metrics

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def put(self, run_id: str, summaries: Sequence[SeriesSummary]) -> None:
        runs = tables.runs.c
        if not summaries or self._transaction.locked_row(select(runs.id).where(runs.id == run_id)) is None:
            return
        rows = {summary.key: _to_row(run_id, summary) for summary in summaries}
        remaining = iter(rows)
        while keys := list(islice(remaining, ROWS_PER_QUERY)):
            self._transaction.change(delete(self.table).where(_columns.run_id == run_id, _columns.key.in_(keys)))
        self._transaction.insert_many(self.table, list(rows.values()))

    def of_run(self, run_id: str, *, prefix: str = "") -> Sequence[SeriesSummary]:
        begins = func.substr(_columns.key, 1, len(prefix)) == literal(prefix, PlainText)
        conditions = [_columns.run_id == run_id, *([begins] if prefix else [])]
        statement = select(self.table).where(and_(*conditions)).order_by(_columns.key)
        return [_to_record(row) for row in self._transaction.rows(statement)]

    def of_runs(self, run_ids: Collection[str], *, limit: int) -> Mapping[str, Sequence[SeriesSummary]]:
        found: dict[str, list[SeriesSummary]] = {}
        for row in self._first_of_each(run_ids, limit):
            found.setdefault(row.run_id, []).append(_to_record(row))
        return found

    def _first_of_each(self, run_ids: Collection[str], limit: int) -> Iterator[Row[Any]]:
        remaining = iter(sorted(set(run_ids)))
        while some := list(islice(remaining, ROWS_PER_QUERY)):
            number = func.row_number().over(partition_by=_columns.run_id, order_by=_columns.key).label("place")
            inner = select(self.table, number).where(_columns.run_id.in_(some)).subquery()
            within: ColumnElement[bool] = inner.c.place <= limit
            yield from self._transaction.rows(select(inner).where(within).order_by(inner.c.run_id, inner.c.key))


def _to_row(run_id: str, summary: SeriesSummary) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run_id": run_id,
        "key": summary.key,
        "stage": normal_stage(summary.stage),
        "count": summary.count,
        "nan_count": summary.nan_count,
        "last_step": summary.last_step,
    }
    forms = 0
    for place, statistic in enumerate(STATISTICS):
        form, number, rest = _to_number(getattr(summary, statistic))
        forms |= form << FORM_BITS * place
        row[statistic] = number
        if statistic != "mean":
            row[f"{statistic}_rest"] = rest
    return {**row, "forms": forms}


def _to_number(value: float | str | None) -> tuple[int, float | None, int]:
    if value is None:
        return ABSENT, None, 0
    if isinstance(value, str):
        value = NOT_FINITE[value]
    if isinstance(value, int):
        return WHOLE, *split_number(value)
    if math.isnan(value):
        return NAN, None, 0
    return NEGATIVE_ZERO if value == 0 and math.copysign(1, value) < 0 else FLOAT, value, 0


def _to_record(row: Row[Any]) -> SeriesSummary:
    values = row._mapping
    stage = values["stage"]
    found: dict[str, Any] = {
        statistic: _from_number(
            values["forms"] >> FORM_BITS * place & FORM_MASK, values[statistic], values.get(f"{statistic}_rest", 0)
        )
        for place, statistic in enumerate(STATISTICS)
    }
    # Not validated again: it was when it was put, and a page has thousands of them.
    return SeriesSummary.model_construct(
        name=values["key"][len(stage) + 1 :] if stage else values["key"],
        stage=stage,
        count=values["count"],
        nan_count=values["nan_count"],
        last_step=values["last_step"],
        **found,
    )


def _from_number(form: int, number: float, rest: int) -> float | str | None:
    if form == ABSENT:
        return None
    if form == WHOLE:
        return int(number) + rest
    if form == NAN:
        return "NaN"
    if form == NEGATIVE_ZERO:
        return -0.0
    return _NAMES.get(number, number)
