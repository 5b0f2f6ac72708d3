"""A run that can be asked: the record, and what lies behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from headway.domain.lineage import Lineage, NodeKind, Relation
from headway.domain.logs import LogRow
from headway.domain.metrics import EntryType, Series, SeriesSummary
from headway.domain.runs import Run
from headway.errors import InvalidRequestError
from headway.sdk.compare import ComparedRun, RunDiff, compare, flatten
from headway.sdk.export import PointSource, export_points
from headway.sdk.resources.entries import RunEntry, list_entries
from headway.sdk.resources.logs import read_logs
from headway.sdk.resources.metrics import RunMetrics, list_series, points_of, run_address
from headway.sdk.series import MetricSeries
from headway.sdk.session import Session
from headway.sdk.summaries import RunSummary

if TYPE_CHECKING:
    from headway.sdk.compare import Comparable

REPR_ROWS = 20


class RunView(Run):
    """A run of a server: the fields of :class:`headway.domain.runs.Run`, and questions to the server about it.

    ::

        run = client.runs.get("run1")
        run.state, run.config["lr"]             # what was known when it was fetched
        run.metrics("loss", stage="val").to_pandas()
    """

    _session: Session | None = PrivateAttr(None)
    _fetched: tuple[SeriesSummary, ...] | None = PrivateAttr(None)

    @staticmethod
    def of(run: Run, session: Session, summary: Iterable[SeriesSummary] | None = None) -> RunView:
        """``run`` as a view that asks through ``session``."""
        view = RunView.model_construct(run.model_fields_set, **{name: getattr(run, name) for name in Run.model_fields})
        view._session = session
        view._fetched = None if summary is None else tuple(summary)
        return view

    @property
    def session(self) -> Session:
        """The connection that it was fetched through."""
        if self._session is None:
            raise InvalidRequestError(f"The run {self.id!r} belongs to no connection.", hint="Use client.runs.get(id).")
        return self._session

    def refresh(self) -> RunView:
        """The run as it is now."""
        return RunView.of(self.session.get(Run, run_address(self.id)), self.session)

    def metrics(self, name: str, *, stage: str | None = None, **query: Any) -> MetricSeries:
        """The points of one metric, exactly as logged; see :meth:`headway.sdk.resources.metrics.RunMetrics.metrics`."""
        return RunMetrics(self.session).metrics(self.id, name, stage=stage, **query)

    def series(self) -> Sequence[Series]:
        """What was logged: a record for each name, stage and rank, with the number of its points."""
        return list_series(self.session, self.id)

    @cached_property
    def summary(self) -> RunSummary:
        """Last, least, greatest and mean value of each series, as they were when this was first asked."""
        if self._fetched is not None:
            return RunSummary(self._fetched)
        return RunSummary(self.session.items(SeriesSummary, run_address(self.id, "summary")))

    def environment(self) -> dict[str, Any]:
        """What was captured about code, machine and packages."""
        return dict(self.session.call("GET", run_address(self.id, "environment")) or {})

    def entries(
        self,
        *,
        name: str | None = None,
        stage: str | None = None,
        type: EntryType | str | None = None,
        limit: int | None = None,
    ) -> Iterator[RunEntry]:
        """Media that it logged; each can be read and saved."""
        return list_entries(self.session, self.id, self.project_id, name=name, stage=stage, type=type, limit=limit)

    def logs(
        self,
        *,
        follow: bool = False,
        replica: str | None = None,
        attempt: int | None = None,
        tail: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[LogRow]:
        """What its ranks printed; as :meth:`headway.sdk.resources.jobs.Jobs.logs`."""
        path = run_address(self.id, "logs")
        return read_logs(
            self.session, path, follow=follow, replica=replica, attempt=attempt, tail=tail, timeout=timeout
        )

    def lineage(self, *, direction: str = "both", depth: int | None = None) -> Lineage:
        """What it came from (``up``), what came of it (``down``), or both."""
        query = {"project": self.project_id, "subject": self.id, "direction": direction, "depth": depth}
        return self.session.get(Lineage, "/api/v1/lineage", query)

    def export(self, path: str | Path, *, format: str | None = None, progress: bool | None = None) -> Path:
        """Every point of it as a file; see :meth:`headway.sdk.resources.comparisons.RunComparisons.export`."""
        return export_points([self.points()], path, format=format, progress=progress)

    def points(self) -> PointSource:
        """All its points, for an export."""
        return points_of(self.session, self.id)

    def diff(self, other: Comparable) -> RunDiff:
        """What differs between this run (``a``) and ``other`` (``b``)."""
        return compare(self, other)

    def compared(self) -> ComparedRun:
        """What is compared of it."""
        inputs = _inputs(self.lineage(direction="up", depth=1), self.id)
        return ComparedRun(self.id, self.name, self.config, self.environment(), self.summary, inputs)

    def _repr_html_(self) -> str:
        """The run, its hyperparameters, and its summary if that is there already."""
        known = self._fetched is not None or "summary" in self.__dict__
        return markup(self, self.summary if known else None)


def markup(run: Run, summary: RunSummary | None) -> str:
    """A run for notebooks. Every text is escaped: it may be anybody's."""
    config = [*flatten(run.config).items()]
    rows = "".join(_row(key, value) for key, value in config[:REPR_ROWS])
    more = f"<tr><td colspan=2>… {len(config) - REPR_ROWS} more</td></tr>" if len(config) > REPR_ROWS else ""
    table = f"<table><caption>config</caption>{rows}{more}</table>" if config else ""
    plain = Run.model_construct(**{**{name: getattr(run, name) for name in Run.model_fields}, "config": {}})
    return f"<div>{plain._repr_html_()}{table}{'' if summary is None else summary._repr_html_()}</div>"


def _row(key: str, value: Any) -> str:
    cell = "<{0} style='text-align:left'>{1}</{0}>"
    text = value if isinstance(value, str) else repr(value)
    return f"<tr>{cell.format('th', escape(key))}{cell.format('td', escape(text))}</tr>"


def _inputs(lineage: Lineage, run: str) -> tuple[str, ...]:
    """Names of what goes into the run itself."""
    sources = {edge.source for edge in lineage.edges if edge.target == run and edge.relation is Relation.INPUT}
    named = (node.label for node in lineage.nodes if node.id in sources and node.kind is not NodeKind.RUN)
    return tuple(sorted(set(named)))
