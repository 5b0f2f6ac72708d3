"""/runs/{run}: series, points, media entries."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from headway.domain.base import Page
from headway.domain.metrics import Entry, EntryType, MetricQuery, Series, normal_stage
from headway.domain.users import Permission
from headway.server.actions import metrics
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller
from headway.storage.series.base import EntryFilter
from headway.storage.series.packing import MEDIA_TYPE, packed
from headway.storage.series.points import Points
from headway.storage.series.summaries import plain

router = APIRouter(prefix="/runs", tags=["metrics"])

Word = Annotated[str | None, Query(max_length=1024)]


@router.get("/{run}/series")
def list_series(run: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> Page[Series]:
    """Which metrics the run has, rank by rank."""
    return Page[Series](items=tuple(metrics.series(platform, caller, run)))


@router.get("/{run}/metrics")
def read(
    run: str,
    request: Request,
    platform: PlatformParameter,
    query: Annotated[MetricQuery, Query()],
    caller: Caller = right(Permission.READ),
) -> Response:
    """Points of one series: all of them exactly, or with ``points`` a picture. JSON for people; with
    ``Accept: application/vnd.headway.columns`` packed columns, of which any number is sent.
    """
    if MEDIA_TYPE in request.headers.get("accept", ""):
        return StreamingResponse(packed(metrics.read_packed(platform, caller, run, query)), media_type=MEDIA_TYPE)
    lines = [_line(drawn) for drawn in metrics.read(platform, caller, run, query)]
    body = orjson.dumps({"lines": lines}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


@router.get("/{run}/entries")
def list_entries(
    run: str,
    platform: PlatformParameter,
    paging: Paging,
    name: Word = None,
    stage: Word = None,
    type: EntryType | None = None,
    caller: Caller = right(Permission.READ),
) -> Page[Entry]:
    """Media in the order of their times."""
    wanted = EntryFilter(name, None if stage is None else normal_stage(stage), None if type is None else type.value)
    return metrics.entries(platform, caller, run, wanted, paging)


def _line(drawn: metrics.Drawn) -> dict[str, Any]:
    points = drawn.points
    columns = {
        "step": _given(points.step, points.has_step),
        "value": _values(points),
        "time": np.ascontiguousarray(points.time),
        "epoch": [None if number is None else plain(number) for number in _listed(points.epoch, points.has_epoch)],
    }
    about = {"replica": drawn.replica, "attempt": drawn.attempt, "exact": drawn.exact, "total": drawn.total}
    return {**about, "columns": columns}


def _values(points: Points) -> Any:
    if not points.is_integer.any():
        numbers = points.bits.view(np.float64)
        if np.isfinite(numbers).all():
            return np.ascontiguousarray(numbers)
    return [value if isinstance(value, int) or math.isfinite(value) else plain(value) for value in points.values()]


def _given(numbers: Any, given: Any) -> Any:
    return np.ascontiguousarray(numbers) if given.all() else _listed(numbers, given)


def _listed(numbers: Any, given: Any) -> list[Any]:
    return [n if present else None for n, present in zip(numbers.tolist(), given.tolist(), strict=True)]
