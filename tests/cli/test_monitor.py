"""headway monitor: on a line, a file, a job, a run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.domain.base import new_id
from headway.testing.logs import ship_log
from headway.testing.server import ServerProcess

Run = Callable[..., subprocess.CompletedProcess[str]]
LOSS = r"loss (\S+) at (\d+)"


def test_an_expression_is_tried_here_without_a_server(headway: Run, tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"first\r\n\xffloss 0.5 at 3\nold\rloss x at 4\nloss 0.25 at 5")
    found = headway("monitor", "test", LOSS, "--file", "train.log", "--json")
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert (report["lines"], report["matches"], report["points"], report["complete"]) == (4, 3, 2, True)
    shown = [(match["line"], match["value"], match["step"], match["message"]) for match in report["shown"]]
    assert shown == [
        (2, 0.5, 3, "\ufffdloss 0.5 at 3"),
        (3, None, None, "loss x at 4"),
        (4, 0.25, 5, "loss 0.25 at 5"),
    ]
    table = headway("monitor", "test", LOSS, "--file", "train.log", "--limit", "2")
    assert "no number" in table.stdout
    assert "4 lines, 3 matches, 2 points" in table.stderr
    alone = headway("monitor", "test", LOSS, "--sample", "loss 1 at 2", "--json")
    assert json.loads(alone.stdout)["points"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((LOSS, "--sample", "acc 1"), "does not match the sample 'acc 1'"),
        ((r"(a)\1", "--sample", "aa"), "write the repeated part out again"),
        ((LOSS, "--file", "absent.log"), "cannot be read: No such file"),
        ((LOSS, "--file", "absent.log", "--job", "job1"), "--file is a log here"),
    ],
)
def test_what_cannot_be_tried_is_said_on_one_line(headway: Run, arguments: tuple[str, ...], words: str) -> None:
    found = headway("monitor", "test", *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert words in found.stderr
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1


def test_monitors_are_added_listed_changed_and_deleted(
    logged_in: ServerProcess, headway: Run, environment: dict[str, str]
) -> None:
    project = new_id("project")
    assert headway("project", "create", project).returncode == 0
    environment["HEADWAY_PROJECT"] = project
    from headway import Client

    with Client(logged_in.url, logged_in.token, project=project) as client:
        run = client.runs.create("log").id
    ship_log(logged_in, run, [b"loss %d at %d" % (number, number) for number in range(100)])

    refused = headway("monitor", "add", "loss", LOSS, "--run", run, "--sample", "acc")
    assert (refused.returncode, "does not match" in refused.stderr) == (2, True)
    added = headway("monitor", "add", "loss", LOSS, "--run", run, "--sample", "loss 1 at 2", "--wait")
    assert added.stdout.endswith(": 100 points of 100 lines\n"), added.stderr
    again = headway("monitor", "add", "loss", LOSS, "--run", run)
    assert "'loss' already" in again.stderr
    tried = headway("monitor", "test", r"loss 9(\d)", "--run", run, "--json")
    assert json.loads(tried.stdout)["points"] == 10
    changed = headway(
        "monitor", "update", "loss", "--run", run, "--regex", "loss 9", "--sample", "", "--wait", "--json"
    )
    assert {key: json.loads(changed.stdout)[key] for key in ("points", "revision", "sample")} == {
        "points": 11,
        "revision": 2,
        "sample": None,
    }
    (listed,) = json.loads(headway("monitor", "list", "--run", run, "--json").stdout)["items"]
    assert listed == json.loads(headway("monitor", "show", "loss", "--run", run, "--json").stdout)
    assert "loss" in headway("monitor", "list", "--run", run).stdout
    nothing = headway("monitor", "update", "loss", "--run", run)
    assert (nothing.returncode, "changes nothing" in nothing.stderr) == (2, True)
    assert headway("monitor", "delete", "loss", "--run", run).returncode == 2  # nobody answers
    assert headway("monitor", "delete", "loss", "--run", run, "--yes").returncode == 0
    assert headway("monitor", "list", "--run", run).stdout == ""
    unknown = headway("monitor", "show", "loss", "--run", run)
    assert "no monitor 'loss'" in unknown.stderr
    neither = headway("monitor", "list")
    assert (neither.returncode, "Name one run" in neither.stderr) == (2, True)
