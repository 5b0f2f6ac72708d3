"""/catalogue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from headway.domain.base import Page
from headway.domain.catalogue import CatalogueEntry, CatalogueEntrySet, CatalogueEntryUpdate, CatalogueKind
from headway.domain.users import Permission
from headway.server.actions import catalogue
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/catalogue", tags=["catalogue"])
NumberPath = Annotated[int, Path(ge=1, lt=1 << 53)]


@router.get("")
def list_all(
    platform: PlatformParameter,
    kind: CatalogueKind | None = None,
    hidden: bool = False,
    caller: Caller = right(Permission.AUTHENTICATED),
) -> Page[CatalogueEntry]:
    return Page(items=tuple(catalogue.list_entries(platform, caller, kind, hidden=hidden)))


@router.get("/{kind}/{entry}")
def get(
    kind: CatalogueKind,
    entry: str,
    platform: PlatformParameter,
    caller: Caller = right(Permission.AUTHENTICATED),
) -> CatalogueEntry:
    return catalogue.get(platform, kind, entry)


@router.put("/{kind}/{number}")
def set_entry(
    kind: CatalogueKind,
    number: NumberPath,
    body: CatalogueEntrySet,
    platform: PlatformParameter,
    caller: Caller = right(Permission.SERVER_ADMIN),
) -> CatalogueEntry:
    return catalogue.set_entry(platform, caller, kind, number, body)


@router.patch("/{kind}/{entry}")
def update(
    kind: CatalogueKind,
    entry: str,
    body: CatalogueEntryUpdate,
    platform: PlatformParameter,
    caller: Caller = right(Permission.SERVER_ADMIN),
) -> CatalogueEntry:
    return catalogue.update_entry(platform, caller, kind, entry, body)


@router.delete("/{kind}/{entry}", status_code=204)
def delete(
    kind: CatalogueKind, entry: str, platform: PlatformParameter, caller: Caller = right(Permission.SERVER_ADMIN)
) -> None:
    catalogue.delete_entry(platform, caller, kind, entry)
