"""/deployments/{deployment}/traffic: requests, errors and latencies."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from headway.domain.base import Timestamp
from headway.domain.traffic import MAX_WINDOWS, DeploymentTraffic
from headway.domain.users import Permission
from headway.server.actions import traffic
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/deployments", tags=["deployments"])


@router.get("/{deployment}/traffic")
def read(
    deployment: str,
    platform: PlatformParameter,
    project: str | None = None,
    since: Timestamp | None = None,
    until: Timestamp | None = None,
    windows: Annotated[int, Query(ge=0, le=MAX_WINDOWS)] = traffic.DEFAULT_WINDOWS,
    caller: Caller = right(Permission.READ),
) -> DeploymentTraffic:
    """In all, by version, by replica, and over time in at most so many ``windows``: of the last 5 minutes, or of a span
    within the last day."""
    return traffic.read(platform, caller, deployment, project, since=since, until=until, windows=windows)
