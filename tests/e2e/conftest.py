"""A client and a project on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.testing.server import ServerProcess


@pytest.fixture
def client(running_server: ServerProcess) -> Iterator[Client]:
    with Client(running_server.url, running_server.token) as administrator:
        project = administrator.projects.create(new_id("project"))
    with Client(running_server.url, running_server.token, project=project.name) as found:
        yield found
