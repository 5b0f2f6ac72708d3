"""Brings every job from what is recorded to what should be: place, watch, end, register."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from headway.domain.base import now
from headway.domain.files import FileEntry
from headway.domain.jobs import Failure, Job, JobState
from headway.domain.replicas import Attempt, OwnerKind, Replica, ReplicaSpec
from headway.engines.base import AgentObservation
from headway.errors import HeadwayError, NotFoundError, RequestError
from headway.server.actions import capacity, job_inputs, objects, registration
from headway.server.actions.attempts import add_attempt, base_spec, end_attempt, locked_replicas, with_gpus
from headway.server.actions.jobs import SECRET_PREFIX, WORKSPACE_PASSWORD, WORKSPACE_USER, job_need, move
from headway.server.actions.recording import record
from headway.server.context import Platform
from headway.server.workers.progress import NO_WORD, Absences, Advance, advance, mark_lost, silent
from headway.server.workers.reconciler import Pacer, leased
from headway.server.workers.salvage import salvage
from headway.storage.base import Session

logger = logging.getLogger("headway.workers.jobs")

GIB = 1 << 30
PLACED_STATES = (
    JobState.PROVISIONING,
    JobState.PROVISIONED,
    JobState.NETWORK_SETTING_UP,
    JobState.NETWORK_SETUP,
    JobState.RUNNING,
    JobState.STOPPING,
)


class JobWorker:
    """One look goes over every job that has not ended."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._pacer = Pacer()
        self._absences = Absences()

    def look(self) -> None:
        with self._platform.storage.read() as session:
            unfinished = session.jobs.unfinished()
        queue = sorted(
            (job for job in unfinished if job.state is JobState.QUEUED),
            key=lambda job: (-job.spec.priority, job.queued_at or job.created_at),
        )
        for job in unfinished:
            if job.state in PLACED_STATES:
                self._guarded(self._tend, job)
        for position, job in enumerate(queue):
            self._guarded(partial(self._place, ahead=position), job)

    def _guarded(self, step: Callable[[Job], None], job: Job) -> None:
        """One job's trouble must not keep the others waiting."""
        try:
            step(job)
        except Exception:
            logger.exception("job %s: the step failed; it is tried again", job.id)

    def _place(self, job: Job, ahead: int) -> None:
        """Reserve room and record an attempt; then let the engine start it."""
        platform = self._platform
        with platform.storage.read() as session:
            waiting = _why_not_now(platform, session, job)
        if waiting:
            self._explain_wait(job, f"{waiting}; {ahead} job(s) ahead" if ahead else waiting)
            return
        with platform.storage.write() as session:
            job = session.jobs.get(job.id)
            if job.state is not JobState.QUEUED:
                return
            capacity.lock(session)
            need = job_need(session, job)
            gpus, waiting = capacity.reserve(session, need, platform.engine.capacity())
            if waiting:
                return
            attempt, _ = add_attempt(
                platform,
                session,
                kind=OwnerKind.JOB,
                owner_id=job.id,
                project_id=job.project_id,
                run_id=job.run_id,
                user_id=job.created_by,
                number=job.attempt + 1,
                roles=[(name, role.count) for name, role in job.spec.roles.items()],
                instance_types={name: found.name for name, found in need.types.items()},
                gpus=gpus,
            )
            job = job.evolve(attempt=attempt.number, attempt_id=attempt.id, ending_since=None, failure=None)
            session.jobs.put(move(session, job, JobState.PROVISIONING, f"placing {job.spec.world_size} replica(s)"))
        self._start(job.id, attempt)

    def _explain_wait(self, job: Job, reason: str) -> None:
        if job.reason == reason:
            return
        with self._platform.storage.write() as session:
            job = session.jobs.get(job.id)
            if job.state is JobState.QUEUED:
                session.jobs.put(job.evolve(reason=reason))
                record(session, "job.waiting", job.id, project_id=job.project_id, message=reason)

    def _start(self, job_id: str, attempt: Attempt) -> None:
        """Hand the recorded attempt to the engine. Doing it twice is harmless: the engine starts an attempt once."""
        platform = self._platform
        with leased(platform, f"attempt:{attempt.id}") as lease:
            if lease is None:
                return
            with platform.storage.read() as session:
                specs = job_specs(platform, session, session.jobs.get(job_id), attempt)
            problem = ""
            try:
                platform.engine.start(specs)
            except HeadwayError as error:
                problem = str(error)
            with platform.storage.write() as session:
                lease.check(session)
                job, attempt = session.jobs.get(job_id), session.attempts.get(attempt.id)
                if problem:
                    self._refuse(session, job, attempt, problem)
                else:
                    session.attempts.put(attempt.evolve(placed=True))
            if problem:
                platform.engine.stop(attempt.token, hard=True)

    def _refuse(self, session: Session, job: Job, attempt: Attempt, problem: str) -> None:
        end_attempt(session, attempt, succeeded=False)
        failure = Failure(reason=f"the engine could not place it: {problem}")
        session.jobs.put(move(session, job.evolve(failure=failure), JobState.FAILED, failure.reason))

    def _tend(self, job: Job) -> None:
        """Look at a placed job and take the next step."""
        platform = self._platform
        if job.attempt_id is None:
            return
        with platform.storage.read() as session:
            attempt = session.attempts.get(job.attempt_id)
            replicas = session.replicas.of_attempt(attempt.id)
        if not attempt.placed:
            self._start(job.id, attempt)
            return
        if self._pacer.due(attempt.id):
            asked = now()
            lost = self._absences.lost(replicas, platform.engine.observe(attempt.token), asked)
            if lost:
                self._take_over(attempt, lost, asked)
                return
        if advance(job, replicas, now()):
            self._apply(job.id, attempt)
        else:
            self._warn_silence(job, replicas)

    def _warn_silence(self, job: Job, replicas: Sequence[Replica]) -> None:
        reason = silent(replicas, now())
        if not reason and job.reason.startswith(NO_WORD):
            reason = "every replica speaks again"
        if reason and job.reason != reason:
            with self._platform.storage.write() as session:
                session.jobs.put(session.jobs.get(job.id).evolve(reason=reason))

    def _take_over(self, attempt: Attempt, lost: Sequence[AgentObservation], moment: datetime) -> None:
        """Agents are gone without a last word: end what they left, save their logs, then say so."""
        platform = self._platform
        with leased(platform, f"attempt:{attempt.id}") as lease:
            if lease is None:
                return
            for seen in lost:
                salvage(platform, attempt, seen.replica_id)
            with platform.storage.write() as session:
                lease.check(session)
                asked = session.jobs.get(attempt.owner_id).stop_requested
                for seen in lost:
                    replica = session.replicas.get(seen.replica_id)
                    if not replica.phase.ended:
                        session.replicas.put(mark_lost(replica, seen, moment, asked=asked))

    def _apply(self, job_id: str, attempt: Attempt) -> None:
        platform = self._platform
        with platform.storage.write() as session:
            job = session.jobs.get(job_id)
            if job.attempt_id != attempt.id or job.state not in PLACED_STATES:
                return
            look = advance(job, locked_replicas(session, attempt.id), now())
            if look.to_write:
                apply(session, look, session.attempts.get(attempt.id))
        if look.hard_stop or look.attempt_over:
            platform.engine.stop(attempt.token, hard=True)


