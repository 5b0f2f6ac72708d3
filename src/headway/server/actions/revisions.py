"""The history of what a deployment serves: making revisions, giving them the traffic, taking them back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from headway.domain.base import Page, PageRequest, now
from headway.domain.deployments import (
    Deployment,
    DeploymentRollback,
    DeploymentSpec,
    DeploymentState,
    DeploymentUpdate,
    Revision,
    RevisionState,
    RolloutMode,
)
from headway.domain.users import Permission
from headway.errors import ConflictError, NotFoundError
from headway.server.actions.lookup import find_deployment
from headway.server.actions.paging import every
from headway.server.actions.recording import record
from headway.server.actions.room import told_of_room
from headway.server.actions.specs import check_room, updated_spec
from headway.server.actions.templates import is_up, load_placed, stamp, with_present_counts
from headway.server.context import Caller, Platform
from headway.storage.base import Session


def first_revision(deployment: Deployment) -> Revision:
    """What a deployment begins with. It is live from the beginning: there is nothing that it could take traffic from."""
    return Revision(
        deployment_id=deployment.id,
        number=1,
        spec=deployment.spec,
        state=RevisionState.LIVE,
        reason="created",
        created_at=deployment.created_at,
        created_by=deployment.created_by,
        live_at=deployment.created_at,
    )


def update(
    platform: Platform, caller: Caller, reference: str, project: str | None, request: DeploymentUpdate
) -> Deployment:
    """Make another revision; a request that changes nothing makes none.

    Raises:
        InvalidRequestError: It cannot be served, with the reason.
        ConflictError: Another revision than the expected one is the newest.
    """
    with platform.storage.write() as session:
        deployment = find_deployment(session, caller, reference, project, Permission.WRITE)
        deployment = session.deployments.get(deployment.id)
        if request.expected_revision not in (None, deployment.last_revision):
            raise ConflictError(
                f"The newest revision of {deployment.name!r} is {deployment.last_revision},"
                f" not {request.expected_revision}.",
                hint="Look at it again, and repeat with its number.",
                details={"revision": deployment.last_revision},
            )
        base = _newest_spec(session, deployment)
        spec = updated_spec(session, caller, deployment, base, request)
        if spec == base:
            return deployment
        check_room(platform, session, spec)
        asked = request.model_dump(mode="json", include={"model", "traffic", "shadow"}, exclude_none=True)
        reason = request.reason or "updated"
        made = make(session, deployment, spec, actor=caller.user.id, reason=reason, asked=asked)
        return _with_outlook(platform, session, made)


def _with_outlook(platform: Platform, session: Session, deployment: Deployment) -> Deployment:
    """``deployment`` with what its pending revision waits for as its reason: who asked for it is told at once."""
    if deployment.pending is None:
        return deployment
    spec = session.revisions.get(deployment.id, deployment.pending).spec
    placed = load_placed(session, deployment.id)
    told = told_of_room(session, deployment, spec, placed, platform.engine.capacity())
    deployment = deployment.evolve(reason=f"revision {deployment.pending} pending: {told or 'its replicas come up'}")
    session.deployments.put(deployment)
    return deployment


def roll_back_on_request(
    platform: Platform, caller: Caller, reference: str, project: str | None, request: DeploymentRollback
) -> Deployment:
    """Serve what an earlier revision did.

    Raises:
        NotFoundError: There is no such revision.
        ConflictError: There is none to go back to, or it is the live one.
    """
    with platform.storage.write() as session:
        deployment = find_deployment(session, caller, reference, project, Permission.WRITE)
        deployment = session.deployments.get(deployment.id)
        reason = request.reason or "on request"
        return roll_back(session, deployment, reason, actor=caller.user.id, to=request.revision)


def roll_back(
    session: Session, deployment: Deployment, reason: str, *, actor: str = "platform", to: int | None = None
) -> Deployment:
    """Make the spec of revision ``to`` the newest; without a number that of the one which was live before this one, or,
    while another revision comes up, give that one up and leave the live one as it is.

    Raises:
        NotFoundError, ConflictError: As for :func:`roll_back_on_request`.
    """
    pending = None if deployment.pending is None else session.revisions.get(deployment.id, deployment.pending)
    if pending is not None and to in (None, deployment.revision):
        return _give_up(session, deployment, pending, RevisionState.ROLLED_BACK, f"taken back: {reason}", actor)
    live = session.revisions.get(deployment.id, deployment.revision)
    if to == live.number:
        raise ConflictError(f"Revision {to} of {deployment.name!r} is the live one already.")
    target = _live_before(session, live) if to is None else _existing(session, deployment, to)
    _check_kept(session, target)
    said = f"rolled back from revision {live.number} to {target.number}: {reason}"
    _tell(session, deployment, "deployment.rolled_back", live.number, said, actor, to=target.number)
    return make(session, deployment, target.spec, actor=actor, reason=said, takes_back=live.number)


def make(
    session: Session,
    deployment: Deployment,
    spec: DeploymentSpec,
    *,
    actor: str,
    reason: str,
    takes_back: int | None = None,
    asked: Mapping[str, Any] | None = None,
) -> Deployment:
    """Record a revision; it goes live here where nothing has to come up for it. ``deployment`` is put.

    ``asked`` is what names the versions in a request. It is told beside what it meant: an alias may mean another one later.
    """
    moment = now()
    if deployment.pending is not None:
        before = session.revisions.get(deployment.id, deployment.pending)
        session.revisions.put(
            before.evolve(state=RevisionState.SUPERSEDED, reason="replaced before it was live", ended_at=moment)
        )
    number = deployment.last_revision + 1
    spec = with_present_counts(deployment, spec)
    revision = Revision(
        deployment_id=deployment.id,
        number=number,
        spec=spec,
        reason=reason,
        created_at=moment,
        created_by=actor,
        takes_back=takes_back,
    )
    session.revisions.add(revision)
    deployment = deployment.evolve(
        pending=number,
        pending_since=moment,
        last_revision=number,
        pending_failures=0,
        replacing=deployment.replacing and spec.rollout is RolloutMode.RECREATE,
        next_start_at=None,
    )
    meant = {f"models:/{version.model}/{version.version}": version.weight for version in spec.versions}
    more = {"versions": meant, **({"asked": dict(asked)} if asked else {})}
    _tell(session, deployment, "deployment.revision_created", number, reason, actor, **more)
    placed = stamp(session, deployment, load_placed(session, deployment.id))
    if deployment.desired is DeploymentState.STOPPED or is_up(deployment, spec, placed):
        return go_live(session, deployment, revision, moment)
    session.deployments.put(deployment)
    return deployment


def go_live(session: Session, deployment: Deployment, revision: Revision, moment: datetime) -> Deployment:
    """Give the traffic to a pending revision. ``deployment`` is put."""
    before = session.revisions.find(deployment.id, deployment.revision)
    if before is not None:
        taken_back = revision.takes_back == before.number
        state = RevisionState.ROLLED_BACK if taken_back else RevisionState.SUPERSEDED
        why = revision.reason if taken_back else f"replaced by revision {revision.number}"
        session.revisions.put(before.evolve(state=state, reason=why, ended_at=moment))
    session.revisions.put(revision.evolve(state=RevisionState.LIVE, live_at=moment))
    spec = with_present_counts(deployment, revision.spec)
    deployment = deployment.with_spec(spec).evolve(
        revision=revision.number, pending=None, replacing=False, pending_failures=0, failures=0, next_start_at=None
    )
    session.deployments.put(deployment)
    _tell(session, deployment, "deployment.revision_live", revision.number, revision.reason, "platform")
    return deployment


def fail(session: Session, deployment: Deployment, reason: str) -> Deployment:
    """Give up a pending revision whose replicas do not come up; the live one stays as it is. ``deployment`` is put."""
    assert deployment.pending is not None
    revision = session.revisions.get(deployment.id, deployment.pending)
    return _give_up(session, deployment, revision, RevisionState.FAILED, reason, "platform")


def _give_up(
    session: Session, deployment: Deployment, revision: Revision, state: RevisionState, reason: str, actor: str
) -> Deployment:
    session.revisions.put(revision.evolve(state=state, reason=reason, ended_at=now()))
    deployment = deployment.evolve(pending=None, replacing=False, pending_failures=0)
    session.deployments.put(deployment)
    type = "deployment.revision_failed" if state is RevisionState.FAILED else "deployment.rolled_back"
    _tell(session, deployment, type, revision.number, reason, actor)
    return deployment


def get(platform: Platform, caller: Caller, reference: str, project: str | None, number: int) -> Revision:
    with platform.storage.read() as session:
        return _existing(session, find_deployment(session, caller, reference, project), number)


def list_revisions(
    platform: Platform, caller: Caller, reference: str, project: str | None, page: PageRequest
) -> Page[Revision]:
    """Newest first."""
    with platform.storage.read() as session:
        deployment = find_deployment(session, caller, reference, project)
        return session.revisions.of_deployment(deployment.id, page)


def _newest_spec(session: Session, deployment: Deployment) -> DeploymentSpec:
    if deployment.pending is None:
        return deployment.spec
    return session.revisions.get(deployment.id, deployment.pending).spec


def with_traffic_before(session: Session, revision: Revision) -> Iterator[Revision]:
    """Those that were live before ``revision`` was made, newest first."""
    for earlier in every(lambda page: session.revisions.of_deployment(revision.deployment_id, page)):
        if earlier.number < revision.number and earlier.live_at is not None:
            yield earlier


def _live_before(session: Session, live: Revision) -> Revision:
    """The newest that had the traffic before ``live`` and was not itself taken back."""
    for earlier in with_traffic_before(session, live):
        if earlier.state is not RevisionState.ROLLED_BACK and _lasting(earlier.spec) != _lasting(live.spec):
            return earlier
    raise ConflictError(
        f"Revision {live.number} is the first that had the traffic: there is nothing to go back to.",
        hint="Update the deployment instead.",
    )


def _lasting(spec: DeploymentSpec) -> DeploymentSpec:
    """``spec`` without what the scaler decides."""
    versions = [version.evolve(replicas=0) if version.scaling else version for version in spec.versions]
    return spec.evolve(versions=tuple(versions))


def _check_kept(session: Session, revision: Revision) -> None:
    """ConflictError when a model version of an old revision was deleted since."""
    for version in revision.spec.versions:
        if session.model_versions.find(version.model_version_id) is None:
            raise ConflictError(
                f"Revision {revision.number} served {version.model}:{version.key}, which was deleted since.",
                hint="Choose another revision: `headway deploy revisions`.",
            )


def _existing(session: Session, deployment: Deployment, number: int) -> Revision:
    found = session.revisions.find(deployment.id, number)
    if found is None:
        raise NotFoundError(
            f"{deployment.name!r} has no revision {number}.", hint=f"Its newest is {deployment.last_revision}."
        )
    return found


def _tell(
    session: Session, deployment: Deployment, type: str, number: int, reason: str, actor: str, **more: Any
) -> None:
    record(
        session,
        type,
        deployment.id,
        project_id=deployment.project_id,
        actor=actor,
        message=f"revision {number}: {reason}",
        revision=number,
        reason=reason,
        **more,
    )
