"""Reading the logs of jobs, deployments and runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from headway.domain.base import now
from headway.domain.logs import LogPage
from headway.domain.replicas import OwnerKind
from headway.domain.runs import LOGS, Run, RunState, Stream
from headway.journal.cursors import LogCursor
from headway.journal.logview import LogSource, read_page, read_tail
from headway.server.actions.lookup import find_deployment, find_job, find_run
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
            run_id = find_deployment(session, caller, wanted.reference, wanted.project).run_id
            ended = False
        streams = session.streams.of_run(run_id, kind=LOG_STREAMS)
    return [stream for stream in streams if _wanted(stream, wanted)], ended


def _of_run(platform: Platform, session: Session, run: Run, wanted: LogQuery) -> tuple[Sequence[Stream], bool]:
    """The log of a job's run ends with the job. Any other ends when the run has ended and every writer closed its log,
    or is silent for so long that it will not."""
    streams = session.streams.of_run(run.id, kind=LOG_STREAMS)
    job = session.jobs.find(run.job_id) if run.job_id is not None else None
    if job is not None:
        ended = job.finished
    else:
        silent = now() - timedelta(seconds=platform.run_lost_seconds)
        still = [stream for stream in streams if not stream.closed and stream.updated_at > silent]
        ended = run.state is not RunState.RUNNING and not still
    return [stream for stream in streams if _wanted(stream, wanted)], ended


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
