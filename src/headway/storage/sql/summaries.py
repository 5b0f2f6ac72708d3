"""Summaries of series, as numbers that a search compares and from which the record is made again exactly.

A statistic is kept as the nearest float64, what is missing to it (whole numbers beyond 2**53), and its form, three bits
a statistic in the column ``forms``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, and_, delete, func, literal, select

from headway.domain.metrics import SeriesSummary, normal_stage
from headway.domain.search import NOT_FINITE, split_number
from headway.storage.sql import tables
from headway.storage.sql.columns import PlainText
from headway.storage.sql.transactions import Transaction

STATISTICS = ("last", "min", "max", "mean")
ABSENT, WHOLE, FLOAT, NAN, NEGATIVE_ZERO, INFINITE = range(6)
"""Forms of a statistic. A database may forget the sign of zero."""
FORM_BITS = 3
FORM_MASK = (1 << FORM_BITS) - 1
FINITE_FLOATS = sum(FLOAT << FORM_BITS * place for place in range(len(STATISTICS)))
"""What ``forms`` is for nearly every series."""
ROWS_PER_QUERY = 500

_columns = tables.run_metrics.c
_HEAD = ("run_id", "key", "stage", "forms", "count", "nan_count", "last_step")
_VALUES = ("last", "last_rest", "min", "min_rest", "max", "max_rest", "mean")
_IN_ORDER = [_columns[name] for name in (*_HEAD, *_VALUES)]
_RECORDS = TypeAdapter(list[SeriesSummary])


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

    def drop(self, run_id: str, key: str) -> None:
        self._transaction.change(delete(self.table).where(_columns.run_id == run_id, _columns.key == key))

    def of_run(self, run_id: str, *, prefix: str = "") -> Sequence[SeriesSummary]:
        begins = func.substr(_columns.key, 1, len(prefix)) == literal(prefix, PlainText)
        conditions = [_columns.run_id == run_id, *([begins] if prefix else [])]
        return [summary for _, summary in _to_records(self._rows(and_(*conditions)))]

    def of_runs(self, run_ids: Collection[str], *, limit: int) -> Mapping[str, Sequence[SeriesSummary]]:
        found: dict[str, list[SeriesSummary]] = {}
        remaining = iter(sorted(set(run_ids)))
        while some := list(islice(remaining, ROWS_PER_QUERY)):
            for run_id, summary in _to_records(self._first_of_each(some, limit)):
                found.setdefault(run_id, []).append(summary)
        return found

    def _first_of_each(self, run_ids: Sequence[str], limit: int) -> list[Row[Any]]:
        """Runs with few series all at once, which is quicker than to number the rows of each."""
        statement = select(_columns.run_id, func.count().label("number")).where(_columns.run_id.in_(run_ids))
        counts = {row.run_id: row.number for row in self._transaction.rows(statement.group_by(_columns.run_id))}
        small = [run_id for run_id, number in counts.items() if number <= limit]
        rows = list(self._rows(_columns.run_id.in_(small))) if small else []
        for run_id in counts.keys() - small:
            rows += self._rows(_columns.run_id == run_id, limit)
        return rows

    def _rows(self, condition: ColumnElement[bool], limit: int | None = None) -> Sequence[Row[Any]]:
        statement = select(*_IN_ORDER).where(condition).order_by(_columns.run_id, _columns.key).limit(limit)
        return self._transaction.rows(statement)


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
    if math.isinf(value):
        return INFINITE, value, 0
    return NEGATIVE_ZERO if value == 0 and math.copysign(1, value) < 0 else FLOAT, value, 0


def _to_records(rows: Iterable[Row[Any]]) -> Iterator[tuple[str, SeriesSummary]]:
    """The run and the summary of each row. All are validated together: a page has thousands of them."""
    ids: list[str] = []
    found: list[dict[str, Any]] = []
    for row in rows:
        run_id, key, stage, forms, count, nan_count, last_step = row[: len(_HEAD)]
        last, last_rest, least, least_rest, greatest, greatest_rest, mean = row[len(_HEAD) :]
        if forms != FINITE_FLOATS:
            last, least, greatest, mean = (
                _from_number(forms >> FORM_BITS * place & FORM_MASK, number, rest)
                for place, (number, rest) in enumerate(
                    [(last, last_rest), (least, least_rest), (greatest, greatest_rest), (mean, 0)]
                )
            )
        ids.append(run_id)
        found.append(
            {
                "name": key[len(stage) + 1 :] if stage else key,
                "stage": stage,
                "count": count,
                "nan_count": nan_count,
                "last_step": last_step,
                "last": last,
                "min": least,
                "max": greatest,
                "mean": mean,
            }
        )
    return zip(ids, _RECORDS.validate_python(found), strict=True)


def _from_number(form: int, number: float, rest: int) -> float | str | None:
    if form == ABSENT:
        return None
    if form == WHOLE:
        return int(number) + rest
    if form == NAN:
        return "NaN"
    if form == INFINITE:
        return "Infinity" if number > 0 else "-Infinity"
    return -0.0 if form == NEGATIVE_ZERO else number
