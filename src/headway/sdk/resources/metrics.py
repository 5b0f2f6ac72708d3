"""Reading a run's metrics: exact points, series, summaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from headway.domain.base import did_you_mean, parse_request
from headway.domain.metrics import Aggregate, Axis, MetricQuery, Series, View, normal_stage, series_key
from headway.domain.runs import Stream
from headway.errors import NotFoundError
from headway.sdk.columns import MAX_BYTES, MEDIA_TYPE, Line, decode_columns
from headway.sdk.export import Block, PointSource
from headway.sdk.resources.base import Resource
from headway.sdk.series import MetricSeries
from headway.sdk.session import Session, segment

RUNS = "/api/v1/runs"
POINTS_AT_ONCE = 1 << 17
"""What an export holds in memory of one line."""
MAX_NAMED = 5
"""Series that an error names."""
MAX_SPOOLED = 1 << 38
"""Bytes that one series may take on the disk while it is exported."""


def run_address(run: str, *more: str) -> str:
    """The path of a run, with names below it."""
    return "/".join((f"{RUNS}/{segment(run, 'a run')}", *more))


def read_metrics(session: Session, run: str, query: MetricQuery, *, spool: Path | None = None) -> MetricSeries:
    """The points that ``query`` asks for; those that do not fit into memory in nameless files below ``spool``."""
    path = run_address(run, "metrics")
    asked = {name: getattr(query, name) for name in MetricQuery.model_fields}
    limit = MAX_BYTES if spool is None else MAX_SPOOLED
    with session.open("GET", path, query=asked, headers={"Accept": MEDIA_TYPE}) as response:
        lines = decode_columns(response.chunks(), path, limit=limit, spool=spool)
    return MetricSeries(run, query.name, normal_stage(query.stage), tuple(lines))


def _check_series(session: Session, run: str, query: MetricQuery) -> None:
    """NotFoundError when the run has series, but not the one that the query asks for."""
    listed = [(each.stage, each.name) for each in list_series(session, run) if each.system == query.system]
    if listed and (normal_stage(query.stage), query.name) not in listed:
        raise unknown_series(run, query.stage, query.name, listed)


def unknown_series(run: str, stage: str | None, name: str, known: Iterable[tuple[str, str]]) -> NotFoundError:
    """The error for a series that a run does not have; ``known`` are the stages and names of those that it has."""
    key, keys = series_key(stage, name), sorted({series_key(*each) for each in known})
    hint = did_you_mean(key, keys)
    if hint is None:
        more = f" and {len(keys) - MAX_NAMED} more" if len(keys) > MAX_NAMED else ""
        hint = f"It has {', '.join(map(repr, keys[:MAX_NAMED]))}{more}."
    return NotFoundError(f"The run {run} has no series {key!r}.", hint=hint)


def list_series(session: Session, run: str) -> list[Series]:
    """What the run has logged."""
    return session.items(Series, run_address(run, "series"))


def points_of(session: Session, run: str) -> PointSource:
    """All points of a run of a server."""
    listed = list_series(session, run)
    total = sum(series.count for series in listed)
    return PointSource(total, lambda spool: _blocks(session, run, listed, spool))


def _blocks(session: Session, run: str, listed: Sequence[Series], spool: Path) -> Iterator[Block]:
    writers = {stream.name: stream.writer_id for stream in session.items(Stream, run_address(run, "streams"))}
    for series in _by_word(listed):
        word = series.raw_stages[0]
        query = MetricQuery(
            name=series.name, stage=series.stage or None, word=word, view=View.ALL, system=series.system
        )
        for line in read_metrics(session, run, query, spool=spool).lines:
            for stream, start, end in _pieces(line):
                writer = writers.get(stream, "")
                yield Block(run, series.name, series.stage, word, series.system, line.part(start, end), writer)


def _by_word(listed: Sequence[Series]) -> list[Series]:
    """Each series once for all its ranks, and for each word that its stage was logged under."""
    found: dict[tuple[bool, str, str, str], Series] = {}
    for series in listed:
        for word in series.raw_stages or ("",):
            key = (series.system, series.stage, series.name, word)
            found.setdefault(key, series.evolve(raw_stages=(word,)))
    return list(found.values())


def _pieces(line: Line) -> Iterator[tuple[str, int, int]]:
    """Where points of one stream begin and end, so many at a time."""
    begin = 0
    for stream, count in line.streams or (("", len(line)),):
        for start in range(begin, begin + count, POINTS_AT_ONCE):
            yield stream, start, min(start + POINTS_AT_ONCE, begin + count)
        begin += count


class RunMetrics(Resource):
    """What ``client.runs`` says of metrics."""

    def metrics(
        self,
        run: str,
        name: str,
        *,
        stage: str | None = None,
        replica: str | None = None,
        aggregate: Aggregate | str | None = None,
        attempt: int | None = None,
        view: View | str = View.DEFAULT,
        axis: Axis | str = Axis.STEP,
        start: float | None = None,
        end: float | None = None,
        points: int | None = None,
        system: bool = False,
    ) -> MetricSeries:
        """The points of one metric: all of them, exactly as logged, unless ``points`` asks for a picture.

        Args:
            run: Its id.
            name: The metric's name.
            stage: ``train``, ``val``, ``test`` or a word of your own; ``training``, ``validation``, ``eval`` and so on
                mean the same. Without it the series that has no stage.
            replica: One rank only (``rank0``); without it a line for each.
            aggregate: ``mean``, ``min`` or ``max`` over the ranks, point by point over equal steps, as one line.
            attempt: One attempt alone.
            view: ``default`` lets a later attempt hide what earlier ones logged from its first step on; ``all`` gives
                every attempt by itself.
            axis: What ``start`` and ``end`` count: ``step``, ``time`` (milliseconds since 1970), ``epoch`` or ``index``.
            start: First place along the axis, inclusive.
            end: Last place along the axis, inclusive.
            points: Pixels to fill: at most about four real points for each, extremes and NaN among them.
            system: Among the system metrics (CPU, memory, GPU, …) instead.

        Raises:
            InvalidRequestError: A keyword's value cannot be; or the points would take more than 4 GiB.
            NotFoundError: There is no such run; or it has series, but not this one (the closest is named). Of a run
                that has none yet there are no points.
        """
        values: dict[str, Any] = {
            "name": name,
            "stage": stage,
            "replica": replica,
            "aggregate": aggregate,
            "attempt": attempt,
            "view": view,
            "axis": axis,
            "start": start,
            "end": end,
            "points": points,
            "system": system,
        }
        query = parse_request(MetricQuery, values, what="The metrics query")
        found = read_metrics(self._session, run, query)
        if found.total == 0:
            _check_series(self._session, run, query)
        return found

    def series(self, run: str) -> Sequence[Series]:
        """What the run has logged: a record for each name, stage and rank, with the number of its points."""
        return list_series(self._session, run)
