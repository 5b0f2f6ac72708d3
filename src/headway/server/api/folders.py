"""Folders of a project."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from headway.domain.base import Page
from headway.domain.folders import Folder, FolderCreate, FolderPath
from headway.domain.users import Permission
from headway.server.actions import folders
from headway.server.api.rights import PlatformParameter, right
from headway.server.context import Caller

router = APIRouter(prefix="/projects/{project}/folders", tags=["folders"])


@router.get("")
def list_all(project: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> Page[Folder]:
    """All of them, by path."""
    return Page(items=tuple(folders.list_folders(platform, caller, project)))


@router.post("", status_code=201)
def create(
    project: str, body: FolderCreate, platform: PlatformParameter, caller: Caller = right(Permission.WRITE)
) -> Folder:
    """Make a folder; one that exists is given back."""
    return folders.create(platform, caller, project, body)


@router.delete("", status_code=204)
def delete(
    project: str,
    path: Annotated[FolderPath, Query(min_length=1)],
    platform: PlatformParameter,
    caller: Caller = right(Permission.WRITE),
) -> None:
    """Remove a folder in which nothing lies."""
    folders.delete(platform, caller, project, path)
