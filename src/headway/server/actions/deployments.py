"""Deployments, as people ask for them. What happens to them afterwards is in workers/deployments.py."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from headway.domain.base import Page, PageRequest, new_id, now
from headway.domain.deployments import DeployedVersion, Deployment, DeploymentCreate, DeploymentState
from headway.domain.models import SERVED_RUNTIMES, ModelVersion
from headway.domain.projects import Project
from headway.domain.replicas import OwnerKind, ReplicaStatus
from headway.domain.runs import Run, RunState
from headway.domain.users import Permission
from headway.errors import ConflictError, InvalidRequestError
from headway.server.actions.capacity import check_possible, need_of
from headway.server.actions.lookup import find_deployment, find_project, resolve_version
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session

SERVER_ROLE = "server"


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
        raise InvalidRequestError(
            f"The model version {version.id!r} belongs to another project than {project.name!r}.",
            hint="Deploy it in its own project, or register its files in this one.",
        )
    check_servable(version)
    check_possible(
        need_of(session, {SERVER_ROLE: (request.instance_type, request.replicas)}), platform.engine.capacity()
    )
    if session.deployments.by_name(project.id, request.name) is not None:
        raise ConflictError(
            f"There is a deployment {request.name!r} in this project already.",
            hint="Choose another name, or delete that one first.",
        )
    return project, version


def check_servable(version: ModelVersion) -> None:
    """InvalidRequestError, with the reason, when no runtime of this version of Headway serves the files."""
    if version.runtime in SERVED_RUNTIMES:
        return
    what = f"are {version.runtime} files" if version.runtime else "fit no runtime"
    raise InvalidRequestError(
        f"{version.uri} cannot be deployed: its files {what}, and this version serves {', '.join(sorted(SERVED_RUNTIMES))}.",
        hint="Add a predict.py with a class Predictor, or save a scikit-learn model as .skops.",
        details={"runtime": version.runtime, "served": sorted(SERVED_RUNTIMES)},
    )


def _new_deployment(
    request: DeploymentCreate, project_id: str, version: ModelVersion, user_id: str, gateway_url: str
) -> Deployment:
    moment, deployment_id = now(), new_id("dep")
    state = DeploymentState.STARTING if request.start else DeploymentState.STOPPED
    return Deployment(
        id=deployment_id,
        project_id=project_id,
        name=request.name,
        run_id=new_id("run"),
        versions=(
            DeployedVersion(
                model_version_id=version.id,
                model=version.name,
                version=version.version,
                replicas=request.replicas,
                instance_type=request.instance_type,
            ),
        ),
        desired=DeploymentState.RUNNING if request.start else DeploymentState.STOPPED,
        state=state,
        reason="asked to start" if request.start else "not started yet",
        endpoint=f"{gateway_url}/model-serving/{deployment_id}:predict",
        public=bool(request.public),
        environment=request.environment or {},
        labels=request.labels,
        created_at=moment,
        created_by=user_id,
        state_changed_at=moment,
    )


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
        items = tuple(with_replicas(session, deployment) for deployment in found.items)
        return Page(items=items, next_cursor=found.next_cursor)


def with_replicas(session: Session, deployment: Deployment) -> Deployment:
    """The deployment with the present state of its replicas."""
    attempts = [a for a in session.attempts.of_owner(OwnerKind.DEPLOYMENT, deployment.id) if a.ended_at is None]
    numbers = {attempt.id: attempt.number for attempt in attempts}
    replicas = session.replicas.of_attempts(list(numbers))
    shown = [
        ReplicaStatus(**{**replica.to_status().model_dump(), "name": f"{SERVER_ROLE}-{numbers[replica.attempt_id]}"})
        for replica in sorted(replicas, key=lambda replica: numbers[replica.attempt_id])
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