def _why_not_now(platform: Platform, session: Session, job: Job) -> str:
    """Why a job must wait; empty when there is room for it."""
    try:
        _, waiting = capacity.reserve(session, job_need(session, job), platform.engine.capacity())
    except NotFoundError as error:
        return f"waiting for its instance type: {error.message}"
    return waiting


def apply(session: Session, look: Advance, attempt: Attempt) -> None:
    """Write down what a look led to, in one transaction: replicas, outputs, model, states, in this order."""
    job = look.job
    for replica in look.directed:
        session.replicas.put(replica)
    if look.attempt_over:
        end_attempt(session, attempt, succeeded=look.succeeded)
        job = _collect(session, job, list(look.replicas.values()), succeeded=look.succeeded)
    for state, reason in look.moves:
        if state is JobState.RETRYING:
            job = job.evolve(retries_used=job.retries_used + 1)
        job = move(session, job, state, reason)
    session.jobs.put(job)


def _collect(session: Session, job: Job, replicas: Sequence[Replica], *, succeeded: bool) -> Job:
    """Outputs of all replicas and, if all went well, the model. The lowest rank's file wins where paths collide."""
    model_files = merge_files([replica.model_files for replica in replicas])
    outputs = merge_files([replica.output_files for replica in replicas])
    if succeeded and job.spec.output_path is not None:
        _name_outputs(session, job, job.spec.output_path, outputs)
    if not (succeeded and job.spec.register_model):
        kept = [entry.model_copy(update={"path": f"model/{entry.path}"}) for entry in model_files]
        return job.evolve(outputs=merge_files([outputs, kept]))
    job = job.evolve(outputs=outputs)
    return _register(session, job, model_files) if model_files else job


