"""Sweeps, as people ask for them. What happens to them afterwards is in workers/sweeps.py."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Collection, Sequence

from headway.domain.base import Page, PageRequest, new_id, now
from headway.domain.jobs import Job, JobCreate, JobSpec, JobTemplate
from headway.domain.sweeps import Sweep, SweepCreate, SweepState, Trial, TrialState, grid_size
from headway.domain.users import Permission
from headway.domain.workspaces import FilesWorkspace
from headway.errors import ConflictError, InvalidRequestError, MissingExtraError, NotFoundError
from headway.server.actions import blobs, job_inputs, jobs
from headway.server.actions.capacity import check_possible
from headway.server.actions.lookup import find_project
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session


def create(platform: Platform, caller: Caller, request: SweepCreate) -> Sweep:
    """Record a search; its trials are made by the worker. What a job would be refused for refuses the sweep."""
    if request.sampler != "grid" and importlib.util.find_spec("optuna") is None:
        raise MissingExtraError(f"The sampler {request.sampler!r}", "hpo")
    template = request.job
    job = _as_job(request, template)
    prepared = job_inputs.prepare(platform, caller, job)
    with platform.storage.write() as session:
        project = find_project(session, caller, request.project, Permission.WRITE)
        check_possible(jobs.job_need(session, job), platform.engine.capacity())
        if isinstance(template.workspace, FilesWorkspace):
            blobs.check_held(session, project.id, template.workspace.files)
        prepared.hold(session, project.id)
        count = grid_size(request.space) if request.sampler == "grid" else request.trials
        sweep = Sweep(
            id=new_id("swp"),
            project_id=project.id,
            # Each trial's commands get arguments of its own.
            job=prepared.spec.model_copy(update={"parameter_arguments": template.parameter_arguments}),
            trials=min(count, request.trials),
            created_at=now(),
            created_by=caller.user.id,
            seed=secrets.randbelow(1 << 31) if request.seed is None else request.seed,
            **request.model_dump(exclude={"project", "job", "trials", "space", "objective", "seed"}),
            space=request.space,
            objective=request.objective,
        )
        session.sweeps.add(sweep)
        kept = {**jobs.secrets_of(template), **prepared.secrets}
        if kept:
            session.secrets.put(sweep.id, kept)
        _tell(session, sweep, "sweep.created", caller.user.id, f"{sweep.trials} trials, {sweep.parallel} at a time")
        caller.remember(session, sweep)
        return sweep


def _as_job(request: SweepCreate, template: JobTemplate) -> JobCreate:
    fields = {name: getattr(template, name) for name in JobTemplate.model_fields}
    job = JobCreate.model_construct(**fields, name=request.name, project=request.project, start=True)
    return job.model_copy(update={"parameter_arguments": False})


def list_sweeps(
    platform: Platform,
    caller: Caller,
    page: PageRequest,
    *,
    project: str | None = None,
    states: Collection[SweepState] | None = None,
    name: str | None = None,
) -> Page[Sweep]:
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        return session.sweeps.list(page, project_ids=ids, states=states, name=name)


def get(platform: Platform, caller: Caller, reference: str, project: str | None = None) -> Sweep:
    with platform.storage.read() as session:
        return find_sweep(session, caller, reference, project)


def list_trials(
    platform: Platform,
    caller: Caller,
    reference: str,
    project: str | None,
    page: PageRequest,
    states: Collection[TrialState] | None = None,
) -> Page[Trial]:
    """By number."""
    try:
        after = int(page.cursor) if page.cursor else 0
    except ValueError:
        raise InvalidRequestError(
            f"The cursor {page.cursor!r} was not given out by this server.",
            hint="Use `next_cursor` of the page before.",
        ) from None
    with platform.storage.read() as session:
        sweep = find_sweep(session, caller, reference, project)
        found: Sequence[Trial] = session.trials.list(sweep.id, after=after, limit=page.limit + 1, states=states)
    items = tuple(found[: page.limit])
    return Page(items=items, next_cursor=str(items[-1].number) if len(found) > page.limit else None)


def stop(platform: Platform, caller: Caller, reference: str, project: str | None) -> Sweep:
    """Make no more trials and stop those that run. Asking again, or when it has ended, is harmless."""
    with platform.storage.write() as session:
        sweep = find_sweep(session, caller, reference, project, Permission.WRITE)
        if sweep.state is not SweepState.RUNNING:
            return sweep
        sweep = sweep.evolve(state=SweepState.STOPPING, reason="asked to stop")
        session.sweeps.put(sweep)
        _tell(session, sweep, "sweep.stop_requested", caller.user.id, "")
        return sweep


def delete(platform: Platform, caller: Caller, reference: str, project: str | None) -> None:
    """Remove a sweep that has ended; the jobs and runs of its trials stay."""
    with platform.storage.write() as session:
        sweep = find_sweep(session, caller, reference, project, Permission.WRITE)
        if not sweep.state.finished:
            raise ConflictError(f"The sweep {sweep.name!r} is {sweep.state.value}.", hint="Stop it first.")
        for trial in session.trials.of_sweep(sweep.id):
            session.trials.delete(trial.id)
        session.secrets.delete(sweep.id)
        session.sweeps.delete(sweep.id)
        _tell(session, sweep, "sweep.deleted", caller.user.id, "")


def find_sweep(
    session: Session, caller: Caller, reference: str, project: str | None, right: Permission = Permission.READ
) -> Sweep:
    """By id, or by name in ``project``."""
    sweep = session.sweeps.find(reference)
    if sweep is None and project is not None:
        sweep = session.sweeps.by_name(find_project(session, caller, project).id, reference)
    if sweep is None or not caller.may(Permission.READ, sweep.project_id):
        raise NotFoundError(f"There is no sweep {reference!r}.", hint="List sweeps with `headway sweep list`.")
    caller.require(right, sweep.project_id)
    return sweep


def trial_job(session: Session, sweep: Sweep, number: int, chosen: dict[str, object]) -> tuple[Job, dict[str, str]]:
    """The job of a trial, not recorded yet, and its secrets."""
    kept = session.secrets.get(sweep.id)
    base = job_inputs.parameters_of(sweep.job, kept)
    labels = {**sweep.job.labels, "sweep": sweep.id, "trial": str(number)}
    spec: JobSpec = sweep.job.model_copy(update={"labels": labels})
    spec, masked = job_inputs.with_parameters(spec, {**base, **chosen})
    kept = {name: value for name, value in kept.items() if name != job_inputs.PARAMETERS} | masked
    return jobs.new_job(f"{sweep.name}-{number}"[:256], spec, sweep.project_id, sweep.created_by), kept


def _tell(session: Session, sweep: Sweep, type: str, actor: str, message: str) -> None:
    record(session, type, sweep.id, project_id=sweep.project_id, actor=actor, message=message, name=sweep.name)
