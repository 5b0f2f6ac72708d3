"""A client of a server that is going to be killed, and seeded chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.testing.faults import seeded
from headway.testing.server import ServerProcess


@pytest.fixture
def chance() -> random.Random:
    """Seeded; the seed is in the output of a test that fails."""
    return seeded()


@pytest.fixture
def connect() -> Iterator[Callable[[ServerProcess], Client]]:
    """Makes clients in the project ``faults``, for a server that may have moved."""
    clients: list[Client] = []

    def connected(server: ServerProcess) -> Client:
        client = Client(server.url, server.token, project="faults", retry_for=30.0)
        clients.append(client)
        return client

    yield connected
    for client in clients:
        client.close()


@pytest.fixture
def client(own_server: ServerProcess, connect: Callable[[ServerProcess], Client]) -> Client:
    """A client of the server that this test may kill."""
    found = connect(own_server)
    found.projects.create("faults")
    return found


@pytest.fixture
def client_of_running(running_server: ServerProcess) -> Iterator[Client]:
    """A client with a new project on the server that a module's tests share, for faults that it survives."""
    with Client(running_server.url, running_server.token) as administrator:
        project = administrator.projects.create(new_id("project"))
    with Client(running_server.url, running_server.token, project=project.name) as found:
        yield found
