"""What monitors find, made durable: how far one has read and the points of what it read, in one transaction."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from headway.domain.base import now
from headway.domain.metrics import series_key
from headway.domain.monitors import WRITER_PREFIX, Monitor, MonitorProgress
from headway.domain.runs import LOGS, METRICS, Stream
from headway.errors import ConflictError
from headway.journal.codec import JournalHeader
from headway.monitors.reading import Place
from headway.monitors.rows import END, beginning
from headway.server.actions.logs import has_ended
from headway.server.actions.monitors import is_due, replica_of, selected
from headway.server.context import Platform
from headway.server.scanning.messages import ScanResult
from headway.storage.base import Session

_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_ROLE = 64
"""Characters of a replica's name in that of a stream of points."""


@dataclass(frozen=True)
class Found:
    """One step of a monitor through a log stream, and what it began from."""

    monitor: Monitor
    stream: Stream
    before: MonitorProgress | None
    result: ScanResult


def place_of(progress: MonitorProgress | None) -> Place:
    """Where the next step begins."""
    return Place() if progress is None else Place(progress.offset, progress.skip)


def commit(platform: Platform, findings: Sequence[Found]) -> None:
    """Keep what was found, once: a step that somebody else took meanwhile, or of a monitor that was changed, is nothing."""
    with platform.storage.write() as session:
        for found in findings:
            _commit(platform, session, found)


def _commit(platform: Platform, session: Session, found: Found) -> None:
    monitor, result = session.monitors.find(found.monitor.id), found.result
    if monitor is None or monitor.revision != found.monitor.revision:
        return
    present = session.monitors.find_progress(monitor.id, monitor.revision, found.stream.name)
    if present != found.before:
        return
    before = present or _new_progress(session, monitor, found.stream)
    ended = result.done and found.stream.closed
    written = _write(platform, session, before, found.stream, base64.b64decode(result.rows), ended=ended)
    progress = before.evolve(
        offset=result.place.offset,
        skip=result.place.skip,
        seen=found.stream.committed if result.done else before.seen,
        ended=ended,
        written=written,
        lines=before.lines + result.lines,
        matches=before.matches + result.matches,
        points=before.points + result.points,
    )
    if result.last_match is not None:
        progress = progress.evolve(last_match=result.last_match, last_time=result.last_time)
    session.monitors.put_progress(progress)


def _new_progress(session: Session, monitor: Monitor, stream: Stream) -> MonitorProgress:
    number = len(session.monitors.progress(monitor.id, monitor.revision))
    role = _NO_NAME.sub("_", replica_of(stream))[:_ROLE]
    return MonitorProgress(
        monitor_id=monitor.id,
        revision=monitor.revision,
        run_id=monitor.run_id,
        name=monitor.name,
        stream=stream.name,
        target=f"{METRICS}/{role}-{WRITER_PREFIX}{monitor.id}-{monitor.revision}.{number}",
    )


def _write(
    platform: Platform, session: Session, progress: MonitorProgress, source: Stream, rows: bytes, *, ended: bool
) -> int:
    """Add to the stream of points; how long it is then. A log stream without any has none."""
    if not rows and not (ended and progress.written):
        return progress.written
    target = session.streams.find(progress.run_id, progress.target) or _new_target(progress, source)
    if target.committed != progress.written or target.writer_id != progress.monitor_id:
        raise ConflictError(f"Somebody else wrote to the stream {progress.target!r}.")
    data = rows + (END if ended else b"")
    if not progress.written:
        data = beginning(_header(progress, target), progress.name) + data
    # Bytes that a killed server left beyond what was committed are replaced.
    platform.segments.write(progress.run_id, target.name, target.committed, data)
    committed = target.committed + len(data)
    session.streams.put(target.evolve(committed=committed, closed=ended, updated_at=now()))
    return committed


def _new_target(progress: MonitorProgress, source: Stream) -> Stream:
    moment = now()
    return Stream(
        run_id=progress.run_id,
        name=progress.target,
        writer_id=progress.monitor_id,
        attempt=source.attempt,
        replica=replica_of(source),
        created_at=moment,
        updated_at=moment,
    )


def _header(progress: MonitorProgress, target: Stream) -> JournalHeader:
    return JournalHeader(
        run=progress.run_id,
        stream=target.name,
        writer=target.writer_id,
        attempt=target.attempt,
        replica=target.replica,
        created=target.created_at,
    )


def rest(platform: Platform, monitor_id: str) -> None:
    """Leave a monitor alone from now on, if the log has ended and it has read all of it. More lines wake it."""
    with platform.storage.write() as session:
        monitor = session.monitors.find(monitor_id)
        run = None if monitor is None else session.runs.find(monitor.run_id)
        if monitor is None or run is None:
            return
        streams = session.streams.of_run(run.id, kind=LOGS)
        progress = {found.stream: found for found in session.monitors.progress(monitor.id, monitor.revision)}
        wanted = selected(streams, monitor.replica)
        if has_ended(platform, session, run, streams) and not any(
            is_due(stream, progress.get(stream.name)) for stream in wanted
        ):
            session.monitors.rest(monitor.id)


def forget(platform: Platform, retired: Sequence[MonitorProgress]) -> None:
    """Give back the bytes of points that nobody sees any more, once the metric store has forgotten them."""
    for progress in retired:
        if progress.written:
            try:
                platform.segments.drop(progress.run_id, progress.target, progress.written)
            except ValueError:
                continue  # of a run that is being removed
    with platform.storage.write() as session:
        for progress in retired:
            session.monitors.forget_progress(progress)
            # The summary may have been made anew in between, by a server that had not heard.
            session.run_metrics.drop(progress.run_id, series_key(None, progress.name))
