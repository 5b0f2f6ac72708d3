"""/projects/{project}/uploads: large blobs in parts."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Request
from starlette.concurrency import run_in_threadpool

from headway.domain.files import Digest
from headway.domain.uploads import MAX_PARTS, UploadCreate, UploadState
from headway.domain.users import Permission
from headway.server.actions import uploads
from headway.server.api.blobs import WITH_JOBS, BlobStored
from headway.server.api.bodies import UPLOADS, body_chunks
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/projects/{project}/uploads", tags=["blobs"])


@router.post("")
def begin(
    project: str,
    body: UploadCreate,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE, WITH_JOBS),
) -> UploadState:
    return uploads.begin(platform, caller, project, body)


@router.put("/{upload}/parts/{number}", status_code=204)
async def put_part(
    project: str,
    upload: str,
    number: Annotated[int, Path(ge=0, le=MAX_PARTS)],
    request: Request,
    digest_sha256: Annotated[Digest, Header()],
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE, WITH_JOBS),
) -> None:
    found = await run_in_threadpool(uploads.find, platform, caller, project, upload)
    store = partial(uploads.put_part, platform, found, number, digest_sha256, body_chunks(request))
    await to_thread.run_sync(store, limiter=UPLOADS)


@router.post("/{upload}/finish")
def finish(
    project: str, upload: str, platform: PlatformParameter, caller: Caller = right(Permission.WRITE, WITH_JOBS)
) -> BlobStored:
    found = uploads.find(platform, caller, project, upload)
    uploads.finish(platform, found)
    return BlobStored(digest=found.digest, size=found.size)
