"""headway import: what other trackers wrote, as runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.options import JsonOption, ProjectOption
from headway.cli.output import note, print_json, print_json_line, print_table

if TYPE_CHECKING:
    from headway.tracking.integrations.tensorboard import ImportedRun, ImportReport

app = typer.Typer(help="Import: what other trackers wrote, as runs.", no_args_is_help=True)


@app.command("tensorboard")
def tensorboard(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What TensorBoard would be given as --logdir.")],
    project: ProjectOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written, until Ctrl-C or --idle.")
    ] = False,
    idle: Annotated[
        float | None, typer.Option("--idle", min=0, help="Seconds without anything new after which --follow ends.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Keep the runs here, also where a server is configured.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a run of every directory in DIR that holds event files; importing it again adds only what is new."""
    from headway.tracking.integrations.tensorboard import import_directory

    report = import_directory(
        directory,
        project=project,
        mode="offline" if offline else None,
        follow=follow,
        idle=idle,
        on_run=_Teller(as_json) if follow else None,
    )
    if as_json and not follow:
        print_json(report)
    elif not follow:
        _print_report(report)
    for problem in sorted({problem for run in report.runs for problem in run.problems}):
        note(f"Not sent: {problem} The runs are kept here; `headway sync` sends them.")
    if not report.ok:
        raise typer.Exit(1)


class _Teller:
    """Says what came, a line a run; with JSON the run's record."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._told: dict[str, tuple[int, int]] = {}

    def __call__(self, run: ImportedRun) -> None:
        if self._as_json:
            print_json_line(run)
            return
        points, media = self._told.get(run.id, (0, 0))
        self._told[run.id] = run.points, run.media
        note(f"{run.name}: {_amount(run.points - points, run.media - media)} more ({run.id})")


def _print_report(report: ImportReport) -> None:
    columns = ("RUN", "NAME", "NEW", "POINTS", "MEDIA", "NOT TAKEN")
    rows = [
        (run.id, run.name, "yes" if run.is_new else "no", run.points, run.media, ", ".join(_untaken(run)))
        for run in report.runs
    ]
    print_table(columns, rows, empty="Nothing was imported.")


def _untaken(run: ImportedRun) -> list[str]:
    told = [f"{count} x {kind}" for kind, count in sorted(run.skipped.items())]
    if run.refused:
        told.append(f"{run.refused} refused")
    if run.corrupt:
        told.append(f"{run.corrupt} damaged")
    if run.incomplete_bytes:
        told.append(f"{run.incomplete_bytes} bytes cut off")
    return told


def _amount(points: int, media: int) -> str:
    told = [f"{points} points"] if points or not media else []
    return " and ".join([*told, *([f"{media} media"] if media else [])])
