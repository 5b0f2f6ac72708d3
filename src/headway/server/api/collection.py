"""/gc: garbage collection."""

from __future__ import annotations

from fastapi import APIRouter

from headway.domain.collection import CollectionReport, CollectionRequest
from headway.domain.users import Permission
from headway.server.actions import collection
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/gc", tags=["blobs"])


@router.post("")
def collect(
    body: CollectionRequest, platform: PlatformParameter, caller: Caller = right(Permission.SERVER_ADMIN)
) -> CollectionReport:
    return collection.collect(platform, caller, body)
