"""Streams: taking what is shipped."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.base import now
from headway.domain.runs import LOGS, Run, Stream, StreamCommit
from headway.domain.users import Permission
from headway.errors import ConflictError, OffsetConflictError, PermissionDeniedError
from headway.server.actions.lookup import find_run
from headway.server.context import Caller, Platform


def check_write(platform: Platform, caller: Caller, run_id: str) -> Run:
    """The run, if the caller may write streams of it: a job token only those of its own run."""
    if not caller.owns_run(run_id):
        raise PermissionDeniedError("A job's token writes the streams of its own run only.")
    with platform.storage.read() as session:
        return find_run(session, caller, run_id, Permission.WRITE)


def append(
    platform: Platform,
    run_id: str,
    name: str,
    data: bytes,
    *,
    offset: int,
    writer: str,
    attempt: int = 0,
    replica: str | None = None,
    close: bool = False,
) -> StreamCommit:
    """Store the part of ``data`` that is not there yet, and say how much there is. A resend is harmless.

    Raises:
        OffsetConflictError: ``offset`` leaves a gap, or the stream belongs to another writer.
    """
    with platform.storage.write() as session:
        stream = session.streams.find(run_id, name)
        if stream is None:
            moment = now()
            stream = Stream(
                run_id=run_id,
                name=name,
                writer_id=writer,
                attempt=attempt,
                replica=replica,
                created_at=moment,
                updated_at=moment,
            )
        if stream.writer_id != writer or offset > stream.committed:
            raise _conflict(stream, offset, writer)
        fresh = data[stream.committed - offset :]
        if fresh and stream.closed:
            raise ConflictError(f"The stream {name!r} is complete; nothing can be added to it.")
        if not fresh and stream.closed >= close and stream.committed:
            return StreamCommit(committed=stream.committed)
        if fresh:
            platform.segments.write(run_id, name, stream.committed, fresh)
        committed = stream.committed + len(fresh)
        session.streams.put(stream.evolve(committed=committed, closed=stream.closed or close, updated_at=now()))
        if stream.kind == LOGS:
            session.monitors.wake(run_id)
        return StreamCommit(committed=committed)


def _conflict(stream: Stream, offset: int, writer: str) -> OffsetConflictError:
    what = "belongs to another writer" if stream.writer_id != writer else f"has {stream.committed} bytes"
    return OffsetConflictError(
        f"The stream {stream.name!r} {what}; bytes were sent for offset {offset}.",
        details={"committed": stream.committed, "writer": stream.writer_id},
    )


def of_run(platform: Platform, caller: Caller, run_id: str) -> Sequence[Stream]:
    with platform.storage.read() as session:
        return session.streams.of_run(find_run(session, caller, run_id).id)
