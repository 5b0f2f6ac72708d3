"""/replicas: what agents say, and what they are told."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from headway.domain.replicas import Directive, ReplicaReport
from headway.domain.users import TokenKind
from headway.server.actions import replicas
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/replicas", tags=["replicas"])


@router.post("/{replica}/report")
async def report(
    replica: str,
    body: ReplicaReport,
    platform: PlatformParameter,
    known: Annotated[int, Query(ge=-1)] = -1,
    wait: Annotated[float, Query(ge=0, le=30)] = 0,
    caller: Caller = right(None, {TokenKind.JOB}),
) -> Directive:
    """Take a report; answer at once when the directive is newer than ``known``, else after ``wait`` seconds."""
    seen = platform.wakeups.generation
    directive = await run_in_threadpool(replicas.report, platform, caller, replica, body)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while directive.version <= known and not platform.wakeups.closed:
        left = deadline - loop.time()
        if left <= 0:
            break
        seen = await platform.wakeups.wait(seen, left)
        found = await run_in_threadpool(replicas.directive, platform, replica)
        if found is None:
            break
        directive = found
    return directive
