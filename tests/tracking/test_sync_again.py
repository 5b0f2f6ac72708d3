"""Repeated syncs: what a run marked stays what it was, nothing is counted twice, and a run stays in its project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import headway
from headway import Artifact, Client
from headway.cli.main import app
from headway.domain.base import new_id
from headway.errors import ConflictError, NotFoundError
from headway.testing.faults import until
from headway.testing.server import ServerProcess

QUIET: dict[str, Any] = {"capture": False, "console": False, "system": False}
OFF: dict[str, Any] = {**QUIET, "mode": "offline"}


@pytest.fixture
def here(
    running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch, base: Path, tmp_path: Path
) -> Iterator[Client]:
    project = new_id("project")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWAY_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setenv("HEADWAY_URL", running_server.url)
    monkeypatch.setenv("HEADWAY_TOKEN", str(running_server.token))
    with Client(project=project) as found:
        found.projects.create(project)
        yield found


def written(folder: Path, name: str) -> Path:
    (folder / name).write_text(name)
    return folder / name


def inputs(client: Client, run: str) -> set[str]:
    found = client.lineage(run)
    names = {node.id: node.label for node in found.nodes}
    return {names[edge.source] for edge in found.edges if edge.target == run}


def test_a_mark_means_what_the_artifact_held_then(here: Client, tmp_path: Path) -> None:
    data = Artifact("data")
    data.add_file(written(tmp_path, "x.txt"))
    with headway.init(project=here.project, **OFF) as run:
        run.mark_input(data)
    marked = data.digest
    data.add_file(written(tmp_path, "y.txt"))
    first, second = headway.sync(), headway.sync()
    assert first.ok and second.ok
    assert [report.runs[0].artifacts for report in (first, second)] == [1, 0]
    assert [version.digest for version in here.artifacts.versions("data")] == [marked]
    assert list(here.artifacts.entries(here.artifacts.resolve("data"))) == [data.objects["x.txt"]]
    data.upload(client=here)
    assert headway.sync().ok
    until(lambda: inputs(here, run.id) == {"data:v1"}, 30)
    assert len(list(here.artifacts.versions("data"))) == 2


def test_a_mark_whose_content_was_not_kept_is_a_problem(here: Client, tmp_path: Path) -> None:
    data = Artifact("data")
    data.add_file(written(tmp_path, "x.txt"))
    with headway.init(project=here.project, **OFF) as run:
        run.mark_output(data)
    data.add_file(written(tmp_path, "y.txt"))
    for path in (data.directory / "marked").iterdir():
        path.unlink()
    (found,) = headway.sync().runs
    assert found.id == run.id and found.state.value == "failed"
    assert "output data: " in found.problems[0] and "was changed since it was marked" in found.problems[0]
    assert list(here.artifacts.list(name="data")) == []


def test_the_command_counts_what_is_new_and_names_the_run_of_a_problem(here: Client, tmp_path: Path) -> None:
    data = Artifact("data")
    data.add_file(written(tmp_path, "x.txt"))
    with headway.init(project=here.project, **OFF) as run:
        run.mark_input(data)
    first, again = (CliRunner().invoke(app, ["sync"]) for _ in range(2))
    assert first.exit_code == 0 and "1 artifact\n" in first.stdout, first.output
    assert again.exit_code == 0 and again.stdout == f"{run.id}  {run.name}: synced\n"
    with headway.init(project=here.project, name="lonely", folder="nowhere", **OFF) as refused:
        pass
    failed = CliRunner().invoke(app, ["sync", str(refused.directory)])
    assert failed.exit_code == 1
    assert f"lonely ({refused.id}): There is no folder 'nowhere'" in failed.stderr
    assert "--make-folder" in failed.stderr and "--folder" in failed.stderr and "make_folder" not in failed.stderr
    assert CliRunner().invoke(app, ["sync", "--make-folder"]).exit_code == 0


def test_the_project_that_a_run_recorded_beats_the_environment(here: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = headway.init(project=here.project, **OFF)
    offline.finish()
    live = headway.init(project=here.project, **QUIET)
    live.finish()
    other = new_id("project")
    monkeypatch.setenv("HEADWAY_PROJECT", other)
    said = CliRunner().invoke(app, ["sync"])
    assert said.exit_code == 0, said.output
    assert headway.sync().ok
    assert {run.id for run in here.runs.list()} == {offline.id, live.id}
    assert list(here.projects.list(name=other)) == []


def test_a_run_stays_in_the_project_where_it_lies(here: Client) -> None:
    run = headway.init(project=new_id("project"), **OFF)
    run.finish()
    assert headway.sync(project=here.project).ok
    (found,) = headway.sync().runs
    assert (found.state.value, found.problems) == ("synced", ())
    other = new_id("project")
    (refused,) = headway.sync(project=other).runs
    assert refused.state.value == "failed"
    assert f"lies in the project '{here.project}'" in refused.problems[0] and run.id in refused.problems[0]
    project = here.projects.get(str(here.project))
    assert headway.sync(project=project.id).ok and headway.sync(project=project.name).ok
    assert here.runs.get(run.id).project_id == project.id


@pytest.mark.parametrize("reference", ["artifact:nope:v9", "models:/nope/9"])
def test_a_reference_that_the_server_lacks_is_named(here: Client, reference: str) -> None:
    with headway.init(project=here.project, **OFF) as run:
        run.mark_input(reference)
    (found,) = headway.sync().runs
    assert (found.id, found.state.value) == (run.id, "synced")
    assert len(found.problems) == 1 and found.problems[0].startswith(f"input {reference}: ")
    assert headway.local_runs()[0].synced


def test_a_live_run_says_that_the_server_lacks_a_reference(here: Client, capfd: pytest.CaptureFixture[str]) -> None:
    with headway.init(project=here.project, **QUIET) as run:
        run.mark_input("artifact:nope:v9")
    said = capfd.readouterr().err
    assert "its input artifact:nope:v9 is not on the server" in said
    until(lambda: here.runs.get(run.id).state.value == "complete", 30, "the run is complete")
    assert headway.local_runs()[0].synced


def test_what_init_refused_leaves_nothing_behind(here: Client, base: Path) -> None:
    keywords = {**QUIET, "project": here.project, "conflict_strategy": "error"}
    first = headway.init(name="same", **keywords)
    first.finish()
    with pytest.raises(ConflictError, match="'same'"):
        headway.init(name="same", **keywords)
    with pytest.raises(NotFoundError, match="'nowhere'"):
        headway.init(name="other", folder="nowhere", **keywords)
    assert os.listdir(base / "runs") == [first.id]
    assert headway.sync().ok


def test_what_lay_there_before_init_refused_it_stays(here: Client) -> None:
    with headway.init(project=here.project, name="same", **QUIET):
        pass
    with headway.init(project=here.project, name="same", id=new_id("run"), **OFF) as mine:
        mine.log({"x": 1}, step=0)
    with pytest.raises(ConflictError, match="'same'"):
        headway.init(project=here.project, id=mine.id, name="same", conflict_strategy="error", **QUIET)
    assert mine.directory is not None and list(mine.directory.glob("metrics-*"))
