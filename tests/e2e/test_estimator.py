"""From code to endpoint on a real server: the three forms of training, models, deployments that are asked and changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from headway import Client, Estimator
from headway.domain.base import new_id
from headway.domain.jobs import JobState
from headway.errors import InvalidRequestError, JobFailedError, NotFoundError

WAIT = 120.0
TRAIN = """
import argparse, os, pathlib
import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression

parser = argparse.ArgumentParser()
parser.add_argument("--C", type=float)
C = parser.parse_args().C
data = np.load(pathlib.Path(os.environ["HEADWAY_INPUT_TRAIN"]) / "digits.npz")
model = LogisticRegression(C=C, max_iter=300).fit(data["x"], data["y"])
print(f"loss = {1 - model.score(data['x'], data['y']):.4f}, C = {C}")
skops.io.dump(model, pathlib.Path(os.environ["HEADWAY_MODEL_DIR"]) / "model.skops")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    found = load_digits()
    np.savez(folder / "digits.npz", x=found.data[:500], y=found.target[:500])
    return folder


def test_five_lines_from_code_to_endpoint(
    client: Client, code: Path, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    est = Estimator(
        framework="sklearn",
        entry_point="train.py",
        source_dir=code,
        hyperparameters={"C": 0.3},
        instance_type="cpu.small",
        client=client,
    )
    job = est.fit({"train": digits}, job_name="digits", wait=True, logs=True, timeout=WAIT)
    assert job.state is JobState.SUCCEEDED
    assert "C = 0.3" in capsys.readouterr().out
    assert client.runs.get(job.run_id).config == {"C": 0.3}
    assert list(client.models.versions(job=job.id)) == [], "nothing is registered that nobody asked for"

    model = est.create_model("digits", version_name="1.0.0", aliases=["champion"], labels={"stage": "production"})
    assert (model.uri, model.runtime, model.job_id) == ("models:/digits/1", "sklearn", job.id)
    assert client.models.version("models:/digits@champion").id == model.id

    predictor = est.deploy(name="digits", replicas=1, timeout=WAIT)
    pictures = load_digits()
    found = predictor.predict(pictures.data[500:510])
    assert isinstance(found["classes"], np.ndarray)
    assert np.mean(found["classes"] == pictures.target[500:510]) > 0.7

    est.fit({"train": digits}, job_name="digits", logs=False, timeout=WAIT)
    second = est.create_model("digits")
    assert second.version == 2
    predictor.update(traffic={"v1": 50, "v2": 50}, timeout=WAIT)
    assert {predictor.ask(pictures.data[:1]).version for _ in range(20)} == {"v1", "v2"}
    predictor.rollback(timeout=WAIT)
    assert {predictor.ask(pictures.data[:1]).version for _ in range(10)} == {"v1"}
    again = est.deploy(name="digits", timeout=WAIT)
    assert again.deployment == predictor.deployment, "a deployment of that name gets another revision"
    assert again.ask(pictures.data[:1]).version == "v2"
    predictor.delete()
    with pytest.raises(NotFoundError):
        client.deployments.get("digits")


def test_a_preset_algorithm_needs_nothing_but_data(client: Client, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    frame = pd.DataFrame({"a": chance.normal(size=200), "b": chance.normal(size=200)})
    frame["target"] = 3 * frame["a"] - frame["b"]
    frame.to_csv(tmp_path / "plane.csv", index=False)
    est = Estimator(algorithm=500004, hyperparameters={"validation_share": 0.25}, instance_type=500050, client=client)
    job = est.fit(tmp_path / "plane.csv", logs=False, timeout=WAIT)
    series = (
        {entry.name for entry in client.runs.get_metrics(job.run_id)} if hasattr(client.runs, "get_metrics") else None
    )
    assert series is None or {"r2", "rmse"} <= series
    predictor = est.deploy(name=new_id("plane"), timeout=WAIT)
    found = predictor.predict(frame[["a", "b"]].head(5))
    assert np.allclose(np.asarray(found["predictions"]), frame["target"].head(5))
    predictor.delete()


def test_a_training_that_fails_raises_and_makes_no_model(client: Client) -> None:
    est = Estimator(command="echo working; echo trouble >&2; exit 3", client=client)
    with pytest.raises(JobFailedError) as caught:
        est.fit(logs=False, timeout=WAIT)
    assert "trouble" in str(caught.value) or "3" in str(caught.value)
    with pytest.raises(InvalidRequestError, match="failed"):
        est.create_model("never")


def test_a_training_that_leaves_no_model_says_so(client: Client) -> None:
    est = Estimator(command="true", client=client)
    job = est.fit(wait=False)
    assert not job.finished
    client.jobs.wait(job.id, timeout=WAIT)
    other = Estimator(command="true", client=client)
    other.attach(job.id)
    with pytest.raises(NotFoundError, match="left no model"):
        other.create_model("nothing")


def test_replicas_of_a_job_are_told_apart(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    est = Estimator(command="echo rank $RANK of $WORLD_SIZE", instance_count=2, client=client)
    est.fit(timeout=WAIT)
    shown = capsys.readouterr().out.splitlines()
    assert sorted(shown) == ["[worker-0] rank 0 of 2", "[worker-1] rank 1 of 2"]


def test_monitors_make_series_of_what_a_program_prints(client: Client) -> None:
    est = Estimator(
        command="for i in 1 2 3; do echo loss = 0.$i, step = $i; done",
        monitors=[{"name": "loss", "regex": r"loss = (\S+), step = (\d+)", "sample": "loss = 0.3, step = 159"}],
        client=client,
    )
    job = est.fit(logs=False, timeout=WAIT)
    (monitor,) = client.monitors.list(run=job.run_id) if hasattr(client, "monitors") else [None]
    assert monitor is None or monitor.name == "loss"
