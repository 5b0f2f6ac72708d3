"""/projects."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from headway.domain.base import Page
from headway.domain.projects import Project, ProjectCreate, ProjectUpdate
from headway.domain.users import Member, MemberSet, Permission
from headway.server.actions import projects
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(prefix="/projects", tags=["projects"])


@router.post("", status_code=201, response_model=Project)
async def create(
    body: ProjectCreate,
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.AUTHENTICATED),
) -> Any:
    return await once(request, caller, platform, lambda who: projects.create(platform, who, body))


@router.get("")
def list_all(
    platform: PlatformParameter,
    paging: Paging,
    name: str | None = None,
    caller: Caller = right(Permission.AUTHENTICATED),
) -> Page[Project]:
    return projects.list_projects(platform, caller, paging, name)


@router.get("/{project}")
def get(project: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> Project:
    return projects.get(platform, caller, project)


@router.patch("/{project}")
def update(
    project: str, body: ProjectUpdate, platform: PlatformParameter, caller: Caller = right(Permission.MANAGE)
) -> Project:
    return projects.update(platform, caller, project, body)


@router.delete("/{project}", status_code=204)
def delete(project: str, platform: PlatformParameter, caller: Caller = right(Permission.MANAGE)) -> None:
    projects.delete(platform, caller, project)


@router.get("/{project}/members")
def members(project: str, platform: PlatformParameter, caller: Caller = right(Permission.READ)) -> Page[Member]:
    return Page(items=tuple(projects.members(platform, caller, project)))


@router.put("/{project}/members/{user}")
def set_member(
    project: str,
    user: str,
    body: MemberSet,
    platform: PlatformParameter,
    caller: Caller = right(Permission.MANAGE),
) -> Member:
    return projects.set_member(platform, caller, project, user, body.role)


@router.delete("/{project}/members/{user}", status_code=204)
def remove_member(
    project: str, user: str, platform: PlatformParameter, caller: Caller = right(Permission.MANAGE)
) -> None:
    projects.remove_member(platform, caller, project, user)
