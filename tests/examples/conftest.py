"""One real server for the example scripts, and a way to run them as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headway.testing.server import ServerProcess

ROOT = Path(__file__).parents[2]
Script = Callable[..., str]


@pytest.fixture(scope="session")
def example_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server")) as server:
        yield server


def run_script(path: str, *arguments: str, environment: dict[str, str], directory: Path) -> str:
    """What ``path`` printed; it must end well and print nothing to stderr."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / path), *arguments],
        cwd=directory,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def script(example_server: ServerProcess, tmp_path: Path) -> Script:
    """Runs a script with HEADWAY_URL and HEADWAY_TOKEN set."""
    environment = {"HEADWAY_URL": example_server.url, "HEADWAY_TOKEN": example_server.token}

    def run(path: str, *arguments: str) -> str:
        return run_script(path, *arguments, environment=environment, directory=tmp_path)

    return run
