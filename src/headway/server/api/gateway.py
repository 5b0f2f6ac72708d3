"""/gateway: what gateways are told, and what they tell."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from headway.domain.deployments import RouteTable
from headway.domain.traffic import TrafficReceipt, TrafficReport
from headway.domain.users import TokenKind
from headway.server.actions import routes, traffic
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/gateway", tags=["gateway"])


@router.get("/routes", response_model=RouteTable)
async def read_routes(
    request: Request,
    platform: PlatformParameter,
    known: Annotated[int, Query(ge=-1)] = -1,
    wait: Annotated[float, Query(ge=0, le=30)] = 0,
    caller: Caller = right(None, {TokenKind.GATEWAY, TokenKind.USER}),
) -> Response:
    """All routes; at once when they are newer than ``known``, else when they change or after ``wait`` seconds."""
    routes.check_reader(caller)
    book: routes.RouteBook = request.app.state.routes
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        seen = platform.wakeups.generation
        newest = await run_in_threadpool(book.version)
        left = deadline - loop.time()
        if newest > known or left <= 0 or platform.wakeups.closed:
            return Response(await run_in_threadpool(book.document), media_type="application/json")
        await platform.wakeups.wait(seen, left)


@router.post("/traffic")
def report_traffic(
    body: TrafficReport, platform: PlatformParameter, caller: Caller = right(None, {TokenKind.GATEWAY})
) -> TrafficReceipt:
    """What one gateway saw of the requests that went through it; the same report twice is harmless."""
    return traffic.report(platform, body)
