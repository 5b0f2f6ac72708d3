"""headway sweep: search for the parameters with which a job does best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.options import JsonOption, LimitOption, ProjectOption, TimeoutOption, YesOption, confirm, connected
from headway.cli.output import print_fields, print_json, print_page, print_table, say
from headway.cli.submission import typed_value

if TYPE_CHECKING:
    from headway.domain.sweeps import Sweep

app = typer.Typer(help="Sweeps: search for the parameters with which a job does best.", no_args_is_help=True)
SweepArgument = Annotated[str, typer.Argument(help="Sweep id or name.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What to call it; unique in the project.")],
    metric: Annotated[str, typer.Option("--metric", help="The series to look at, as loss or val.loss.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND ARGS…]", help="What every trial runs.")
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            metavar="NAME=RANGE",
            help="What is searched: 1e-5..1e-1,log or 1..8 or 0..1,step=0.25 or adam,sgd; repeatable.",
        ),
    ] = None,
    maximize: Annotated[bool, typer.Option("--maximize", help="Large is good; without it small is.")] = False,
    statistic: Annotated[str, typer.Option("--statistic", help="last, min, max or mean of the series.")] = "last",
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A job file (YAML) that every trial runs.")] = None,
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", help="A folder, an archive or a git URL.")
    ] = None,
    param_arguments: Annotated[
        bool, typer.Option("--param-arguments", help="Give parameters to the command as --name value, too.")
    ] = False,
    param_variables: Annotated[
        bool, typer.Option("--param-variables", help="Give parameters to the program as plain variables, too.")
    ] = False,
    trials: Annotated[int, typer.Option("--trials", help="How many jobs in all.", min=1)] = 20,
    parallel: Annotated[int, typer.Option("--parallel", help="How many at a time.", min=1)] = 1,
    sampler: Annotated[str, typer.Option("--sampler", help="tpe, random or grid.")] = "tpe",
    pruner: Annotated[str, typer.Option("--pruner", help="none or median.")] = "none",
    max_failures: Annotated[
        int | None, typer.Option("--max-failures", help="More failed trials end it.", min=0)
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of all choices; any without it.", min=0)] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended; exit as it ends.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a search.

    Examples:

      headway sweep create lr --metric loss --space lr=1e-5..1e-1,log --param-arguments -w . -- python train.py

      headway sweep create net -f job.yaml --metric val.accuracy --maximize --space layers=1..4 --trials 50 --parallel 4
    """
    job = _job(file, arguments, workspace, param_arguments=param_arguments, param_variables=param_variables)
    fields: dict[str, Any] = {
        "trials": trials,
        "parallel": parallel,
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
    }
    optional = {"max_failures": max_failures, "seed": seed}
    fields |= {name: value for name, value in optional.items() if value is not None}
    goal = "maximize" if maximize else "minimize"
    with connected(project) as client:
        parts = dict(parse_range(text) for text in space or [])
        found = client.sweeps.create(name, job, parts, metric=metric, goal=goal, statistic=statistic, **fields)
        if wait:
            found = client.sweeps.wait(found.id)
    if as_json:
        print_json(found)
    else:
        say(f"{found.id} {found.name}: {found.reason or found.state.value}")
    if wait and found.state.value != "succeeded":
        raise typer.Exit(1)


def _job(
    file: Path | None,
    arguments: list[str] | None,
    workspace: str | None,
    *,
    param_arguments: bool,
    param_variables: bool,
) -> dict[str, Any]:
    from headway.cli.files import read_job_file

    job = read_job_file(file) if file is not None else {}
    for own in ("name", "project", "start"):
        job.pop(own, None)
    given = {
        "command": arguments or None,
        "workspace": workspace,
        "parameter_arguments": param_arguments or None,
        "parameter_variables": param_variables or None,
    }
    return {**job, **{key: value for key, value in given.items() if value is not None}}


