"""Artifacts that runs mark: linked on the server, live or by a later sync."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headway
from headway import Artifact, Client
from headway.domain.base import new_id
from headway.testing.factories import digest_of
from headway.testing.faults import until
from headway.testing.server import ServerProcess


@pytest.fixture
def project(
    running_server: ServerProcess, base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    monkeypatch.setenv("HEADWAY_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.chdir(tmp_path)
    yield new_id("project")


@pytest.fixture
def scoped(running_server: ServerProcess, project: str) -> Iterator[Client]:
    with Client(running_server.url, running_server.token, project=project) as found:
        found.projects.create(project)
        yield found


def artifact_of(name: str, text: str, tmp_path: Path) -> Artifact:
    (tmp_path / name).write_text(text)
    artifact = Artifact(name)
    artifact.add_file(tmp_path / name)
    return artifact


def edges(client: Client, run: str) -> set[tuple[str, str]]:
    """Labels of what each edge joins; the run is called ``run``."""
    found = client.lineage(run)
    names = {node.id: "run" if node.id == run else node.label for node in found.nodes}
    return {(names[edge.source], names[edge.target]) for edge in found.edges}


EXPECTED = {("stored:v1", "run"), ("used:v1", "run"), ("dataset", "run"), ("run", "made:v1"), ("base/1", "run")}


class Foreign:
    kind, id, path = "Dataset", "d7", "dataset"


def marked(run: Any, tmp_path: Path) -> None:
    run.mark_input("artifact:stored:v1")
    run.mark_input("models:/base/1")
    run.mark_input(artifact_of("used", "used", tmp_path))
    run.mark_input(Foreign())
    run.mark_output(artifact_of("made", "made", tmp_path))
    run.finish()


def test_a_live_runs_artifacts_are_uploaded_and_linked(
    running_server: ServerProcess, scoped: Client, project: str, tmp_path: Path
) -> None:
    (tmp_path / "stored").write_text("stored")
    scoped.artifacts.upload("stored", tmp_path / "stored")
    scoped.models.register("base", tmp_path / "stored")
    run = headway.init(project=project, url=running_server.url, token=running_server.token, capture=False)
    marked(run, tmp_path)
    until(lambda: edges(scoped, run.id) == EXPECTED, 60, "every edge is there", pause=0.2)


def test_an_offline_runs_artifacts_go_with_it_when_it_is_synced(
    running_server: ServerProcess, scoped: Client, project: str, tmp_path: Path
) -> None:
    (tmp_path / "stored").write_text("stored")
    scoped.artifacts.upload("stored", tmp_path / "stored")
    scoped.models.register("base", tmp_path / "stored")
    run = headway.init(project=project, mode="offline", capture=False)
    marked(run, tmp_path)
    assert list(scoped.artifacts.list(name="made")) == []
    for _ in range(2):
        report = headway.sync(url=running_server.url, token=running_server.token)
        assert report.ok
    until(lambda: edges(scoped, run.id) == EXPECTED, 60, "every edge is there", pause=0.2)
    assert scoped.artifacts.resolve("made").run_id == run.id
    assert len(list(scoped.artifacts.versions("made"))) == 1


def test_what_runs_logged_is_no_garbage_and_what_a_deleted_run_logged_is(
    running_server: ServerProcess, scoped: Client, project: str
) -> None:
    texts = {"kept": new_id("kept"), "gone": new_id("gone")}
    digests = {name: digest_of(text.encode()) for name, text in texts.items()}
    ids = {}
    for name, text in texts.items():
        run = headway.init(project=project, url=running_server.url, token=running_server.token, capture=False)
        run.log({"note": headway.Text(text)}, step=1)
        run.finish()
        ids[name] = run.id

    def stored(name: str) -> bool:
        digest = digests[name]
        return (running_server.data / "blobs" / "sha256" / digest[:2] / digest).exists()

    assert stored("kept") and stored("gone")
    scoped.runs.delete(ids["gone"])

    def collected() -> bool:
        scoped.gc(grace_hours=0)
        return not stored("gone")

    until(collected, 60, "what the deleted run logged was collected", pause=0.5)
    assert stored("kept")
    with scoped.blobs.open(digests["kept"]) as answer:
        assert answer.read(1000).decode() == texts["kept"]


def test_a_file_or_folder_is_logged_as_what_the_run_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_DIR", str(tmp_path / "kept"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"w")
    (tmp_path / "report.txt").write_text("fine")
    with headway.init(capture=False, console=False, system=False) as run:
        model = run.log_artifact(tmp_path / "model", type="model")
        report = run.log_artifact(tmp_path / "report.txt", "evaluation")
    assert (model.name, model.type, sorted(model.objects)) == ("model", "model", ["model/weights.bin"])
    assert (report.name, sorted(report.objects)) == ("evaluation", ["report.txt"])
    marked = headway.local_runs(tmp_path / "kept")[0].facts.outputs
    assert [mark.name for mark in marked] == ["model", "evaluation"]
