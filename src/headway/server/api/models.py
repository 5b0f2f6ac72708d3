"""/models and /model-versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from headway.domain.base import Page
from headway.domain.models import AliasName, AliasSet, Model, ModelRegister, ModelVersion
from headway.domain.users import Permission
from headway.server.actions import models
from headway.server.api.files import RangeHeader, send_file
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(tags=["models"])


@router.post("/models", status_code=201, response_model=ModelVersion)
async def register(
    body: ModelRegister,
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE),
) -> Any:
    return await once(request, caller, platform, lambda who: models.register(platform, who, body))


@router.get("/models")
def list_all(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    name: str | None = None,
    caller: Caller = right(Permission.READ),
) -> Page[Model]:
    return models.list_models(platform, caller, paging, project, name)


@router.get("/models/{model}")
def get(
    model: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.READ)
) -> Model:
    return models.get(platform, caller, model, project)


@router.delete("/models/{model}", status_code=204)
def delete(
    model: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.WRITE)
) -> None:
    models.delete(platform, caller, model, project)


@router.put("/models/{model}/aliases/{alias}")
def set_alias(
    model: str,
    alias: Annotated[AliasName, Path()],
    body: AliasSet,
    platform: PlatformParameter,
    project: str | None = None,
    caller: Caller = right(Permission.WRITE),
) -> Model:
    return models.set_alias(platform, caller, model, project, alias, body.version)


@router.delete("/models/{model}/aliases/{alias}", status_code=204)
def delete_alias(
    model: str,
    alias: str,
    platform: PlatformParameter,
    project: str | None = None,
    caller: Caller = right(Permission.WRITE),
) -> None:
    models.delete_alias(platform, caller, model, project, alias)


@router.get("/model-versions")
def list_versions(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    model: str | None = None,
    job: str | None = None,
    run: str | None = None,
    caller: Caller = right(Permission.READ),
) -> Page[ModelVersion]:
    return models.list_versions(platform, caller, paging, project=project, model=model, job=job, run=run)


@router.get("/model-versions/resolve")
def resolve(
    ref: str, project: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)
) -> ModelVersion:
    return models.resolve(platform, caller, ref, project)


@router.get("/model-versions/{version}")
def get_version(version: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> ModelVersion:
    return models.get_version(platform, caller, version)


@router.delete("/model-versions/{version}", status_code=204)
def delete_version(version: str, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)) -> None:
    models.delete_version(platform, caller, version)


@router.get("/model-versions/{version}/files/{path:path}")
def download(
    version: str,
    path: str,
    platform: PlatformParameter,
    range: RangeHeader = None,
    caller: Caller = right(Permission.READ),
) -> Response:
    return send_file(platform, models.find_file(platform, caller, version, path), range)
