"""Job files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.cli.files import read_job_file
from headway.errors import InvalidRequestError


def read(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return read_job_file(path)


def test_spellings_of_files(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "name: digits\nimage: python:3\nenv: {EPOCHS: 5}\nsecrets: [KEY]\nworkspace: code\n"
        "roles:\n  worker: {count: 2, command: python train.py, env: {A: 1}, image: other}\n",
    )
    worker = {"count": 2, "command": "python train.py", "environment": {"A": 1}, "container": "other"}
    assert found == {
        "name": "digits",
        "container": "python:3",
        "environment": {"EPOCHS": 5},
        "secrets": ["KEY"],
        "workspace": str(tmp_path / "code"),
        "roles": {"worker": worker},
    }


@pytest.mark.parametrize(
    "workspace", ["https://h/x.git", "git@h:x.git", "git+https://h/x@main", "ssh://h/x", "file:///x"]
)
def test_git_urls_stay_as_they_are(tmp_path: Path, workspace: str) -> None:
    assert read(tmp_path, f"workspace: '{workspace}'")["workspace"] == workspace


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("comand: x", "Did you mean 'command'"),
        ("imag: x", "Did you mean 'image'"),
        ("roles: {worker: {cuont: 2}}", r"roles\.worker\.cuont"),
        ("image: a\ncontainer: b", "given twice"),
        ("secrets: {KEY: value}", "list of names"),
        ("- a", "fields of a job"),
        ("", "fields of a job"),
        ("name: [", "not valid YAML"),
        ("a: &a [1]\nb: &a [*a]\nc: !!python/name:os.system x", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_one_error_that_names_it(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named) as caught:
        read(tmp_path, text)
    assert "job.yaml" in str(caught.value)
