"""Preset algorithms as a job runs them: data in a directory, parameters in a file, a model that a replica can load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from headway.serving.runtimes.registry import load_model


def table(rows: int = 240) -> pd.DataFrame:
    """Three kinds of flowers, so to speak: two numbers with gaps, a text, and what it is."""
    chance = np.random.default_rng(3)
    kind = chance.integers(0, 3, rows)
    frame = pd.DataFrame(
        {
            "width": kind + chance.normal(0, 0.2, rows),
            "height": 2.0 * kind + chance.normal(0, 0.5, rows),
            "colour": np.array(["red", "green", "blue"])[kind],
            "label": np.array(["rose", "fern", "iris"])[kind],
        }
    )
    frame.loc[::17, "width"] = np.nan
    return frame


class Place:
    """The directories of one training."""

    def __init__(self, root: Path) -> None:
        self.data, self.model, self.parameters = root / "data", root / "model", root / "params.json"
        self.data.mkdir()
        self.variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "HEADWAY_INPUT_TRAIN": str(self.data),
            "HEADWAY_PARAMS_FILE": str(self.parameters),
            "HEADWAY_MODEL_DIR": str(self.model),
        }

    def run(self, name: str, **parameters: Any) -> subprocess.CompletedProcess[str]:
        self.parameters.write_text(json.dumps(parameters))
        command = [sys.executable, "-m", "headway.presets", name]
        return subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=240, check=False)

    def trained(self, name: str, **parameters: Any) -> str:
        done = self.run(name, **parameters)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def last_metric(output: str, stage: str, name: str) -> float:
    (*_, line) = [line for line in output.splitlines() if line.startswith(f"{stage}: ") and f"{name} = " in line]
    return float(line.partition(f"{name} = ")[2].split(",")[0])


@pytest.mark.parametrize("algorithm", ["logistic-regression", "gradient-boosting"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_classifier_learns_a_table_and_is_served(place: Place, algorithm: str, suffix: str) -> None:
    frame = table()
    write = frame.to_csv if suffix == ".csv" else frame.to_parquet
    write(place.data / f"flowers{suffix}", index=False)
    output = place.trained(algorithm)
    assert last_metric(output, "validation", "accuracy") > 0.9
    model = load_model(place.model)
    assert model.signature is not None
    assert set(model.signature.inputs[0].columns) == {"width", "height", "colour"}
    example = json.loads((place.model / "example.json").read_text())["instances"]
    assert set(example[0]) == {"width", "height", "colour"}


def test_gradient_boosting_reports_the_loss_of_every_tree(place: Place) -> None:
    table().to_csv(place.data / "flowers.csv", index=False)
    output = place.trained("gradient-boosting", n_estimators=7)
    steps = [line for line in output.splitlines() if line.startswith("train: step = ")]
    assert [line.split(",")[0] for line in steps] == [f"train: step = {number}" for number in range(1, 8)]
    losses = [float(line.partition("loss = ")[2]) for line in steps]
    assert losses == sorted(losses, reverse=True)


def test_linear_regression_finds_the_weights(place: Place) -> None:
    chance = np.random.default_rng(0)
    features = chance.normal(size=(300, 3))
    target = features @ np.array([2.0, -1.0, 0.5]) + 7
    np.savez(place.data / "plane.npz", x=features, y=target)
    assert last_metric(place.trained("linear-regression"), "validation", "r2") > 0.999
    model = load_model(place.model)
    assert model.signature is not None
    name = model.signature.inputs[0].name
    found = model.predict({name: np.array([[1.0, 1.0, 1.0]])})
    assert found["predictions"] == pytest.approx([8.5])


def test_k_means_finds_the_groups(place: Place) -> None:
    chance = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = np.concatenate([centre + chance.normal(0, 0.3, (40, 2)) for centre in centres])
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(place.data / "groups.csv", index=False)
    output = place.trained("k-means", n_clusters=3)
    assert "silhouette = 0.9" in output
    model = load_model(place.model)
    assert model.signature is not None
    found = model.predict({model.signature.inputs[0].name: rows})["predictions"]
    assert len({tuple(found[start : start + 40]) for start in (0, 40, 80)}) == 3


def test_pictures_are_learned_and_served_in_their_shape(place: Place) -> None:
    digits = load_digits()
    np.savez(place.data / "digits.npz", images=digits.images[:600], labels=digits.target[:600])
    output = place.trained("mlp-image-classifier", epochs=8, hidden_layers="32", learning_rate=0.01)
    assert last_metric(output, "validation", "accuracy") > 0.85
    model = load_model(place.model)
    pictures = digits.images[600:700]
    for given in (pictures, pictures.reshape(100, -1)):
        found = model.predict(given.tolist())
        assert np.mean(np.asarray(found["classes"]) == digits.target[600:700]) > 0.8
    with pytest.raises(ValueError, match="64 pixels"):
        model.predict([[1.0, 2.0]])


def test_validation_data_of_its_own_is_used(place: Place, tmp_path: Path) -> None:
    frame = table()
    frame.to_csv(place.data / "train.csv", index=False)
    wrong = frame.assign(label=np.roll(frame["label"].to_numpy(), 1))
    other = tmp_path / "other"
    other.mkdir()
    wrong.to_csv(other / "validation.csv", index=False)
    place.variables["HEADWAY_INPUT_VALIDATION"] = str(other)
    output = place.trained("logistic-regression")
    assert last_metric(output, "train", "accuracy") > 0.9
    assert last_metric(output, "validation", "accuracy") < 0.6


@pytest.mark.parametrize(
    ("algorithm", "files", "parameters", "words"),
    [
        ("logistic-regression", {}, {}, "no data"),
        ("logistic-regression", {"a.csv": "x,label\n1,a\n2,a\n"}, {}, "one value only"),
        ("logistic-regression", {"a.csv": "x,label\n1,a\n2,b\n"}, {"target": "klass"}, "no column 'klass'"),
        ("logistic-regression", {"a.csv": "x,label\n1,a\n", "b.csv": "y,label\n1,b\n"}, {}, "other columns"),
        ("logistic-regression", {"a.csv": "x,label\n1,a\n"}, {"c": 1}, "no parameter 'c'"),
        ("linear-regression", {"a.csv": "x,y\n1,one\n2,two\n3,three\n"}, {}, "holds texts"),
        ("k-means", {"a.csv": "x,y\n1,1\n2,2\n"}, {"n_clusters": 9}, "there are 2 rows"),
        ("k-means", {"a.npz": "not an archive"}, {}, "cannot be read"),
        (
            "mlp-image-classifier",
            {"a.csv": "p,q,label\n1,2,a\n3,4,b\n"},
            {"hidden_layers": "wide"},
            "no list of widths",
        ),
        ("mlp-image-classifier", {"a.csv": "p,q,label\nred,2,a\nblue,4,b\n"}, {}, "something else than numbers"),
        ("forest", {}, {}, "no preset algorithm 'forest'"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(
    place: Place, algorithm: str, files: dict[str, str], parameters: dict[str, Any], words: str
) -> None:
    for name, text in files.items():
        (place.data / name).write_text(text)
    done = place.run(algorithm, **parameters)
    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_archive_with_a_pickle_in_it_is_not_loaded(place: Place) -> None:
    np.savez(place.data / "bad.npz", x=np.array([[1, "a"], [2, "b"]], dtype=object), y=np.array([0, 1]))
    done = place.run("logistic-regression")
    assert done.returncode == 2
    assert "cannot be read" in done.stderr
