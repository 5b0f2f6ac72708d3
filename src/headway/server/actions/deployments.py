"""Deployments, as people ask for them. What happens to them afterwards is in workers/deployments.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from headway.domain.base import Page, PageRequest, new_id, now
from headway.domain.deployments import Deployment, DeploymentCreate, DeploymentSpec, DeploymentState
from headway.domain.models import ModelVersion
from headway.domain.projects import Project
from headway.domain.replicas import OwnerKind, ReplicaStatus
from headway.domain.runs import Run, RunState
from headway.domain.users import Permission
from headway.errors import ConflictError
from headway.server.actions.lookup import find_deployment, find_project, resolve_version
from headway.server.actions.recording import record
from headway.server.actions.revisions import first_revision
from headway.server.actions.specs import (
    SERVER_ROLE,
    check_room,
    check_servable,
    foreign_version,
    new_version,
    settings_of,
)
from headway.server.actions.templates import Placed, all_placed, load_placed
from headway.server.context import Caller, Platform
from headway.storage.base import Session


def create(platform: Platform, caller: Caller, request: DeploymentCreate, gateway_url: str) -> Deployment:
    """Record a deployment. ``gateway_url`` is where its endpoint will be for life."""
    with platform.storage.write() as session:
        project, version = _checked(platform, session, caller, request)
        deployment = _new_deployment(request, project.id, version, caller.user.id, gateway_url)
        session.runs.add(
            Run(
                id=deployment.run_id,
                project_id=project.id,
                name=deployment.name,
                deployment_id=deployment.id,
                created_at=deployment.created_at,
                created_by=caller.user.id,
            )
        )
        session.deployments.add(deployment)
        session.revisions.add(first_revision(deployment))
        record(
            session,
            "deployment.created",
            deployment.id,
            project_id=project.id,
            actor=caller.user.id,
            name=deployment.name,
            model=version.uri,
            state=deployment.state.value,
            public=deployment.public,
        )
        caller.remember(session, deployment)
        return deployment


def check(platform: Platform, caller: Caller, request: DeploymentCreate) -> None:
    """Raises what :func:`create` would, and makes nothing."""
    with platform.storage.read() as session:
        _checked(platform, session, caller, request)


def _checked(
    platform: Platform, session: Session, caller: Caller, request: DeploymentCreate
) -> tuple[Project, ModelVersion]:
    project = find_project(session, caller, request.project, Permission.WRITE)
    version = resolve_version(session, caller, request.model, project.id)
    if version.project_id != project.id:
        raise foreign_version(version, project.name)
    check_servable(version)
    check_room(platform, session, _first_spec(request, version))
    if session.deployments.by_name(project.id, request.name) is not None:
        raise ConflictError(
            f"There is a deployment {request.name!r} in this project already.",
            hint="Choose another name, or delete that one first.",
        )
    return project, version


def _new_deployment(
    request: DeploymentCreate, project_id: str, version: ModelVersion, user_id: str, gateway_url: str
) -> Deployment:
    moment, deployment_id = now(), new_id("dep")
    state = DeploymentState.STARTING if request.start else DeploymentState.STOPPED
    spec = _first_spec(request, version)
    return Deployment(
        **dict(spec),
        id=deployment_id,
        project_id=project_id,
        name=request.name,
        run_id=new_id("run"),
        desired=DeploymentState.RUNNING if request.start else DeploymentState.STOPPED,
        state=state,
        reason="asked to start" if request.start else "not started yet",
        endpoint=f"{gateway_url}/model-serving/{deployment_id}:predict",
        labels=request.labels,
        created_at=moment,
        created_by=user_id,
        state_changed_at=moment,
    )


def _first_spec(request: DeploymentCreate, version: ModelVersion) -> DeploymentSpec:
    deployed = new_version(
        version, replicas=request.replicas, scaling=request.scaling, instance_type=request.instance_type
    )
    return DeploymentSpec(versions=(deployed,), **settings_of(request))


def set_replicas(session: Session, deployment: Deployment, key: str, count: int) -> Deployment:
    """Change how many replicas a version of the live revision has, without another revision. ``deployment`` is put."""
    versions = tuple(v.evolve(replicas=count) if v.key == key else v for v in deployment.versions)
    deployment = deployment.evolve(versions=versions)
    session.deployments.put(deployment)
    return deployment


def move(
    session: Session,
    deployment: Deployment,
    state: DeploymentState,
    reason: str,
    *,
    actor: str = "platform",
    moment: datetime | None = None,
) -> Deployment:
    """``deployment`` in another state, with the event that says so. The caller puts it."""
    record(
        session,
        "deployment.state_changed",
        deployment.id,
        project_id=deployment.project_id,
        actor=actor,
        message=reason,
        **{"from": deployment.state.value, "to": state.value, "reason": reason},
    )
    return deployment.evolve(state=state, reason=reason, state_changed_at=moment or now())


def get(platform: Platform, caller: Caller, reference: str, project: str | None = None) -> Deployment:
    with platform.storage.read() as session:
        return with_replicas(session, find_deployment(session, caller, reference, project))


def list_deployments(
    platform: Platform,
    caller: Caller,
    page: PageRequest,
    *,
    project: str | None = None,
    states: Collection[str] | None = None,
    name: str | None = None,
    model_version: str | None = None,
) -> Page[Deployment]:
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        found = session.deployments.list(
            page, project_ids=ids, states=states, name=name, model_version_id=model_version
        )
        placed = all_placed(session) if found.items else {}
        items = tuple(_shown(deployment, placed.get(deployment.id, ())) for deployment in found.items)
        return Page(items=items, next_cursor=found.next_cursor)


def with_replicas(session: Session, deployment: Deployment) -> Deployment:
    """The deployment with the present state of its replicas."""
    return _shown(deployment, load_placed(session, deployment.id))


def _shown(deployment: Deployment, placed: Iterable[Placed]) -> Deployment:
    shown = [
        ReplicaStatus(**{**one.replica.to_status().model_dump(), "name": f"{SERVER_ROLE}-{one.attempt.number}"})
        for one in sorted(placed, key=lambda one: one.attempt.number)
    ]
    return deployment.evolve(replicas=tuple(shown))


def start(platform: Platform, caller: Caller, reference: str, project: str | None = None) -> Deployment:
    """Ask for replicas. Asking again is harmless."""
    with platform.storage.write() as session:
        deployment = find_deployment(session, caller, reference, project, Permission.WRITE)
        if deployment.desired is not DeploymentState.RUNNING:
            deployment = deployment.evolve(desired=DeploymentState.RUNNING, failures=0, next_start_at=None)
            deployment = move(session, deployment, DeploymentState.STARTING, "asked to start", actor=caller.user.id)
            session.deployments.put(deployment)
        return deployment


def stop(platform: Platform, caller: Caller, reference: str, project: str | None = None) -> Deployment:
    """Ask for no replicas: the endpoint answers 503, requests in flight are finished. Asking again is harmless."""
    with platform.storage.write() as session:
        deployment = find_deployment(session, caller, reference, project, Permission.WRITE)
        if deployment.desired is not DeploymentState.STOPPED:
            deployment = deployment.evolve(desired=DeploymentState.STOPPED)
            deployment = move(session, deployment, DeploymentState.STOPPING, "asked to stop", actor=caller.user.id)
            session.deployments.put(deployment)
        return deployment


def delete(platform: Platform, caller: Caller, reference: str, project: str | None = None) -> None:
    """Remove a deployment; its replicas are ended at once and its endpoint becomes unknown."""
    with platform.storage.write() as session:
        deployment = find_deployment(session, caller, reference, project, Permission.WRITE)
        tokens = []
        for attempt in session.attempts.of_owner(OwnerKind.DEPLOYMENT, deployment.id):
            if attempt.ended_at is None:
                tokens.append(attempt.token)
            for replica in session.replicas.of_attempt(attempt.id):
                session.replicas.delete(replica.id)
            session.attempts.delete(attempt.id)
            session.tokens.revoke_attempt(attempt.id, now())
        session.deployments.delete(deployment.id)
        session.revisions.delete_deployment(deployment.id)
        session.traffic.delete_deployment(deployment.id)
        run = session.runs.find(deployment.run_id)
        if run is not None:
            session.runs.put(run.evolve(state=RunState.COMPLETE, finished_at=now()))
        record(
            session,
            "deployment.deleted",
            deployment.id,
            project_id=deployment.project_id,
            actor=caller.user.id,
            name=deployment.name,
        )
    for token in tokens:
        platform.engine.stop(token)
