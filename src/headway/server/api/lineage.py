"""/lineage."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from headway.domain.lineage import Direction, Lineage
from headway.domain.users import Permission
from headway.server.actions import lineage
from headway.server.actions.lineage import DEFAULT_DEPTH
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/lineage", tags=["lineage"])


@router.get("")
def trace(
    subject: Annotated[str, Query(min_length=1, max_length=2048)],
    platform: PlatformParameter,
    project: str | None = None,
    direction: Direction = Direction.BOTH,
    depth: Annotated[int, Query(ge=1, le=100)] = DEFAULT_DEPTH,
    caller: Caller = right(Permission.READ),
) -> Lineage:
    return lineage.trace(platform, caller, subject, project=project, direction=direction, depth=depth)
