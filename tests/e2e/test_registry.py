"""The chain of a model that a job left: version, run, job, commit, parameters, metrics, data, and back."""

from __future__ import annotations

import subprocess
from pathlib import Path

from headway import Client
from headway.domain.jobs import JobState
from headway.testing.faults import until

SECONDS = 120.0
TRAIN = """
import os
import headway

with headway.init(config={"lr": 0.1}) as run:
    run.mark_input("artifact:numbers:latest")
    for step in range(10):
        run.log({"loss": 1.0 / (step + 1)}, step=step)
model = os.environ["HEADWAY_MODEL_DIR"]
with open(os.path.join(model, "predict.py"), "w") as file:
    file.write("class Predictor:\\n    def predict(self, inputs):\\n        return inputs\\n")
output = os.path.join(os.environ["HEADWAY_OUTPUT_DIR"], "export")
os.makedirs(output)
with open(os.path.join(output, "predict.py"), "w") as file:
    file.write("class Predictor:\\n    pass\\n")
"""


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *words], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_model_that_a_job_left_knows_where_it_came_from(client: Client, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "train.py").write_text(TRAIN)
    for words in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "train"]):
        git(code, *words)
    commit = git(code, "rev-parse", "HEAD")
    (tmp_path / "numbers.txt").write_text("1 2 3")
    data = client.artifacts.upload("numbers", tmp_path / "numbers.txt")

    job = client.jobs.create("train", command="python train.py", workspace={"git": f"file://{code}"}, model_name="net")
    ended = client.jobs.wait(job.id, timeout=SECONDS)
    assert ended.state is JobState.SUCCEEDED
    version = until(
        lambda: next((v for v in client.models.versions(job=job.id) if v.metrics and v.parameters and v.git), None),
        SECONDS,
        "what the run was, in its version",
    )
    assert (version.name, version.run_id, version.job_id) == ("net", job.run_id, job.id)
    assert version.metrics["loss"] == 0.1
    assert version.parameters == {"lr": 0.1}
    assert version.git is not None
    assert version.git.commit == commit

    by_hand = client.models.register("net", source=f"runs:/{job.run_id}/export", version_name="exported")
    assert (by_hand.run_id, by_hand.job_id, by_hand.git) == (job.run_id, job.id, version.git)
    assert by_hand.metrics == version.metrics
    for made in (version, by_hand):
        above = {node.id for node in client.lineage(made).upstream}
        assert {job.run_id, job.id, data.id} <= above
        assert made.id in {node.id for node in client.lineage(data).downstream}
        assert made.id in {node.id for node in client.lineage(ended).downstream}
        page = client.models.describe(made)
        assert page.job is not None
        assert page.run is not None
        assert page.code is not None
        assert (page.job.id, page.run.id, page.code.commit) == (job.id, job.run_id, commit)
        assert [(used.name, used.digest) for used in page.data] == [("numbers:v1", data.digest)]


PRINTING = """
import os
for step in range(5):
    print(f"loss = {1.0 / (step + 1)}, step = {step}", flush=True)
with open(os.path.join(os.environ["HEADWAY_MODEL_DIR"], "predict.py"), "w") as file:
    file.write("class Predictor:\\n    def predict(self, inputs):\\n        return inputs\\n")
"""


def test_what_monitors_find_in_the_log_of_a_job_is_in_the_version_that_it_left(client: Client, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(PRINTING)
    monitor = {"name": "loss", "regex": r"loss = (\S+), step = (\d+)", "sample": "loss = 0.3, step = 159"}
    fields = {"workspace": tmp_path, "parameters": {"lr": 0.1}, "monitors": [monitor], "model_name": "printed"}
    job = client.jobs.create("train", command="python train.py", **fields)
    assert client.jobs.wait(job.id, timeout=SECONDS).state is JobState.SUCCEEDED
    version = until(
        lambda: next((v for v in client.models.versions(job=job.id) if v.metrics.get("loss") == 0.2), None),
        SECONDS,
        "the last point of the monitor, in the version",
    )
    assert version.parameters == {"lr": 0.1}
