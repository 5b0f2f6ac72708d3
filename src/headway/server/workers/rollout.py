"""One deployment's next step: replicas that are missing, replicas that are too many, and which revision has the traffic."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from headway.domain.deployments import Deployment, DeploymentSpec, DeploymentState, RolloutMode
from headway.domain.replicas import Action, Directive, OwnerKind, ReplicaPhase
from headway.errors import NotFoundError
from headway.server.actions import capacity, revisions, room
from headway.server.actions.attempts import add_attempt, end_attempt
from headway.server.actions.deployments import move
from headway.server.actions.recording import record
from headway.server.actions.specs import SERVER_ROLE
from headway.server.actions.templates import (
    Placed,
    Wanted,
    is_up,
    locked_placed,
    of_template,
    template_of_attempt,
    wanted_by,
    wanted_of,
)
from headway.server.context import Platform
from headway.storage.base import Session

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
FREE_FAILURES = 1
"""Replacements that start at once; later ones wait, twice as long each time."""
STEADY = timedelta(seconds=10)
"""How long all replicas must have answered until earlier failures are forgotten."""
CARRIED_FAILURES = 2
"""How many failures count until then: a replica that dies as soon as it answers is not replaced at once for ever."""
ERROR_AFTER = 3
"""Failures without success after which the state says error, or a pending revision has failed."""
DRAIN = timedelta(seconds=1)
"""How long a replica goes on after it left the routes, before it is told to end: gateways hear of it meanwhile. It
answers for another second after that (docs/internals/contracts.md, section 5)."""
PROGRESS = timedelta(minutes=15)
"""How long replicas of a pending revision may take to answer, once there is room for them, until it has failed."""
REPLACED = "a replica ended"


class Rollout:
    """A step, within one write session.

    Args:
        platform: Whose engine has the room.
        session: A write session.
        deployment: As it is in the session.
        moment: Now.
    """

    def __init__(self, platform: Platform, session: Session, deployment: Deployment, moment: datetime) -> None:
        self._platform, self._session, self._moment = platform, session, moment
        self._deployment = self._before = deployment
        self._placed = list(locked_placed(session, deployment.id))

    def step(self) -> Deployment:
        """Do what can be done now, and write it down; the deployment as it is then."""
        self._bury()
        if self._deployment.desired is DeploymentState.STOPPED:
            self._stop()
        else:
            self._judge_pending()
            waiting = self._add_missing()
            if waiting:
                waiting = self._make_room(waiting)
            else:
                self._give_up_overdue()
            self._drain_extra()
            self._tell_state(waiting)
        # What waits for room is looked at again and again: writing what did not change would wake the next look at once.
        if self._deployment != self._before:
            self._session.deployments.put(self._deployment)
        return self._deployment

    # Replicas that ended.

    def _bury(self) -> None:
        """Take replicas that ended out of the count, and say why those ended that nobody asked to."""
        for one in [one for one in self._placed if one.replica.phase.ended]:
            end_attempt(self._session, one.attempt, succeeded=one.replica.exit_code == 0)
            self._placed.remove(one)
            if one.serves:
                self._count_failure(one)

    def _count_failure(self, one: Placed) -> None:
        """Against whichever revision wants such a replica. One that nobody wants any more has nothing to answer for."""
        template = template_of_attempt(self._deployment, one.attempt)
        if template in _templates(self._deployment.spec):
            self._count_live_failure(one)
        elif template in _templates(self._pending_spec()):
            failures = self._deployment.pending_failures + 1
            self._deployment = self._deployment.evolve(pending_failures=failures)
            if failures >= ERROR_AFTER:
                self._deployment = revisions.fail(self._session, self._deployment, f"{REPLACED}: {describe_end(one)}")

    def _count_live_failure(self, one: Placed) -> None:
        failures = self._deployment.failures + 1
        pause = 0.0 if failures <= FREE_FAILURES else min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 2))
        reason = f"{REPLACED} ({describe_end(one)}) and is replaced" + (f" in {pause:.0f} s" if pause else "")
        self._deployment = self._deployment.evolve(
            failures=failures, next_start_at=self._moment + timedelta(seconds=pause), reason=reason
        )
        record(
            self._session,
            "deployment.replica_failed",
            self._deployment.id,
            project_id=self._deployment.project_id,
            message=reason,
            replica=f"{SERVER_ROLE}-{one.attempt.number}",
            failures=failures,
        )

    # Revisions.

    def _judge_pending(self) -> None:
        """Give the pending revision the traffic once all it needs answers."""
        pending = self._pending_spec()
        if pending is None or not is_up(self._deployment, pending, self._placed):
            return
        assert self._deployment.pending is not None
        revision = self._session.revisions.get(self._deployment.id, self._deployment.pending)
        self._deployment = revisions.go_live(self._session, self._deployment, revision, self._moment)

    def _give_up_overdue(self) -> None:
        """A replica may hang for ever without ending."""
        pending = self._pending_spec()
        if pending is not None and is_overdue(self._deployment, self._moment):
            minutes = PROGRESS.total_seconds() / 60
            reason = (
                f"not all answered within {minutes:.0f} minutes: {_progress(self._deployment, pending, self._placed)}"
            )
            self._deployment = revisions.fail(self._session, self._deployment, reason)

    def _pending_spec(self) -> DeploymentSpec | None:
        if self._deployment.pending is None:
            return None
        return self._session.revisions.get(self._deployment.id, self._deployment.pending).spec

    # Replicas that are missing or too many.

    def _add_missing(self) -> str:
        """Record the replicas that are missing; what those that cannot be started wait for."""
        missing = missing_now(self._deployment, self._pending_spec(), self._placed, self._moment)
        if missing:
            capacity.lock(self._session)
        for wanted, count in missing:
            for _ in range(count):
                one = self._add(wanted)
                if isinstance(one, str):
                    return one
                self._placed.append(one)
                self._deployment = self._deployment.evolve(last_number=one.attempt.number)
                if wanted.template not in _templates(self._deployment.spec):
                    self._deployment = self._deployment.evolve(pending_since=self._moment)
        return ""

    def _make_room(self, waiting: str) -> str:
        """End the replicas of the live revision first where the pending one asks for that and it helps; what to say.

        Its replicas are then wanted no more; what they took goes to the new ones in the step that buries them.
        """
        deployment, pending = self._deployment, self._pending_spec()
        if pending is None or deployment.replacing:
            return waiting
        there = self._platform.engine.capacity()
        if pending.rollout is RolloutMode.RECREATE and room.fits_instead(
            self._session, deployment, pending, self._placed, there
        ):
            self._deployment = deployment.evolve(replacing=True)
        return room.advised(self._session, deployment, pending, self._placed, there, waiting)

    def _add(self, wanted: Wanted) -> Placed | str:
        """The replica, recorded; or why it must wait."""
        platform, session, deployment = self._platform, self._session, self._deployment
        try:
            need = capacity.need_of(session, {SERVER_ROLE: (wanted.version.instance_type, 1)})
        except NotFoundError as error:
            return f"waiting for its instance type: {error.message}"
        gpus, waiting = capacity.reserve(session, need, platform.engine.capacity())
        if waiting:
            return waiting
        attempt, replicas = add_attempt(
            platform,
            session,
            kind=OwnerKind.DEPLOYMENT,
            owner_id=deployment.id,
            project_id=deployment.project_id,
            run_id=deployment.run_id,
            user_id=deployment.created_by,
            number=deployment.last_number + 1,
            roles=[(SERVER_ROLE, 1)],
            instance_types={SERVER_ROLE: need.types[SERVER_ROLE].name},
            gpus=gpus,
            model_version_id=wanted.version.model_version_id,
            template=wanted.template,
            directive=Directive(version=1, action=Action.START),
        )
        return Placed(attempt, replicas[0])

    def _drain_extra(self) -> None:
        """Take replicas that are wanted no more out of the routes, and end those that left them a while ago."""
        extra = extra_of(self._deployment, self._pending_spec(), self._placed)
        if extra:
            names = [f"{SERVER_ROLE}-{one.attempt.number}" for one in extra]
            deployment = self._deployment
            record(
                self._session,
                "deployment.draining",
                deployment.id,
                project_id=deployment.project_id,
                message=f"{', '.join(names)} are wanted no more",
                replicas=names,
            )
        for one in extra:
            self._replace(one, Placed(one.attempt.evolve(draining_since=self._moment), one.replica))
        for one in [one for one in self._placed if has_drained(one, self._moment)]:
            self._end(one)

    def _stop(self) -> None:
        for one in [one for one in self._placed if one.replica.directive.action is not Action.STOP]:
            self._end(one)
        if not self._placed and self._deployment.state is not DeploymentState.STOPPED:
            self._deployment = move(
                self._session,
                self._deployment,
                DeploymentState.STOPPED,
                "stopped on request",
                moment=self._moment,
            )

    def _end(self, one: Placed) -> None:
        version = one.replica.directive.version + 1
        replica = one.replica.evolve(directive=Directive(version=version, action=Action.STOP))
        self._replace(one, Placed(one.attempt.evolve(ending_since=self._moment), replica))

    def _replace(self, one: Placed, changed: Placed) -> None:
        self._session.attempts.put(changed.attempt)
        if changed.replica is not one.replica:
            self._session.replicas.put(changed.replica)
        self._placed[self._placed.index(one)] = changed

    # What is said.

    def _tell_state(self, waiting: str) -> None:
        deployment = self._deployment
        state, reason = present_state(deployment, self._pending_spec(), self._placed, waiting)
        if state is not deployment.state:
            deployment = move(self._session, deployment, state, reason, moment=self._moment)
        if state is DeploymentState.RUNNING:
            kept = 0 if is_steady(deployment, self._moment) else min(deployment.failures, CARRIED_FAILURES)
            deployment = deployment.evolve(failures=kept, next_start_at=None)
        self._deployment = deployment.evolve(reason=reason)


def is_settled(
    deployment: Deployment, pending: DeploymentSpec | None, placed: Sequence[Placed], moment: datetime
) -> bool:
    """Whether :meth:`Rollout.step` would do nothing."""
    if any(one.replica.phase.ended or has_drained(one, moment) for one in placed):
        return False
    if deployment.desired is DeploymentState.STOPPED:
        return bool(placed) and all(one.replica.directive.action is Action.STOP for one in placed)
    if (deployment.pending is None) != (pending is None):
        return False
    if pending is not None and is_up(deployment, pending, placed):
        return False
    if missing_now(deployment, pending, placed, moment) or extra_of(deployment, pending, placed):
        return False
    if is_steady(deployment, moment) or is_overdue(deployment, moment):
        return False
    return present_state(deployment, pending, placed) == (deployment.state, deployment.reason)


def depends_on_time(deployment: Deployment, placed: Sequence[Placed]) -> bool:
    """Whether there may be something to do later though nothing changes."""
    draining = any(one.attempt.draining_since is not None for one in placed)
    return deployment.pending is not None or deployment.failures > 0 or draining


def missing_now(
    deployment: Deployment, pending: DeploymentSpec | None, placed: Sequence[Placed], moment: datetime
) -> list[tuple[Wanted, int]]:
    """How many replicas of which template are to be started now."""
    paused = deployment.next_start_at is not None and moment < deployment.next_start_at
    live = _templates(deployment.spec)
    found = []
    for wanted in wanted_by(_specs(deployment, pending)):
        if paused and wanted.template in live:
            continue
        have = sum(one.serves for one in of_template(deployment, placed, wanted.template))
        if have < wanted.count:
            found.append((wanted, wanted.count - have))
    return found


def extra_of(deployment: Deployment, pending: DeploymentSpec | None, placed: Sequence[Placed]) -> list[Placed]:
    """Replicas beyond what is wanted: of each template those first that do not answer, then the youngest."""
    counts = {wanted.template: wanted.count for wanted in wanted_by(_specs(deployment, pending))}
    found = []
    by_template: dict[str, list[Placed]] = {}
    for one in placed:
        if one.serves and not one.replica.phase.ended:
            by_template.setdefault(template_of_attempt(deployment, one.attempt), []).append(one)
    for template, those in by_template.items():
        surplus = len(those) - counts.get(template, 0)
        if surplus > 0:
            found += sorted(those, key=lambda one: (one.answers, -one.attempt.number))[:surplus]
    return found


def has_drained(one: Placed, moment: datetime) -> bool:
    """Whether a replica that left the routes is to be told to end."""
    since = one.attempt.draining_since
    return since is not None and one.replica.directive.action is not Action.STOP and moment - since >= DRAIN


def is_overdue(deployment: Deployment, moment: datetime) -> bool:
    """Whether the pending revision has had the time it may take."""
    since = deployment.pending_since if deployment.pending is not None else None
    return since is not None and moment - since > PROGRESS


def is_steady(deployment: Deployment, moment: datetime) -> bool:
    """Whether all replicas have answered for so long that earlier failures are to be forgotten."""
    running = deployment.state is DeploymentState.RUNNING and deployment.failures > 0
    return running and moment - deployment.state_changed_at >= STEADY


def present_state(
    deployment: Deployment, pending: DeploymentSpec | None, placed: Sequence[Placed], waiting: str = ""
) -> tuple[DeploymentState, str]:
    """State and reason of a deployment that should run, from its replicas and what the missing ones wait for."""
    wanted = wanted_of(deployment.spec)
    total = sum(each.count for each in wanted)
    answering = [
        min(each.count, sum(one.answers for one in of_template(deployment, placed, each.template))) for each in wanted
    ]
    ready = sum(answering)
    reason = f"{ready} of {total} replicas answer"
    if deployment.replacing:
        reason = f"the replicas of revision {deployment.revision} make room"
    elif not total:
        reason = "scaled to zero: the next request starts a replica"
    if pending is not None:
        reason += f"; revision {deployment.pending} comes up: {_progress(deployment, pending, placed)}"
    if ready >= total:
        return DeploymentState.RUNNING, f"{reason}; {waiting}" if waiting else reason
    if waiting:
        reason = f"{reason}; {waiting}"
    elif deployment.failures and deployment.reason.startswith(REPLACED):
        reason = deployment.reason
    failing = deployment.failures >= ERROR_AFTER and not ready
    return DeploymentState.ERROR if failing else DeploymentState.STARTING, reason


def _progress(deployment: Deployment, pending: DeploymentSpec, placed: Sequence[Placed]) -> str:
    parts = []
    for wanted in wanted_of(pending):
        those = of_template(deployment, placed, wanted.template)
        parts.append(f"{wanted.version.key} {sum(one.answers for one in those)} of {wanted.count}")
    failed = f", {deployment.pending_failures} failed" if deployment.pending_failures else ""
    return ", ".join(parts) + failed


def _templates(spec: DeploymentSpec | None) -> set[str]:
    return set() if spec is None else {wanted.template for wanted in wanted_of(spec)}


def _specs(deployment: Deployment, pending: DeploymentSpec | None) -> list[DeploymentSpec]:
    """Those whose replicas are wanted."""
    if pending is None:
        return [deployment.spec]
    return [pending] if deployment.replacing else [deployment.spec, pending]


def describe_end(one: Placed) -> str:
    replica = one.replica
    how = replica.reason or (f"signal {replica.signal}" if replica.signal else f"exit code {replica.exit_code}")
    if replica.phase is ReplicaPhase.LOST and not replica.reason:
        how = "its agent is gone"
    # What a program that was killed said last has nothing to do with it.
    lines = () if replica.signal else replica.last_lines
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f"{SERVER_ROLE}-{one.attempt.number}: {how}" + (f": {last[:300]}" if last else "")
