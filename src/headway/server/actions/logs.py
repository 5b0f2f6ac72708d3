"""Reading the logs of jobs and deployments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from headway.domain.logs import LogPage
from headway.domain.replicas import OwnerKind
from headway.domain.runs import Stream
from headway.journal.cursors import LogCursor
from headway.journal.logview import LogSource, read_page, read_tail
from headway.server.actions.lookup import find_deployment, find_job
from headway.server.context import Caller, Platform

LOG_STREAMS = "logs"


@dataclass(frozen=True)
class LogQuery:
    """Whose log, and which part of it."""

    kind: OwnerKind
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
        if wanted.kind is OwnerKind.JOB:
            job = find_job(session, caller, wanted.reference)
            run_id, ended = job.run_id, job.finished
        else:
            run_id = find_deployment(session, caller, wanted.reference, wanted.project).run_id
            ended = False
        streams = session.streams.of_run(run_id, kind=LOG_STREAMS)
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
