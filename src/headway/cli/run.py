"""headway run: what is tracked, on a server or in a directory here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli import compare, export, media
from headway.cli.finding import Finder, LocalOption, RunArgument, finding, is_local, local_runs_here, remark_on_local
from headway.cli.following import print_logs
from headway.cli.options import (
    FollowOption,
    JsonOption,
    LimitOption,
    ProjectOption,
    TailOption,
    YesOption,
    confirm,
    connected,
)
from headway.cli.output import clean, print_fields, print_json, print_page, print_table, say

if TYPE_CHECKING:
    from headway.cli.finding import FoundRun
    from headway.domain.runs import Run
    from headway.sdk.summaries import RunSummary
    from headway.sdk.tables import RunTable

app = typer.Typer(help="Runs: what is tracked.", no_args_is_help=True)

USUAL = ("id", "name", "state", "created_at", "duration", "labels")
HEADINGS = {"created_at": "AGE"}
MAIN_WORDS = ("loss", "acc", "error", "score")
FACT_WIDTH = 100
"""Characters of a captured value that are shown."""
RankOption = Annotated[str | None, typer.Option("--replica", help="Only this rank, as rank0.")]
RunAttemptOption = Annotated[int | None, typer.Option("--attempt", min=0, help="One attempt only; the first is 0.")]


@app.command("list")
def list_all(
    filter_text: Annotated[
        str | None, typer.Option("--filter", help="Which runs: 'params.lr < 0.01 and metrics.val.loss.min < 1'.")
    ] = None,
    order_by: Annotated[
        str | None, typer.Option("--order-by", help="A field, with '-' before it for the greatest first.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="What to show: name,params.lr,metrics.val.loss.min and so on.")
    ] = None,
    project: ProjectOption = None,
    local: LocalOption = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first: those of the server, or without one those in the directory here."""
    chosen = [part.strip() for part in columns.split(",") if part.strip()] if columns else None
    here = is_local(local)
    if here:
        from headway.tracking.views import local_table

        runs = local_runs_here()
        table = local_table(runs, filter_text, order_by=order_by, columns=chosen or USUAL, limit=limit or None)
    else:
        with connected(project) as client:
            table = client.runs.table(filter_text, order_by=order_by, columns=chosen or USUAL, limit=limit or None)
    if as_json:
        _print_rows(table, chosen)
        return
    _print_table(table)
    if not here:
        remark_on_local()


def _print_rows(table: RunTable, chosen: list[str] | None) -> None:
    if chosen is None:
        print_page(table.runs)
    else:
        print_json({"items": [_plain_row(row) for row in table], "next_cursor": None})


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    from headway.sdk.summaries import to_json_number
    from headway.sdk.wire import to_wire

    return {key: to_json_number(to_wire(value)) for key, value in row.items()}


def _print_table(table: RunTable) -> None:
    from headway.sdk.tables import cell_text

    def shown(column: str, value: Any) -> Any:
        if column == "duration":
            return duration_text(value)
        return value if column in ("created_at", "finished_at") else cell_text(value)

    rows = [[shown(column, value) for column, value in row.items()] for row in table]
    heads = [HEADINGS.get(column, column if "." in column else column.upper()) for column in table.columns]
    print_table(heads, rows, empty="No runs.")


def duration_text(seconds: float | None) -> str:
    """How long, in the two largest fitting units.

    >>> duration_text(59.4), duration_text(3700), duration_text(None)
    ('59s', '1h 1m', '')
    """
    if seconds is None:
        return ""
    whole = int(seconds)
    for (unit, size), (smaller, part) in (
        (("d", 86400), ("h", 3600)),
        (("h", 3600), ("m", 60)),
        (("m", 60), ("s", 1)),
    ):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part}{smaller}"
    return f"{whole}s" if whole else f"{seconds:.2g}s"


@app.command("show")
def show(run: RunArgument, local: LocalOption = False, as_json: JsonOption = False) -> None:
    """Show a run: how it stands, its hyperparameters, what its metrics came to, and what was captured."""
    with finding(local) as finder:
        found = finder.find(run)
        summary, environment = found.summary, found.environment()
        counts = media.count_types(found)
        if as_json:
            print_json({**found.model_dump(mode="json"), **_details(summary, environment), "media": counts})
            return
        _print_run(found, summary, environment, counts)
        _print_main_series(found, summary)


def _details(summary: RunSummary, environment: dict[str, Any]) -> dict[str, Any]:
    from headway.sdk.summaries import to_json_number

    items = [{name: to_json_number(value) for name, value in item.model_dump().items()} for item in summary.values()]
    return {"summary": items, "environment": environment}


