"""/runs and their streams."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from headway.domain.base import Page
from headway.domain.logs import LogPage
from headway.domain.metrics import SeriesSummary
from headway.domain.runs import (
    Run,
    RunCreate,
    RunCreated,
    RunHeartbeat,
    RunOutcome,
    RunRow,
    RunState,
    RunUpdate,
    Stream,
    StreamCommit,
)
from headway.domain.users import Permission, TokenKind
from headway.journal.compression import decompress
from headway.server.actions import heartbeats, logs, metrics, runs, streams
from headway.server.api.logs import follow_logs
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(prefix="/runs", tags=["runs"])

WITH_JOBS = {TokenKind.USER, TokenKind.JOB}
MAX_RAW = 4 << 20
"""Bytes of a stream in one request, before compression."""
Part = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
Label = Annotated[str, Query(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


@router.post("", status_code=201, response_model=RunCreated, responses={200: {"model": RunCreated}})
async def create(
    body: RunCreate,
    request: Request,
    response: Response,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE),
) -> Any:
    """Make a run: 201, or 200 when it was there or another one keeps the name (``outcome`` says which)."""
    made = await once(request, caller, platform, lambda who: runs.create(platform, who, body))
    if isinstance(made, RunCreated) and made.outcome in (RunOutcome.FOUND, RunOutcome.SKIPPED):
        response.status_code = 200
    return made


@router.get("", response_model=Page[Run] | Page[RunRow])
def list_all(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    filter: Annotated[str | None, Query(max_length=20_000)] = None,
    order_by: Annotated[str | None, Query(max_length=20_000)] = None,
    include: Literal["summary"] | None = None,
    caller: Caller = right(Permission.READ),
) -> Response:
    """Runs that ``filter`` holds of, sorted by ``order_by``, newest first without it; as RunRow with their summaries."""
    found = runs.search(platform, caller, paging, project=project, filter=filter, order_by=order_by)
    return _written(found if include is None else runs.with_summaries(platform, found))


def _written(page: BaseModel) -> Response:
    """A page as it is: its records were validated when they were stored, and there may be many."""
    return Response(page.model_dump_json(), media_type="application/json")


@router.get("/{run}")
def get(run: str, platform: PlatformParameter, caller: Caller = right(Permission.READ, WITH_JOBS)) -> Run:
    return runs.get(platform, caller, run)


@router.patch("/{run}")
def update(run: str, body: RunUpdate, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)) -> Run:
    return runs.update(platform, caller, run, body)


@router.delete("/{run}", status_code=204)
def delete(run: str, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)) -> None:
    runs.delete(platform, caller, run)


@router.post("/{run}/heartbeat")
def heartbeat(
    run: str, body: RunHeartbeat, platform: PlatformParameter, caller: Caller = right(Permission.WRITE, WITH_JOBS)
) -> Run:
    return heartbeats.beat(platform, caller, run, body)


@router.get("/{run}/summary", response_model=Page[SeriesSummary])
def summary(
    run: str,
    platform: PlatformParameter,
    prefix: Annotated[str, Query(max_length=1500)] = "",
    caller: Caller = right(Permission.READ),
) -> Response:
    """Last, least, greatest and mean value of each series whose key begins with ``prefix``."""
    items = tuple(metrics.summary(platform, caller, run, prefix))
    return _written(Page[SeriesSummary].model_construct(items=items, next_cursor=None))


@router.get("/{run}/environment")
def environment(run: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> dict[str, Any]:
    """What was captured about code, machine and packages."""
    return runs.environment(platform, caller, run)


@router.get("/{run}/logs")
def read_logs(
    run: str,
    platform: PlatformParameter,
    replica: str | None = None,
    attempt: int | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    tail: Annotated[int | None, Query(ge=0, le=10_000)] = None,
    caller: Caller = right(Permission.READ),
) -> LogPage:
    wanted = logs.LogQuery(None, run, replica=replica, attempt=attempt)
    return logs.read(platform, caller, wanted, cursor=cursor, limit=limit, tail=tail)


@router.get("/{run}/logs/stream")
def stream_logs(
    run: str,
    request: Request,
    platform: PlatformParameter,
    replica: str | None = None,
    attempt: int | None = None,
    cursor: str | None = None,
    tail: Annotated[int | None, Query(ge=0, le=10_000)] = None,
    caller: Caller = right(Permission.READ),
) -> StreamingResponse:
    wanted = logs.LogQuery(None, run, replica=replica, attempt=attempt)
    return follow_logs(request, platform, caller, wanted, cursor=cursor, tail=tail)


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
    known = await run_in_threadpool(streams.check_write, platform, caller, run)
    body = await request.body()

    def store() -> StreamCommit:
        data = decompress(body, MAX_RAW) if body else b""
        committed = streams.append(
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
        if known.state is RunState.LOST:
            runs.revive(platform, run)
        return committed

    return await run_in_threadpool(store)
