"""headway artifact and headway lineage against a real server."""

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


def test_a_version_goes_up_is_listed_checked_and_comes_down(headway: Run, project: str, folder: Path) -> None:
    put = ("artifact", "put", "data", str(folder), "--label", "k=v", "--alias", "best", "--reference", "r=s3://b/k")
    version = told(headway(*put, "--json"))
    assert (version["name"], version["version"], version["labels"], version["entries"]) == ("data", 1, {"k": "v"}, 3)
    assert "(found, 3 entries, 3 B)" in headway(*put).stdout
    assert [found["name"] for found in told(headway("artifact", "ls", "--json"))["items"]] == ["data"]
    assert [found["id"] for found in told(headway("artifact", "ls", "data", "--json"))["items"]] == [version["id"]]
    entries = told(headway("artifact", "ls", "data:best", "--json"))["items"]
    assert [(entry["path"], entry["uri"]) for entry in entries] == [("a", None), ("r", "s3://b/k"), ("sub/b", None)]
    assert "s3://b/k" in headway("artifact", "ls", "data:v1").stdout
    assert told(headway("artifact", "get", "data", "--json"))["id"] == version["id"]
    assert version["digest"] in headway("artifact", "get", "data:latest").stdout
    target = folder.parent / "target"
    assert len(told(headway("artifact", "get", "data:v1", str(target), "--json"))["items"]) == 2
    assert (target / "sub" / "b").read_text() == "bb"
    assert headway("artifact", "verify", "data").returncode == 0
    (target / "a").write_text("?")
    (target / "more").write_text("?")
    failed = headway("artifact", "verify", "data", str(target))
    assert failed.returncode == 1
    assert {"damaged: a", "unknown: more"} <= set(failed.stdout.splitlines())
    assert json.loads(headway("artifact", "verify", "data", str(target), "--json").stdout)["ok"] is False


def test_aliases_and_deletion(headway: Run, project: str, folder: Path) -> None:
    version = told(headway("artifact", "put", "data", str(folder), "--json"))
    assert headway("artifact", "alias", "data", "good", "1").stdout == "data: good=v1\n"
    assert told(headway("artifact", "alias", "data", "good", "--delete", "--json"))["aliases"] == {}
    assert headway("artifact", "alias", "data", "good").returncode == 2
    assert headway("artifact", "rm", "data:v1").returncode == 2
    assert told(headway("artifact", "rm", "data:v1", "--yes", "--json")) == {"deleted": version["id"]}
    assert headway("artifact", "get", "data:v1").returncode == 4
    assert headway("artifact", "rm", "data", "--yes").returncode == 0
    assert told(headway("artifact", "ls", "--json"))["items"] == []


def test_garbage_is_counted_and_collected(headway: Run, project: str) -> None:
    report = told(headway("artifact", "gc", "--dry-run", "--grace-hours", "1", "--json"))
    assert (report["dry_run"], report["grace_hours"], report["blobs"]) == (True, 1.0, 0)
    assert "0 blob(s), 0 B removed" in headway("artifact", "gc").stdout
    assert headway("artifact", "gc", "--grace-hours", "-1").returncode == 2


def test_lineage_is_a_tree_or_json(headway: Run, project: str, folder: Path) -> None:
    version = told(headway("artifact", "put", "data", str(folder), "--json"))
    found = told(headway("lineage", "artifact:data:v1", "--json"))
    assert found["subject"] == version["id"]
    assert headway("lineage", "data").stdout == f"artifact-version data:v1 [{version['id']}]\n"
    assert headway("lineage", "absent").returncode == 4
    assert headway("lineage", "data", "--depth", "0").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("put", "data", "absent"), 2),
        (("put", "a/b", "folder"), 2),
        (("put", "data", "folder", "--conflict", "maybe"), 2),
        (("put", "data", "folder", "--folder", "absent"), 4),
        (("get", "absent"), 4),
        (("verify", "absent"), 4),
        (("rm", "absent", "--yes"), 4),
        (("ls", "absent"), 4),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(
    headway: Run, project: str, folder: Path, arguments: tuple[str, ...], code: int
) -> None:
    found = headway("artifact", *arguments)
    assert found.returncode == code, found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith("error: ")


def test_a_hostile_name_cannot_drive_the_terminal(headway: Run, project: str, folder: Path) -> None:
    name = "\u202ereversed"
    (folder / name).write_text("x")
    assert headway("artifact", "put", "data", str(folder)).returncode == 0
    shown = headway("artifact", "ls", "data:v1").stdout
    assert "\u202e" not in shown
    assert "reversed" in shown
