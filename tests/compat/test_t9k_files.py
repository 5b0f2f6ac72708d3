"""t9k without a server: the files, names and errors that scripts and old tools know."""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

ALTERNATIVE = r"_\d{6}_\d{6}_[a-z0-9]{6}$"


@pytest.fixture(autouse=True)
def in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EM_RUN_PARENT_DIR", "EM_ARTIFACT_PARENT_DIR", "T9K_CONFIG", "T9K_CONFIG_CONTEXT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def em() -> Any:
    from t9k import em

    em.logout()
    return em


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_a_run_is_a_directory_of_the_files_that_old_tools_read(em: Any, tmp_path: Path) -> None:
    run = em.create_run(name="mnist_torch", labels=["torch", "CNN"], description="digits", hparams={"lr": 0.1})
    run.log(type="train", metrics={"loss": 0.5}, step=1, epoch=1)
    run.log(type="train", metrics={"loss": 0.25}, step=2)
    print("printed")
    run.finish()
    directory = Path(run.local)
    assert directory.parent == tmp_path / ".em" / "runs"
    assert re.fullmatch("mnist_torch" + ALTERNATIVE, directory.name)
    metadata = yaml_of(directory / "metadata.yaml")
    assert metadata["kind"] == "Run"
    assert metadata["name"] == "mnist_torch"
    assert metadata["labels"] == ["torch", "CNN"]
    assert metadata["description"] == "digits"
    assert metadata["status"] == "Complete"
    assert metadata["alternativeName"] == directory.name
    assert metadata["associations"] == {"input": [], "output": []}
    assert metadata["remote"] == []
    assert metadata["startTimestamp"] <= metadata["endTimestamp"]
    index = yaml_of(directory / "index.yaml")
    assert index["hyperparameters"] == "hyperparameters.yaml"
    assert index["metrics"] == {"train": "metrics/train.yaml"}
    assert yaml_of(directory / "hyperparameters.yaml") == {"lr": 0.1}
    entries = yaml_of(directory / "metrics" / "train.yaml")
    assert [entry["value"] for entry in entries] == [{"loss": 0.5}, {"loss": 0.25}]
    assert entries[0]["sequence"]["epoch"] == 1
    assert entries[0]["sequence"]["step"] == 1
    assert "epoch" not in entries[1]["sequence"]
    assert run.metrics == {"train": entries}
    assert (directory / "stdout.log").read_text() == "printed\n"
    platform = yaml_of(directory / "platform.yaml")
    assert platform["pypkgs"]["numpy"] == np.__version__
    assert set(platform) == {"hostname", "os", "python", "pypkgs", "framework"}


def test_the_parent_directories_come_from_the_environment(
    em: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EM_RUN_PARENT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", str(tmp_path / "things"))
    assert Path(em.create_run(name="a").local).parent == tmp_path / "elsewhere"
    assert Path(em.create_artifact(name="a").local).parent == tmp_path / "things"
    assert not (tmp_path / ".em").exists()


def test_the_directory_is_found_again_after_a_chdir(em: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = em.create_run(name="a")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    run.log(type="train", metrics={"loss": 1.0}, step=1)
    assert run.metrics["train"][0]["value"] == {"loss": 1.0}


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a" * 41, "ä", None, 3])
def test_a_name_that_is_not_allowed_is_named(em: Any, name: object) -> None:
    with pytest.raises(ValueError, match="Invalid name of Run"):
        em.create_run(name=name)
    with pytest.raises(ValueError, match="Invalid name of Artifact"):
        em.create_artifact(name=name)


def test_the_configuration_file_says_everything_and_wins(em: Any, tmp_path: Path) -> None:
    (tmp_path / "run_config.yaml").write_text(
        "name: mnist_torch\nlabels: [torch]\ndescription: from the file\nhparams:\n  batch_size: 32\n"
        "auto_upload: false\nfolder: new-folder\nmake_folder: true\nconflict_strategy: new\n"
    )
    run = em.create_run(config_path="./run_config.yaml", name="other", hparams={"epochs": 1})
    assert (run.name, run.labels, run.description) == ("mnist_torch", ["torch"], "from the file")
    assert run.hparams.as_dict() == {"batch_size": 32}
    (tmp_path / "run_config.yaml").write_text("naem: x\n")
    with pytest.raises(ValueError, match="Unknown arg provided by config file: 'naem'"):
        em.create_run(config_path="./run_config.yaml")


def test_hyperparameters_are_a_dict_that_is_kept(em: Any) -> None:
    run = em.create_run(name="a")
    hparams = run.hparams
    hparams.update({"batch_size": 32, "shape": (28, 28)})
    hparams["epochs"] = 10
    hparams.update({"epochs": 11, "new": True}, override=False)
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=7)
    hparams.update(parser.parse_args([]).__dict__)
    del hparams["new"]
    expected = {"batch_size": 32, "shape": [28, 28], "epochs": 10, "seed": 7}
    assert dict(hparams) == hparams.as_dict() == expected
    assert "epochs" in hparams
    assert len(hparams) == 4
    assert em.load_run(run.local).hparams.as_dict() == expected
    with pytest.raises(TypeError, match="'bad'"):
        hparams.update({"bad": object()})
    with pytest.raises(TypeError, match="dict"):
        hparams.update([("a", 1)])
    assert hparams.as_dict() == expected
    hparams["rate"] = np.float32(0.5)
    assert hparams["rate"] == 0.5


def test_tuples_that_the_original_wrote_are_read(em: Any) -> None:
    run = em.create_run(name="a")
    Path(run.local, "hyperparameters.yaml").write_text("size: !!python/tuple [1, 2]\n")
    assert em.load_run(run.local).hparams["size"] == [1, 2]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.array([0.5]), 0.5),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.array(2), 2),
        (2**62 + 1, 2**62 + 1),
        (True, 1),
        (float("-inf"), float("-inf")),
    ],
)
def test_one_element_values_are_numbers(em: Any, value: object, kept: float) -> None:
    run = em.create_run(name="a")
    run.log(type="train", metrics={"loss": value}, step=1)
    found = em.load_run(run.local).metrics["train"][0]["value"]["loss"]
    assert found == kept
    assert isinstance(found, int) == isinstance(kept, int)


