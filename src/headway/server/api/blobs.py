"""/projects/{project}/blobs."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from headway.domain import base
from headway.domain.files import Digest
from headway.domain.users import Permission, TokenKind
from headway.server.actions import blobs
from headway.server.api.bodies import UPLOADS, body_chunks
from headway.server.api.files import OCTETS, RangeHeader, attachment, send_blob
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/projects/{project}/blobs", tags=["blobs"])

WITH_JOBS = {TokenKind.USER, TokenKind.JOB}


class MissingRequest(base.Request):
    digests: tuple[Digest, ...] = Field(max_length=10_000)


class BundleRequest(base.Request):
    digests: tuple[Digest, ...] = Field(min_length=1, max_length=1000)


class MissingAnswer(base.Record):
    missing: tuple[str, ...]


class BlobStored(base.Record):
    digest: str
    size: int


@router.post("/missing")
def missing(
    project: str, body: MissingRequest, platform: PlatformParameter, caller: Caller = right(Permission.WRITE, WITH_JOBS)
) -> MissingAnswer:
    return MissingAnswer(missing=tuple(blobs.missing(platform, caller, project, body.digests)))


@router.post("/bundle", response_class=Response)
def bundle(
    project: str, body: BundleRequest, platform: PlatformParameter, caller: Caller = right(Permission.READ, WITH_JOBS)
) -> Response:
    """Several blobs in one answer, for many small files: of each, in the order asked for, its size as eight bytes (the
    first the most significant) and its bytes."""
    length, chunks = blobs.bundle(platform, caller, project, body.digests)
    return StreamingResponse(chunks, media_type=OCTETS, headers=attachment("bundle", length))


@router.put("/{digest}")
async def put(
    project: str,
    digest: Annotated[Digest, Path()],
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE, WITH_JOBS),
) -> BlobStored:
    project_id = await run_in_threadpool(blobs.check_write, platform, caller, project)
    store = partial(blobs.put, platform, project_id, digest, body_chunks(request))
    size = await to_thread.run_sync(store, limiter=UPLOADS)
    return BlobStored(digest=digest, size=size)


@router.get("/{digest}")
def get(
    project: str,
    digest: Annotated[Digest, Path()],
    platform: PlatformParameter,
    range: RangeHeader = None,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Response:
    blobs.check_read(platform, caller, project, digest)
    return send_blob(platform, digest, digest, range)


@router.head("/{digest}")
def head(
    project: str,
    digest: Annotated[Digest, Path()],
    platform: PlatformParameter,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Response:
    blobs.check_read(platform, caller, project, digest)
    headers = attachment(digest, blobs.size_of(platform, digest)) | {"Accept-Ranges": "bytes"}
    return Response(headers=headers, media_type="application/octet-stream")
