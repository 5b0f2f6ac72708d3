"""headway run with a server: what tests/e2e/test_tracking.py does not say already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headway import Client
from headway.testing.server import ServerProcess
from headway.tracking.opening import init
from headway.tracking.sync import sync

QUIET: dict[str, Any] = {"capture": False, "console": False, "system": False}


@pytest.fixture
def client(logged_in: ServerProcess, environment: dict[str, str]) -> Iterator[Client]:
    """The server of the user's environment, with a project of this test's own."""
    with Client(logged_in.url, logged_in.token) as administrator:
        name = f"runs-{len(list(administrator.projects.list()))}"
        administrator.projects.create(name)
    environment["HEADWAY_PROJECT"] = name
    with Client(logged_in.url, logged_in.token, project=name) as found:
        yield found


def track(client: Client, tmp_path: Path, name: str, *, send: bool = True) -> str:
    """The id of a run that was tracked below the user's directory, and sent if ``send``."""
    with init(client.project, name, mode="offline", dir=tmp_path / ".headway", **QUIET) as run:
        run.log({"loss": 0.5}, step=0)
    if send:
        assert sync(run.directory, client.url, client.connection.token, client.project).ok
    return run.id


def test_runs_of_the_server_and_of_this_machine_are_told_apart(headway: Any, client: Client, tmp_path: Path) -> None:
    sent, kept = track(client, tmp_path, "it's sent"), track(client, tmp_path, "kept", send=False)
    listed = headway("run", "list")
    assert sent in listed.stdout
    assert kept not in listed.stdout
    assert listed.stderr.startswith("1 run lies in ")
    assert "headway sync" in listed.stderr
    local = headway("run", "list", "--local")
    assert sent in local.stdout
    assert kept in local.stdout
    missing = headway("run", "show", kept)
    assert (missing.returncode, "one lies here. Add --local" in missing.stderr) == (4, True)
    assert headway("run", "show", kept, "--local").returncode == 0
    assert headway("sync").returncode == 0
    after = headway("run", "list", "--json")
    assert after.stderr == ""
    assert {item["id"] for item in json.loads(after.stdout)["items"]} == {sent, kept}


def test_a_name_that_one_run_has_is_enough(headway: Any, client: Client, tmp_path: Path) -> None:
    first = track(client, tmp_path, "it's one")
    assert first in headway("run", "show", "it's one").stdout
    second = track(client, tmp_path, "it's one")
    both = headway("run", "show", "it's one")
    assert both.returncode == 4
    assert first in both.stderr
    assert second in both.stderr


def test_labels_are_added_and_taken_away(headway: Any, client: Client, tmp_path: Path) -> None:
    run = track(client, tmp_path, "labelled")
    assert headway("run", "tag", run).stdout == f"{run} (no labels)\n"
    assert headway("run", "tag", run, "a", "b", "a").stdout == f"{run} a, b\n"
    assert json.loads(headway("run", "tag", run, "c", "--remove", "a", "--json").stdout)["labels"] == ["b", "c"]


def test_deleting_asks_first(headway: Any, client: Client, tmp_path: Path) -> None:
    run = track(client, tmp_path, "doomed")
    asked = headway("run", "rm", run)
    assert (asked.returncode, "Repeat with --yes" in asked.stderr) == (2, True)
    assert headway("run", "rm", run, "no-such-run", "--yes").returncode == 4
    assert client.runs.get(run).name == "doomed", "all or none"
    assert json.loads(headway("run", "rm", run, "--yes", "--json").stdout) == {"deleted": [run]}
    assert headway("run", "show", run).returncode == 4


def test_an_export_takes_a_filter(headway: Any, client: Client, tmp_path: Path) -> None:
    runs = {track(client, tmp_path, f"run {number}") for number in range(2)}
    assert headway("run", "export", "--filter", "name like 'run %'", "-o", "points.ndjson").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "points.ndjson").read_text().splitlines()]
    assert {row["run"] for row in rows} == runs
    for arguments in ((), ("some-run", "--filter", "name = 'x'")):
        assert "either run ids or --filter" in headway("run", "export", *arguments, "-o", "a.csv").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--filter", "params.lr >"),
        ("list", "--order-by", "nam"),
        ("list", "--columns", "nam"),
        ("metrics", "r", "x", "--points", "0"),
    ],
)
def test_a_wrong_question_is_not_sent(headway: Any, logged_in: ServerProcess, arguments: tuple[str, ...]) -> None:
    assert headway("run", *arguments, HEADWAY_URL="http://127.0.0.1:9").returncode == 2
