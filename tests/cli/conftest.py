"""Running the command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.testing.server import ServerProcess

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables of a user without any settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWAY_", "NO_COLOR"))}
    return {**kept, "HEADWAY_CONFIG": str(tmp_path / "config" / "config.yaml")}


@pytest.fixture
def headway(environment: dict[str, str], tmp_path: Path) -> Run:
    """``headway ARGS…`` in a process of its own; its output as text."""

    def run(*arguments: str, input: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            [sys.executable, "-m", "headway", *arguments],
            env={**environment, **variables},
            cwd=tmp_path,
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in found.stderr, found.stderr
        return found

    return run


@pytest.fixture
def logged_in(running_server: ServerProcess, environment: dict[str, str]) -> ServerProcess:
    """The real server, with address and token in the user's environment."""
    environment["HEADWAY_URL"] = running_server.url
    environment["HEADWAY_TOKEN"] = running_server.token
    return running_server
