"""The snippets of the t9k manual, in its order, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import headway
from headway.errors import NotFoundError
from headway.testing.server import ServerProcess

SECONDS = 60.0


@pytest.fixture(autouse=True)
def in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EM_RUN_PARENT_DIR", "EM_ARTIFACT_PARENT_DIR", "T9K_CONFIG", "T9K_CONFIG_CONTEXT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def em(running_server: ServerProcess) -> Iterator[Any]:
    from t9k import em

    em.login(ais_host=f"{running_server.url}/t9k/aistore/server", api_key=running_server.token)
    yield em
    em.logout()


@pytest.fixture
def client(running_server: ServerProcess) -> Iterator[headway.Client]:
    with headway.Client(running_server.url, running_server.token, project="default") as found:
        yield found


def eventually(look: Callable[[], Any]) -> Any:
    """What ``look`` finds once it finds something: folding is the server's own pace."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            found = look()
        except NotFoundError:
            found = None
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def finished(client: headway.Client, run: str) -> headway.Run | None:
    found = client.runs.get(run)
    return found if found.state.value != "running" else None


def folder_of(tmp_path: Path) -> str:
    """A folder of the test's own on the shared server."""
    return re.sub(r"[^A-Za-z0-9]", "-", tmp_path.name)[-40:].strip("-")


def points(client: headway.Client, run: str, name: str, stage: str, count: int) -> list[tuple[int | None, float]]:
    """The points of a series once there are so many."""

    def look() -> list[tuple[int | None, float]] | None:
        found = client.runs.metrics(run, name, stage=stage)
        return [(point.step, point.value) for point in found] if len(found) >= count else None

    return eventually(look) or []


