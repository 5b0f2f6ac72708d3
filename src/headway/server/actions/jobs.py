"""Jobs, as people ask for them. What happens to them afterwards is in workers/jobs.py."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from headway.domain.base import Page, PageRequest, new_id, now
from headway.domain.files import FileEntry, check_manifest
from headway.domain.jobs import Job, JobCreate, JobSpec, JobState, JobTemplate, check_move
from headway.domain.replicas import Attempt, OwnerKind
from headway.domain.runs import Run, RunState
from headway.domain.users import Permission
from headway.domain.workspaces import FilesWorkspace
from headway.errors import ConflictError, NotFoundError
from headway.server.actions import blobs, job_inputs, monitors, runs
from headway.server.actions.capacity import Need, check_possible, need_of
from headway.server.actions.lookup import find_job, find_project
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session

WORKSPACE_USER, WORKSPACE_PASSWORD = "workspace.username", "workspace.password"
SECRET_PREFIX = "environment."  # noqa: S105


def create(platform: Platform, caller: Caller, request: JobCreate) -> Job:
    """Record a job with its run, and queue it unless ``start`` is false. Nothing is made when anything is wrong."""
    if isinstance(request.workspace, FilesWorkspace):
        check_manifest(request.workspace.files)
    prepared = job_inputs.prepare(platform, caller, request)
    with platform.storage.write() as session:
        project = find_project(session, caller, request.project, Permission.WRITE)
        check_possible(job_need(session, request), platform.engine.capacity())
        if isinstance(request.workspace, FilesWorkspace):
            blobs.check_held(session, project.id, request.workspace.files)
        prepared.hold(session, project.id)
        job = new_job(request.name, prepared.spec, project.id, caller.user.id)
        job = add(platform, session, job, {**secrets_of(request), **prepared.secrets})
        prepared.link(session, job)
        if request.start:
            job = move(session, job, JobState.QUEUED, "asked to start", actor=caller.user.id)
            session.jobs.put(job)
        caller.remember(session, job)
        return job


def new_job(name: str, spec: JobSpec, project_id: str, user_id: str) -> Job:
    moment = now()
    return Job(
        id=new_id("job"),
        project_id=project_id,
        name=name,
        run_id=new_id("run"),
        spec=spec,
        created_at=moment,
        created_by=user_id,
        state_changed_at=moment,
    )


def add(platform: Platform, session: Session, job: Job, secrets: dict[str, str]) -> Job:
    """Record a new job with its run, monitors and secrets; it is not queued yet."""
    run = _new_run(job)
    session.runs.add(run)
    monitors.add_all(session, run, job.spec.monitors, actor=job.created_by)
    session.jobs.add(job)
    if secrets:
        session.secrets.put(job.id, secrets)
    record(
        session,
        "job.created",
        job.id,
        project_id=job.project_id,
        actor=job.created_by,
        name=job.name,
        state=JobState.CREATED.value,
    )
    _tell_containers(platform, session, job)
    return job


def _new_run(job: Job) -> Run:
    """What the job is tracked by."""
    return Run(
        id=job.run_id,
        project_id=job.project_id,
        name=job.name,
        job_id=job.id,
        config=runs.plain_config(job.spec.parameters),
        created_at=job.created_at,
        created_by=job.created_by,
    )


def secrets_of(request: JobTemplate) -> dict[str, str]:
    found = {SECRET_PREFIX + name: value.get_secret_value() for name, value in request.secrets.items()}
    if request.workspace_credentials is not None:
        found[WORKSPACE_USER] = request.workspace_credentials.username
        found[WORKSPACE_PASSWORD] = request.workspace_credentials.password.get_secret_value()
    return found


def _tell_containers(platform: Platform, session: Session, job: Job) -> None:
    images = {name: role.container.image for name, role in job.spec.roles.items() if role.container is not None}
    if images:
        record(
            session,
            "job.container_recorded",
            job.id,
            project_id=job.project_id,
            message="containers = process: the images are recorded and the commands run as plain processes",
            images=images,
            containers=platform.containers,
        )


def job_need(session: Session, spec: JobCreate | Job) -> Need:
    """What a job's gang asks for. NotFoundError when an instance type does not exist."""
    roles = spec.spec.roles if isinstance(spec, Job) else spec.roles
    return need_of(session, {name: (role.instance_type, role.count) for name, role in roles.items()})


def move(
    session: Session, job: Job, state: JobState, reason: str, *, actor: str = "platform", moment: datetime | None = None
) -> Job:
    """``job`` in another state, with the event that says so. The caller puts the job.

    Raises:
        ConflictError: The table in domain/jobs.py does not allow the move.
    """
    check_move(job.state, state)
    moment = moment or now()
    record(
        session,
        "job.state_changed",
        job.id,
        project_id=job.project_id,
        actor=actor,
        message=reason,
        **{"from": job.state.value, "to": state.value, "reason": reason, "attempt": job.attempt},
    )
    changes: dict[str, object] = {"state": state, "reason": reason, "state_changed_at": moment}
    if state is JobState.QUEUED:
        changes["queued_at"] = moment
    if state is JobState.RUNNING and job.started_at is None:
        changes["started_at"] = moment
    if state.finished:
        changes["finished_at"] = moment
        _finish_run(session, job, state, moment)
    return job.evolve(**changes)


def _finish_run(session: Session, job: Job, state: JobState, moment: datetime) -> None:
    run = session.runs.find(job.run_id)
    if run is not None:
        ends = {JobState.SUCCEEDED: RunState.COMPLETE, JobState.LOST: RunState.LOST}
        session.runs.put(run.evolve(state=ends.get(state, RunState.ERROR), finished_at=moment))


