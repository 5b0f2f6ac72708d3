"""Which runs are alive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from headway.domain.base import now
from headway.domain.runs import Run, RunDetails, RunHeartbeat, RunState
from headway.domain.users import Permission
from headway.server.actions.lookup import find_run
from headway.server.actions.recording import record
from headway.server.actions.runs import given, revived
from headway.server.context import Caller, Platform
from headway.storage.base import Session

WRITE_SECONDS = 5.0
"""A heartbeat that says nothing new is recorded only so often."""
MAX_WRITERS = 1000
"""Of one run, whose counts are remembered."""


def beat(platform: Platform, caller: Caller, run_id: str, request: RunHeartbeat) -> Run:
    """A writer says that it lives. A lost run is running again."""
    with platform.storage.read() as session:
        run = find_run(session, caller, run_id, Permission.WRITE)
        details = session.run_details.find(run.id)
    counted = {name: count for name, count in request.health.items() if count}
    known = details.health.get(request.writer, {}) if details is not None else {}
    fresh = run.heartbeat_at is not None and now() - run.heartbeat_at < timedelta(seconds=WRITE_SECONDS)
    if fresh and run.state is not RunState.LOST and counted == known and request.attempt < run.attempts:
        return run
    with platform.storage.write() as session:
        run = find_run(session, caller, run_id, Permission.WRITE)
        if counted != known:
            run = _count(session, run, request.writer, counted)
        run = revived(session, run).evolve(heartbeat_at=now(), attempts=max(run.attempts, request.attempt + 1))
        session.runs.put(run)
        return run


def _count(session: Session, run: Run, writer: str, counted: dict[str, int]) -> Run:
    details = session.run_details.find(run.id) or RunDetails(run_id=run.id, given=given(run))
    if writer not in details.health and len(details.health) >= MAX_WRITERS:
        return run
    details = details.evolve(health={**details.health, writer: counted})
    session.run_details.put(details)
    return run.evolve(health=total_health(details))


def total_health(details: RunDetails) -> dict[str, int]:
    """What all writers counted. A writer says the same in heartbeats and in facts, so the larger sum is meant."""
    beats: dict[str, int] = {}
    for counters in details.health.values():
        for name, count in counters.items():
            beats[name] = beats.get(name, 0) + count
    found = _greater(beats, details.told)
    if details.damaged:
        found["damaged_facts"] = details.damaged
    return {name: count for name, count in sorted(found.items()) if count}


def _greater(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {*one, *other}}


def mark_lost(platform: Platform) -> None:
    """Runs of which nothing was heard for too long are lost. Those of jobs and deployments end with them."""
    limit = timedelta(seconds=platform.run_lost_seconds)
    with platform.storage.read() as session:
        silent = session.runs.silent(now() - limit)
    for run in silent:
        with platform.storage.write() as session:
            _judge(session, run.id, limit)


def _judge(session: Session, run_id: str, limit: timedelta) -> None:
    run = session.runs.find(run_id)
    if run is None or run.state is not RunState.RUNNING:
        return
    # Bytes are heard of, too; they are not written into the run one by one.
    heard = max([run.heartbeat_at or run.created_at, *(s.updated_at for s in session.streams.of_run(run_id))])
    if now() - heard < limit:
        session.runs.put(run.evolve(heartbeat_at=heard))
        return
    reason = f"nothing was heard of it for {limit.total_seconds():g} s"
    session.runs.put(run.evolve(state=RunState.LOST, reason=reason, heartbeat_at=heard, finished_at=heard))
    record(session, "run.lost", run.id, project_id=run.project_id, message=reason, name=run.name)
