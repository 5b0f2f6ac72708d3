"""/health, /ready, /version, /metrics, /openapi.json and /api/v1/status."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from headway.domain.base import Record
from headway.domain.status import PlatformStatus
from headway.domain.users import Permission, TokenKind
from headway.server.actions import status
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(tags=["system"])
versioned = APIRouter(tags=["system"])


class VersionAnswer(Record):
    version: str
    api: str
    instance: str


@router.get("/health")
@router.head("/health", include_in_schema=False)
def health() -> dict[str, str]:
    """Whether this process answers at all."""
    return {"status": "ok"}


@router.get("/ready")
@router.head("/ready", include_in_schema=False)
def ready(platform: PlatformParameter) -> dict[str, str]:
    """Whether it can do its work: the database answers too."""
    status.check_ready(platform)
    return {"status": "ready"}


@router.get("/version")
def version(
    platform: PlatformParameter, caller: Caller = right(Permission.AUTHENTICATED, {TokenKind.USER, TokenKind.JOB})
) -> VersionAnswer:
    return VersionAnswer(version=status.VERSION, api="v1", instance=platform.instance)


@router.get("/metrics")
def metrics(platform: PlatformParameter, caller: Caller = right(Permission.SERVER_ADMIN)) -> PlainTextResponse:
    return PlainTextResponse(status.prometheus(platform), media_type="text/plain; version=0.0.4")


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request, caller: Caller = right(Permission.AUTHENTICATED)) -> JSONResponse:
    document: dict[str, Any] = request.app.openapi()
    return JSONResponse(document)


@versioned.get("/status")
def platform_status(
    request: Request, platform: PlatformParameter, caller: Caller = right(Permission.AUTHENTICATED)
) -> PlatformStatus:
    return status.read(platform, caller, request.app.state.gateway.known_url())
