"""What a metric looks like to a program that reads it: exact points, and their way into NumPy and pandas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from headway.domain.base import did_you_mean
from headway.domain.metrics import series_key
from headway.errors import InvalidRequestError, MissingExtraError
from headway.sdk.columns import Line, Point
from headway.sdk.pictures import svg_lines

if TYPE_CHECKING:
    import numpy
    import pandas

ColumnName = Literal["value", "step", "time", "epoch"]
COLUMNS: tuple[ColumnName, ...] = ("value", "step", "time", "epoch")
REPR_LINES = 8


@dataclass(frozen=True, repr=False, eq=False)
class MetricSeries:
    """The points of one metric of one run, exactly as logged: iterate over it, or take a column.

    ::

        loss = run.metrics("loss")
        plt.plot(loss.to_numpy("step"), loss.to_numpy())

    With several ranks (or attempts, with ``view="all"``) it holds a line for each, one after the other; ``lines`` tells
    them apart. Values, steps, times and epochs are those that were logged: whole numbers are ``int``, NaN and infinities
    are what they are, and what was not given is None.
    """

    run_id: str
    name: str
    stage: str
    """Normalised; ``""`` for none."""
    lines: tuple[Line, ...] = field(default=())

    @property
    def key(self) -> str:
        """``val.loss``: how the series is called in queries and tables."""
        return series_key(self.stage, self.name)

    @property
    def exact(self) -> bool:
        """Whether these are all points, and not a picture of them (``points=…``)."""
        return all(line.exact for line in self.lines)

    @property
    def total(self) -> int:
        """How many points there are, before they were thinned for a picture."""
        return sum(line.total for line in self.lines)

    def __len__(self) -> int:
        return sum(map(len, self.lines))

    def __iter__(self) -> Iterator[Point]:
        for line in self.lines:
            yield from line

    @cached_property
    def steps(self) -> list[int | None]:
        """Steps, None where none was given."""
        return [step for line in self.lines for step in line.steps]

    @cached_property
    def values(self) -> list[int | float]:
        """Values: ``int`` where a whole number was logged, else ``float``."""
        return [value for line in self.lines for value in line.values]

    @cached_property
    def times(self) -> list[int]:
        """When each point was logged, in milliseconds since 1970 (UTC)."""
        return [time for line in self.lines for time in line.times]

    @cached_property
    def epochs(self) -> list[float | None]:
        """Epochs, None where none was given."""
        return [epoch for line in self.lines for epoch in line.epochs]

    def to_numpy(self, column: ColumnName = "value") -> numpy.ndarray[Any, Any]:
        """One column as an array of one dimension; without a copy where there is one line and nothing is missing.

        Args:
            column: ``value`` (int64 when all are whole numbers, else float64; Python numbers when neither holds them
                exactly), ``step`` (int64, or float64 with NaN for missing ones), ``time`` (datetime64[ms], UTC) or
                ``epoch`` (float64, NaN for missing ones).

        Raises:
            MissingExtraError: NumPy is not installed.
        """
        if column not in COLUMNS:
            raise InvalidRequestError(
                f"A series has no column {column!r}.", hint=did_you_mean(str(column), COLUMNS) or "See its docstring."
            )
        try:
            import numpy
        except ImportError:
            raise MissingExtraError("NumPy arrays", "dataframe") from None
        parts = [_array(line, column) for line in self.lines]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return numpy.empty(0, "datetime64[ms]" if column == "time" else "float64")
        mixed = column == "value" and len({part.dtype.kind for part in parts if len(part)}) > 1
        return _exact_values(self.values) if mixed else numpy.concatenate(parts)

    def to_pandas(self) -> pandas.DataFrame:
        """A row a point: ``step``, ``value``, ``epoch``, ``time`` (UTC), ``replica``, and ``attempt`` where attempts are
        told apart. Missing steps and epochs are NA, and steps stay whole numbers.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("DataFrames", "dataframe") from None
        columns: dict[str, Any] = {
            "step": _steps_for_pandas(self),
            "value": self.to_numpy(),
            "epoch": self.to_numpy("epoch"),
            "time": pandas.DatetimeIndex(self.to_numpy("time")).tz_localize("UTC"),
            "replica": pandas.Categorical([line.replica for line in self.lines for _ in range(len(line))]),
        }
        if any(line.attempt is not None for line in self.lines):
            columns["attempt"] = pandas.array([line.attempt for line in self.lines for _ in range(len(line))], "Int64")
        frame: pandas.DataFrame = pandas.DataFrame(columns)
        return frame

    def __repr__(self) -> str:
        parts = [repr(self.key), f"run={self.run_id!r}", f"{len(self):,} points"]
        if len(self.lines) != 1:
            parts.append(f"{len(self.lines)} lines")
        if not self.exact:
            parts.append(f"a picture of {self.total:,}")
        return f"MetricSeries({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """A small chart and what the lines come to. Every text is escaped: it may be anybody's."""
        picture = svg_lines([_drawn(line) for line in self.lines[:REPR_LINES]], self.key)
        rows = "".join(f"<tr>{''.join(map(_cell, _summary(line)))}</tr>" for line in self.lines[:REPR_LINES])
        more = len(self.lines) - REPR_LINES
        rest = f"<p>… and {more} more lines</p>" if more > 0 else ""
        head = "".join(f"<th>{name}</th>" for name in ("line", "points", "last", "min", "max"))
        return f"<div><b>{escape(repr(self))}</b><br>{picture}<table><tr>{head}</tr>{rows}</table>{rest}</div>"


def _array(line: Line, column: ColumnName) -> numpy.ndarray[Any, Any]:
    import numpy

    if column == "time":
        return numpy.frombuffer(line.time, "int64").view("datetime64[ms]")
    if column == "value":
        if line.is_integer is not None:
            return _exact_values(line.values)
        return numpy.frombuffer(line.value.cast("B"), "int64" if line.value.format == "q" else "float64")
    numbers, given = (line.step, line.has_step) if column == "step" else (line.epoch, line.has_epoch)
    if numbers is None:
        return numpy.full(len(line), numpy.nan)
    found = numpy.frombuffer(numbers.cast("B"), "int64" if column == "step" else "float64")
    if given is None:
        return found
    return numpy.where(numpy.frombuffer(given, "uint8") != 0, found.astype("float64"), numpy.nan)


def _exact_values(values: list[int | float]) -> numpy.ndarray[Any, Any]:
    """float64 where that holds every value, else Python's numbers: 2**53 + 1 must not become 2**53."""
    import numpy

    exact = all(isinstance(value, float) or int(float(value)) == value for value in values)
    return numpy.array(values, "float64" if exact else "object")


def _steps_for_pandas(series: MetricSeries) -> Any:
    import pandas

    if all(line.step is not None and line.has_step is None for line in series.lines):
        return series.to_numpy("step").astype("int64")
    return pandas.array(series.steps, "Int64")


def _drawn(line: Line) -> Any:
    """Something to look at: what does not fit into a float is drawn where it nearly is."""
    return line.value if line.is_integer is None else [float(value) for value in line.values]


def _summary(line: Line) -> Iterable[object]:
    name = line.replica if line.replica is not None else "all ranks"
    values = line.values
    finite = [value for value in values if math.isfinite(value)]
    attempt = "" if line.attempt is None else f", attempt {line.attempt}"
    extremes = (min(finite), max(finite)) if finite else ("", "")
    return f"{name}{attempt}", f"{len(line):,}", values[-1] if values else "", *extremes


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"<td style='text-align:left'>{escape(text)}</td>"
