"""client.projects: groups of jobs, models and deployments, and who may see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headway.domain.base import parse_request
from headway.domain.projects import Project, ProjectCreate, ProjectUpdate
from headway.domain.users import Member, MemberSet, Role
from headway.sdk.resources.base import Resource
from headway.sdk.session import segment


class Projects(Resource):
    path = "/api/v1/projects"
    noun = "project"

    def create(self, name: str, **fields: Any) -> Project:
        """A new project. Further fields: ``description``, ``repository_name``, ``repository_url``.

        Raises:
            InvalidRequestError: A field is wrong or unknown.
            ConflictError: The name is taken.
        """
        request = parse_request(ProjectCreate, {"name": name, **fields})
        return self._session.create(Project, self.path, request)

    def get(self, project: str | None = None) -> Project:
        """By id or name; the client's own project without one."""
        return self._get_named(Project, self._project(project), None)

    def list(self, *, name: str | None = None, limit: int | None = None) -> Iterator[Project]:
        """The projects that the token may see, newest first."""
        return self._session.pages(Project, self.path, {"name": name}, limit)

    def update(self, project: str, **fields: Any) -> Project:
        """Change the given fields and no others."""
        request = parse_request(ProjectUpdate, fields)
        return self._session.act(Project, "PATCH", self._address(self.resolve(project)), body=request)

    def delete(self, project: str) -> None:
        """Delete a project that holds nothing any more."""
        self._session.call("DELETE", self._address(self.resolve(project)))

    def members(self, project: str | None = None) -> Sequence[Member]:
        """Who has which role."""
        return self._session.items(Member, self._address(self.resolve(self._project(project)), "members"))

    def set_member(self, user: str, role: Role | str, *, project: str | None = None) -> Member:
        """Give a user (id or name) a role: ``viewer``, ``member`` or ``admin``."""
        request = parse_request(MemberSet, {"role": role})
        path = self._address(self.resolve(self._project(project)), "members", segment(user, "user"))
        return self._session.act(Member, "PUT", path, body=request)

    def remove_member(self, user: str, *, project: str | None = None) -> None:
        """Take a user's role away."""
        path = self._address(self.resolve(self._project(project)), "members", segment(user, "user"))
        self._session.call("DELETE", path)

    def resolve(self, project: str) -> str:
        """What names ``project`` in an address: itself, or its id where the name holds ``/``."""
        return self._id(Project, project, None) if "/" in project else project
