"""Runs as rows: their fields, hyperparameters and metrics side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from headway.domain.base import did_you_mean, format_time
from headway.domain.runs import Run
from headway.errors import InvalidRequestError, MissingExtraError
from headway.sdk.compare import flatten
from headway.sdk.summaries import STATISTICS, RunSummary, format_number

if TYPE_CHECKING:
    import pandas

FIELDS = (
    "id",
    "name",
    "alternative_name",
    "state",
    "folder",
    "labels",
    "description",
    "created_at",
    "finished_at",
    "duration",
    "created_by",
    "attempts",
    "job_id",
    "reason",
)
USUAL = ("id", "name", "state", "created_at", "duration")
PARAMS, METRICS = "params", "metrics"
REPR_ROWS, REPR_COLUMNS = 50, 30


class RunTable:
    """Rows of runs: iterate over them (a dict each), or take :meth:`to_pandas`.

    Columns are called as in a filter: ``name``, ``params.optimizer.lr``, ``metrics.val.loss.min`` (without a statistic
    the last value). What a run does not have is None.

    Args:
        rows: The runs, each with its summary.
        columns: Which columns; without it id, name, state, times, every hyperparameter and every series' last value.

    Raises:
        InvalidRequestError: A column cannot be.
    """

    def __init__(self, rows: Iterable[tuple[Run, RunSummary]], columns: Sequence[str] | None = None) -> None:
        self._rows = [(run, summary, flatten(run.config)) for run, summary in rows]
        self.columns: tuple[str, ...] = tuple(map(check_column, columns)) if columns else self._all_columns()

    @property
    def runs(self) -> list[Run]:
        """The records, in the order of the rows."""
        return [run for run, _, _ in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for run, summary, config in self._rows:
            yield {column: _value(column, run, summary, config) for column in self.columns}

    def to_pandas(self) -> pandas.DataFrame:
        """A row a run, in the order of the rows.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("DataFrames", "dataframe") from None
        frame: pandas.DataFrame = pandas.DataFrame([*self], columns=list(self.columns))
        return frame

    def __repr__(self) -> str:
        return f"RunTable({len(self)} runs, {len(self.columns)} columns)"

    def _repr_html_(self) -> str:
        """Runs below each other. Every text is escaped: it may be anybody's."""
        shown = self.columns[:REPR_COLUMNS]
        head = "".join(f"<th>{escape(column)}</th>" for column in shown)
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell_text(row[column]))}</td>' for column in shown)}</tr>"
            for row, _ in zip(self, range(REPR_ROWS), strict=False)
        )
        return f"<div><table><tr>{head}</tr>{rows}</table><p>{escape(repr(self))}</p></div>"

    def _all_columns(self) -> tuple[str, ...]:
        params = {_path(PARAMS, key): None for _, _, config in self._rows for key in config}
        metrics = {_path(METRICS, key): None for _, summary, _ in self._rows for key in summary}
        return (*USUAL, *params, *metrics)


def check_column(column: str) -> str:
    """``column`` if a run can have it: a field, ``params.…`` or ``metrics.…``; otherwise InvalidRequestError."""
    kind, dot, rest = column.partition(".")
    if kind == "config":
        return f"{PARAMS}{dot}{rest}" if rest else _refuse(column)
    if column in FIELDS or (kind in (PARAMS, METRICS) and rest):
        return column
    return _refuse(column)


def _refuse(column: str) -> str:
    hint = did_you_mean(column, FIELDS) or f"Columns: {', '.join(FIELDS)}, params.NAME, metrics.NAME."
    raise InvalidRequestError(f"Runs have no column {column!r}.", hint=hint)


def _path(kind: str, key: str) -> str:
    return f"{kind}.{key}"


def _value(column: str, run: Run, summary: RunSummary, config: dict[str, Any]) -> Any:
    kind, _, rest = column.partition(".")
    if column in FIELDS:
        return duration(run) if column == "duration" else _plain(getattr(run, column))
    plain = rest.replace("`", "")  # a filter needs them around unusual names
    if kind == PARAMS:
        return config[rest] if rest in config else config.get(plain)
    return metric_value(summary, plain)


def metric_value(summary: RunSummary, path: str) -> Any:
    """``val.loss.min`` of a summary; without a statistic the last value; None where there is no such series."""
    if path in summary:
        return summary[path].last
    key, _, statistic = path.rpartition(".")
    if key in summary and statistic in (*STATISTICS, "count"):
        return getattr(summary[key], statistic)
    return None


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


def duration(run: Run) -> float | None:
    """Seconds from the run's beginning to its end; None while it has none."""
    return None if run.finished_at is None else (run.finished_at - run.created_at).total_seconds()


def cell_text(value: Any) -> str:
    """A value for people; nothing for None.

    >>> cell_text(0.1 + 0.2), cell_text(["a", "b"]), cell_text(None), cell_text(True)
    ('0.3', 'a, b', '', 'true')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell_text, value))
    return str(value)
