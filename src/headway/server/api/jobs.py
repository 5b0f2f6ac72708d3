"""/jobs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from headway.domain.base import Page
from headway.domain.jobs import Job, JobCreate, JobState
from headway.domain.logs import LogPage
from headway.domain.replicas import Attempt, OwnerKind
from headway.domain.users import Permission, TokenKind
from headway.server.actions import jobs, logs
from headway.server.api.files import RangeHeader, send_file
from headway.server.api.logs import follow_logs
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.post("", status_code=201, response_model=Job)
async def create(
    body: JobCreate,
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE),
) -> Any:
    return await once(request, caller, platform, lambda who: jobs.create(platform, who, body))


@router.get("")
def list_all(
    platform: PlatformParameter,
    paging: Paging,
    project: str | None = None,
    state: Annotated[list[JobState] | None, Query()] = None,
    name: str | None = None,
    caller: Caller = right(Permission.READ),
) -> Page[Job]:
    return jobs.list_jobs(platform, caller, paging, project=project, states=state, name=name)


@router.get("/{job}")
def get(
    job: str, platform: PlatformParameter, caller: Caller = right(Permission.READ, {TokenKind.USER, TokenKind.JOB})
) -> Job:
    return jobs.get(platform, caller, job)


@router.delete("/{job}", status_code=204)
def delete(job: str, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)) -> None:
    jobs.delete(platform, caller, job)


@router.post("/{job}/start")
def start(job: str, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)) -> Job:
    return jobs.start(platform, caller, job)


@router.post("/{job}/stop")
def stop(job: str, platform: PlatformParameter, hard: bool = False, caller: Caller = right(Permission.WRITE)) -> Job:
    return jobs.stop(platform, caller, job, hard=hard)


@router.post("/{job}/retry")
def retry(job: str, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)) -> Job:
    return jobs.retry(platform, caller, job)


@router.get("/{job}/attempts")
def attempts(job: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> Page[Attempt]:
    return Page(items=tuple(jobs.attempts(platform, caller, job)))


@router.get("/{job}/logs")
def read_logs(
    job: str,
    platform: PlatformParameter,
    replica: str | None = None,
    attempt: int | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    tail: Annotated[int | None, Query(ge=0, le=10_000)] = None,
    caller: Caller = right(Permission.READ),
) -> LogPage:
    wanted = logs.LogQuery(OwnerKind.JOB, job, replica=replica, attempt=attempt)
    return logs.read(platform, caller, wanted, cursor=cursor, limit=limit, tail=tail)


@router.get("/{job}/logs/stream")
def stream_logs(
    job: str,
    request: Request,
    platform: PlatformParameter,
    replica: str | None = None,
    attempt: int | None = None,
    cursor: str | None = None,
    tail: Annotated[int | None, Query(ge=0, le=10_000)] = None,
    caller: Caller = right(Permission.READ),
) -> StreamingResponse:
    wanted = logs.LogQuery(OwnerKind.JOB, job, replica=replica, attempt=attempt)
    return follow_logs(request, platform, caller, wanted, cursor=cursor, tail=tail)


@router.get("/{job}/outputs/{path:path}")
def output(
    job: str, path: str, platform: PlatformParameter, range: RangeHeader = None, caller: Caller = right(Permission.READ)
) -> Response:
    return send_file(platform, jobs.find_output(platform, caller, job, path), range)
