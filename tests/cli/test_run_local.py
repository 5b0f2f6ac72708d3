"""headway run without a server: what lies in a directory here is listed, shown, compared and exported."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from headway.tracking.opening import init


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, str]:
    """Two finished runs in ``.headway``: name to id."""
    found = {}
    for name, rate in (("first", 0.1), ("second", 0.2)):
        config = {"lr": rate, "net": {"depth": 3, "a.b": [1, 2]}}
        with init(
            "digits",
            name,
            config,
            labels=["base\x9b31m\u202e"],
            mode="offline",
            dir=tmp_path / ".headway",
            capture=False,
            console=False,
            system=False,
        ) as run:
            for step in range(30):
                run.log(
                    {"loss": rate / (step + 1), "count": 2**53 + step}, step=step, stage="validation", epoch=step / 2
                )
                run.log({"=evil": math.nan})
            found[name] = run.id
    return found


def test_runs_are_listed_newest_first(headway: Any, runs: dict[str, str]) -> None:
    lines = headway("run", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "AGE", "DURATION", "LABELS"]
    assert [line.split()[:3] for line in lines[1:]] == [[runs[name], name, "complete"] for name in ("second", "first")]
    assert not {"\x9b", "\u202e"} & set(lines[1]), "a label drives nobody's terminal"
    page = json.loads(headway("run", "list", "--json").stdout)
    assert [item["name"] for item in page["items"]] == ["second", "first"]
    assert page["items"][0]["config"]["net"]["depth"] == 3


def test_a_list_is_searched_sorted_and_cut_as_on_a_server(headway: Any, runs: dict[str, str]) -> None:
    def listed(*options: str) -> list[dict[str, Any]]:
        answer = headway("run", "list", "--json", "--columns", "name,params.lr,metrics.val.loss.min", *options)
        assert answer.returncode == 0, answer.stderr
        items: list[dict[str, Any]] = json.loads(answer.stdout)["items"]
        return items

    assert listed("--filter", "params.lr > 0.15") == [
        {"name": "second", "params.lr": 0.2, "metrics.val.loss.min": 0.2 / 30}
    ]
    assert [row["name"] for row in listed("--order-by", "metrics.val.loss.min")] == ["first", "second"]
    assert [row["name"] for row in listed("--order-by", "-params.lr", "--limit", "1")] == ["second"]
    assert [row["name"] for row in listed("--order-by", "params.`no such`")] == ["second", "first"]
    wrong = headway("run", "list", "--filter", "params.lr >")
    assert wrong.returncode == 2
    assert headway("run", "list", "--columns", "nam").stderr.strip().endswith("Did you mean 'name'?")


def test_a_run_is_shown_with_all_that_is_known_of_it(headway: Any, runs: dict[str, str]) -> None:
    by_name, by_id = headway("run", "show", "first"), headway("run", "show", runs["first"])
    text = by_id.stdout
    assert by_name.stdout.splitlines()[0] == text.splitlines()[0]
    for part in ("state      complete", "lr", "net.depth", "net.`a.b`", "val.loss", "SERIES", "█"):
        assert part in text
    document = json.loads(headway("run", "show", "first", "--json").stdout)
    series = {item["name"]: item for item in document["summary"]}
    assert (series["count"]["last"], series["=evil"]["last"], series["=evil"]["nan_count"]) == (2**53 + 29, "NaN", 30)
    assert document["state"] == "complete"


def test_points_are_printed_exactly(headway: Any, runs: dict[str, str]) -> None:
    people = headway("run", "metrics", "first", "count", "--stage", "val", "--limit", "2").stdout
    assert f"{2**53 + 29}" in people
    assert "28 before them" in people
    few = json.loads(headway("run", "metrics", "first", "count", "--stage", "val", "--limit", "2", "--json").stdout)
    assert [line["columns"]["step"] for line in few["lines"]] == [[28, 29]]
    rows = list(
        csv.DictReader(headway("run", "metrics", "first", "loss", "--stage", "val", "--csv").stdout.splitlines())
    )
    assert [float(row["value"]) for row in rows] == [0.1 / (step + 1) for step in range(30)]
    (line,) = json.loads(headway("run", "metrics", "first", "=evil", "--json").stdout)["lines"]
    assert (line["columns"]["value"][0], line["columns"]["step"][0], line["exact"]) == ("NaN", None, True)
    listed = headway("run", "metrics", "first").stdout
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["=evil", "count", "loss"]
    assert headway("run", "metrics", "first", "loss", "--aggregate", "mean").stderr.startswith("error: aggregate needs")


def test_a_series_that_is_not_there_is_named(headway: Any, runs: dict[str, str]) -> None:
    answer = headway("run", "metrics", "first", "los", "--stage", "val")
    assert answer.returncode == 4
    assert "Did you mean 'val.loss'?" in answer.stderr


def test_two_runs_are_compared(headway: Any, runs: dict[str, str]) -> None:
    lines = headway("run", "diff", "first", "second").stdout.splitlines()
    assert ["lr", "0.1", "0.2"] in [line.split() for line in lines]
    assert not [line for line in lines if "depth" in line]
    document = json.loads(headway("run", "diff", runs["first"], runs["second"], "--json").stdout)
    assert document["config"] == {"lr": {"a": 0.1, "b": 0.2}}
    assert document["metrics"]["val.loss"]["b"]["last"] == 0.2 / 30
    assert headway("run", "diff", "first", "first").stdout.splitlines()[-1] == "Nothing differs."


def test_an_export_has_every_point_of_every_writer(headway: Any, runs: dict[str, str], tmp_path: Path) -> None:
    assert headway("run", "export", "first", "second", "-o", "points.parquet").returncode == 0
    table = pyarrow.parquet.read_table(tmp_path / "points.parquet")
    assert table.num_rows == 2 * 90
    rows = table.to_pylist()
    assert {row["word"] for row in rows} == {"validation", ""}
    assert len({row["writer"] for row in rows}) == 2
    assert [row["integer"] for row in rows if row["name"] == "count" and row["run"] == runs["first"]] == [
        2**53 + step for step in range(30)
    ]
    assert headway("run", "export", "first", "-o", "points.csv").returncode == 0
    cells = list(csv.reader((tmp_path / "points.csv").read_text().splitlines()))
    assert {row[1] for row in cells[1:]} == {"loss", "count", "'=evil"}
    refused = headway("run", "export", "first", "-o", "points.xls")
    assert (refused.returncode, "Formats: parquet" in refused.stderr) == (2, True)


def test_what_is_not_there_is_said(headway: Any, runs: dict[str, str]) -> None:
    answer = headway("run", "show", "fist")
    assert answer.returncode == 4
    assert "Did you mean 'first'?" in answer.stderr
    assert headway("run", "tag", "first", "good").returncode == 2, "labels are a server's"


def test_a_name_that_two_runs_have_is_no_name(headway: Any, runs: dict[str, str], tmp_path: Path) -> None:
    with init("digits", "first", mode="offline", dir=tmp_path / ".headway", capture=False, console=False, system=False):
        pass
    answer = headway("run", "show", "first")
    assert answer.returncode == 4
    assert runs["first"] in answer.stderr


def test_without_any_run_the_list_is_empty(headway: Any) -> None:
    answer = headway("run", "list")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "No runs.\n")
    assert json.loads(headway("run", "list", "--json").stdout) == {"items": [], "next_cursor": None}
