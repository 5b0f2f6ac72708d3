"""headway job submit with inputs, parameters and outputs; headway job show of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.cli.files import read_job_file
from headway.domain.base import new_id
from headway.testing.server import ServerProcess

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(logged_in: ServerProcess, headway: Run, environment: dict[str, str]) -> str:
    name = new_id("project")
    assert headway("project", "create", name).returncode == 0
    environment["HEADWAY_PROJECT"] = name
    return name


def submitted(headway: Run, *arguments: str) -> Any:
    found = headway("job", "submit", "--name", "train", "--no-start", "--json", *arguments)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_options_make_a_job_and_show_tells_of_all_of_it(project: str, headway: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1\n2\n")
    assert headway("artifact", "put", "digits", "rows.csv").returncode == 0
    job = submitted(
        headway,
        *("--input", "train=artifact:digits:latest", "--input", "val=rows.csv", "--init-model", "rows.csv"),
        *("--param", "lr=1e-3", "--param", "layers=[16, 8]", "--param", "optimizer=adam", "--param", "nesterov=true"),
        *(
            "--param",
            "day=2026-01-02",
            "--param",
            "api_key=canary-in-the-mine",
            "--param",
            "note=a=b",
            "--param-arguments",
        ),
        *("--output", "s3://results/x", "--workspace-gib", "2.5", "--", "python", "train.py"),
    )
    parameters = {"lr": 0.001, "layers": [16, 8], "optimizer": "adam", "nesterov": True, "day": "2026-01-02"}
    assert job["spec"]["parameters"] == {**parameters, "api_key": "[redacted]", "note": "a=b"}
    assert job["spec"]["roles"]["worker"]["command"][:4] == ["python", "train.py", "--lr", "0.001"]
    resolved = {name: given["resolved"] for name, given in job["spec"]["inputs"].items()}
    assert resolved == {"train": "artifact:digits:v1", "val": "artifact:train-val:v1"}
    shown = headway("job", "show", job["id"]).stdout
    for words in (
        "artifact:digits:latest",
        "artifact:digits:v1",
        "artifact:train-init_model:v1",
        "s3://results/x",
        "2.5",
        "lr=0.001",
    ):
        assert words in shown
    assert "canary" not in shown + json.dumps(job)


def test_options_add_to_a_file_and_win_over_it(project: str, headway: Run, tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "rows.csv").write_text("1\n")
    (folder / "job.yaml").write_text(
        "command: 'true'\ninputs: {train: rows.csv, val: rows.csv}\ninit_model: rows.csv\nparameters: {lr: 0.5, epochs: 3}\n"
    )
    assert headway("artifact", "put", "digits", "jobs/rows.csv").returncode == 0
    job = submitted(headway, "-f", "jobs/job.yaml", "--param", "lr=0.1", "--input", "val=artifact:digits")
    assert job["spec"]["parameters"] == {"lr": 0.1, "epochs": 3}
    resolved = {name: given["resolved"] for name, given in job["spec"]["inputs"].items()}
    assert resolved == {"train": "artifact:train-train:v1", "val": "artifact:digits:v1"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--input", "artifact:digits"), "NAME=SOURCE"),
        (("--input", "train=artefact:digits:v1"), "Did you mean 'artifact:digits:v1'?"),
        (("--input", "train=artifact:nothing:v1"), "no artifact 'nothing'"),
        (("--param", "lr"), "NAME=VALUE"),
        (("--param", "lr=[1"), "not valid YAML"),
        (("--param", "1st=1"), "no parameter name"),
        (("--output", "results"), "s3://bucket/prefix"),
        (("--init-model", "nowhere.bin"), "no file or folder 'nowhere.bin'"),
    ],
)
def test_what_is_wrong_is_one_line(project: str, headway: Run, arguments: tuple[str, ...], words: str) -> None:
    found = headway("job", "submit", "--name", "x", "--no-start", *arguments, "--", "true")
    assert found.returncode in (2, 4) and words in found.stderr
    assert json.loads(headway("job", "list", "--json").stdout)["items"] == []


def test_paths_of_a_job_file_are_relative_to_it_and_sources_stay(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1")
    (tmp_path / "job.yaml").write_text(
        "name: x\ncommand: 'true'\ninit_model: models:/m/1\ninputs:\n  a: rows.csv\n  b: artifact:digits\n"
        "  c: s3://bucket/x\n  d: {source: 'runs:/r/x'}\n  e: missing.csv\n"
    )
    found = read_job_file(tmp_path / "job.yaml")
    assert found["inputs"] == {
        "a": str(tmp_path / "rows.csv"),
        "b": "artifact:digits",
        "c": "s3://bucket/x",
        "d": {"source": "runs:/r/x"},
        "e": "missing.csv",
    }
    assert found["init_model"] == "models:/m/1"


def test_dates_among_parameters_of_a_file_are_texts(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: x\nparameters: {day: 2026-01-02, days: [2026-01-02], lr: 1.0e-3, n: 3}\n")
    found = read_job_file(tmp_path / "job.yaml")["parameters"]
    assert found == {"day": "2026-01-02", "days": ["2026-01-02"], "lr": 0.001, "n": 3}
