"""How a job moves on: a pure look at what is recorded and what the engine sees.

:func:`advance` is run twice for each step: once on what was read, to learn whether anything is to be done, and again
inside the transaction that applies it, on what is true then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from headway.domain.cluster import Member, cluster_environment
from headway.domain.jobs import Failure, Job, JobState
from headway.domain.replicas import Action, Directive, Replica, ReplicaPhase
from headway.engines.base import AgentObservation, AgentState
from headway.server.workers.brought import disagreement, note_brought

SILENT_AFTER = timedelta(seconds=30)
FORGOTTEN_AFTER = timedelta(seconds=60)
"""How long neither the engine nor the agent itself must have spoken of a replica until it counts as lost."""
HARD_STOP_AFTER = timedelta(seconds=5)
"""Beyond the grace period, before the engine ends what its agent did not."""
NEVER = datetime.max.replace(tzinfo=timezone.utc)
NO_WORD = "no word from"
MACHINE_RESTARTED = "the machine was restarted"
STARTUP = (
    JobState.PROVISIONING,
    JobState.PROVISIONED,
    JobState.NETWORK_SETTING_UP,
    JobState.NETWORK_SETUP,
)
BEFORE_NETWORK = STARTUP[:3]
INTRODUCTION = (
    (JobState.PROVISIONED, "every replica has its workspace"),
    (JobState.NETWORK_SETTING_UP, "exchanging addresses"),
    (JobState.NETWORK_SETUP, "starting the programs"),
)
PASSED = {ReplicaPhase.RUNNING, ReplicaPhase.EXITED, ReplicaPhase.LOST}


@dataclass
class Advance:
    """What one look leads to. Empty when everything is as it should be."""

    job: Job
    replicas: dict[str, Replica]
    moves: list[tuple[JobState, str]] = field(default_factory=list)
    """States to go through, in order, each with its reason."""
    hard_stop: bool = False
    """The engine must end the attempt now."""
    attempt_over: bool = False
    succeeded: bool = False

    changed: bool = False

    def __bool__(self) -> bool:
        return self.hard_stop or self.to_write

    @property
    def to_write(self) -> bool:
        """Whether records change. A hard stop that is repeated changes none, and must wake nobody."""
        return bool(self.moves or self.attempt_over or self.changed)

    _directed: set[str] = field(default_factory=set)

    def direct(self, replica: Replica, action: Action, environment: Mapping[str, str] | None = None) -> None:
        """Tell a replica's agent something new."""
        version = replica.directive.version + 1
        directive = Directive(version=version, action=action, environment=dict(environment or {}))
        self.replicas[replica.id] = replica.evolve(directive=directive)
        self._directed.add(replica.id)
        self.changed = True

    @property
    def directed(self) -> list[Replica]:
        """Those whose agents are told something new: what is to be written down."""
        return [self.replicas[id] for id in self.replicas if id in self._directed]

    def set_job(self, **changes: object) -> None:
        self.job = self.job.evolve(**changes)
        self.changed = True


class Absences:
    """Finds the agents that are gone without a last word, and remembers of which the engine knows nothing.

    An engine forgets what it placed when its directory is removed, or its machine replaced. Nobody would ever say that
    such a replica ended, so its job would neither end nor give back its room.
    """

    def __init__(self) -> None:
        self._unknown_since: dict[str, datetime] = {}

    def lost(
        self, replicas: Sequence[Replica], observations: Sequence[AgentObservation], moment: datetime
    ) -> list[AgentObservation]:
        """Of ``replicas`` those that the engine says are gone, and those that neither it nor their agent speaks of."""
        seen = {o.replica_id: o for o in observations if o.state is not AgentState.UNKNOWN}
        found = []
        for replica in replicas:
            known = seen.get(replica.id)
            if known is not None or replica.phase.ended:
                self._unknown_since.pop(replica.id, None)
            if replica.phase.ended:
                continue
            if known is None and self._forgotten(replica, moment):
                known = AgentObservation(replica_id=replica.id, state=AgentState.GONE)
            if known is not None and known.state is AgentState.GONE:
                found.append(known)
        return found

    def _forgotten(self, replica: Replica, moment: datetime) -> bool:
        since = self._unknown_since.setdefault(replica.id, moment)
        if replica.last_seen is not None and replica.last_seen > since:
            since = self._unknown_since[replica.id] = replica.last_seen
        return moment - since >= FORGOTTEN_AFTER


