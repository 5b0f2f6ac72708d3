"""headway monitor: expressions over a log, whose matches are points of the run's metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.options import JsonOption, YesOption, confirm, connected
from headway.cli.output import clean, note, print_fields, print_json, print_page, print_table, say

if TYPE_CHECKING:
    from headway.domain.monitors import MonitorMatch, MonitorReport

app = typer.Typer(
    help="Expressions over the log of a run, whose matches are points of its metrics.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(help="Name of the series, or the monitor's id.")]
RunOption = Annotated[str | None, typer.Option("--run", help="A run's id.")]
JobOption = Annotated[str | None, typer.Option("--job", help="A job's id: its run is meant.")]
SampleOption = Annotated[str | None, typer.Option("--sample", help="A line that must match.")]
ReplicaOption = Annotated[str | None, typer.Option("--replica", help="Only lines of this replica, as worker-0.")]
REGEX = "In RE2's syntax. The first group is the value, the second the step; without a group, the match's last number."


@app.command("list")
def list_all(run: RunOption = None, job: JobOption = None, as_json: JsonOption = False) -> None:
    """List the monitors of a run with what they found."""
    with connected() as client:
        found = client.monitors.list(run=run, job=job)
    if as_json:
        print_page(found)
        return
    rows = [(m.name, m.state, m.lines, m.matches, m.points, m.regex) for m in found]
    empty = "No monitors. Make one with `headway monitor add`."
    print_table(("NAME", "STATE", "LINES", "MATCHES", "POINTS", "REGEX"), rows, empty=empty)


@app.command("show")
def show(name: NameArgument, run: RunOption = None, job: JobOption = None, as_json: JsonOption = False) -> None:
    """Show one monitor and what it found."""
    with connected() as client:
        found = client.monitors.get(name, run=run, job=job)
    if as_json:
        print_json(found)
    else:
        print_fields(found.model_dump(exclude={"project_id"}))


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Name of the series.")],
    regex: Annotated[str, typer.Argument(help=REGEX)],
    run: RunOption = None,
    job: JobOption = None,
    sample: SampleOption = None,
    replica: ReplicaOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return once all that is stored was read.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make every matching line a point, from the log's first line on."""
    with connected() as client:
        found = client.monitors.create(name, regex, run=run, job=job, sample=sample, replica=replica)
        if wait:
            found = client.monitors.wait(found.id, run=found.run_id)
    if as_json:
        print_json(found)
    elif wait:
        say(f"{found.id}: {found.points} points of {found.lines} lines")
    else:
        say(found.id)


@app.command("update")
def update(
    name: NameArgument,
    run: RunOption = None,
    job: JobOption = None,
    regex: Annotated[str | None, typer.Option("--regex", help=REGEX)] = None,
    sample: Annotated[str | None, typer.Option("--sample", help='A line that must match; "" forgets it.')] = None,
    replica: Annotated[str | None, typer.Option("--replica", help='Only this replica; "" reads all of them.')] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return once all that is stored was read.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look for something else: the log is read from its first line again, and the former points are gone."""
    given: dict[str, Any] = {"regex": regex}
    given.update({key: value or None for key, value in (("sample", sample), ("replica", replica)) if value is not None})
    with connected() as client:
        found = client.monitors.update(name, run=run, job=job, **given)
        if wait:
            found = client.monitors.wait(found.id, run=found.run_id)
    if as_json:
        print_json(found)
    elif wait:
        say(f"{found.id}: {found.points} points of {found.lines} lines")
    else:
        say(f"{found.id}, revision {found.revision}")


@app.command("delete")
def delete(
    name: NameArgument,
    run: RunOption = None,
    job: JobOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove a monitor with its points."""
    with connected() as client:
        found = client.monitors.get(name, run=run, job=job)
        confirm(f"Delete the monitor {found.name!r} and its {found.points} points?", yes)
        client.monitors.delete(found.id, run=found.run_id)
    if as_json:
        print_json({"deleted": found.id})
    else:
        say(f"Deleted {found.id}.")


@app.command("test")
def test(
    regex: Annotated[str, typer.Argument(help=REGEX)],
    run: RunOption = None,
    job: JobOption = None,
    file: Annotated[Path | None, typer.Option("--file", help="A log file here; no server is asked.")] = None,
    sample: SampleOption = None,
    replica: ReplicaOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Matches to show.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show what an expression finds in a stored log, a file or a sample; nothing is kept."""
    if file is not None or (sample is not None and run is None and job is None):
        report = _test_here(regex, file, sample, run or job or replica, limit)
    else:
        with connected() as client:
            report = client.monitors.test(regex, run=run, job=job, sample=sample, replica=replica, limit=limit)
    if as_json:
        print_json(report)
        return
    print_table(
        ("REPLICA", "LINE", "VALUE", "STEP", "TEXT"), [_row(match) for match in report.shown], empty="No match."
    )
    _sum_up(report)


def _test_here(regex: str, file: Path | None, sample: str | None, server: str | None, limit: int) -> MonitorReport:
    import io

    from headway.errors import InvalidRequestError
    from headway.monitors import check_sample
    from headway.monitors.files import try_file

    if file is not None and server is not None:
        raise InvalidRequestError("--file is a log here; --run, --job and --replica are of a server's.")
    expression = check_sample(regex, sample)
    if file is None:
        return try_file(expression, io.BytesIO((sample or "").encode("utf-8", "replace")), name="sample", limit=limit)
    try:
        with file.open("rb") as log:
            return try_file(expression, log, name=file.name, limit=limit)
    except OSError as error:
        raise InvalidRequestError(f"The log {str(file)!r} cannot be read: {error.strerror}.") from None


def _row(match: MonitorMatch) -> tuple[Any, ...]:
    value = "no number" if match.value is None else f"{match.value:.10g}"
    return match.replica, match.line, value, match.step, clean(match.message)


def _sum_up(report: MonitorReport) -> None:
    whole = "" if report.complete else " (the first lines; the whole log takes longer than a test may)"
    note(f"{report.lines} lines, {report.matches} matches, {report.points} points{whole}")