def test_not_a_number_stays_one(em: Any) -> None:
    run = em.create_run(name="a")
    run.log(type="train", metrics={"loss": float("nan")}, step=1)
    assert math.isnan(em.load_run(run.local).metrics["train"][0]["value"]["loss"])


@pytest.mark.parametrize("value", ["0.5", None, np.zeros(3), [1.0, 2.0], {"a": 1}, 1 + 2j])
def test_what_is_no_number_is_refused_by_name(em: Any, value: object) -> None:
    run = em.create_run(name="a")
    with pytest.raises(ValueError, match="loss"):
        run.log(type="train", metrics={"loss": value}, step=1)
    assert run.metrics == {}


@given(kind=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40))
def test_any_text_is_a_metric_type_and_stays_in_the_run(kind: str) -> None:
    from t9k.em import metrics

    name = metrics.file_name(kind)
    assert name.startswith("metrics/")
    assert name.count("/") == 1
    assert name not in ("metrics/..yaml", "metrics/...yaml")


def test_custom_types_with_slashes(em: Any) -> None:
    run = em.create_run(name="a")
    for kind in ("gan/generator", "..", "a b", "λ"):
        run.log(type=kind, metrics={"x": 1.0}, step=1)
    assert list(em.load_run(run.local).metrics) == ["gan/generator", "..", "a b", "λ"]
    assert all(len(entries) == 1 for entries in run.metrics.values())


def test_a_finished_run_takes_nothing_more(em: Any) -> None:
    run = em.create_run(name="a")
    run.finish()
    assert run.status == "Complete"
    with pytest.raises(RuntimeError):
        run.finish()
    with pytest.raises(RuntimeError):
        run.log(type="train", metrics={"loss": 1.0}, step=1)


def test_a_program_that_ends_without_finish_leaves_an_error(tmp_path: Path) -> None:
    program = "from t9k import em\nrun = em.create_run(name='a')\nprint('hello')\nraise SystemExit(3)\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "hello\n")
    (metadata,) = (tmp_path / ".em" / "runs").glob("*/metadata.yaml")
    assert yaml_of(metadata)["status"] == "Error"


def test_a_metric_file_that_a_crash_cut_is_read_to_its_last_whole_entry(em: Any) -> None:
    run = em.create_run(name="a")
    for step in range(3):
        run.log(type="train", metrics={"loss": 0.5}, step=step)
    path = Path(run.local, "metrics", "train.yaml")
    path.write_text(path.read_text()[:-40] + "'")
    assert [entry["sequence"]["step"] for entry in em.load_run(run.local).metrics["train"]] == [0, 1]