def _print_run(run: Run, summary: RunSummary, environment: dict[str, Any], counts: dict[str, int]) -> None:
    from headway.sdk.compare import flatten
    from headway.sdk.summaries import STATISTICS, format_number
    from headway.sdk.tables import cell_text, duration

    print_fields(
        {
            "id": run.id,
            "name": run.name,
            "directory": getattr(run, "path", None),
            "state": run.state,
            "reason": run.reason,
            "project": run.project_id,
            "folder": run.folder,
            "labels": ", ".join(run.labels),
            "description": run.description,
            "job": run.job_id,
            "deployment": run.deployment_id,
            "attempts": run.attempts,
            "created": run.created_at,
            "heard of": run.heartbeat_at,
            "finished": run.finished_at,
            "duration": duration_text(duration(run)),
            "media": ", ".join(f"{count} {type}" for type, count in counts.items()),
            "health": ", ".join(f"{name} {count}" for name, count in run.health.items()),
        }
    )
    _print_section("config", {key: cell_text(value) for key, value in flatten(run.config).items()})
    _print_section("captured", _facts(environment))
    if summary:
        say()
        rows = [
            (key, item.count, *(format_number(getattr(item, name)) for name in STATISTICS))
            for key, item in summary.items()
        ]
        print_table(("SERIES", "COUNT", *map(str.upper, STATISTICS)), rows, empty="")


def _print_section(title: str, fields: dict[str, str]) -> None:
    if fields:
        say()
        say(title)
        print_fields({f"  {clean(key)}": value for key, value in fields.items()})


def _facts(environment: dict[str, Any]) -> dict[str, str]:
    """What fits on a line each; of what is long only how much of it there is."""
    from headway.sdk.compare import flatten
    from headway.sdk.tables import cell_text

    found: dict[str, str] = {}
    counted = {key: len(value) for key, value in environment.items() if key == "packages" and hasattr(value, "items")}
    for key, value in flatten({k: v for k, v in environment.items() if k not in counted}, quoted=False).items():
        text = cell_text(value)
        if len(text) > FACT_WIDTH or "\n" in text:
            text = f"{len(value)} items" if isinstance(value, list) else f"{len(text)} characters"
        found[key] = text
    return found | {key: f"{count} items" for key, count in counted.items()}


def _print_main_series(found: FoundRun, summary: RunSummary) -> None:
    """The series that people look at first, drawn small."""
    key = main_series(summary)
    if key is None:
        return
    item = summary[key]
    series = found.metrics(item.name, stage=item.stage or None, points=export.SPARK_WIDTH)
    say()
    export.print_sparklines(series)


def main_series(summary: RunSummary) -> str | None:
    """A validation loss if there is one, else any loss, accuracy, error or score, else the first series."""
    keys = [key for key, item in summary.items() if item.count > 1]
    for word in MAIN_WORDS:
        named = [key for key in keys if word in summary[key].name.lower()]
        if named:
            return min(named, key=lambda key: summary[key].stage != "val")
    return keys[0] if keys else None


@app.command("logs")
def logs(
    run: RunArgument,
    follow: FollowOption = False,
    replica: RankOption = None,
    tail: TailOption = None,
    attempt: RunAttemptOption = None,
    local: LocalOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print what a run printed; with --json one row a line."""
    with finding(local) as finder:
        rows = finder.find(run).logs(follow=follow, replica=replica, attempt=attempt, tail=tail)
        print_logs(rows, as_json)


app.command("metrics")(export.metrics)
app.command("diff")(compare.diff)
app.command("export")(export.export)
app.command("media")(media.media)


@app.command("tag")
def tag(
    run: RunArgument,
    labels: Annotated[list[str] | None, typer.Argument(help="Labels to add.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="A label to take away; may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add labels to a run of the server, or take some away; without any show those that it has."""
    gone = set(remove or ())
    with connected() as client:
        found: Run = Finder(client).find(run)
        wanted = tuple(dict.fromkeys(label for label in (*found.labels, *(labels or ())) if label not in gone))
        if wanted != found.labels:
            found = client.runs.update(found.id, labels=wanted)
    if as_json:
        print_json(found)
    else:
        say(f"{found.id} {clean(', '.join(found.labels)) or '(no labels)'}")


@app.command("rm")
def remove(
    runs: Annotated[list[str], typer.Argument(help="Run ids, or names that only one run has.")],
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete runs of the server with their metrics, logs and media. Artifacts and models that they made stay."""
    with connected() as client:
        finder = Finder(client)
        found = [*{each.id: each for each in map(finder.find, runs)}.values()]
        names = ", ".join(f"{run.name!r} ({run.id})" for run in found)
        confirm(f"Delete {names} with metrics, logs and media?", yes)
        for run in found:
            client.runs.delete(run.id)
    if as_json:
        print_json({"deleted": [run.id for run in found]})
    else:
        say(f"Deleted {', '.join(run.id for run in found)}.")
