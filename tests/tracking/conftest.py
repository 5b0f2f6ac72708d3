"""A server with a project of its own for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headway import Client
from headway.testing.server import ServerProcess


@pytest.fixture
def client(running_server: ServerProcess) -> Iterator[Client]:
    """Of the server that a module's tests share; in no project."""
    with Client(running_server.url, running_server.token) as found:
        yield found


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's runs lie; the directory is not made yet."""
    monkeypatch.setenv("HEADWAY_DIR", str(tmp_path / "runs-of-a-test"))
    return tmp_path / "runs-of-a-test"
