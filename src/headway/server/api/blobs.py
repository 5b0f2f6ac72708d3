"""/projects/{project}/blobs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from fastapi import APIRouter, Path, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from headway.domain import base
from headway.domain.files import Digest
from headway.domain.users import Permission, TokenKind
from headway.errors import RequestError
from headway.server.actions import blobs
from headway.server.api.files import attachment
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/projects/{project}/blobs", tags=["blobs"])

WITH_JOBS = {TokenKind.USER, TokenKind.JOB}
UPLOADS = CapacityLimiter(16)
"""Uploads have threads of their own: each holds one for as long as its client takes, and the API must answer meanwhile."""
STALLED_SECONDS = 60.0
"""A body of which nothing arrives for so long is given up."""


class MissingRequest(base.Request):
    digests: tuple[Digest, ...] = Field(max_length=10_000)


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


@router.put("/{digest}")
async def put(
    project: str,
    digest: Annotated[Digest, Path()],
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE, WITH_JOBS),
) -> BlobStored:
    project_id = await run_in_threadpool(blobs.check_write, platform, caller, project)
    store = partial(blobs.put, platform, project_id, digest, _chunks(request))
    size = await to_thread.run_sync(store, limiter=UPLOADS)
    return BlobStored(digest=digest, size=size)


def _chunks(request: Request) -> Iterator[bytes]:
    """The body as it arrives, pulled by the storing thread at the pace at which it stores."""
    stream = request.stream()

    async def following() -> bytes | None:
        try:
            with anyio.fail_after(STALLED_SECONDS):
                return await stream.__anext__()
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise RequestError(f"Nothing of the body arrived for {STALLED_SECONDS:.0f} s.") from None

    while (chunk := from_thread.run(following)) is not None:
        if chunk:
            yield chunk


@router.get("/{digest}")
def get(
    project: str,
    digest: Annotated[Digest, Path()],
    platform: PlatformParameter,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> StreamingResponse:
    size, chunks = blobs.open_blob(platform, caller, project, digest)
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=attachment(digest, size))


@router.head("/{digest}")
def head(
    project: str,
    digest: Annotated[Digest, Path()],
    platform: PlatformParameter,
    caller: Caller = right(Permission.READ, WITH_JOBS),
) -> Response:
    size, _ = blobs.open_blob(platform, caller, project, digest)
    return Response(headers=attachment(digest, size), media_type="application/octet-stream")
