"""A client of a server that is going to be killed, and seeded chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from headway import Client
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
