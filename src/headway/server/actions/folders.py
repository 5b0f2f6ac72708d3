"""Folders of a project."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.base import PageRequest, did_you_mean, now
from headway.domain.folders import Folder, FolderCreate
from headway.domain.users import Permission
from headway.errors import ConflictError, NotFoundError
from headway.server.actions.lookup import find_project
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session

DEFAULT = "default"
"""A folder that is made by being used, as is the project itself (``""``)."""


def list_folders(platform: Platform, caller: Caller, project: str) -> Sequence[Folder]:
    with platform.storage.read() as session:
        return session.folders.of_project(find_project(session, caller, project).id)


def create(platform: Platform, caller: Caller, project: str, request: FolderCreate) -> Folder:
    """Make a folder, or get the one that is there.

    Raises:
        NotFoundError: The folder above it is missing, and ``parents`` is False.
    """
    with platform.storage.write() as session:
        found = find_project(session, caller, project, Permission.WRITE)
        above = request.path.rpartition("/")[0]
        place(session, found.id, above, make=request.parents)
        known = session.folders.find(found.id, request.path)
        if known is not None:
            return known
        folder = _add(session, found.id, request.path)
        record(session, "folder.created", found.id, project_id=found.id, actor=caller.user.id, path=folder.path)
        return folder


def delete(platform: Platform, caller: Caller, project: str, path: str) -> None:
    """Remove a folder in which nothing lies."""
    with platform.storage.write() as session:
        found = find_project(session, caller, project, Permission.WRITE)
        if session.folders.find(found.id, path) is None:
            raise _unknown(session, found.id, path)
        content = _content(session, found.id, path)
        if content:
            raise ConflictError(f"The folder {path!r} is not empty: it has {content}.", hint="Move or delete it first.")
        session.folders.delete(found.id, path)
        record(session, "folder.deleted", found.id, project_id=found.id, actor=caller.user.id, path=path)


def place(session: Session, project_id: str, path: str, *, make: bool) -> None:
    """See to it that something can be put into ``path``.

    Raises:
        NotFoundError: There is no such folder, and it is not to be made.
    """
    if not path or session.folders.find(project_id, path) is not None:
        return
    if not make and path != DEFAULT:
        raise _unknown(session, project_id, path)
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        above = "/".join(parts[:count])
        if session.folders.find(project_id, above) is None:
            _add(session, project_id, above)


def _add(session: Session, project_id: str, path: str) -> Folder:
    folder = Folder(project_id=project_id, path=path, created_at=now())
    session.folders.add(folder)
    return folder


def _content(session: Session, project_id: str, path: str) -> str:
    """What keeps the folder from being removed; nothing when it is empty."""
    if session.runs.in_folder(project_id, path):
        return "runs"
    if session.artifacts.list(PageRequest(limit=1), project_ids=[project_id], folder=path).items:
        return "artifacts"
    below = [folder.path for folder in session.folders.of_project(project_id) if folder.path.startswith(f"{path}/")]
    return f"the folder {below[0]!r}" if below else ""


def _unknown(session: Session, project_id: str, path: str) -> NotFoundError:
    known = [folder.path for folder in session.folders.of_project(project_id)]
    hint = did_you_mean(path, known) or "Make it with make_folder=True."
    return NotFoundError(f"There is no folder {path!r} in this project.", hint=hint)
