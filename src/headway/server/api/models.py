"""/models and /model-versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from headway.domain.base import Page
from headway.domain.models import (
    AliasName,
    AliasSet,
    Model,
    ModelRegister,
    ModelUpdate,
    ModelVersion,
    ModelVersionUpdate,
)
from headway.domain.users import Permission
from headway.errors import InvalidRequestError
from headway.server.actions import models, registration
from headway.server.api.files import RangeHeader, send_file
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(tags=["models"])
NamePart = Annotated[str | None, Query(max_length=256, description="A part of the model's name.")]
LabelFilter = Annotated[list[str] | None, Query(max_length=16, description="`key:value`; what has all of them.")]


@router.post("/models", status_code=201, response_model=ModelVersion)
async def register(
    body: ModelRegister,
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE),
) -> Any:
    return await once(request, caller, platform, lambda who: registration.register(platform, who, body))


@router.get("/models")
def list_all(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    name: str | None = None,
    contains: NamePart = None,
    caller: Caller = right(Permission.READ),
) -> Page[Model]:
    return models.list_models(platform, caller, paging, project=project, name=name, contains=contains)


@router.get("/models/{model}")
def get(
    model: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.READ)
) -> Model:
    return models.get(platform, caller, model, project)


@router.patch("/models/{model}")
def update(
    model: str,
    body: ModelUpdate,
    platform: PlatformParameter,
    project: str | None = None,
    caller: Caller = right(Permission.WRITE),
) -> Model:
    return models.update(platform, caller, model, project, body)


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
    name: NamePart = None,
    version_name: Annotated[str | None, Query(max_length=64)] = None,
    alias: Annotated[str | None, Query(max_length=64)] = None,
    label: LabelFilter = None,
    caller: Caller = right(Permission.READ),
) -> Page[ModelVersion]:
    return models.list_versions(
        platform,
        caller,
        paging,
        project=project,
        model=model,
        job_id=job,
        run_id=run,
        contains=name,
        version_name=version_name,
        alias=alias,
        labels=_labels(label or []),
    )


def _labels(pairs: list[str]) -> dict[str, str]:
    """``key:value`` texts; what a key is given twice for, nothing has both of."""
    found: dict[str, str] = {}
    for text in pairs:
        key, colon, value = text.partition(":")
        if not colon or not key:
            raise InvalidRequestError(f"The label {text!r} is not key:value.", hint="Write label=stage:production.")
        if found.setdefault(key, value) != value:
            raise InvalidRequestError(f"The label {key!r} is asked for with two values.", hint="Ask for one of them.")
    return found


@router.get("/model-versions/resolve")
def resolve(
    ref: str, project: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)
) -> ModelVersion:
    return models.resolve(platform, caller, ref, project)


@router.get("/model-versions/{version}")
def get_version(version: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> ModelVersion:
    return models.get_version(platform, caller, version)


@router.patch("/model-versions/{version}")
def update_version(
    version: str,
    body: ModelVersionUpdate,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE),
) -> ModelVersion:
    return models.update_version(platform, caller, version, body)


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
