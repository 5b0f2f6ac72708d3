"""Monitors, as people ask for them. What they find is in monitor_points.py."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from headway.domain.base import did_you_mean, new_id, now
from headway.domain.metrics import series_key
from headway.domain.monitors import (
    MAX_MONITORS,
    Monitor,
    MonitorMatch,
    MonitorProgress,
    MonitorReport,
    MonitorSpec,
    MonitorState,
    MonitorTest,
    MonitorUpdate,
)
from headway.domain.runs import LOGS, Run, Stream
from headway.domain.users import Permission
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.monitors import Expression, check_sample
from headway.monitors.reading import MatchedLine, Place, step
from headway.server.actions.logs import has_ended
from headway.server.actions.lookup import find_run
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session

TEST_SECONDS = 5.0
"""How long one trial of an expression reads at most."""


def add_all(session: Session, run: Run, specs: Iterable[MonitorSpec], *, actor: str) -> None:
    """Make the monitors that a run is born with.

    Raises:
        InvalidRequestError: An expression cannot be used, or finds nothing in its sample; two have one name.
    """
    names: set[str] = set()
    for spec in specs:
        if spec.name in names:
            raise InvalidRequestError(f"Two monitors are called {spec.name!r}.", hint="A run has one of each name.")
        names.add(spec.name)
        _add(session, run, spec, actor=actor)


def create(platform: Platform, caller: Caller, run_id: str, spec: MonitorSpec) -> Monitor:
    """Watch the log of a run, from its first line on.

    Raises:
        InvalidRequestError: As for :func:`add_all`.
        ConflictError: The run has a monitor of that name, or as many as it may have.
    """
    with platform.storage.write() as session:
        run = find_run(session, caller, run_id, Permission.WRITE)
        if len(session.monitors.of_run(run.id)) >= MAX_MONITORS:
            raise ConflictError(f"The run has {MAX_MONITORS} monitors, and no more are kept.", hint="Delete one.")
        monitor = _add(session, run, spec, actor=caller.user.id)
        caller.remember(session, monitor)
        return monitor


def _add(session: Session, run: Run, spec: MonitorSpec, *, actor: str) -> Monitor:
    check_sample(spec.regex, spec.sample)
    moment = now()
    monitor = Monitor(
        id=new_id("mon"),
        project_id=run.project_id,
        run_id=run.id,
        created_at=moment,
        created_by=actor,
        updated_at=moment,
        **spec.model_dump(),
    )
    session.monitors.add(monitor)
    _tell(session, "monitor.created", monitor, actor)
    return monitor


def of_run(platform: Platform, caller: Caller, run_id: str) -> list[Monitor]:
    """The monitors of a run with what they found, oldest first."""
    with platform.storage.read() as session:
        return _all(platform, session, find_run(session, caller, run_id))


def have_read_all(platform: Platform, session: Session, run: Run) -> bool:
    """Whether the monitors of a run have read all that will ever come, so that their points stay as they are."""
    return all(monitor.state is MonitorState.COMPLETE for monitor in _all(platform, session, run))


def _all(platform: Platform, session: Session, run: Run) -> list[Monitor]:
    found = session.monitors.of_run(run.id)
    streams = session.streams.of_run(run.id, kind=LOGS) if found else ()
    return [_with_findings(platform, session, run, monitor, streams) for monitor in found]


def get(platform: Platform, caller: Caller, run_id: str, reference: str) -> Monitor:
    """One by its id or name."""
    with platform.storage.read() as session:
        run = find_run(session, caller, run_id)
        monitor = _find(session, run, reference)
        return _with_findings(platform, session, run, monitor, session.streams.of_run(run.id, kind=LOGS))


def update(platform: Platform, caller: Caller, run_id: str, reference: str, request: MonitorUpdate) -> Monitor:
    """Change what a monitor looks for: it begins at the log's first line again, and its former points are gone.

    A sample that is not changed too must fit the new expression as well; one that is given as None is forgotten.

    Raises:
        InvalidRequestError: As for :func:`add_all`.
    """
    changes = request.model_dump(exclude_unset=True)
    if "regex" in changes and changes["regex"] is None:
        del changes["regex"]
    with platform.storage.write() as session:
        run = find_run(session, caller, run_id, Permission.WRITE)
        monitor = session.monitors.get(_find(session, run, reference).id)
        wanted = monitor.evolve(**changes)
        check_sample(wanted.regex, wanted.sample)
        if (wanted.regex, wanted.replica) == (monitor.regex, monitor.replica):
            session.monitors.put(wanted.evolve(updated_at=now()))
            return wanted
        _give_up_points(session, monitor)
        wanted = wanted.evolve(revision=monitor.revision + 1, updated_at=now())
        session.monitors.put(wanted)
        session.monitors.wake(run.id)
        _tell(session, "monitor.changed", wanted, caller.user.id)
        return wanted


def delete(platform: Platform, caller: Caller, run_id: str, reference: str) -> None:
    """Remove a monitor and its points."""
    with platform.storage.write() as session:
        run = find_run(session, caller, run_id, Permission.WRITE)
        monitor = session.monitors.get(_find(session, run, reference).id)
        _give_up_points(session, monitor)
        session.monitors.delete(monitor.id)
        _tell(session, "monitor.deleted", monitor, caller.user.id)


def test(platform: Platform, caller: Caller, run_id: str, request: MonitorTest) -> MonitorReport:
    """What an expression finds in the log as it is stored now. Nothing is kept.

    Raises:
        InvalidRequestError: As for :func:`add_all`.
    """
    expression = check_sample(request.regex, request.sample)
    with platform.storage.read() as session:
        run = find_run(session, caller, run_id)
        streams = session.streams.of_run(run.id, kind=LOGS)
    trial = _Trial(platform, expression, request.limit)
    for stream in selected(streams, request.replica):
        trial.read(stream)
    return trial.report()


class _Trial:
    """One expression over several log streams, as far as its time goes."""

    def __init__(self, platform: Platform, expression: Expression, limit: int) -> None:
        self._platform, self._expression, self._limit = platform, expression, limit
        self._deadline = time.monotonic() + TEST_SECONDS
        self._shown: list[MonitorMatch] = []
        self._lines = self._matches = self._points = 0
        self._complete = True

    def read(self, stream: Stream) -> None:
        read = partial(self._platform.segments.read, stream.run_id, stream.name)
        place, done = Place(), False
        while not done:
            if time.monotonic() > self._deadline:
                self._complete = False
                return
            show = self._limit - len(self._shown)
            found = step(self._expression, read, stream.committed, place, closed=stream.closed, show=show)
            self._shown += [_shown(stream, line) for line in found.shown]
            self._lines, self._matches = self._lines + found.lines, self._matches + found.matches
            self._points += len(found.rows)
            place, done = found.place, found.done

    def report(self) -> MonitorReport:
        return MonitorReport(
            lines=self._lines,
            matches=self._matches,
            points=self._points,
            complete=self._complete,
            shown=tuple(self._shown),
        )


def _shown(stream: Stream, line: MatchedLine) -> MonitorMatch:
    value, step = (None, None) if line.point is None else line.point
    return MonitorMatch(replica=replica_of(stream), line=line.line, message=line.text, value=value, step=step)


def replica_of(stream: Stream) -> str:
    """Which replica a log stream is of, as logs and points say it."""
    return stream.replica or stream.name.partition("/")[2]


def selected(streams: Iterable[Stream], replica: str | None) -> list[Stream]:
    """Those that a monitor for ``replica`` reads."""
    return [stream for stream in streams if replica in (None, replica_of(stream))]


def is_due(stream: Stream, progress: MonitorProgress | None) -> bool:
    """Whether ``stream`` has more than was read of it."""
    if progress is None:
        return stream.committed > 0
    return stream.committed > progress.seen or (stream.closed and not progress.ended)


def _with_findings(
    platform: Platform, session: Session, run: Run, monitor: Monitor, streams: Sequence[Stream]
) -> Monitor:
    progress = {found.stream: found for found in session.monitors.progress(monitor.id, monitor.revision)}
    wanted = selected(streams, monitor.replica)
    state = MonitorState.FOLLOWING
    if any(is_due(stream, progress.get(stream.name)) for stream in wanted):
        state = MonitorState.SCANNING
    elif has_ended(platform, session, run, streams):
        state = MonitorState.COMPLETE
    newest = max(
        (found for found in progress.values() if found.last_match is not None),
        key=lambda found: found.last_time,
        default=None,
    )
    return monitor.evolve(
        state=state,
        lines=sum(found.lines for found in progress.values()),
        matches=sum(found.matches for found in progress.values()),
        points=sum(found.points for found in progress.values()),
        last_match=None if newest is None else newest.last_match,
    )


def _find(session: Session, run: Run, reference: str) -> Monitor:
    found = session.monitors.by_name(run.id, reference)
    if found is None:
        found = session.monitors.find(reference)
    if found is None or found.run_id != run.id:
        names = [monitor.name for monitor in session.monitors.of_run(run.id)]
        hint = did_you_mean(reference, names) or f"Its monitors: {', '.join(names) or 'none'}."
        raise NotFoundError(f"The run has no monitor {reference!r}.", hint=hint)
    return found


def _give_up_points(session: Session, monitor: Monitor) -> None:
    """From now on nobody sees them; their bytes are given back by a worker."""
    for progress in session.monitors.retire(monitor.id):
        session.streams.delete(progress.run_id, progress.target)
    session.run_metrics.drop(monitor.run_id, series_key(None, monitor.name))


def _tell(session: Session, type: str, monitor: Monitor, actor: str) -> None:
    data: dict[str, Any] = {"monitor": monitor.id, "name": monitor.name, "revision": monitor.revision}
    record(session, type, monitor.run_id, project_id=monitor.project_id, actor=actor, **data)
