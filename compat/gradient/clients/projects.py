"""``client.projects``."""

from __future__ import annotations

import builtins

from gradient import records
from gradient.builders import to_project
from gradient.connection import BaseClient
from gradient.exceptions import CREATE, FETCH, reported_as
from gradient.naming import first_free_name


class ProjectsClient(BaseClient):
    """Projects: make one, list them."""

    def create(self, name: str, repository_name: str | None = None, repository_url: str | None = None) -> str:
        """A new project; its id. A name that is taken gets a number, since Gradient let names repeat."""

        def make(free_name: str) -> str:
            project = self._headway.projects.create(
                free_name, repository_name=repository_name, repository_url=repository_url
            )
            return project.id

        with reported_as(CREATE):
            return first_free_name(name, make, self.logger)

    def list(self) -> builtins.list[records.Project]:
        """All projects that the key may see."""
        with reported_as(FETCH):
            return [to_project(project) for project in self._headway.projects.list()]
