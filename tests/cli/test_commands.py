"""The commands against a real server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.domain.base import new_id
from headway.testing.server import ServerProcess

Run = Callable[..., subprocess.CompletedProcess[str]]

TRAIN = """
import os
print("rank", os.environ["RANK"], os.environ["EPOCHS"], len(os.environ["KEY"]))
if os.environ["RANK"] == "0":
    with open(os.path.join(os.environ["HEADWAY_MODEL_DIR"], "predict.py"), "w") as file:
        file.write("class Predictor:\\n    def predict(self, inputs):\\n        return [sum(row) for row in inputs]\\n")
"""


@pytest.fixture
def project(logged_in: ServerProcess, headway: Run, environment: dict[str, str]) -> str:
    name = new_id("project")
    assert headway("project", "create", name).returncode == 0
    environment["HEADWAY_PROJECT"] = name
    return name


def json_of(found: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert found.returncode == 0, found.stderr
    value = json.loads(found.stdout)
    assert isinstance(value, dict)
    return value


def test_login_keeps_the_connection_and_never_the_token_in_the_open(
    running_server: ServerProcess, headway: Run
) -> None:
    found = headway("login", running_server.url, input=f"{running_server.token}\n")
    assert found.returncode == 0, found.stderr
    assert running_server.token not in found.stdout + found.stderr
    assert json_of(headway("whoami", "--json"))["user"]["name"] == "admin"  # type: ignore[index]
    assert "admin" in headway("whoami").stdout
    assert headway("logout").returncode == 0
    assert headway("whoami").returncode == 2


def test_login_with_a_project_that_is_not_there_warns_and_logs_in(running_server: ServerProcess, headway: Run) -> None:
    found = headway("login", running_server.url, "--json", input=f"{running_server.token}\n", HEADWAY_PROJECT="nowhere")
    assert (found.returncode, json_of(found)["project"]) == (0, None)  # type: ignore[index]
    assert "warning" in found.stderr
    assert "'nowhere'" in found.stderr
    assert json_of(headway("whoami", "--json"))["user"]["name"] == "admin"  # type: ignore[index]


def test_login_with_a_wrong_token_keeps_nothing(running_server: ServerProcess, headway: Run) -> None:
    assert headway("login", running_server.url, input="hw_wrong\n").returncode == 4
    assert headway("whoami").returncode == 2


def test_from_a_job_file_to_a_prediction(project: str, headway: Run, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(TRAIN)
    (tmp_path / "job.yaml").write_text(
        "name: digits\nworkspace: code\nenv: {EPOCHS: 5}\nsecrets: [KEY]\nmodel_path: model\n"
        "roles:\n  worker: {count: 2, command: python train.py}\n"
    )
    submitted = headway("job", "submit", "-f", "job.yaml", "--follow", KEY="s3cret")
    assert submitted.returncode == 0, submitted.stderr
    assert "worker-0 | rank 0 5 6" in submitted.stdout
    assert "worker-1 | rank 1 5 6" in submitted.stdout
    [job] = json_of(headway("job", "list", "--json"))["items"]  # type: ignore[misc]
    assert "s3cret" not in json.dumps(job)
    assert "succeeded" in headway("job", "show", job["id"]).stdout
    rows = [
        json.loads(line) for line in headway("logs", job["id"], "--json", "--replica", "worker-1").stdout.splitlines()
    ]
    assert [(row["replica"], row["line"]) for row in rows] == [("worker-1", 1)]
    unknown = headway("job", "logs", job["id"], "-f", "--replica", "worker-7")
    assert unknown.returncode == 2
    assert "has no replica 'worker-7'. Did you mean 'worker-" in unknown.stderr
    watched = headway("job", "watch", job["id"]).stdout.splitlines()
    assert [line.split("  ")[1] for line in watched][-2:] == ["running", "succeeded"]

    assert "digits" in headway("model", "list").stdout
    assert headway("model", "alias", "digits", "best", "1").returncode == 0
    assert headway("model", "download", "models:/digits@best", "out").returncode == 0
    assert "Predictor" in (tmp_path / "out" / "predict.py").read_text()

    created = headway("deploy", "create", "d", "--model", "models:/digits@best", "--wait", "--timeout", "60")
    assert created.returncode == 0, created.stderr
    answer = json_of(headway("predict", "d", "--data", '{"inputs": [[1, 2], [3, 4]]}'))
    assert answer == {"outputs": [3, 7]}
    assert "running" in headway("deploy", "list").stdout
    refused = headway("deploy", "delete", "d")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert headway("deploy", "stop", "d", "--wait", "--timeout", "60").returncode == 0
    assert headway("predict", "d", "--data", '{"inputs": [[1]]}').returncode == 1
    assert headway("deploy", "delete", "d", "-y").returncode == 0
    assert headway("deploy", "show", "d").returncode == 4


def test_a_job_that_fails_is_told_with_its_last_lines(project: str, headway: Run) -> None:
    script = "import sys; print('boom \\x1b[2J'); sys.exit(3)"
    found = headway("job", "submit", "--name", "f", "--watch", "--", "python", "-c", script)
    assert found.returncode == 1
    assert "worker-0 (rank 0)" in found.stderr
    assert "code 3" in found.stderr
    assert "boom" in found.stderr
    assert "\x1b" not in found.stderr + found.stdout


def test_wrong_requests_create_nothing(project: str, headway: Run) -> None:
    for arguments, code, named in (
        (["--name", "x", "--project", "nope", "--", "true"], 4, "nope"),
        (["--name", "x", "--instance-type", "huge", "--", "true"], 4, "huge"),
        (["--name", "x", "--count", "-1", "--", "true"], 2, "count"),
        (["--name", "x", "--workspace", "missing", "--", "true"], 2, "missing"),
    ):
        found = headway("job", "submit", *arguments)
        assert (found.returncode, named in found.stderr) == (code, True), found.stderr
    assert json_of(headway("job", "list", "--json"))["items"] == []


def test_a_job_is_recorded_started_stopped_and_deleted(project: str, headway: Run) -> None:
    job = json_of(headway("job", "submit", "--name", "x", "--no-start", "--json", "--", "sleep", "300"))
    assert job["state"] == "created"
    identity = str(job["id"])
    assert headway("job", "start", identity).returncode == 0
    assert headway("job", "stop", identity, "--hard").stdout.rstrip().endswith(("asked to stop", "stopping", "stopped"))
    assert headway("job", "wait", identity, "--timeout", "60").returncode == 1
    assert json_of(headway("job", "show", identity, "--json"))["state"] == "stopped"
    assert headway("job", "delete", identity, "--yes").returncode == 0
    assert headway("job", "show", identity).returncode == 4


def test_people_and_sizes(project: str, headway: Run) -> None:
    name = new_id("user")
    assert headway("user", "create", name).returncode == 0
    assert headway("project", "members", "--set", f"{name}=member").returncode == 0
    assert headway("project", "members", "--set", f"{name}=chief").returncode == 2
    assert name in headway("project", "members").stdout
    created = json_of(headway("token", "create", "t", "--user", name, "--json"))
    secret = str(created["secret"])
    assert json_of(headway("whoami", "--json", HEADWAY_TOKEN=secret))["user"]["name"] == name  # type: ignore[index]
    assert headway("user", "list", HEADWAY_TOKEN=secret).returncode == 4
    assert secret not in headway("token", "list").stdout
    assert headway("token", "delete", created["token"]["id"], "-y").returncode == 0  # type: ignore[index]
    assert headway("whoami", HEADWAY_TOKEN=secret).returncode == 4
    size = new_id("size")
    assert headway("instance-type", "set", size, "--cpu", "0.5", "--label", "a=b").returncode == 0
    assert size in headway("instance-type", "list").stdout
    assert headway("instance-type", "delete", size, "-y").returncode == 0


@pytest.mark.parametrize("command", ["status", "version", "doctor"])
def test_how_things_stand(logged_in: ServerProcess, headway: Run, command: str) -> None:
    assert headway(command).returncode == 0
    assert json_of(headway(command, "--json"))


def test_the_version_is_known_without_a_server(headway: Run) -> None:
    found = json_of(headway("version", "--json"))
    assert found["server"] is None
    assert found["client"]
    asked = headway("--version")
    assert (asked.returncode, asked.stdout) == (0, f"headway {found['client']}\n")


def test_events_are_listed(project: str, headway: Run) -> None:
    [event] = json_of(headway("event", "list", "--type", "project.created", "--json"))["items"]  # type: ignore[misc]
    assert event["type"] == "project.created"
