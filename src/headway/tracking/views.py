"""Runs of this machine, asked as those of a server are: searched, listed, printed and exported with the same code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from headway.domain.filters import parse_filter, parse_order
from headway.domain.logs import LogRow
from headway.domain.metrics import Series, View, normal_stage
from headway.domain.runs import LOGS, METRICS, SYSTEM, Run
from headway.domain.search import Searched, matches
from headway.errors import HeadwayError, InvalidRequestError
from headway.journal.logview import LogSource, read_page, read_tail
from headway.journal.reader import read_frames, read_header
from headway.journal.rows import RowDecoder
from headway.sdk.columns import pack
from headway.sdk.compare import ComparedRun
from headway.sdk.export import Block, PointSource
from headway.sdk.series import MetricSeries
from headway.sdk.summaries import RunSummary
from headway.sdk.tables import RunTable
from headway.sdk.views import markup
from headway.tracking.directory import RunDirectory
from headway.tracking.local import LocalRun, local_runs

LOG_PAGE = 1000
ROWS_AT_ONCE, VALUES_AT_ONCE = 1 << 14, 1 << 18
"""What an export holds in memory of one stream."""
OLDEST = datetime.fromtimestamp(0, timezone.utc)


class LocalView(Run):
    """A run in a directory here, with the questions that :class:`headway.sdk.views.RunView` answers."""

    _local: LocalRun = PrivateAttr()

    @staticmethod
    def of(local: LocalRun) -> LocalView:
        """``local`` as a server would show it."""
        view = LocalView.model_construct(
            id=local.id,
            project_id=local.project or "",
            name=local.name,
            alternative_name=local.alternative_name,
            state=local.state,
            folder=local.folder,
            labels=local.labels,
            description=local.description,
            config=local.config,
            attempts=local.attempts,
            health=local.health,
            reason=local.reason,
            created_at=local.created_at or OLDEST,
            created_by="",
            finished_at=local.finished_at,
        )
        view._local = local
        return view

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._local.path

    @property
    def synced(self) -> bool:
        """Whether the server that it was meant for has everything of it."""
        return self._local.synced

    @cached_property
    def summary(self) -> RunSummary:
        """Last, least, greatest and mean value of each series."""
        return self._local.summary()

    def environment(self) -> dict[str, Any]:
        """What was captured about code, machine and packages."""
        return self._local.environment

    def metrics(
        self,
        name: str,
        *,
        stage: str | None = None,
        replica: str | None = None,
        attempt: int | None = None,
        view: View | str = View.DEFAULT,
        system: bool = False,
        **query: Any,
    ) -> MetricSeries:
        """Every point of one metric. Pictures, aggregates and ranges are what a server makes of them; ``points`` is
        passed over, since all points make a picture, too.
        """
        asked = sorted(key for key, value in query.items() if value is not None and key != "points")
        if asked:
            raise InvalidRequestError(f"{asked[0]} needs a server.", hint="Run `headway sync` first.")
        apart = View.ALL if attempt is not None else view
        found = self._local.metrics(name, stage, view=apart, system=system)
        lines = (line for line in found.lines if replica in (None, line.replica) and attempt in (None, line.attempt))
        return MetricSeries(found.run_id, found.name, found.stage, tuple(lines))

    def series(self) -> list[Series]:
        """What was logged: a record for each name, stage and rank."""
        named = [(item.name, item.stage, False) for item in self.summary.values()]
        named += [(name, "", True) for name in self._local.series(system=True)]
        return [series for name, stage, system in named for series in self._series(name, stage, system)]

    def _series(self, name: str, stage: str, system: bool) -> Iterator[Series]:
        lines = self._local.metrics(name, stage or None, view=View.ALL, system=system).lines
        for replica in sorted({line.replica or "" for line in lines}):
            own = [line for line in lines if (line.replica or "") == replica]
            attempts = tuple(sorted({line.attempt or 0 for line in own}))
            count = sum(map(len, own))
            yield Series(
                run_id=self.id, name=name, stage=stage, replica=replica, attempts=attempts, count=count, system=system
            )

    def logs(
        self,
        *,
        follow: bool = False,
        replica: str | None = None,
        attempt: int | None = None,
        tail: int | None = None,
        timeout: float | None = None,  # noqa: ARG002 - as of a run of a server
    ) -> Iterator[LogRow]:
        """What its ranks printed."""
        if follow:
            raise InvalidRequestError("The log of a run here cannot be followed.", hint="Follow it where it prints.")
        found = (_log_source(path) for path in RunDirectory(self.path).journals(LOGS))
        chosen = [
            source
            for source in found
            if source and replica in (None, source.replica) and attempt in (None, source.attempt)
        ]
        if tail is not None:
            yield from read_tail(chosen, tail)[0]
            return
        rows, cursor = read_page(chosen, None, LOG_PAGE)
        while rows:
            yield from rows
            rows, cursor = read_page(chosen, cursor, LOG_PAGE)

    def points(self) -> PointSource:
        """All its points, for an export: as they lie in the journals, stream after stream."""
        directory = RunDirectory(self.path)
        paths = [*directory.journals(METRICS), *directory.journals(SYSTEM)]
        return PointSource(0, lambda _: (block for path in paths for block in _blocks(self.id, path)))

    def compared(self) -> ComparedRun:
        """What is compared of it."""
        return self._local.compared()

    def _repr_html_(self) -> str:
        return markup(self, self.summary)


def local_table(
    runs: Sequence[LocalView],
    filter: str | None = None,
    *,
    order_by: str | None = None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
) -> RunTable:
    """Runs of this machine as rows, searched and sorted as a server does; newest first without ``order_by``."""
    wanted = parse_filter(filter) if filter else None
    order = parse_order(order_by) if order_by else None
    found = [(run, Searched.of(run, run.summary.values())) for run in runs]
    found = [(run, searched) for run, searched in found if wanted is None or matches(wanted, searched)]
    if order is not None:
        values = [(searched.value(order.field), run, searched) for run, searched in found]
        known = [(value, run, searched) for value, run, searched in values if value is not None]
        known.sort(key=lambda row: (row[0].number or 0.0, row[0].rest, row[0].text or ""), reverse=order.descending)
        known.sort(key=lambda row: row[0].form)
        found = [row[1:] for row in known] + [row[1:] for row in values if row[0] is None]
    return RunTable([(run, run.summary) for run, _ in found[:limit]], columns)


def local_views(dir: str | Path | None = None) -> list[LocalView]:
    """The runs of this machine, newest first; see :func:`headway.tracking.local.local_runs`."""
    return [LocalView.of(run) for run in local_runs(dir)]


def _log_source(path: Path) -> LogSource | None:
    """A journal of lines; None for one whose header cannot be read, of which `headway doctor` speaks."""
    try:
        header = read_header(path)
    except HeadwayError:
        return None

    def read(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    return LogSource(header.stream, header.replica or "", header.attempt, path.stat().st_size, read, complete=True)


def _blocks(run: str, path: Path) -> Iterator[Block]:
    """The points of one journal, so many rows at a time."""
    try:
        header = read_header(path)
    except HeadwayError:
        return
    system = header.stream.startswith(f"{SYSTEM}/")
    held: dict[tuple[str | None, str], list[Any]] = {}
    rows = values = 0

    def release() -> Iterator[Block]:
        for (word, name), points in held.items():
            line = pack(points, replica=header.replica, attempt=header.attempt)
            yield Block(run, name, normal_stage(word), word or "", system, line, writer=header.writer)
        held.clear()

    for row in RowDecoder().feed(read_frames(path)):
        for name, value in zip(row.names, row.values, strict=True):
            held.setdefault((row.stage, name), []).append((row.step, value, row.time_ns // 1_000_000, row.epoch))
        rows, values = rows + 1, values + len(row.values)
        if rows >= ROWS_AT_ONCE or values >= VALUES_AT_ONCE:
            yield from release()
            rows = values = 0
    yield from release()
