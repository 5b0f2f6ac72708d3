"""headway object against a real server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.domain.base import new_id
from headway.testing.server import ServerProcess

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(logged_in: ServerProcess, headway: Run, environment: dict[str, str]) -> str:
    name = new_id("project")
    assert headway("project", "create", name).returncode == 0
    environment["HEADWAY_PROJECT"] = name
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_text("a")
    (root / "sub" / "b").write_text("bb")
    return root


def told(found: subprocess.CompletedProcess[str]) -> Any:
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_a_folder_goes_up_is_listed_comes_down_and_goes(headway: Run, project: str, folder: Path) -> None:
    put = told(headway("object", "put", "folder", "s3://data/in/", "--json"))
    assert [found["key"] for found in put["items"]] == ["in/a", "in/sub/b"]
    assert "2 objects, 3 B" in headway("object", "put", "folder", "s3://data", "--keep-name").stdout
    listing = told(headway("object", "ls", "s3://data/in/", "--json"))
    assert ([one["key"] for one in listing["items"]], listing["prefixes"]) == (["in/a"], ["in/sub/"])
    lines = headway("object", "ls", "s3://data").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["KEY", "folder/", "in/"]
    whole = told(headway("object", "ls", "s3://data", "--recursive", "--json"))
    assert [one["key"] for one in whole["items"]] == ["folder/a", "folder/sub/b", "in/a", "in/sub/b"]
    part = told(headway("object", "ls", "s3://data", "-r", "--limit", "3", "--json"))
    assert [one["key"] for one in part["items"]] == ["folder/a", "folder/sub/b", "in/a"]
    assert len(told(headway("object", "get", "s3://data/in", "target", "--json"))["items"]) == 2
    assert (folder.parent / "target" / "sub" / "b").read_text() == "bb"
    assert "2 files in target" in headway("object", "get", "s3://data/in/", "target").stdout
    refused = headway("object", "rm", "s3://data/in", "-r")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert told(headway("object", "rm", "s3://data/in", "-r", "--yes", "--json")) == {"deleted": 2}
    assert headway("object", "rm", "s3://data/folder/a").stdout == "Deleted 1 object.\n"
    assert headway("object", "rm", "s3://data/folder/a").returncode == 4


def test_streams_and_single_files(headway: Run, project: str, folder: Path) -> None:
    assert headway("object", "put", "-", "s3://data/streamed", input="text").stdout == "s3://data/streamed (4 B)\n"
    assert headway("object", "get", "s3://data/streamed", "-").stdout == "text"
    assert headway("object", "get", "s3://data/streamed", "renamed").returncode == 0
    assert (folder.parent / "renamed").read_text() == "text"
    assert headway("object", "get", "s3://data/absent").returncode == 4


def test_buckets_are_made_and_deleted(headway: Run, project: str) -> None:
    assert told(headway("object", "mkbucket", "s3://one", "--json"))["name"] == "one"
    headway("object", "put", "-", "s3://two/x", input="x")
    assert {found["name"] for found in told(headway("object", "buckets", "--json"))["items"]} == {"one", "two"}
    assert {found["name"] for found in told(headway("object", "ls", "--json"))["items"]} == {"one", "two"}
    full = headway("object", "rmbucket", "two", "--yes")
    assert (full.returncode, "holds objects" in full.stderr) == (2, True), full.stderr
    assert headway("object", "rmbucket", "two", "--force", "--yes").stdout == "Deleted two.\n"
    assert headway("object", "rmbucket", "one").returncode == 2
    assert told(headway("object", "rmbucket", "one", "--yes", "--json")) == {"deleted": "one"}
    assert headway("object", "buckets").stderr == "No buckets.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("put", "s3://data/x", "file"), "SOURCE ADDRESS"),
        (("get", "s3://data/x", "s3://data/y"), "ADDRESS TARGET"),
        (("ls", "data"), "s3://bucket/key"),
        (("rm", "s3://data"), "names no object"),
        (("put", "absent", "s3://data/x"), "Cannot read"),
    ],
)
def test_what_makes_no_sense_is_told(headway: Run, project: str, arguments: tuple[str, ...], words: str) -> None:
    found = headway("object", *arguments)
    assert (found.returncode, words in found.stderr) == (2, True), found.stderr