def test_files_and_references_of_an_artifact(em: Any, tmp_path: Path) -> None:
    (tmp_path / "mnist" / "deep").mkdir(parents=True)
    (tmp_path / "mnist.npz").write_bytes(b"numbers")
    (tmp_path / "mnist" / "deep" / "a.bin").write_bytes(b"a")
    artifact = em.create_artifact(name="mnist_dataset", labels=["dataset"], description="digits")
    artifact.add_file(file_path="./mnist.npz")
    artifact.add_file(file_path="./mnist.npz", obj_path="dataset/")
    artifact.add_file(file_path="./mnist.npz", obj_path="dataset/renamed")
    artifact.add_dir(dir_path="./mnist/")
    artifact.add_dir(dir_path="./mnist/", obj_path="dataset/")
    artifact.add_reference(uri="https://example.org/train.gz", obj_path="dataset/")
    objects = em.load_artifact(artifact.local).objects
    assert set(objects) == {
        "mnist.npz",
        "dataset/mnist.npz",
        "dataset/renamed",
        "mnist/deep/a.bin",
        "dataset/mnist/deep/a.bin",
        "dataset/train.gz",
    }
    assert objects["mnist.npz"] == {
        "path": "mnist.npz",
        "size_bytes": 7,
        "checksum": "ee5c35ce3d081da90622a10d2272ed5e",
    }
    assert objects["dataset/train.gz"] == {"path": "dataset/train.gz", "uri": "https://example.org/train.gz"}
    metadata = yaml_of(Path(artifact.local, "metadata.yaml"))
    assert metadata["kind"] == "Artifact"
    assert metadata["alternativeName"] == artifact.alternative_name == Path(artifact.local).name
    assert yaml_of(Path(artifact.local, "references.yaml")) == {"dataset/train.gz": "https://example.org/train.gz"}


@pytest.mark.parametrize("place", ["../x", "/etc/x", "a/../../x", "a//b", "metadata.yaml", "..", "a\nb"])
def test_an_object_never_leaves_its_artifact(em: Any, tmp_path: Path, place: str) -> None:
    (tmp_path / "a").write_text("a")
    artifact = em.create_artifact(name="a")
    with pytest.raises(ValueError):
        artifact.add_file("a", place)
    with pytest.raises(ValueError):
        artifact.add_reference("https://example.org/a", place)
    assert artifact.objects == {}


def test_missing_files_and_clashes_are_named(em: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    artifact = em.create_artifact(name="a")
    with pytest.raises(RuntimeError, match="missing"):
        artifact.add_file("missing")
    with pytest.raises(RuntimeError, match="missing"):
        artifact.add_dir("missing")
    artifact.add_reference("https://example.org/a", "a")
    with pytest.raises(ValueError, match="reference"):
        artifact.add_file("a", "a")
    artifact.add_file("a", "b")
    with pytest.raises(ValueError, match="file"):
        artifact.add_reference("https://example.org/b", "b")


def test_marks_are_kept_once_and_only_of_what_can_be_marked(em: Any) -> None:
    class Branch:
        kind, id, path = "branch", "ast:main", "/ada/models/m:main"

    run, artifact = em.create_run(name="a"), em.create_artifact(name="data")
    for _ in range(2):
        run.mark_input(artifact)
        run.mark_output(Branch())
    assert em.load_run(run.local).associations == {
        "input": [{"kind": "Artifact", "name": artifact.alternative_name, "localDir": artifact.local}],
        "output": [{"kind": "branch", "id": "ast:main", "path": "/ada/models/m:main"}],
    }
    assert run.asso == run.associations
    with pytest.raises(TypeError, match="int"):
        run.mark_input(3)


def test_uploads_need_a_login_and_a_known_strategy(em: Any) -> None:
    run, artifact = em.create_run(name="a"), em.create_artifact(name="a")
    for act in (run.upload, artifact.upload, lambda: em.create_run(name="a", auto_upload=True)):
        with pytest.raises(RuntimeError, match="Not logged in"):
            act()
    for thing in (run, artifact):
        with pytest.raises(ValueError, match="conflict_strategy 'rename'"):
            thing.upload(conflict_strategy="rename")
    with pytest.raises(ValueError, match="conflict_strategy"):
        em.create_run(name="a", conflict_strategy="rename")
    with pytest.raises(ValueError, match="No host"):
        em.login(api_key="k")


def test_what_is_not_there_cannot_be_loaded(em: Any) -> None:
    with pytest.raises(OSError):
        em.load_run("nowhere")
    with pytest.raises(OSError):
        em.load_artifact("nowhere")
    with pytest.raises(ValueError, match="no run or artifact"):
        em.login  # noqa: B018 - the name exists
        em.upload("nowhere")


def test_the_configuration_file_names_host_and_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from t9k import CONFIG

    (tmp_path / "t9k.yaml").write_text(
        "current-context: b\ncontexts:\n- {name: a}\n- name: b\n  server: https://example.org/\n"
        "  prefixes: {aistore: /t9k/aistore/server}\n  auth: {apikey: secret}\n"
    )
    monkeypatch.setenv("T9K_CONFIG", str(tmp_path / "t9k.yaml"))
    CONFIG.reload()
    assert CONFIG["aistore_host"] == "https://example.org/t9k/aistore/server"
    assert CONFIG["api_key"] == "secret"
    assert "secret" not in repr(CONFIG)
    monkeypatch.setenv("T9K_CONFIG_CONTEXT", "a")
    CONFIG.reload()
    assert CONFIG["api_key"] is None
    CONFIG.reload()
