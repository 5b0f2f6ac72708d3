"""/runs/{run}/monitors: what is looked for in a run's log."""

from __future__ import annotations

from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request

from headway.domain.base import Page
from headway.domain.monitors import Monitor, MonitorReport, MonitorSpec, MonitorTest, MonitorUpdate
from headway.domain.users import Permission
from headway.server.actions import monitors
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(prefix="/runs/{run}/monitors", tags=["monitors"])

TRIALS = CapacityLimiter(2)
"""Trials have threads of their own: an expression may be slow, and the API must answer meanwhile."""


@router.post("", status_code=201, response_model=Monitor)
async def create(
    run: str,
    body: MonitorSpec,
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE),
) -> Any:
    """Watch the run's log, from its first line on."""
    return await once(request, caller, platform, lambda who: monitors.create(platform, who, run, body))


@router.get("")
def list_all(run: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> Page[Monitor]:
    """The monitors of a run with what they found, oldest first."""
    return Page(items=tuple(monitors.of_run(platform, caller, run)))


@router.post("/test")
async def test(
    run: str, body: MonitorTest, platform: PlatformParameter, caller: Caller = right(Permission.READ)
) -> MonitorReport:
    """What an expression finds in the log as it is stored now."""
    return await to_thread.run_sync(monitors.test, platform, caller, run, body, limiter=TRIALS)


@router.get("/{monitor}")
def get(run: str, monitor: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> Monitor:
    """One by its id or name."""
    return monitors.get(platform, caller, run, monitor)


@router.patch("/{monitor}")
def update(
    run: str,
    monitor: str,
    body: MonitorUpdate,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE),
) -> Monitor:
    """Look for something else; the log is read from its first line again, and the former points are gone."""
    return monitors.update(platform, caller, run, monitor, body)


@router.delete("/{monitor}", status_code=204)
def delete(run: str, monitor: str, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)) -> None:
    """Remove a monitor with its points."""
    monitors.delete(platform, caller, run, monitor)
