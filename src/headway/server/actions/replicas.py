"""What agents say."""

from __future__ import annotations

from datetime import timedelta

from headway.domain.base import now
from headway.domain.replicas import Directive, Replica, ReplicaPhase, ReplicaReport
from headway.errors import NotFoundError, PermissionDeniedError, StaleAttemptError
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform

SEEN_EVERY = timedelta(seconds=5)


def report(platform: Platform, caller: Caller, replica_id: str, request: ReplicaReport) -> Directive:
    """Take a report and answer what is wanted. Repeating a report, or sending an old one late, changes nothing.

    Raises:
        StaleAttemptError: The attempt has been replaced or has ended; the agent must end itself.
    """
    with platform.storage.read() as session:
        replica = _check(session.replicas.find(replica_id), caller, replica_id)
        attempt = session.attempts.get(replica.attempt_id)
    if attempt.ended_at is not None or attempt.token != request.attempt_token:
        if replica.phase is ReplicaPhase.EXITED and request.phase is ReplicaPhase.EXITED:
            return replica.directive
        raise StaleAttemptError(f"Attempt {attempt.number} has ended.")
    if _merge(replica, request) == replica:
        return replica.directive
    with platform.storage.write() as session:
        replica = _check(session.replicas.find(replica_id), caller, replica_id)
        merged = _merge(replica, request)
        session.replicas.put(merged)
        if merged.phase is not replica.phase:
            record(
                session,
                "replica.phase_changed",
                replica.owner_id,
                project_id=replica.project_id,
                message=merged.reason,
                replica=merged.name,
                phase=merged.phase.value,
                attempt=attempt.number,
                exit_code=merged.exit_code,
            )
        return merged.directive


def directive(platform: Platform, replica_id: str) -> Directive | None:
    """What is wanted now; None when the replica is no more."""
    with platform.storage.read() as session:
        replica = session.replicas.find(replica_id)
        return None if replica is None else replica.directive


def _check(replica: Replica | None, caller: Caller, replica_id: str) -> Replica:
    if replica is None:
        raise NotFoundError(f"There is no replica {replica_id!r}.")
    if caller.token.attempt_id != replica.attempt_id:
        raise PermissionDeniedError("Only the agent of this attempt may report on it.")
    return replica


def _merge(replica: Replica, request: ReplicaReport) -> Replica:
    """``replica`` with the news; a phase never goes back and an end is final."""
    moment = now()
    if replica.phase.ended or request.phase.order < replica.phase.order:
        return replica
    due = replica.last_seen is None or moment - replica.last_seen > SEEN_EVERY
    changed = replica.evolve(
        phase=request.phase,
        reason=request.reason,
        host=request.host or replica.host,
        ports=request.ports or replica.ports,
        brought=request.brought or replica.brought,
        started_at=request.started_at or replica.started_at,
    )
    if request.phase is ReplicaPhase.EXITED:
        changed = changed.evolve(
            exit_code=request.exit_code,
            signal=request.signal,
            last_lines=request.last_lines,
            model_files=request.model_files,
            output_files=request.output_files,
            finished_at=request.finished_at or moment,
        )
    return changed.evolve(last_seen=moment) if due or changed != replica else replica
