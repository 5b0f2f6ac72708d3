"""/instance-types."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from headway.domain.base import Page, Slug
from headway.domain.instances import InstanceType, InstanceTypeSet
from headway.domain.users import Permission
from headway.server.actions import instances
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/instance-types", tags=["instance types"])


@router.get("")
def list_all(platform: PlatformParameter, caller: Caller = right(Permission.AUTHENTICATED)) -> Page[InstanceType]:
    return Page(items=tuple(instances.list_types(platform)))


@router.put("/{name}")
def set_type(
    name: Annotated[Slug, Path()],
    body: InstanceTypeSet,
    platform: PlatformParameter,
    caller: Caller = right(Permission.SERVER_ADMIN),
) -> InstanceType:
    return instances.set_type(platform, caller, name, body)


@router.delete("/{name}", status_code=204)
def delete(name: str, platform: PlatformParameter, caller: Caller = right(Permission.SERVER_ADMIN)) -> None:
    instances.delete_type(platform, caller, name)
