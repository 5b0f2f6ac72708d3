"""Reading the logs of jobs, deployments and runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from headway.domain.base import is_id, now
from headway.domain.deployments import Deployment
from headway.domain.logs import LogPage
from headway.domain.replicas import OwnerKind
from headway.domain.runs import LOGS, Run, RunState, Stream
from headway.errors import InvalidRequestError, NotFoundError
from headway.journal.cursors import LogCursor
from headway.journal.logview import LogSource, read_page, read_tail
from headway.server.actions.lookup import find_deployment, find_job, find_run
from headway.server.actions.specs import SERVER_ROLE
from headway.server.context import Caller, Platform
from headway.storage.base import Session

LOG_STREAMS = LOGS


@dataclass(frozen=True)
class LogQuery:
    """Whose log, and which part of it."""

    kind: OwnerKind | None
    """None is the run itself."""
    reference: str
    project: str | None = None
    replica: str | None = None
    """As rows name it; of a deployment also as it is shown: ``server-9`` is the replica of the ninth attempt."""
    attempt: int | None = None


def read(
    platform: Platform, caller: Caller, wanted: LogQuery, *, cursor: str | None, limit: int, tail: int | None = None
) -> LogPage:
    """Rows after ``cursor``, or the last ``tail`` ones. ``ended`` says that nothing ever follows.

    Whether the job has ended is asked before its rows are read: all rows of a job are there before it counts as ended.
    """
    streams, ended = _streams(platform, caller, wanted)
    sources = [_source(platform, stream) for stream in streams]
    if tail is not None:
        rows, position = read_tail(sources, tail)
    else:
        rows, position = read_page(sources, LogCursor.parse(cursor) if cursor else None, limit)
    return LogPage(rows=tuple(rows), cursor=str(position), ended=ended and limit > 0 and not rows)


def _streams(platform: Platform, caller: Caller, wanted: LogQuery) -> tuple[Sequence[Stream], bool]:
    with platform.storage.read() as session:
        if wanted.kind is None:
            return _of_run(platform, session, find_run(session, caller, wanted.reference), wanted)
        if wanted.kind is OwnerKind.JOB:
            job = find_job(session, caller, wanted.reference)
            run_id, ended = job.run_id, job.finished
        else:
            deployment = find_deployment(session, caller, wanted.reference, wanted.project)
            wanted = _by_attempt(_by_id(session, deployment, wanted))
            run_id, ended = deployment.run_id, _has_ended(session, deployment.id, wanted.attempt)
            streams = session.streams.of_run(run_id, kind=LOG_STREAMS)
            _refuse_unknown_attempt(session, deployment, wanted, streams)
            return [stream for stream in streams if _wanted(stream, wanted)], ended
        streams = session.streams.of_run(run_id, kind=LOG_STREAMS)
    return [stream for stream in streams if _wanted(stream, wanted)], ended


def _of_run(platform: Platform, session: Session, run: Run, wanted: LogQuery) -> tuple[Sequence[Stream], bool]:
    """The log of a job's run ends with the job. Any other ends when the run has ended and every writer closed its log,
    or is silent for so long that it will not."""
    streams = session.streams.of_run(run.id, kind=LOG_STREAMS)
    ended = has_ended(platform, session, run, streams)
    return [stream for stream in streams if _wanted(stream, wanted)], ended


def has_ended(platform: Platform, session: Session, run: Run, streams: Sequence[Stream]) -> bool:
    """Whether nothing is added to the log of ``run``, whose log streams are ``streams``, as far as can be known."""
    job = session.jobs.find(run.job_id) if run.job_id is not None else None
    if job is not None:
        return job.finished
    silent = now() - timedelta(seconds=platform.run_lost_seconds)
    still = [stream for stream in streams if not stream.closed and stream.updated_at > silent]
    return run.state is not RunState.RUNNING and not still


def _by_id(session: Session, deployment: Deployment, wanted: LogQuery) -> LogQuery:
    """A replica named by its id, which the headers of answers and the gateway's log have, by its attempt."""
    if wanted.replica is None or not is_id(wanted.replica, "rep"):
        return wanted
    replica = session.replicas.find(wanted.replica)
    attempt = None if replica is None else session.attempts.find(replica.attempt_id)
    if attempt is None or attempt.owner_id != deployment.id:
        raise NotFoundError(f"The deployment {deployment.name!r} has no replica {wanted.replica!r}.")
    return replace(wanted, replica=None, attempt=attempt.number)


def _refuse_unknown_attempt(
    session: Session, deployment: Deployment, wanted: LogQuery, streams: Sequence[Stream]
) -> None:
    """NotFoundError where neither a replica nor any line is of that attempt: nobody is to wait for what never comes."""
    if wanted.attempt is None or any(stream.attempt == wanted.attempt for stream in streams):
        return
    known = [attempt.number for attempt in session.attempts.of_owner(OwnerKind.DEPLOYMENT, deployment.id)]
    if wanted.attempt not in known:
        newest = ", ".join(f"{SERVER_ROLE}-{number}" for number in sorted(known)[-10:]) or "none"
        raise NotFoundError(
            f"The deployment {deployment.name!r} has had no replica {SERVER_ROLE}-{wanted.attempt}.",
            hint=f"The newest are {newest}.",
        )


def _by_attempt(wanted: LogQuery) -> LogQuery:
    """Replica and attempt as rows have them: each attempt of a deployment has one replica, number 0 of its role.

    Raises:
        InvalidRequestError: They name two attempts.
    """
    named = re.fullmatch(r"(.+)-([1-9][0-9]{0,9})", wanted.replica or "")
    if named is None:
        return wanted
    if wanted.attempt not in (None, int(named[2])):
        raise InvalidRequestError(
            f"{wanted.replica} is of attempt {named[2]}, not {wanted.attempt}.", hint="Leave one out."
        )
    return replace(wanted, replica=f"{named[1]}-0", attempt=int(named[2]))


def _has_ended(session: Session, deployment_id: str, number: int | None) -> bool:
    """Whether the attempt that alone is asked for prints nothing any more; a deployment's log has no end."""
    if number is None:
        return False
    attempts = session.attempts.of_owner(OwnerKind.DEPLOYMENT, deployment_id)
    return any(attempt.number == number and attempt.ended_at is not None for attempt in attempts)


def _wanted(stream: Stream, wanted: LogQuery) -> bool:
    return wanted.replica in (None, stream.replica) and wanted.attempt in (None, stream.attempt)


def _source(platform: Platform, stream: Stream) -> LogSource:
    return LogSource(
        name=stream.name,
        replica=stream.replica or stream.name.partition("/")[2],
        attempt=stream.attempt,
        committed=stream.committed,
        complete=stream.closed,
        read=partial(platform.segments.read, stream.run_id, stream.name),
    )