def _name_outputs(session: Session, job: Job, path: str, outputs: Sequence[FileEntry]) -> None:
    """The outputs as objects below the job's output path; what cannot be named is an event and does not fail the job."""
    try:
        objects.name_files(session, job.project_id, path, outputs, actor=job.created_by)
    except RequestError as error:
        record(session, "job.output_naming_failed", job.id, project_id=job.project_id, message=str(error))


def _register(session: Session, job: Job, files: tuple[FileEntry, ...]) -> Job:
    """The job's model as a version; a registration that fails is an event and does not fail the job."""
    try:
        version = registration.add_left_by_job(
            session,
            files,
            project_id=job.project_id,
            name=job.spec.model_name or job.name,
            run_id=job.run_id,
            job_id=job.id,
            actor=job.created_by,
            model_type=job.spec.model_type,
            model_path=job.spec.model_path,
        )
    except HeadwayError as error:
        record(session, "job.model_registration_failed", job.id, project_id=job.project_id, message=str(error))
        return job
    return job.evolve(model_version_id=version.id)


def merge_files(lists: Sequence[Sequence[FileEntry]]) -> tuple[FileEntry, ...]:
    """All entries by path; of two with one path the one that comes first."""
    found: dict[str, FileEntry] = {}
    for entries in lists:
        for entry in entries:
            found.setdefault(entry.path, entry)
    return tuple(found[path] for path in sorted(found))


def job_specs(platform: Platform, session: Session, job: Job, attempt: Attempt) -> list[ReplicaSpec]:
    """What the agents of an attempt are given."""
    secrets = session.secrets.get(job.id)
    replicas = session.replicas.of_attempt(attempt.id)
    return [_job_spec(platform, job, attempt, replica, len(replicas), secrets) for replica in replicas]


def _job_spec(
    platform: Platform, job: Job, attempt: Attempt, replica: Replica, world_size: int, secrets: dict[str, str]
) -> ReplicaSpec:
    role = job.spec.roles[replica.role]
    command = job_inputs.command_of(role.command, job.spec, secrets)
    base = base_spec(platform, attempt, replica, job.name, world_size, command)
    inputs, init_model = job_inputs.files_of(job.spec, secrets)
    limit = job.spec.workspace_gib
    return base.evolve(
        environment=with_gpus(platform, attempt, replica, {**job.spec.environment, **role.environment}),
        secrets={k.removeprefix(SECRET_PREFIX): v for k, v in secrets.items() if k.startswith(SECRET_PREFIX)},
        workspace=job.spec.workspace,
        workspace_username=secrets.get(WORKSPACE_USER),
        workspace_password=secrets.get(WORKSPACE_PASSWORD),
        working_directory=job.spec.working_directory,
        model_path=job.spec.model_path,
        inputs=inputs,
        init_model=init_model,
        fetch_networks=platform.fetch_networks,
        parameters=job_inputs.parameters_of(job.spec, secrets),
        parameter_variables=job.spec.parameter_variables,
        workspace_bytes=None if limit is None else int(limit * GIB),
        max_runtime=job.spec.max_runtime,
        grace_seconds=job.spec.grace_seconds,
    )