def parse_range(text: str) -> tuple[str, Any]:
    """A parameter and what is searched of it.

    >>> parse_range("lr=1e-5..1e-1,log")
    ('lr', {'low': 1e-05, 'high': 0.1, 'log': True})
    >>> parse_range("optimizer=adam,sgd")
    ('optimizer', ['adam', 'sgd'])

    Raises:
        InvalidRequestError: It is neither.
    """
    from headway.errors import InvalidRequestError

    name, equals, rest = text.partition("=")
    if not equals or not name or not rest:
        raise InvalidRequestError(f"--space {text!r} has no range.", hint="Write lr=1e-5..1e-1,log or opt=adam,sgd.")
    first, *options = rest.split(",")
    low, dots, high = first.partition("..")
    if not dots:
        return name, [typed_value(name, each) for each in (first, *options)]
    found: dict[str, Any] = {"low": typed_value(name, low), "high": typed_value(name, high)}
    for option in options:
        key, _, value = option.partition("=")
        if option == "log":
            found["log"] = True
        elif key == "step" and value:
            found["step"] = typed_value(name, value)
        else:
            raise InvalidRequestError(f"--space {name}: {option!r} is neither log nor step=….")
    return name, found


@app.command("list")
def list_all(project: ProjectOption = None, limit: LimitOption = 50, as_json: JsonOption = False) -> None:
    """List sweeps, newest first."""
    with connected(project) as client:
        found = list(client.sweeps.list(limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(s.id, s.name, s.state, f"{_ended(s)}/{s.trials}", _best(s), s.created_at) for s in found]
    print_table(("ID", "NAME", "STATE", "TRIALS", "BEST", "AGE"), rows, empty="No sweeps.")


def _ended(sweep: Sweep) -> int:
    return sum(count for state, count in sweep.counts.items() if state.finished)


def _best(sweep: Sweep) -> str:
    return "" if sweep.best is None or sweep.best.value is None else f"{sweep.best.value:g} (trial {sweep.best.number})"


@app.command("status")
def status(
    sweep: SweepArgument, project: ProjectOption = None, limit: LimitOption = 50, as_json: JsonOption = False
) -> None:
    """Show a sweep, its best trial and, without --json, all trials."""
    from headway.domain.parameters import text_of

    with connected(project) as client:
        found = client.sweeps.get(sweep)
        trials = [] if as_json else list(client.sweeps.trials(found.id, limit=limit or None))
    if as_json:
        print_json(found)
        return
    best = found.best
    print_fields(
        {
            "id": found.id,
            "name": found.name,
            "state": found.state,
            "reason": found.reason,
            "objective": f"{found.objective.goal} {found.objective.metric}",
            "trials": ", ".join(f"{count} {state.value}" for state, count in found.counts.items())
            + f" of {found.trials}",
            "best": _best(found),
            "parameters": ", ".join(f"{n}={text_of(v)}" for n, v in best.parameters.items()) if best else None,
            "run": best.run_id if best else None,
            "created": found.created_at,
            "finished": found.finished_at,
        }
    )
    say()
    rows = [
        (
            t.number,
            t.state,
            "" if t.value is None else f"{t.value:g}",
            ", ".join(f"{name}={text_of(value)}" for name, value in t.parameters.items()),
            t.job_id,
            t.reason,
        )
        for t in trials
    ]
    print_table(("TRIAL", "STATE", "VALUE", "PARAMETERS", "JOB", "REASON"), rows, empty="No trials yet.")


@app.command("wait")
def wait_for(
    sweep: SweepArgument, project: ProjectOption = None, timeout: TimeoutOption = None, as_json: JsonOption = False
) -> None:
    """Wait until a sweep has ended; the exit code says how."""
    with connected(project) as client:
        found = client.sweeps.wait(sweep, timeout=timeout)
    if as_json:
        print_json(found)
    else:
        say(f"{found.name}: {found.state.value}. {found.reason}")
    if found.state.value != "succeeded":
        raise typer.Exit(1)


@app.command("stop")
def stop(sweep: SweepArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Make no more trials and stop those that run."""
    with connected(project) as client:
        found = client.sweeps.stop(sweep)
    if as_json:
        print_json(found)
    else:
        say(f"{found.name}: {found.state.value}")


@app.command("delete")
def delete(
    sweep: SweepArgument, project: ProjectOption = None, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Delete a sweep that has ended; jobs and runs of its trials stay."""
    with connected(project) as client:
        found = client.sweeps.get(sweep)
        confirm(f"Delete the sweep {found.name!r} with its {sum(found.counts.values())} trial records?", yes)
        client.sweeps.delete(found.id)
    if as_json:
        print_json({"deleted": found.id})
    else:
        say(f"Deleted {found.id}.")
