"""Projects and their members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway.domain.base import Page, PageRequest, new_id, now
from headway.domain.jobs import JobState
from headway.domain.projects import Project, ProjectCreate, ProjectUpdate
from headway.domain.users import Member, Permission, Role
from headway.errors import ConflictError, PermissionDeniedError
from headway.server.actions import artifacts, jobs, models, runs, stores
from headway.server.actions.lookup import find_project, find_user
from headway.server.actions.paging import every
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session


def create(platform: Platform, caller: Caller, request: ProjectCreate) -> Project:
    """A new project; its maker becomes its admin."""
    if caller.narrowed:
        raise PermissionDeniedError(
            "This token is narrowed to a project or a role, and makes no projects.",
            hint="Use a token without these limits.",
        )
    project = Project(id=new_id("prj"), created_at=now(), created_by=caller.user.id, **request.model_dump())
    with platform.storage.write() as session:
        if session.projects.by_name(project.name) is not None:
            raise ConflictError(
                f"There is a project {project.name!r} already.", hint="Choose another name, or use that one."
            )
        session.projects.add(project)
        session.members.put(
            Member(project_id=project.id, user_id=caller.user.id, user_name=caller.user.name, role=Role.ADMIN)
        )
        _tell(session, caller, "project.created", project)
        caller.remember(session, project)
    return project


def list_projects(platform: Platform, caller: Caller, page: PageRequest, name: str | None = None) -> Page[Project]:
    with platform.storage.read() as session:
        if name is not None:
            found = session.projects.by_name(name)
            seen = found is not None and caller.may(Permission.READ, found.id)
            return Page(items=(found,) if found is not None and seen else ())
        return session.projects.list(page, ids=caller.visible)


def get(platform: Platform, caller: Caller, reference: str) -> Project:
    with platform.storage.read() as session:
        return find_project(session, caller, reference)


def update(platform: Platform, caller: Caller, reference: str, request: ProjectUpdate) -> Project:
    with platform.storage.write() as session:
        project = find_project(session, caller, reference, Permission.MANAGE)
        changes = request.model_dump(exclude_unset=True, exclude_none=True)
        other = session.projects.by_name(changes["name"]) if "name" in changes else None
        if other is not None and other.id != project.id:
            raise ConflictError(f"There is a project {other.name!r} already.", hint="Choose another name.")
        project = project.evolve(**changes)
        session.projects.put(project)
        _tell(session, caller, "project.updated", project, changed=sorted(changes))
        return project


def delete(platform: Platform, caller: Caller, reference: str) -> None:
    """Remove a project in which nothing runs, with its jobs, models and deployments."""
    with platform.storage.write() as session:
        project = find_project(session, caller, reference, Permission.MANAGE)
        ids = [project.id]
        active = [
            j for j in every(session.jobs.list, project_ids=ids) if not j.finished and j.state != JobState.CREATED
        ]
        if active:
            raise ConflictError(
                f"The project {project.name!r} has jobs that have not ended: {active[0].name} ({active[0].id}) …",
                hint="Stop them first with `headway job stop`.",
            )
        deployments = list(every(session.deployments.list, project_ids=ids))
        if deployments:
            raise ConflictError(
                f"The project {project.name!r} has deployments: {', '.join(d.name for d in deployments[:5])}.",
                hint="Delete them first with `headway deploy delete`.",
            )
        tracked = [run.id for run in every(session.runs.list, project_ids=ids)]
        for job in list(every(session.jobs.list, project_ids=ids)):
            jobs.erase(session, job)
        for version in list(every(session.model_versions.list, project_ids=ids)):
            models.erase_version(session, version)
        for model in list(every(session.models.list, project_ids=ids)):
            session.models.delete(model.id)
        for run_id in tracked:
            runs.drop_records(session, run_id)
        for folder in session.folders.of_project(project.id):
            session.folders.delete(project.id, folder.path)
        artifacts.erase_project(session, project.id)
        stores.erase_project(session, project.id)
        for member in session.members.of_project(project.id):
            session.members.delete(project.id, member.user_id)
        session.projects.delete(project.id)
        _tell(session, caller, "project.deleted", project)
    if tracked:
        runs.remove_bytes(platform)


def members(platform: Platform, caller: Caller, reference: str) -> Sequence[Member]:
    with platform.storage.read() as session:
        return session.members.of_project(find_project(session, caller, reference).id)


def set_member(platform: Platform, caller: Caller, reference: str, user: str, role: Role) -> Member:
    with platform.storage.write() as session:
        project = find_project(session, caller, reference, Permission.MANAGE)
        found = find_user(session, user)
        member = Member(project_id=project.id, user_id=found.id, user_name=found.name, role=role)
        session.members.put(member)
        _tell(session, caller, "project.member_set", project, user=found.name, role=role.value)
        return member


def remove_member(platform: Platform, caller: Caller, reference: str, user: str) -> None:
    with platform.storage.write() as session:
        project = find_project(session, caller, reference, Permission.MANAGE)
        found = find_user(session, user)
        session.members.delete(project.id, found.id)
        _tell(session, caller, "project.member_removed", project, user=found.name)


def _tell(session: Session, caller: Caller, type: str, project: Project, **data: Any) -> None:
    record(session, type, project.id, project_id=project.id, actor=caller.user.id, name=project.name, **data)