def get(platform: Platform, caller: Caller, job_id: str) -> Job:
    with platform.storage.read() as session:
        return with_replicas(session, [find_job(session, caller, job_id)])[0]


def list_jobs(
    platform: Platform,
    caller: Caller,
    page: PageRequest,
    *,
    project: str | None = None,
    states: Collection[JobState] | None = None,
    name: str | None = None,
) -> Page[Job]:
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        found = session.jobs.list(page, project_ids=ids, states=states, name=name)
        return Page(items=tuple(with_replicas(session, found.items)), next_cursor=found.next_cursor)


def with_replicas(session: Session, jobs: Sequence[Job]) -> list[Job]:
    """The jobs with the present state of the replicas of their newest attempt."""
    replicas = session.replicas.of_attempts([job.attempt_id for job in jobs if job.attempt_id is not None])
    by_attempt: dict[str, list[object]] = {}
    for replica in replicas:
        by_attempt.setdefault(replica.attempt_id, []).append(replica.to_status())
    return [job.evolve(replicas=tuple(by_attempt.get(job.attempt_id or "", ()))) for job in jobs]


def start(platform: Platform, caller: Caller, job_id: str) -> Job:
    """Queue a job that was created without being started. Asking again is harmless."""
    with platform.storage.write() as session:
        job = find_job(session, caller, job_id, Permission.WRITE)
        if job.state is not JobState.CREATED:
            if job.finished:
                raise ConflictError(f"The job {job.name!r} has ended ({job.state.value}).", hint="Use retry instead.")
            return job
        job = move(session, job, JobState.QUEUED, "asked to start", actor=caller.user.id)
        session.jobs.put(job)
        return job


def stop(platform: Platform, caller: Caller, job_id: str, *, hard: bool = False) -> Job:
    """Ask a job to end. Asking again, or when it has ended, is harmless; ``hard`` skips the grace period."""
    with platform.storage.write() as session:
        job = find_job(session, caller, job_id, Permission.WRITE)
        if job.finished:
            return job
        job = ask_to_stop(session, job, actor=caller.user.id, hard=hard)
        attempt = session.attempts.find(job.attempt_id) if hard and job.attempt_id else None
    if attempt is not None and attempt.ended_at is None:
        platform.engine.stop(attempt.token, hard=True)
    return job


def ask_to_stop(session: Session, job: Job, *, actor: str, hard: bool = False, reason: str = "") -> Job:
    """Write down that a job that has not ended is to end; one that does not run yet has ended with that."""
    if not job.stop_requested:
        record(
            session,
            "job.stop_requested",
            job.id,
            project_id=job.project_id,
            actor=actor,
            message=reason,
            hard=hard,
        )
    job = job.evolve(stop_requested=True, stop_hard=job.stop_hard or hard)
    if job.state in (JobState.CREATED, JobState.QUEUED, JobState.RETRYING, JobState.PREEMPTED):
        job = move(session, job, JobState.STOPPED, reason or "stopped before it ran", actor=actor)
    session.jobs.put(job)
    return job


def retry(platform: Platform, caller: Caller, job_id: str) -> Job:
    """Queue a job again that did not succeed."""
    with platform.storage.write() as session:
        job = find_job(session, caller, job_id, Permission.WRITE)
        if job.state not in (JobState.FAILED, JobState.STOPPED, JobState.LOST):
            raise ConflictError(
                f"The job {job.name!r} is {job.state.value}; only one that failed, was stopped or was lost can be retried."
            )
        job = move(session, job, JobState.QUEUED, "asked to retry", actor=caller.user.id)
        job = job.evolve(
            stop_requested=False,
            stop_hard=False,
            failure=None,
            retries_used=0,
            finished_at=None,
            started_at=None,
            ending_since=None,
        )
        session.jobs.put(job)
        run = session.runs.find(job.run_id)
        if run is None:  # it was deleted after the job had ended
            runs.check_gone(session, job.run_id)
            run = _new_run(job)
            session.runs.add(run)
            monitors.add_all(session, run, job.spec.monitors, actor=caller.user.id)
            job_inputs.relink(session, job)
        else:
            session.runs.put(run.evolve(state=RunState.RUNNING, finished_at=None, reason=None))
        return job


def delete(platform: Platform, caller: Caller, job_id: str) -> None:
    """Remove a job that has ended, with its log and outputs. Models that it made stay."""
    with platform.storage.write() as session:
        job = find_job(session, caller, job_id, Permission.WRITE)
        if not job.finished and job.state is not JobState.CREATED:
            raise ConflictError(f"The job {job.name!r} is {job.state.value}.", hint="Stop it first.")
        erase(session, job)
        runs.drop_records(session, job.run_id)
        record(session, "job.deleted", job.id, project_id=job.project_id, actor=caller.user.id, name=job.name)
    runs.remove_bytes(platform)


def erase(session: Session, job: Job) -> None:
    """Remove the records that belong to one job alone."""
    for attempt in session.attempts.of_owner(OwnerKind.JOB, job.id):
        for replica in session.replicas.of_attempt(attempt.id):
            session.replicas.delete(replica.id)
        session.attempts.delete(attempt.id)
    session.secrets.delete(job.id)
    session.jobs.delete(job.id)


def attempts(platform: Platform, caller: Caller, job_id: str) -> Sequence[Attempt]:
    with platform.storage.read() as session:
        return session.attempts.of_owner(OwnerKind.JOB, find_job(session, caller, job_id).id)


def find_output(platform: Platform, caller: Caller, job_id: str, path: str) -> FileEntry:
    with platform.storage.read() as session:
        job = find_job(session, caller, job_id)
    entry = next((entry for entry in job.outputs if entry.path == path), None)
    if entry is None:
        raise NotFoundError(f"The job {job.name!r} has no output {path!r}.")
    return entry
