"""headway run with a server: what tests/e2e/test_tracking.py does not say already."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headway import Client, NotFoundError, Table
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


def test_a_name_will_do_for_labels_and_deleting_and_is_hinted_at_in_the_sdk(
    headway: Any, client: Client, tmp_path: Path
) -> None:
    run = track(client, tmp_path, "wb's")
    assert headway("run", "tag", "wb's", "a").stdout == f"{run} a\n"
    with pytest.raises(NotFoundError, match=f"is the name of a run, not an id; its id is '{run}'"):
        client.runs.get("wb's")
    with pytest.raises(NotFoundError, match=r"client\.runs\.query\("):
        client.runs.get("nothing")
    assert json.loads(headway("run", "rm", "wb's", run, "--yes", "--json").stdout) == {"deleted": [run]}


def test_a_series_that_a_run_does_not_have_is_named(headway: Any, client: Client, tmp_path: Path) -> None:
    run = track(client, tmp_path, "wb")
    missing = headway("run", "metrics", "wb", "losss")
    assert (missing.returncode, "Did you mean 'loss'?" in missing.stderr) == (4, True)
    missing = headway("run", "metrics", "wb", "loss", "--stage", "trian", "--json")
    assert (missing.returncode, "no series 'trian.loss'" in missing.stderr) == (4, True)
    with pytest.raises(NotFoundError, match="Did you mean 'loss'"):
        client.runs.get(run).metrics("losss")
    assert client.runs.metrics(run, "loss", start=7).values == [], "the series is there, no point in the range"
    assert client.runs.metrics(run, "cpu", system=True).values == [], "nothing of that kind yet"


def test_media_are_counted_listed_and_saved_under_safe_names(headway: Any, client: Client, tmp_path: Path) -> None:
    with init(client.project, "seen", mode="offline", dir=tmp_path / ".headway", **QUIET) as run:
        run.log({"../../up/τ": Table(columns=["a"], rows=[[1]])}, step=3, stage="val")
        run.log({"words": Table(columns=["b"], rows=[[2]])})
    assert sync(run.directory, client.url, client.connection.token, client.project).ok
    assert "2 table" in headway("run", "show", "seen").stdout
    listed = headway("run", "media", "seen").stdout.splitlines()
    assert listed[0].split() == ["NAME", "STAGE", "STEP", "TYPE", "SIZE"]
    assert {line.split()[0] for line in listed[1:]} == {"../../up/τ", "words"}
    items = json.loads(headway("run", "media", "seen", "--save", "out/in", "--json").stdout)["items"]
    saved = sorted((tmp_path / "out" / "in").iterdir())
    assert sorted(str(path.relative_to(tmp_path)) for path in saved) == sorted(item["path"] for item in items)
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in saved} == {item["digest"] for item in items}
    assert {re.sub(r"^\d+-", "", path.stem) for path in saved} == {"val-up-step3", "words"}


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
