"""Going on with a run: attempts, what they inherit, and two that come at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import headway
from headway.domain.runs import RunState
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.testing.faults import repetitions
from headway.testing.trainers import QUIET, only_run, started, steps, train

OFF: dict[str, Any] = {"capture": False, "console": False, "system": False}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADWAY_DIR", str(tmp_path / "runs-of-a-test"))
    return tmp_path / "runs-of-a-test"


def test_the_same_id_again_is_the_next_attempt_of_the_same_run(base: Path) -> None:
    with headway.init(id="mine", name="named", config={"lr": 0.1, "seed": 1}, labels=["a"], **OFF) as first:
        for step in range(10):
            first.log({"loss": float(step)}, step=step)
    with headway.init(id="mine", config={"lr": 0.2}, **OFF) as second:
        assert (second.name, second.labels, second.alternative_name) == ("named", ("a",), first.alternative_name)
        assert second.config.as_dict() == {"lr": 0.2, "seed": 1}
        for step in range(5, 12):
            second.log({"loss": 100.0 + step}, step=step)
    found = only_run(base)
    assert (first.attempt, second.attempt, found.attempts) == (0, 1, 2)
    assert (found.name, found.config, found.alternative_name) == (
        "named",
        {"lr": 0.2, "seed": 1},
        first.alternative_name,
    )
    assert found.metrics("loss").steps == list(range(12))
    assert found.metrics("loss").values == [*map(float, range(5)), *(100.0 + step for step in range(5, 12))]
    everything = found.metrics("loss", view="all")
    assert [(line.attempt, len(line)) for line in everything.lines] == [(0, 10), (1, 7)]


def test_a_loaded_run_is_running_again(base: Path) -> None:
    with pytest.raises(ValueError, match="stop"), headway.init(name="named", **OFF) as run:
        raise ValueError("stop")
    assert only_run(base).state is RunState.ERROR
    for reference in (run.id, run.directory, str(run.directory)):
        loaded = headway.load_run(reference, **OFF)
        assert (loaded.id, loaded.name, only_run(base).state) == (run.id, "named", RunState.RUNNING)
        loaded.log({"x": 1})
        loaded.finish()
        assert (only_run(base).state, only_run(base).reason) == (RunState.COMPLETE, None)
    assert only_run(base).attempts == 4


def test_a_copy_elsewhere_is_loaded_where_it_lies(base: Path, tmp_path: Path) -> None:
    with headway.init(name="named", **OFF) as run:
        run.log({"x": 1}, step=0)
    assert run.directory is not None
    copy = tmp_path / "elsewhere" / run.id
    shutil.copytree(run.directory, copy)
    with headway.load_run(copy, **OFF) as loaded:
        loaded.log({"x": 2}, step=1)
    assert loaded.directory == copy
    assert headway.LocalRun.at(copy).metrics("x").values == [1, 2]
    assert only_run(base).metrics("x").values == [1]


def test_resume_says_what_is_wanted(base: Path) -> None:
    with pytest.raises(NotFoundError, match="no run 'mine' to resume"):
        headway.init(id="mine", resume="must", **OFF)
    with pytest.raises(NotFoundError, match="mine"):
        headway.load_run("mine")
    assert not base.exists()
    headway.init(id="mine", resume="never", **OFF).finish()
    with pytest.raises(ConflictError, match="a run 'mine' already"):
        headway.init(id="mine", resume="never", **OFF)
    headway.init(id="mine", resume="allow", **OFF).finish()
    headway.init(id="mine", resume="must", **OFF).finish()
    assert only_run(base).attempts == 3
    with pytest.raises(InvalidRequestError, match="keyword 'nam'"):
        headway.load_run("mine", nam="x")


def test_the_environment_names_run_and_attempt(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a job, whose attempts begin on empty disks."""
    monkeypatch.setenv("HEADWAY_RUN_ID", "of-a-job")
    monkeypatch.setenv("HEADWAY_ATTEMPT", "3")
    for _ in range(2):
        with headway.init(**OFF) as run:
            run.log({"x": 1})
        assert (run.id, run.attempt) == ("of-a-job", 3)
    assert "name" not in only_run(base).facts.identity
    monkeypatch.setenv("HEADWAY_ATTEMPT", "-1")
    with pytest.raises(InvalidRequestError, match="HEADWAY_ATTEMPT"):
        headway.init(**OFF)


LOGGING = f"""
import sys, headway
with headway.init(id="mine", {QUIET}) as run:
    for step in range(200):
        run.log({{"x": run.attempt}}, step=step)
print(run.attempt)
"""


def test_two_resumes_at_once_are_two_attempts(tmp_path: Path) -> None:
    """Both keep every point (R23)."""
    rounds = repetitions(5, 100)
    directory = tmp_path / "runs"
    attempts = []
    for _ in range(rounds):
        with started(LOGGING, directory) as one, started(LOGGING, directory) as other:
            for process in (one, other):
                out, err = process.communicate(timeout=60)
                assert process.returncode == 0, err
                attempts.append(int(out))
    assert sorted(attempts) == list(range(2 * rounds))
    found = only_run(directory)
    assert found.attempts == 2 * rounds
    everything = found.metrics("x", view="all")
    assert [(line.attempt, line.steps, set(line.values)) for line in everything.lines] == [
        (attempt, list(range(200)), {attempt}) for attempt in range(2 * rounds)
    ]


def test_a_killed_attempt_is_gone_on_with(tmp_path: Path) -> None:
    """Replaying from an older checkpoint keeps both attempts; the later one is what is seen (R24)."""
    directory = tmp_path / "runs"
    code = f"""
import os, headway
run = headway.init(id="mine", {QUIET})
for step in range(800):
    run.log({{"x": run.attempt}}, step=step if run.attempt == 0 else step + 500)
    if run.attempt == 0 and step == 799:
        os.kill(os.getpid(), 9)
"""
    train(code, directory, code_expected=-9)
    assert only_run(directory).state is RunState.LOST
    train(code, directory)
    found = only_run(directory)
    assert found.metrics("x").steps == list(range(1300))
    assert found.metrics("x").values == [0] * 500 + [1] * 800
    assert len(steps(found, "x")) == 1600
    assert found.state is RunState.COMPLETE
