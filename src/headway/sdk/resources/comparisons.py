"""Runs beside each other: what differs, tables, and all their points as a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from headway.domain.filters import parse_filter, parse_order
from headway.domain.runs import Run, RunRow
from headway.errors import InvalidRequestError
from headway.sdk.compare import Comparable, RunDiff, compare
from headway.sdk.export import PointSource, export_points
from headway.sdk.resources.base import Resource
from headway.sdk.resources.metrics import RUNS, points_of, run_address
from headway.sdk.summaries import RunSummary
from headway.sdk.tables import RunTable, check_column
from headway.sdk.views import RunView


def check_search(filter: str | None, order_by: str | None) -> None:
    """InvalidRequestError when a filter or an order cannot be understood; said before anything is sent."""
    if filter is not None:
        parse_filter(filter)
    if order_by is not None:
        parse_order(order_by)


class RunComparisons(Resource):
    """What ``client.runs`` says of several runs."""

    def diff(self, a: str | Comparable, b: str | Comparable) -> RunDiff:
        """What differs between two runs: config, environment, metrics and inputs. Each is an id or a run.

        Raises:
            NotFoundError: There is no run of that id.
        """
        return compare(*(self._view(run) if isinstance(run, str) else run for run in (a, b)))

    def table(
        self,
        filter: str | None = None,
        *,
        order_by: str | None = None,
        project: str | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = 1000,
    ) -> RunTable:
        """Runs as rows, with hyperparameters and metrics as columns.

        Args:
            filter: Which runs, as in :meth:`query`; all of them without it.
            order_by: One field, with ``-`` before it for the greatest first.
            project: Id or name; the client's own without it.
            columns: ``name``, ``params.lr``, ``metrics.val.loss.min``, …; every one that occurs without it.
            limit: How many runs at most; None for all.
        """
        for column in columns or ():
            check_column(column)
        check_search(filter, order_by)
        query = {
            "project": self._scope(project),
            "filter": filter,
            "order_by": order_by,
            "include": "summary",
        }
        rows = self._session.pages(RunRow, RUNS, query, limit)
        return RunTable((self._with_summary(row) for row in rows), columns)

    def export(
        self,
        runs: str | Run | Iterable[str | Run],
        path: str | Path,
        *,
        format: str | None = None,
        progress: bool | None = None,
    ) -> Path:
        """Every point of one or several runs as a file: all ranks, all attempts, system metrics too.

        ::

            client.runs.export(client.runs.query("params.lr < 0.01"), "points.parquet")

        What is logged while it runs may or may not be in the file. The columns are those of :mod:`headway.sdk.export`;
        the file is written in constant memory, and whole or not at all.

        Args:
            runs: An id, a run, or any number of those.
            path: The file.
            format: ``parquet``, ``csv`` or ``ndjson``; by the file's ending without it.
            progress: Show a bar on stderr; by default where that is a terminal.

        Raises:
            InvalidRequestError: The format is unknown, or the directory does not exist.
            MissingExtraError: Parquet without pyarrow.
        """
        chosen = [runs] if isinstance(runs, (str, Run)) else runs
        return export_points(map(self._points, chosen), path, format=format, progress=progress)

    def _points(self, run: str | Run) -> PointSource:
        if not isinstance(run, (str, Run)):
            raise InvalidRequestError(f"{type(run).__name__} is no run.", hint="Pass an id or what client.runs gave.")
        return points_of(self._session, run if isinstance(run, str) else run.id)

    def _view(self, run: str) -> RunView:
        return RunView.of(self._session.get(Run, run_address(run)), self._session)

    def _with_summary(self, row: RunRow) -> tuple[Run, RunSummary]:
        view = RunView.of(row.run, self._session, row.summary if row.complete else None)
        return view, view.summary
