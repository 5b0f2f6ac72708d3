"""headway job: submit, watch, stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.following import follow_job, print_logs, watch_job
from headway.cli.options import (
    AttemptOption,
    FollowOption,
    JsonOption,
    LimitOption,
    ProjectOption,
    ReplicaOption,
    TailOption,
    TimeoutOption,
    YesOption,
    confirm,
    connected,
)
from headway.cli.output import print_fields, print_json, print_page, print_table, say
from headway.cli.submission import submit

if TYPE_CHECKING:
    from headway.domain.jobs import Job

app = typer.Typer(help="Jobs: what is executed.", no_args_is_help=True)
app.command("submit")(submit)
JobArgument = Annotated[str, typer.Argument(help="Job id.")]


@app.command("list")
def list_all(
    project: ProjectOption = None,
    state: Annotated[str | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only jobs of this name.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    with connected(project) as client:
        found = list(client.jobs.list(state=_checked_state(state), name=name, limit=limit or None))
    if as_json:
        print_page(found)
        return
    rows = [(job.id, job.name, job.state, job.spec.world_size, job.created_at, job.reason) for job in found]
    print_table(("ID", "NAME", "STATE", "REPLICAS", "AGE", "REASON"), rows, empty="No jobs.")


def _checked_state(state: str | None) -> str | None:
    from headway.domain.base import did_you_mean
    from headway.domain.jobs import JobState
    from headway.errors import InvalidRequestError

    known = [each.value for each in JobState]
    if state is not None and state not in known:
        hint = did_you_mean(state, known) or f"States: {', '.join(known)}."
        raise InvalidRequestError(f"--state {state}: there is no such state.", hint=hint)
    return state


@app.command("show")
def show(job: JobArgument, as_json: JsonOption = False) -> None:
    """Show a job and its replicas."""
    with connected() as client:
        found = client.jobs.get(job)
    if as_json:
        print_json(found)
    else:
        _print_job(found)


def _print_job(job: Job) -> None:
    print_fields(
        {
            "id": job.id,
            "name": job.name,
            "state": job.state,
            "reason": job.reason,
            "attempt": job.attempt or None,
            "run": job.run_id,
            "project": job.project_id,
            "created": job.created_at,
            "started": job.started_at,
            "finished": job.finished_at,
            "model version": job.model_version_id,
            "outputs": len(job.outputs) or None,
            "output path": job.spec.output_path,
            "workspace GiB": job.spec.workspace_gib,
            "parameters": _parameters(job),
            "failed first": job.failure.replica if job.failure else None,
        }
    )
    inputs = _inputs(job)
    if inputs:
        say()
        print_table(("INPUT", "SOURCE", "IS", "DIGEST"), inputs, empty="")
    if job.replicas:
        say()
        rows = [(r.name, r.rank, r.phase, "" if r.exit_code is None else r.exit_code, r.reason) for r in job.replicas]
        print_table(("REPLICA", "RANK", "PHASE", "EXIT", "REASON"), rows, empty="")


def _parameters(job: Job) -> str | None:
    from headway.domain.parameters import text_of

    return ", ".join(f"{name}={text_of(value)}" for name, value in job.spec.parameters.items()) or None


def _inputs(job: Job) -> list[tuple[str, ...]]:
    spec = job.spec
    given = [*spec.inputs.items(), *([("init model", spec.init_model)] if spec.init_model is not None else ())]
    return [(name, found.source, found.resolved or "", (found.digest or "")[:12]) for name, found in given]


@app.command("logs")
def logs(
    job: JobArgument,
    follow: FollowOption = False,
    replica: ReplicaOption = None,
    tail: TailOption = None,
    attempt: AttemptOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a job's replicas printed; with --json one row a line."""
    with connected() as client:
        if replica is not None:
            _check_replica(client.jobs.get(job), replica)
        rows = client.jobs.logs(job, follow=follow, replica=replica, tail=tail, attempt=attempt)
        print_logs(rows, as_json)


def _check_replica(job: Job, replica: str) -> None:
    """A name that no replica has would be waited for to the job's end."""
    from headway.domain.base import did_you_mean
    from headway.errors import InvalidRequestError

    known = [f"{name}-{index}" for name, role in job.spec.roles.items() for index in range(role.count)]
    if replica not in known:
        hint = did_you_mean(replica, known) or f"Its replicas: {', '.join(known[:8])}{', …' if known[8:] else ''}."
        raise InvalidRequestError(f"The job {job.id} has no replica {replica!r}.", hint=hint)


@app.command("watch")
def watch(job: JobArgument, timeout: TimeoutOption = None, as_json: JsonOption = False) -> None:
    """Print each state as the job reaches it; exit with 1 unless it succeeds. With --json one event a line."""
    with connected() as client:
        watch_job(client, job, as_json=as_json, timeout=timeout)


@app.command("wait")
def wait(job: JobArgument, timeout: TimeoutOption = None, as_json: JsonOption = False) -> None:
    """Wait until a job has finished; exit with 1 unless it succeeded."""
    with connected() as client:
        found = client.jobs.wait(job, timeout=timeout)
    _answer(found, as_json)


@app.command("stop")
def stop(
    job: JobArgument,
    hard: Annotated[bool, typer.Option("--hard", help="Without the grace period.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask a job to end."""
    with connected() as client:
        found = client.jobs.stop(job, hard=hard)
    _answer(found, as_json)


@app.command("start")
def start(job: JobArgument, follow: FollowOption = False, as_json: JsonOption = False) -> None:
    """Queue a job that was made with --no-start."""
    with connected() as client:
        found = client.jobs.start(job)
        _answer(found, as_json)
        if follow:
            follow_job(client, job, as_json=as_json)


@app.command("retry")
def retry(job: JobArgument, follow: FollowOption = False, as_json: JsonOption = False) -> None:
    """Queue a finished job again, as a new attempt."""
    with connected() as client:
        found = client.jobs.retry(job)
        _answer(found, as_json)
        if follow:
            follow_job(client, job, as_json=as_json)


@app.command("delete")
def delete(job: JobArgument, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Delete a finished job with its logs and outputs. Models that it registered stay."""
    with connected() as client:
        found = client.jobs.get(job)
        confirm(f"Delete the job {found.name!r} ({found.id}) with its logs and outputs?", yes)
        client.jobs.delete(found.id)
    if as_json:
        print_json({"deleted": found.id})
    else:
        say(f"Deleted {found.id}.")


@app.command("download")
def download(
    job: JobArgument,
    directory: Annotated[Path, typer.Argument(help="Where to; made where it is missing.")],
    as_json: JsonOption = False,
) -> None:
    """Bring the files that a job left in its output directory."""
    with connected() as client:
        paths = client.jobs.download_outputs(job, directory)
    if as_json:
        print_json({"items": [str(path) for path in paths]})
    else:
        for path in paths:
            say(str(path))


def _answer(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        asked = job.stop_requested and not job.finished and job.state.value != "stopping"
        say(f"{job.id} {job.state.value}{', asked to stop' if asked else ''}")
