"""/runs and their streams."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from headway.domain.base import Page
from headway.domain.runs import Run, Stream, StreamCommit
from headway.domain.users import Permission, TokenKind
from headway.journal.compression import decompress
from headway.server.actions import runs, streams
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/runs", tags=["runs"])

WITH_JOBS = {TokenKind.USER, TokenKind.JOB}
MAX_RAW = 4 << 20
"""Bytes of a stream in one request, before compression."""
Part = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
Label = Annotated[str, Query(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


@router.get("")
def list_all(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    caller: Caller = right(Permission.READ),
) -> Page[Run]:
    return runs.list_runs(platform, caller, paging, project)


@router.get("/{run}")
def get(run: str, platform: PlatformParameter, caller: Caller = right(Permission.READ, WITH_JOBS)) -> Run:
    return runs.get(platform, caller, run)


@router.get("/{run}/streams")
def list_streams(run: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> Page[Stream]:
    return Page(items=tuple(streams.of_run(platform, caller, run)))


@router.put("/{run}/streams/{kind}/{name}")
async def append(
    run: str,
    kind: Annotated[str, Path(pattern=r"^[a-z]{1,16}$")],
    name: Part,
    request: Request,
    platform: PlatformParameter,
    offset: Annotated[int, Query(ge=0)],
    writer: Label,
    attempt: Annotated[int, Query(ge=0)] = 0,
    replica: Label | None = None,
    close: bool = False,
    caller: Caller = right(Permission.WRITE, WITH_JOBS),
) -> StreamCommit:
    """Append what is not there yet. The body is zstd; the answer says how many bytes are kept durably."""
    await run_in_threadpool(streams.check_write, platform, caller, run)
    body = await request.body()

    def store() -> StreamCommit:
        data = decompress(body, MAX_RAW) if body else b""
        return streams.append(
            platform,
            run,
            f"{kind}/{name}",
            data,
            offset=offset,
            writer=writer,
            attempt=attempt,
            replica=replica,
            close=close,
        )

    return await run_in_threadpool(store)
