"""/artifacts and /artifact-versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import JSONResponse

from headway.domain.artifacts import (
    Artifact,
    ArtifactAliasSet,
    ArtifactCommit,
    ArtifactCommitted,
    ArtifactEntry,
    ArtifactVersion,
)
from headway.domain.base import Page, Slug
from headway.domain.users import Permission
from headway.server.actions import artifacts, commits
from headway.server.api.blobs import WITH_JOBS
from headway.server.api.files import RangeHeader, send_blob
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(tags=["artifacts"])

ENTRIES_AT_ONCE = 10_000


@router.post("/artifact-versions", status_code=201, response_model=ArtifactCommitted)
async def commit(
    body: ArtifactCommit,
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE, WITH_JOBS),
) -> Any:
    answer = await once(request, caller, platform, lambda who: commits.commit(platform, who, body))
    if isinstance(answer, ArtifactCommitted) and answer.outcome in commits.WAS_THERE:
        return JSONResponse(answer.model_dump(mode="json"), 200)
    return answer


@router.get("/artifact-versions")
def list_versions(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    artifact: str | None = None,
    run: str | None = None,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Page[ArtifactVersion]:
    return artifacts.list_versions(platform, caller, paging, project=project, artifact=artifact, run=run)


@router.get("/artifact-versions/resolve")
def resolve(
    ref: Annotated[str, Query(min_length=1, max_length=2048)],
    project: str,
    platform: PlatformParameter,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> ArtifactVersion:
    return artifacts.resolve(platform, caller, ref, project)


@router.get("/artifact-versions/{version}")
def get_version(
    version: str, platform: PlatformParameter, caller: Caller = right(Permission.READ, WITH_JOBS)
) -> ArtifactVersion:
    return artifacts.get_version(platform, caller, version)


@router.delete("/artifact-versions/{version}", status_code=204)
def delete_version(version: str, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)) -> None:
    artifacts.delete_version(platform, caller, version)


@router.get("/artifact-versions/{version}/entries")
def list_entries(
    version: str,
    platform: PlatformParameter,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=ENTRIES_AT_ONCE)] = 1000,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Page[ArtifactEntry]:
    return artifacts.list_entries(platform, caller, version, cursor, limit)


@router.get("/artifact-versions/{version}/files/{path:path}")
def download(
    version: str,
    path: str,
    platform: PlatformParameter,
    range: RangeHeader = None,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Response:
    entry = artifacts.find_file(platform, caller, version, path)
    assert entry.digest is not None
    return send_blob(platform, entry.digest, entry.path, range)


@router.get("/artifacts")
def list_all(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    folder: str | None = None,
    name: str | None = None,
    type: str | None = None,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Page[Artifact]:
    return artifacts.list_artifacts(platform, caller, paging, project=project, folder=folder, name=name, type=type)


@router.get("/artifacts/{artifact}")
def get(
    artifact: str,
    platform: PlatformParameter,
    project: str | None = None,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Artifact:
    return artifacts.get(platform, caller, artifact, project)


@router.delete("/artifacts/{artifact}", status_code=204)
def delete(
    artifact: str, platform: PlatformParameter, project: str | None = None, caller: Caller = right(Permission.WRITE)
) -> None:
    artifacts.delete(platform, caller, artifact, project)


@router.put("/artifacts/{artifact}/aliases/{alias}")
def set_alias(
    artifact: str,
    alias: Annotated[Slug, Path()],
    body: ArtifactAliasSet,
    platform: PlatformParameter,
    project: str | None = None,
    caller: Caller = right(Permission.WRITE),
) -> Artifact:
    return artifacts.set_alias(platform, caller, artifact, project, alias, body.version)


@router.delete("/artifacts/{artifact}/aliases/{alias}", status_code=204)
def delete_alias(
    artifact: str,
    alias: str,
    platform: PlatformParameter,
    project: str | None = None,
    caller: Caller = right(Permission.WRITE),
) -> None:
    artifacts.delete_alias(platform, caller, artifact, project, alias)