def mark_lost(replica: Replica, seen: AgentObservation, moment: datetime, *, asked: bool = False) -> Replica:
    """``replica`` ended without its agent's word; the exit code is kept where the agent had left it.

    ``moment`` lies before the engine was asked: the asking ends what the agent left, which its peers notice at once,
    and they must not be named as those that failed first. ``asked``: somebody wanted the end.
    """
    how = MACHINE_RESTARTED if seen.host_changed else "its agent ended without a word (killed?)"
    if not seen.host_changed and (asked or replica.directive.action is Action.STOP):
        how = "ended at once, without a last word"
    return replica.evolve(
        phase=ReplicaPhase.LOST, exit_code=seen.exit_code, signal=seen.signal, reason=how, finished_at=moment
    )


def advance(job: Job, replicas: Sequence[Replica], moment: datetime) -> Advance:
    """The next step of a job whose attempt has been placed."""
    look = Advance(job=job, replicas={replica.id: replica for replica in replicas})
    failed = first_failure(job, replicas)
    if job.stop_requested:
        _stop(look, replicas, moment)
    elif failed is not None or job.failure is not None:
        _fail(look, replicas, failed, moment)
    elif (problem := disagreement(job, replicas)) and _all_prepared(replicas):
        look.set_job(failure=Failure(reason=problem), reason=problem)
        _tell_to_stop(look, replicas, moment)
    else:
        _start_up(look, replicas)
        _succeed(look, replicas, moment)
    _end(look)
    return look


def first_failure(job: Job, replicas: Sequence[Replica]) -> Replica | None:
    """The replica that failed first. One that was told to stop has not failed by obeying."""
    told_well = job.ending_since is not None and job.failure is None
    bad = [r for r in replicas if ended_badly(r) and not (told_well and r.directive.action is Action.STOP)]
    return min(bad, key=lambda replica: (replica.finished_at or NEVER, replica.rank), default=None)


def ended_badly(replica: Replica) -> bool:
    if replica.phase is ReplicaPhase.EXITED:
        return replica.exit_code != 0 or replica.signal is not None
    return replica.phase is ReplicaPhase.LOST


def _stop(look: Advance, replicas: Sequence[Replica], moment: datetime) -> None:
    if look.job.state is not JobState.STOPPING:
        look.moves.append((JobState.STOPPING, "asked to stop"))
    _tell_to_stop(look, replicas, moment)


def _fail(look: Advance, replicas: Sequence[Replica], failed: Replica | None, moment: datetime) -> None:
    """End the attempt because a replica failed, or because of what the job's failure says already."""
    known = look.job.failure
    if known is None:
        _record_running(look, replicas)
    # Who failed first may report last: its end is told only after its log is shipped.
    if failed is not None and (known is None or known.replica not in (None, failed.name)):
        look.set_job(failure=failure_of(failed), reason=describe(failed))
    _tell_to_stop(look, replicas, moment)


def _record_running(look: Advance, replicas: Sequence[Replica]) -> None:
    """A program that ran and failed at once has run all the same; the states say so."""
    if look.job.state in STARTUP and all(replica.started_at is not None for replica in replicas):
        _start_up(look, replicas)


def failure_of(failed: Replica) -> Failure:
    return Failure(
        replica=failed.name,
        rank=failed.rank,
        exit_code=failed.exit_code,
        signal=failed.signal,
        reason=describe(failed),
        last_lines=failed.last_lines,
        lost=failed.phase is ReplicaPhase.LOST and failed.reason == MACHINE_RESTARTED,
    )


