"""/deployments."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import StreamingResponse

from headway.domain.base import Page
from headway.domain.deployments import (
    Deployment,
    DeploymentCreate,
    DeploymentRollback,
    DeploymentState,
    DeploymentUpdate,
    Revision,
)
from headway.domain.logs import LogPage
from headway.domain.replicas import OwnerKind
from headway.domain.users import Permission
from headway.server.actions import deployments, logs, revisions
from headway.server.api.logs import follow_logs
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(prefix="/deployments", tags=["deployments"])


@router.post("", status_code=201, response_model=Deployment)
async def create(
    body: DeploymentCreate,
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE),
) -> Any:
    """The gateway is up before this answers, so that the endpoint can be asked at once."""
    keeper = request.app.state.gateway

    def make(who: Caller) -> Deployment:
        deployments.check(platform, who, body)
        return deployments.create(platform, who, body, keeper.ensure())

    return await once(request, caller, platform, make)


@router.get("")
def list_all(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    state: Annotated[list[DeploymentState] | None, Query()] = None,
    name: str | None = None,
    model_version: str | None = None,
    caller: Caller = right(Permission.READ),
) -> Page[Deployment]:
    states = [item.value for item in state] if state else None
    return deployments.list_deployments(
        platform, caller, paging, project=project, states=states, name=name, model_version=model_version
    )


@router.get("/{deployment}")
def get(
    deployment: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.READ)
) -> Deployment:
    return deployments.get(platform, caller, deployment, project)


@router.patch("/{deployment}")
def update(
    deployment: str,
    body: DeploymentUpdate,
    platform: PlatformParameter,
    project: str | None = None,
    caller: Caller = right(Permission.WRITE),
) -> Deployment:
    """Make another revision."""
    return revisions.update(platform, caller, deployment, project, body)


@router.post("/{deployment}/rollback")
def roll_back(
    deployment: str,
    body: DeploymentRollback,
    platform: PlatformParameter,
    project: str | None = None,
    caller: Caller = right(Permission.WRITE),
) -> Deployment:
    return revisions.roll_back_on_request(platform, caller, deployment, project, body)


@router.get("/{deployment}/revisions")
def list_revisions(
    deployment: str,
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    caller: Caller = right(Permission.READ),
) -> Page[Revision]:
    """Newest first."""
    return revisions.list_revisions(platform, caller, deployment, project, paging)


@router.get("/{deployment}/revisions/{number}")
def get_revision(
    deployment: str,
    number: Annotated[int, Path(ge=1, lt=1 << 31)],
    platform: PlatformParameter,
    project: str | None = None,
    caller: Caller = right(Permission.READ),
) -> Revision:
    return revisions.get(platform, caller, deployment, project, number)


@router.delete("/{deployment}", status_code=204)
def delete(
    deployment: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.WRITE)
) -> None:
    deployments.delete(platform, caller, deployment, project)


@router.post("/{deployment}/start")
def start(
    deployment: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.WRITE)
) -> Deployment:
    return deployments.start(platform, caller, deployment, project)


@router.post("/{deployment}/stop")
def stop(
    deployment: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.WRITE)
) -> Deployment:
    return deployments.stop(platform, caller, deployment, project)


@router.get("/{deployment}/logs")
def read_logs(
    deployment: str,
    platform: PlatformParameter,
    project: str | None = None,
    replica: str | None = None,
    attempt: int | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    tail: Annotated[int | None, Query(ge=0, le=10_000)] = None,
    caller: Caller = right(Permission.READ),
) -> LogPage:
    wanted = logs.LogQuery(OwnerKind.DEPLOYMENT, deployment, project=project, replica=replica, attempt=attempt)
    return logs.read(platform, caller, wanted, cursor=cursor, limit=limit, tail=tail)


@router.get("/{deployment}/logs/stream")
def stream_logs(
    deployment: str,
    request: Request,
    platform: PlatformParameter,
    project: str | None = None,
    replica: str | None = None,
    attempt: int | None = None,
    cursor: str | None = None,
    tail: Annotated[int | None, Query(ge=0, le=10_000)] = None,
    caller: Caller = right(Permission.READ),
) -> StreamingResponse:
    wanted = logs.LogQuery(OwnerKind.DEPLOYMENT, deployment, project=project, replica=replica, attempt=attempt)
    return follow_logs(request, platform, caller, wanted, cursor=cursor, tail=tail)