def test_automatic_upload_and_the_strategy_new(em: Any, client: headway.Client, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    runs = []
    for _ in range(2):
        run = em.create_run(
            name="mnist_torch", auto_upload=True, folder=folder, make_folder=True, conflict_strategy="new"
        )
        run.hparams.update({"batch_size": 32})
        run.log(type="train", metrics={"loss": 0.5}, step=1, epoch=1)
        run.finish()
        runs.append(run)
    first, second = (eventually(lambda run=run: finished(client, run.alternative_name)) for run in runs)
    assert first.name == "mnist_torch"
    assert second.name == runs[1].alternative_name
    assert first.folder == second.folder == folder
    assert first.state.value == second.state.value == "complete"
    assert first.config == {"batch_size": 32}
    assert points(client, first.id, "loss", "train", 1) == [(1, 0.5)]


def test_the_other_strategies(em: Any, client: headway.Client, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    old = em.create_run(name="taken", auto_upload=True, folder=folder, make_folder=True)
    old.finish()
    with pytest.raises(RuntimeError, match="Run already exists in Folder"):
        em.create_run(name="taken", auto_upload=True, folder=folder, conflict_strategy="error")
    skipped = em.create_run(name="taken", auto_upload=True, folder=folder, conflict_strategy="skip")
    skipped.log(type="train", metrics={"loss": 1.0}, step=1)
    skipped.finish()
    with pytest.raises(NotFoundError):
        client.runs.get(skipped.alternative_name)
    replacing = em.create_run(name="taken", auto_upload=True, folder=folder, conflict_strategy="replace")
    replacing.finish()
    with pytest.raises(NotFoundError):
        client.runs.get(old.alternative_name)
    assert client.runs.get(replacing.alternative_name).name == "taken"
    # The same run again is no conflict, whatever the strategy.
    replacing.upload(folder=folder, conflict_strategy="error")


def test_an_unknown_folder_is_named_before_anything_is_recorded(em: Any) -> None:
    with pytest.raises(ValueError, match="Folder does not exist: nowhere-at-all"):
        em.create_run(name="a", auto_upload=True, folder="nowhere-at-all")
    run = em.create_run(name="a")
    with pytest.raises(ValueError, match="Folder does not exist: nowhere-at-all"):
        run.upload(folder="nowhere-at-all")


def test_everything_may_come_from_the_configuration_file(em: Any, client: headway.Client, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    Path("run_config.yaml").write_text(
        f"name: mnist_torch\nauto_upload: true\nfolder: {folder}\nmake_folder: true\nconflict_strategy: new\n"
        "labels:\n- torch\n- CNN\ndescription: Train a simple CNN model.\nhparams:\n  batch_size: 32\n"
        "  learning_rate: 0.001\n"
    )
    run = em.create_run(config_path="./run_config.yaml")
    hparams = run.hparams
    assert hparams["learning_rate"] == 0.001
    run.hparams["batch_size"] = 64
    run.finish()
    found = eventually(lambda: finished(client, run.alternative_name))
    assert (found.name, found.folder, found.labels) == ("mnist_torch", folder, ("torch", "CNN"))
    assert found.description == "Train a simple CNN model."
    assert found.config == {"batch_size": 64, "learning_rate": 0.001}


def test_metrics_of_every_kind_arrive_exactly(em: Any, client: headway.Client) -> None:
    run = em.create_run(name="metrics", auto_upload=True)
    for epoch in (1, 2):
        for step in range(1, 4):
            run.log(type="train", metrics={"loss": 1 / (epoch * 3 + step)}, step=(epoch - 1) * 3 + step, epoch=epoch)
        run.log(type="validation", metrics={"accuracy": np.array([0.1 * epoch])}, step=epoch * 3, epoch=epoch)
    run.log(type="evaluate", metrics={"accuracy": np.float32(0.1)}, step=6)
    run.log(type="gan/discriminator", metrics={"score": 2**60 + 1}, step=6)
    run.finish()
    expected = [((e - 1) * 3 + s, 1 / (e * 3 + s)) for e in (1, 2) for s in range(1, 4)]
    assert points(client, run.alternative_name, "loss", "training", 6) == expected
    assert points(client, run.alternative_name, "accuracy", "val", 2) == [(3, 0.1), (6, 0.2)]
    assert points(client, run.alternative_name, "accuracy", "test", 1) == [(6, float(np.float32(0.1)))]
    assert points(client, run.alternative_name, "score", "gan/discriminator", 1) == [(6, 2**60 + 1)]


def test_artifacts_are_uploaded_with_the_run_that_marks_them(em: Any, client: headway.Client, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "a.bin").write_bytes(b"a")
    (tmp_path / "mnist.npz").write_bytes(b"numbers")
    dataset = em.create_artifact(name="mnist_dataset", labels=["dataset", "MNIST"], description="Images.")
    dataset.add_file(file_path="./mnist.npz", obj_path="dataset/")
    dataset.add_dir(dir_path="./mnist/", obj_path="dataset/")
    dataset.add_reference(uri="https://example.org/train.gz", obj_path="dataset/")
    model = em.create_artifact(name="mnist_model")
    model.add_file(file_path="./mnist.npz")
    run = em.create_run(name="mnist_torch")
    run.mark_input(dataset)
    run.mark_output(model)
    run.finish()
    folder = folder_of(tmp_path)
    run.upload(folder=folder, make_folder=True)
    version = next(item for item in client.artifacts.versions() if item.alternative_name == dataset.alternative_name)
    entries = {entry.path: entry.uri for entry in client.artifacts.entries(version)}
    assert entries == {
        "dataset/mnist.npz": None,
        "dataset/mnist/a.bin": None,
        "dataset/train.gz": "https://example.org/train.gz",
    }

    def edges() -> set[tuple[str, str]] | None:
        graph = client.lineage(run.alternative_name)
        labels = {node.id: node.label for node in graph.nodes}
        found = {
            (edge.relation.value, labels[edge.source if edge.relation.value == "input" else edge.target])
            for edge in graph.edges
        }
        return found if len(found) >= 2 else None

    found = eventually(edges)
    assert {relation for relation, _ in found} == {"input", "output"}
    assert any("mnist_dataset" in label for relation, label in found if relation == "input")
    assert any("mnist_model" in label for relation, label in found if relation == "output")
    loaded = em.load_artifact(version.uri)
    assert set(loaded.objects) == set(entries)
    assert Path(loaded.local, "dataset", "mnist.npz").read_bytes() == b"numbers"


def test_what_was_kept_locally_is_uploaded_later_and_twice_is_once(
    em: Any, client: headway.Client, tmp_path: Path
) -> None:
    program = (
        "from t9k import em\nrun = em.create_run(name='later', hparams={'lr': 0.1})\n"
        "for step in range(5): run.log(type='train', metrics={'loss': step / 10}, step=step)\nrun.finish()\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=SECONDS)
    (path,) = (tmp_path / ".em" / "runs").iterdir()
    for _ in range(2):
        run = em.load_run(path=f".em/runs/{path.name}")
        assert run.status == "Running"
        run.upload(folder="default", make_folder=True)
    run.log(type="train", metrics={"loss": 0.5}, step=5)
    run.finish()
    em.upload(".em/runs", folder="default")
    found = eventually(lambda: finished(client, path.name))
    assert found.config == {"lr": 0.1}
    assert points(client, path.name, "loss", "train", 6) == [(step, step / 10) for step in range(6)]


def test_a_directory_that_the_original_wrote_loads_and_uploads(em: Any, client: headway.Client, tmp_path: Path) -> None:
    name = "original_240110_101112_61p5jc"
    directory = tmp_path / ".em" / "runs" / name
    (directory / "metrics").mkdir(parents=True)
    files = {
        "metadata.yaml": {
            "kind": "Run",
            "name": "original",
            "labels": ["torch"],
            "description": "",
            "startTimestamp": "2024-01-10T10:11:12.000000+08:00",
            "endTimestamp": "2024-01-10T10:12:12.000000+08:00",
            "status": "Complete",
            "alternativeName": name,
            "associations": {
                "input": [{"kind": "branch", "id": "mnist:main", "path": "/ada/mnist:main"}],
                "output": [{"kind": "Artifact", "name": "gone_240110_101112_aaaaaa", "localDir": ".em/artifacts/gone"}],
            },
            "remote": [],
        },
        "index.yaml": {"hyperparameters": "hyperparameters.yaml", "metrics": {"training": "metrics/training.yaml"}},
        "hyperparameters.yaml": {"batch_size": 32},
        "metrics/training.yaml": [
            {
                "value": {"loss": 0.25},
                "sequence": {"epoch": 1, "step": 10, "timestamp": "2024-01-10T10:11:13.500000+08:00"},
            }
        ],
    }
    for place, document in files.items():
        (directory / place).write_text(yaml.safe_dump(document))
    em.load_run(directory)
    metadata = yaml.safe_load((directory / "metadata.yaml").read_text())
    (directory / "metadata.yaml").write_text(yaml.safe_dump({**metadata, "status": "Complete"}))
    em.upload(directory, conflict_strategy="new")
    found = eventually(lambda: finished(client, name))
    assert (found.name, found.labels, found.config) == ("original", ("torch",), {"batch_size": 32})
    assert found.created_at.isoformat() == "2024-01-10T02:11:12+00:00"
    assert points(client, name, "loss", "train", 1) == [(10, 0.25)]
    (point,) = client.runs.metrics(name, "loss", stage="training")
    assert (point.time, point.epoch) == (1704852673500, 1.0)


def test_a_run_on_the_server_is_loaded_on_another_machine(
    em: Any, client: headway.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path)
    run = em.create_run(name="elsewhere", auto_upload=True, folder=folder, make_folder=True, hparams={"a": 1})
    run.log(type="train", metrics={"loss": 0.5, "accuracy": 0.9}, step=1, epoch=1)
    run.finish()
    assert points(client, run.alternative_name, "accuracy", "train", 1)
    eventually(lambda: finished(client, run.alternative_name))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    loaded = em.load_run(f"{folder}/elsewhere")
    assert loaded.name == "elsewhere"
    assert loaded.hparams.as_dict() == {"a": 1}
    (entry,) = loaded.metrics["train"]
    assert entry["value"] == {"loss": 0.5, "accuracy": 0.9}
    assert entry["sequence"]["step"] == 1


def test_a_wrong_key_is_said_at_the_login(running_server: ServerProcess) -> None:
    from t9k import em

    with pytest.raises(RuntimeError, match="permission denied"):
        em.login(ais_host=running_server.url, api_key="<your-api-key>")
    with pytest.raises(RuntimeError, match="Not logged in"):
        em.create_run(name="a").upload()
