"""Sweeps on a real server: trials are jobs, the best is found, failures are passed over, and it can be stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.domain.jobs import JobState
from headway.domain.sweeps import SweepState, Trial, TrialState
from headway.errors import ConflictError, InvalidRequestError
from headway.testing.faults import until

WAIT = 240.0
TRAIN = """
import json, os, sys
import headway

parameters = json.load(open(os.environ["HEADWAY_PARAMS_FILE"]))
assert sys.argv[1:3] == ["--base", "10"], sys.argv
x = parameters["x"]
if x == 3:
    sys.exit("no three")
with headway.init() as run:
    for step in range(3):
        run.log({"loss": (x - 4) ** 2 + parameters["base"] - step}, step=step, stage="val")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    return folder


def test_a_grid_finds_the_best_and_passes_over_failures(client: Client, code: Path) -> None:
    job = {
        "command": ["python", "train.py"],
        "workspace": code,
        "parameters": {"base": 10},
        "parameter_arguments": True,
    }
    name = new_id("grid")
    made = client.sweeps.create(
        name, job, {"x": {"low": 1, "high": 6}}, metric="val.loss", sampler="grid", trials=50, parallel=2
    )
    assert (made.state, made.trials) == (SweepState.RUNNING, 6)
    found = client.sweeps.wait(name, timeout=WAIT)
    trials = list(client.sweeps.trials(name))
    assert found.state is SweepState.SUCCEEDED, (found.reason, trials)
    assert [trial.parameters for trial in trials] == [{"x": x} for x in range(1, 7)]
    assert [trial.state for trial in trials] == [
        TrialState.FAILED if x == 3 else TrialState.SUCCEEDED for x in range(1, 7)
    ]
    assert "exit" in trials[2].reason.lower() or "1" in trials[2].reason
    assert found.best is not None
    assert (found.best.parameters, found.best.value) == ({"x": 4}, 8.0)
    assert found.counts == {TrialState.SUCCEEDED: 5, TrialState.FAILED: 1}
    run = client.runs.get(found.best.run_id)
    assert run.config == {"base": 10, "x": 4}
    jobs = list(client.jobs.list(limit=50))
    assert {job.spec.labels["trial"] for job in jobs if job.spec.labels.get("sweep") == made.id} == set("123456")
    with pytest.raises(ConflictError, match=name):
        client.sweeps.create(name, job, {"x": [1]}, metric="val.loss")
    client.sweeps.delete(name)
    assert client.jobs.get(found.best.job_id).state is JobState.SUCCEEDED


def test_a_sweep_is_stopped_with_its_trials(client: Client) -> None:
    job = {"command": "sleep 600"}
    made = client.sweeps.create(new_id("long"), job, {"x": [1, 2, 3]}, metric="loss", trials=9, parallel=2)
    running = until(lambda: _when(list(client.sweeps.trials(made.id)), 2), seconds=WAIT)
    client.sweeps.stop(made.id)
    found = client.sweeps.wait(made.id, timeout=WAIT)
    assert found.state is SweepState.STOPPED
    assert [trial.state for trial in client.sweeps.trials(made.id)] == [TrialState.STOPPED] * 2
    assert {client.jobs.get(trial.job_id).state for trial in running} == {JobState.STOPPED}


def _when(trials: list[Trial], count: int) -> list[Trial] | None:
    return trials if len(trials) == count else None


def test_too_many_failures_end_a_sweep(client: Client) -> None:
    made = client.sweeps.create(
        new_id("bad"), {"command": "exit 3"}, {"x": [1, 2]}, metric="loss", trials=9, max_failures=1, sampler="random"
    )
    found = client.sweeps.wait(made.id, timeout=WAIT)
    assert found.state is SweepState.FAILED
    assert "2 trials failed" in found.reason
    assert sum(found.counts.values()) == 2


def test_an_objective_that_nothing_logs_fails_with_what_there_is(client: Client) -> None:
    program = "import headway\nwith headway.init() as run: run.log({'accuracy': 0.5}, step=1)"
    made = client.sweeps.create(
        new_id("odd"), {"command": ["python", "-c", program]}, {"x": [1]}, metric="loss", trials=1, sampler="grid"
    )
    found = client.sweeps.wait(made.id, timeout=WAIT)
    assert found.state is SweepState.FAILED
    (trial,) = client.sweeps.trials(made.id)
    assert "accuracy" in trial.reason


def test_a_monitor_may_be_the_objective(client: Client) -> None:
    job = {
        "command": "echo loss = $HEADWAY_PARAM_X",
        "monitors": [{"name": "loss", "regex": r"loss = (\S+)", "sample": "loss = 3"}],
    }
    made = client.sweeps.create(new_id("seen"), job, {"x": [5, 2, 7]}, metric="loss", sampler="grid", trials=3)
    found = client.sweeps.wait(made.id, timeout=WAIT)
    assert found.state is SweepState.SUCCEEDED, found.reason
    assert found.best is not None
    assert (found.best.parameters, found.best.value) == ({"x": 2}, 2.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": {"x": {"low": 2, "high": 1}}}, "above high"),
        ({"space": {"x": {"low": 0, "high": 1, "log": True}}}, "above 0"),
        ({"space": {}}, "space"),
        ({"space": {"x": {"low": 0.0, "high": 1.0}}, "sampler": "grid"}, "needs a step"),
        ({"sampler": "bayes"}, "sampler"),
        ({"goal": "min"}, "goal"),
        ({"trails": 3}, "trials"),
        ({"job": {"comand": "true"}}, "command"),
    ],
)
def test_what_is_no_search_is_refused_before_anything_is_sent(changes: dict[str, object], words: str) -> None:
    given = {"job": {"command": "true"}, "space": {"x": [1, 2]}, "metric": "loss", **changes}
    with Client("http://127.0.0.1:9", token="hw_" + "a" * 43, project="p") as nobody:
        with pytest.raises(InvalidRequestError) as caught:
            nobody.sweeps.create("s", given.pop("job"), given.pop("space"), **given)  # type: ignore[arg-type]
    assert words in f"{caught.value} {caught.value.hint}"
