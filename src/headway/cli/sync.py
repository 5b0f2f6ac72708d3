"""headway sync, repair, and doctor with a path: what trackers left on this disk."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.options import JsonOption
from headway.cli.output import note, print_json, print_table, say, size_text

if TYPE_CHECKING:
    from headway.journal.doctor import Finding, Repair
    from headway.tracking.sync import SyncedRun

PathArgument = Annotated[
    Path | None,
    typer.Argument(help="A run's directory, or one above; HEADWAY_DIR or .headway without it.", show_default=False),
]


def register(app: typer.Typer) -> None:
    app.command("sync")(sync)
    app.command("repair")(repair)


def sync(
    path: PathArgument = None,
    url: Annotated[str | None, typer.Option("--url", help="Another server than the configured one.")] = None,
    project: Annotated[
        str | None,
        typer.Option("--project", "-p", help="Project id or name for runs that are new there, whatever they say."),
    ] = None,
    folder: Annotated[str | None, typer.Option("--folder", help="Where to put runs that are new there.")] = None,
    make_folder: Annotated[bool, typer.Option("--make-folder", help="Make that folder when it is missing.")] = False,
    conflict_strategy: Annotated[
        str | None,
        typer.Option("--conflict-strategy", help="Another run of that name there: skip, error, new or replace."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send to the server what it lacks of the runs in a directory. Repeating it changes nothing."""
    import headway

    report = headway.sync(
        path,
        url,
        None,
        project,
        folder=folder,
        make_folder=make_folder,
        conflict_strategy=conflict_strategy,
        on_run=None if as_json else _say_run,
    )
    if as_json:
        print_json(report)
    if not report.ok:
        raise typer.Exit(1)


def _say_run(run: SyncedRun) -> None:
    sent = [size_text(run.sent_bytes)] if run.sent_bytes else []
    sent += [_counted(run.blobs, "media file")] if run.blobs else []
    sent += [_counted(run.artifacts, "artifact")] if run.artifacts else []
    said = f", sent {', '.join(sent)}" if sent else ""
    left = f", {size_text(run.left_bytes)} left" if run.left_bytes else ""
    say(f"{run.id}  {run.name}: {run.state.value}{said}{left}")
    for problem in run.problems:
        note(f"  {run.name} ({run.id}): {_in_options(problem)}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _in_options(problem: str) -> str:
    """A problem as the server told it, with this command's options instead of Python's keywords."""
    return problem.replace("Make it with make_folder=True.", "Repeat with --make-folder, or name another: --folder.")


def doctor_journals(path: Path, as_json: bool) -> None:
    """Look at the journals below ``path``; the exit code says whether all are healthy."""
    from headway.journal.doctor import examine

    found = examine(path)
    if as_json:
        print_json({"items": [_finding(item) for item in found]})
    else:
        rows = [(_word(item), _below(item.path, path), item.describe()) for item in found]
        print_table(("CHECK", "JOURNAL", "FOUND"), rows, empty=f"No journals in {path}.")
    if not all(item.healthy for item in found):
        note("`headway repair PATH` mends what is damaged, and keeps the original.")
        raise typer.Exit(1)


def _word(item: Finding) -> str:
    return "ok" if item.healthy else "fail"


def _below(path: Path, top: Path) -> str:
    return str(path.relative_to(top)) if top.is_dir() else path.name


def _finding(item: Finding) -> dict[str, Any]:
    header = item.header.model_dump(mode="json") if item.header is not None else None
    return {
        "path": str(item.path),
        "healthy": item.healthy,
        "live": item.live,
        "size": item.size,
        "header": header,
        "unreadable": item.unreadable,
        "report": {**asdict(item.report), "damaged_bytes": item.report.damaged_bytes},
        "description": item.describe(),
    }


def repair(
    path: Annotated[Path, typer.Argument(help="A journal, or a directory with journals at any depth.")],
    as_json: JsonOption = False,
) -> None:
    """Mend damaged journals: every intact frame stays at its place; the damaged file is kept beside as NAME.damaged."""
    from headway.errors import HeadwayError
    from headway.journal.doctor import examine
    from headway.journal.doctor import repair as mend

    wanting = [item for item in examine(path) if not item.healthy]
    done: list[Repair] = []
    failed: dict[str, str] = {}
    for item in wanting:
        try:
            done.append(mend(item.path))
        except HeadwayError as error:
            failed[str(item.path)] = str(error)
    if as_json:
        print_json({"items": [_repair(item) for item in done], "failed": failed})
    else:
        _say_repairs(done, failed)
    if failed:
        raise typer.Exit(1)


def _repair(item: Repair) -> dict[str, Any]:
    return {**asdict(item), "path": str(item.path), "backup": str(item.backup) if item.backup is not None else None}


def _say_repairs(done: list[Repair], failed: dict[str, str]) -> None:
    for item in done:
        made = ", header made anew" if item.header_made else ""
        say(f"{item.path}: {item.frames} frames kept, {item.filled} bytes filled, {item.cut} cut off{made}")
    for path, problem in failed.items():
        note(f"{path}: {problem}")
    if not done and not failed:
        note("Nothing is damaged.")
