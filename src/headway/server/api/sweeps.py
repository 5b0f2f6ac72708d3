"""/sweeps."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from headway.domain.base import Page
from headway.domain.sweeps import Sweep, SweepCreate, SweepState, Trial, TrialState
from headway.domain.users import Permission
from headway.server.actions import sweeps
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(prefix="/sweeps", tags=["sweeps"])


@router.post("", status_code=201, response_model=Sweep)
async def create(
    body: SweepCreate, request: Request, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)
) -> Any:
    return await once(request, caller, platform, lambda who: sweeps.create(platform, who, body))


@router.get("")
def list_all(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    state: Annotated[list[SweepState] | None, Query()] = None,
    name: str | None = None,
    caller: Caller = right(Permission.READ),
) -> Page[Sweep]:
    return sweeps.list_sweeps(platform, caller, paging, project=project, states=state, name=name)


@router.get("/{sweep}")
def get(
    sweep: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.READ)
) -> Sweep:
    return sweeps.get(platform, caller, sweep, project)


@router.delete("/{sweep}", status_code=204)
def delete(
    sweep: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.WRITE)
) -> None:
    sweeps.delete(platform, caller, sweep, project)


@router.post("/{sweep}/stop")
def stop(
    sweep: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.WRITE)
) -> Sweep:
    return sweeps.stop(platform, caller, sweep, project)


@router.get("/{sweep}/trials")
def list_trials(
    sweep: str,
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    state: Annotated[list[TrialState] | None, Query()] = None,
    caller: Caller = right(Permission.READ),
) -> Page[Trial]:
    return sweeps.list_trials(platform, caller, sweep, project, paging, state)
