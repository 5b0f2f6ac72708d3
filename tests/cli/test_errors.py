"""Exit codes, one line on stderr, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headway import errors
from headway.cli.errors import exit_code
from headway.domain.base import new_id
from headway.testing.server import ServerProcess

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.JobFailedError("x"), 1),
        (errors.InternalError("x"), 1),
        (errors.InvalidRequestError("x"), 2),
        (errors.ConflictError("x"), 2),
        (errors.WorkspaceError("x"), 2),
        (errors.ConfigurationError("x"), 2),
        (errors.MissingExtraError("x", "y"), 2),
        (errors.ConnectionFailedError("x"), 3),
        (errors.NotFoundError("x"), 4),
        (errors.AuthenticationError("x"), 4),
        (errors.PermissionDeniedError("x"), 4),
        (errors.WaitTimeoutError("x"), 5),
    ],
)
def test_exit_codes(error: errors.HeadwayError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["jb"], 2, "Did you mean 'job'"),
        (["job", "show"], 2, "Missing argument"),
        (["job", "list", "--nope"], 2, "No such option"),
        (["job", "list"], 2, "No server is configured"),
        (["job", "submit", "--", "true"], 2, "has no name"),
        (["job", "submit", "-f", "missing.yaml"], 2, "missing.yaml"),
        (["job", "submit", "--name", "x", "--secret", "K=v", "--", "true"], 2, "everybody on this machine"),
        (["predict", "d", "--data", "{"], 2, "not JSON"),
        (["predict", "d", "--data", "[1]", "--protocol", "plian"], 2, "Did you mean 'plain'"),
        (["predict", "d", "--data", "[1]", "--protocol", "plain", "--version", "1"], 2, "cannot ask for one version"),
        (["predict", "d", "--data", "[1]", "--version", "1"], 2, "Plain JSON cannot be sent to one version"),
        (["predict", "d", "--data", "{}", "--protocol", "openinference", "--version", "best"], 2, "knows no aliases"),
        (["predict", "d", "--data", "a", "--csv", "--protocol", "plain"], 2, "takes no CSV"),
        (["predict", "d", "--data", "a", "--csv", "--version", "1"], 2, "cannot ask for one version"),
        (["predict", "d"], 2, "--data or --file"),
        (["login"], 2, "No server is named"),
        (["login", "ftp://x"], 2, "must begin with http"),
    ],
)
def test_a_wrong_command_line_is_one_line(headway: Run, arguments: list[str], code: int, named: str) -> None:
    found = headway(*arguments, input="hw_token\n")
    assert found.returncode == code
    assert found.stderr.startswith("error: ")
    assert named in found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stdout == ""


def test_the_help_of_up_shows_what_it_does_without_options(headway: Run) -> None:
    shown = " ".join(headway("up", "--help", COLUMNS="200").stdout.split())
    for default in (".headway/server", "127.0.0.1", "8473", "local", "process", "24"):
        assert f"(default: {default})" in shown


def test_a_server_that_is_away(headway: Run) -> None:
    found = headway("status", HEADWAY_URL="http://127.0.0.1:9", HEADWAY_TOKEN="hw_secret")
    assert found.returncode == 3
    assert "http://127.0.0.1:9" in found.stderr
    assert "headway up" in found.stderr
    assert "hw_secret" not in found.stdout + found.stderr


def test_ctrl_c_is_quiet(logged_in: ServerProcess, headway: Run, environment: dict[str, str], tmp_path: Path) -> None:
    assert headway("project", "create", new_id("project")).returncode == 0  # an event to wait for
    process = subprocess.Popen(
        [sys.executable, "-m", "headway", "event", "list", "-f"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert "project.created" in process.stdout.readline()  # it follows now
            process.send_signal(signal.SIGINT)
            _, complaints = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert complaints.strip() == ""


def test_a_reader_that_goes_away_is_no_fault(logged_in: ServerProcess, environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        found = subprocess.run(
            [sys.executable, "-m", "headway", "event", "list", "--json"],
            env=environment,
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert found.returncode == 141
    assert found.stderr == b""