def describe(failed: Replica) -> str:
    """One line for people: who, how, why."""
    how = failed.reason
    if not how:
        how = f"ended by signal {failed.signal}" if failed.signal else f"exit code {failed.exit_code}"
    return f"{failed.name} (rank {failed.rank}) failed first: {how}"


def _tell_to_stop(look: Advance, replicas: Sequence[Replica], moment: datetime) -> None:
    if look.job.ending_since is None:
        look.set_job(ending_since=moment)
    waiting = [replica for replica in replicas if not replica.phase.ended]
    for replica in waiting:
        if replica.directive.action is not Action.STOP:
            look.direct(replica, Action.STOP)
    since = look.job.ending_since or moment
    late = moment - since > timedelta(seconds=look.job.spec.grace_seconds) + HARD_STOP_AFTER
    if waiting and (late or look.job.stop_hard):
        look.hard_stop = True


def _start_up(look: Advance, replicas: Sequence[Replica]) -> None:
    job = look.job
    state = look.moves[-1][0] if look.moves else job.state
    if state in BEFORE_NETWORK and _all_prepared(replicas):
        noted = note_brought(job, replicas)
        if noted is not job:
            look.set_job(spec=noted.spec)
        _introduce(look, replicas)
        passed = BEFORE_NETWORK.index(state)
        look.moves += INTRODUCTION[passed:]
        state = JobState.NETWORK_SETUP
    if state is JobState.NETWORK_SETUP and all(r.phase in PASSED or r.started_at is not None for r in replicas):
        look.moves.append((JobState.RUNNING, "every replica's program runs"))


def _all_prepared(replicas: Sequence[Replica]) -> bool:
    return all(replica.phase.order >= ReplicaPhase.PREPARED.order for replica in replicas)


def _introduce(look: Advance, replicas: Sequence[Replica]) -> None:
    members = [
        Member(role=r.role, index=r.index, rank=r.rank, host=r.host or "127.0.0.1", ports=r.ports or (0,))
        for r in replicas
    ]
    environments = cluster_environment(members, look.job.spec.cluster_style)
    for replica in replicas:
        look.direct(replica, Action.START, environments[replica.rank])


def _succeed(look: Advance, replicas: Sequence[Replica], moment: datetime) -> None:
    """Once every foreground replica ended well, the background ones are told to stop."""
    spec = look.job.spec
    foreground = [replica for replica in replicas if not spec.in_background(replica.role)]
    if foreground and all(replica.phase is ReplicaPhase.EXITED for replica in foreground):
        _tell_to_stop(look, replicas, moment)


def _end(look: Advance) -> None:
    replicas = list(look.replicas.values())
    if not replicas or not all(replica.phase.ended for replica in replicas):
        return
    job = look.job
    look.attempt_over = True
    if job.failure is not None and not job.stop_requested:
        if job.retries_used < job.spec.retries:
            again = f"attempt {job.attempt} failed: {job.failure.reason}"
            look.moves.append((JobState.RETRYING, again))
            left = job.spec.retries - job.retries_used - 1
            look.moves.append((JobState.QUEUED, f"retrying; {left} more tries after this one"))
        else:
            state = JobState.LOST if job.failure.lost else JobState.FAILED
            look.moves.append((state, job.failure.reason))
    elif job.stop_requested:
        look.moves.append((JobState.STOPPED, "stopped on request"))
    else:
        look.succeeded = True
        look.moves.append((JobState.SUCCEEDED, "every program ended well"))


def silent(replicas: Sequence[Replica], moment: datetime) -> str:
    """A sentence about agents that have not spoken for a while; empty when all have."""
    quiet = [
        replica.name
        for replica in replicas
        if not replica.phase.ended and replica.last_seen is not None and moment - replica.last_seen > SILENT_AFTER
    ]
    return f"{NO_WORD} {', '.join(quiet)} for more than {SILENT_AFTER.seconds} s" if quiet else ""
