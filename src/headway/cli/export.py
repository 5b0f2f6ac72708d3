"""headway run metrics, headway run export: points on the terminal and as files."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.finding import LocalOption, RunArgument, finding
from headway.cli.options import JsonOption
from headway.cli.output import clean, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headway.cli.finding import FoundRun
    from headway.sdk.columns import Line, Point
    from headway.sdk.series import MetricSeries

SHOWN_POINTS = 20
LastOption = Annotated[
    int | None,
    typer.Option("--limit", min=0, help="The last so many points (20 for people); 0 for all of them."),
]
SPARK_WIDTH = 60
SPARK_LINES = 8


def metrics(
    run: RunArgument,
    name: Annotated[str | None, typer.Argument(help="The metric; without it all series are listed.")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="train, val, test, or a word of your own.")] = None,
    replica: Annotated[str | None, typer.Option("--replica", help="Only this rank, as rank0.")] = None,
    aggregate: Annotated[str | None, typer.Option("--aggregate", help="mean, min or max over the ranks.")] = None,
    attempt: Annotated[int | None, typer.Option("--attempt", min=0, help="One attempt only; the first is 0.")] = None,
    all_attempts: Annotated[bool, typer.Option("--all", help="Every attempt by itself, hidden points too.")] = False,
    points: Annotated[
        int | None, typer.Option("--points", min=1, help="A picture of so many pixels instead of every point.")
    ] = None,
    system: Annotated[bool, typer.Option("--system", help="Among the system metrics.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every point as CSV.")] = False,
    local: LocalOption = False,
    limit: LastOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the points of a metric: the last ones for people, with --csv and --json all of them or the last --limit."""
    with finding(local) as finder:
        found = finder.find(run)
        if name is None:
            _print_series(found, as_json)
            return
        query: dict[str, Any] = {
            "replica": replica,
            "aggregate": aggregate,
            "attempt": attempt,
            "points": points,
            "system": system,
        }
        query = {key: value for key, value in query.items() if value not in (None, False)}
        if all_attempts:
            query["view"] = "all"
        series = found.metrics(name, stage=stage, **query)
    if as_json:
        print_json({"lines": [_json_line(line) for line in _last(series, limit).lines]})
    elif as_csv:
        _print_csv(_last(series, limit))
    else:
        _print_points(series, SHOWN_POINTS if limit is None else limit)


def _last(series: MetricSeries, limit: int | None) -> MetricSeries:
    """The last ``limit`` points, counted over all lines as the table does; all of them without a limit."""
    if not limit:
        return series
    lines: list[Line] = []
    for line in reversed(series.lines):
        taken = min(limit, len(line))
        limit -= taken
        if taken:
            lines.insert(0, line.part(len(line) - taken, len(line)))
    return replace(series, lines=tuple(lines))


def _print_series(found: FoundRun, as_json: bool) -> None:
    series = found.series()
    if as_json:
        print_json({"items": [item.model_dump(mode="json") for item in series]})
        return
    rows = [(s.name, s.stage, s.replica, s.count, len(s.attempts), "yes" if s.system else "") for s in series]
    print_table(("NAME", "STAGE", "REPLICA", "POINTS", "ATTEMPTS", "SYSTEM"), rows, empty="No metrics.")


def _json_line(line: Line) -> dict[str, Any]:
    from headway.sdk.summaries import to_json_number

    columns = {
        "step": line.steps,
        "value": [to_json_number(value) for value in line.values],
        "time": line.times,
        "epoch": [to_json_number(epoch) for epoch in line.epochs],
    }
    about = {"replica": line.replica, "attempt": line.attempt, "exact": line.exact, "total": line.total}
    return {**about, "columns": columns}


def _print_csv(series: MetricSeries) -> None:
    """The columns of an export, on stdout."""
    from headway.sdk.export import Block, CsvWriter

    sys.stdout.flush()
    with CsvWriter(sys.stdout.buffer) as writer:
        for line in series.lines:
            writer.write(Block(series.run_id, series.name, series.stage, "", False, line))


def _print_points(series: MetricSeries, limit: int) -> None:
    print_sparklines(series)
    shown = min(len(series), limit or len(series))
    last = deque(_placed(series), maxlen=shown)
    rows = [(*_cells(point), place) for point, place in last]
    say()
    print_table(("STEP", "VALUE", "EPOCH", "TIME", "REPLICA"), rows, empty="No points.")
    if shown < len(series):
        say(f"… and {len(series) - shown} before them; --limit 0 shows all, --csv prints them exactly.")


def _placed(series: MetricSeries) -> Iterator[tuple[Point, str]]:
    """Each point, and whose it is."""
    for line in series.lines:
        place = line.replica or ""
        place = place if line.attempt is None else f"{place} (attempt {line.attempt})"
        for point in line:
            yield point, place


def _cells(point: Point) -> tuple[object, ...]:
    from datetime import datetime, timedelta, timezone

    moment: datetime | int = point.time
    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=point.time)
    except OverflowError:
        pass  # no calendar has that day; the number is shown
    step = "" if point.step is None else point.step
    return step, repr(point.value), "" if point.epoch is None else f"{point.epoch:g}", moment


def print_sparklines(series: MetricSeries) -> None:
    """Each line drawn with block characters, where the terminal has them."""
    from headway.sdk.pictures import BLOCKS, text_line

    if not _encodable(BLOCKS):
        return
    for line in series.lines[:SPARK_LINES]:
        drawn = text_line([float(value) for value in line.values], SPARK_WIDTH)
        who = line.replica or ""
        if drawn:
            say(clean(f"{series.key}  {drawn}  {who}").rstrip())


def _encodable(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def export(
    *,
    runs: Annotated[list[str] | None, typer.Argument(help="Run ids, or names that only one run has.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: .parquet, .csv or .ndjson.")],
    file_format: Annotated[
        str | None, typer.Option("--format", help="parquet, csv or ndjson, whatever the file is called.")
    ] = None,
    filter_text: Annotated[
        str | None, typer.Option("--filter", help="All runs that this holds of, instead of ids.")
    ] = None,
    local: LocalOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write every point of runs to a file that loses nothing: all ranks, all attempts, system metrics too."""
    from headway.errors import InvalidRequestError
    from headway.sdk.export import export_points

    if bool(runs) is (filter_text is not None):
        raise InvalidRequestError("An export needs either run ids or --filter.")
    with finding(local) as finder:
        found = finder.search(filter_text) if filter_text is not None else map(finder.find, runs or ())
        sources = (run.points() for run in found)
        path = export_points(sources, output, format=file_format)
    if as_json:
        print_json({"path": str(path), "size": path.stat().st_size})
    else:
        say(f"Wrote {path}.")
