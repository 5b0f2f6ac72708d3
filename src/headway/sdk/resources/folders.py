"""client.folders: where runs and artifacts of a project are put."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.base import parse_request
from headway.domain.folders import Folder, FolderCreate
from headway.errors import InvalidRequestError
from headway.sdk.resources.base import Resource
from headway.sdk.resources.projects import Projects
from headway.sdk.session import segment


class Folders(Resource):
    noun = "folder"

    def create(self, path: str, *, parents: bool = False, project: str | None = None) -> Folder:
        """Make a folder, or get the one that is there.

        Args:
            path: Names with ``/`` between them.
            parents: Make those above it, too.
            project: Id or name; the client's own without it.

        Raises:
            NotFoundError: The folder above it is missing, and ``parents`` is False.
        """
        request = parse_request(FolderCreate, {"path": path, "parents": parents}, what="The folder")
        return self._session.create(Folder, self._place(project), request)

    def list(self, *, project: str | None = None) -> Sequence[Folder]:
        """All folders of a project, by path."""
        return self._session.items(Folder, self._place(project))

    def delete(self, path: str, *, project: str | None = None) -> None:
        """Delete a folder in which nothing lies."""
        if not path.strip("/"):
            raise InvalidRequestError("The folder has no name.")
        self._session.call("DELETE", self._place(project), query={"path": path})

    def _place(self, project: str | None) -> str:
        named = Projects(self._session).resolve(self._project(project))
        return f"/api/v1/projects/{segment(named, 'project')}/folders"
