"""Runs with a server: they are there while they run, wherever they were put, and none is ever waited for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headway
from headway import Client
from headway.domain.base import new_id
from headway.domain.runs import RunState
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.testing.faults import until
from headway.testing.server import ServerProcess
from headway.testing.trainers import QUIET, only_run, started, train
from headway.tracking.media import Text

OFF: dict[str, Any] = {"capture": False, "console": False, "system": False}


@pytest.fixture
def project(running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch, base: Path) -> str:
    """A name; the server makes the project with the first run."""
    found = new_id("project")
    monkeypatch.setenv("HEADWAY_URL", running_server.url)
    monkeypatch.setenv("HEADWAY_TOKEN", running_server.token)
    monkeypatch.setenv("HEADWAY_PROJECT", found)
    return found


@pytest.fixture
def here(running_server: ServerProcess, project: str) -> Iterator[Client]:
    with Client(running_server.url, running_server.token, project=project) as found:
        yield found


def points(client: Client, run: str, name: str, stage: str | None = None) -> list[tuple[int | None, float]]:
    return [(point.step, point.value) for point in client.runs.get(run).metrics(name, stage=stage)]


def test_points_are_there_while_the_run_runs(here: Client, capfd: pytest.CaptureFixture[str]) -> None:
    with headway.init(name="live", config={"lr": 0.1, "x": float("nan")}, labels=["a"], **OFF) as run:
        run.log({"loss": 0.5}, step=0, stage="training")
        until(lambda: here.runs.get(run.id).summary if run._share.seat.connection.is_registered else None, 30)  # type: ignore[union-attr]
        found = here.runs.get(run.id)
        assert (found.state, found.summary["train.loss"].last) == (RunState.RUNNING, 0.5)
        assert (found.name, found.labels, found.config) == ("live", ("a",), {"lr": 0.1, "x": "NaN"})
        run.config["late"] = True
        run.set(name="renamed")
    until(lambda: here.runs.get(run.id).state is RunState.COMPLETE, 30)
    found = here.runs.get(run.id)
    assert (found.name, found.config["late"], found.attempts) == ("renamed", True, 1)
    assert found.alternative_name == run.alternative_name
    assert points(here, run.id, "loss", "train") == [(0, 0.5)]
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("headway:")]
    about = [line for line in said if "made the project" not in line]
    assert len(about) == 2 and all(run.url is not None and run.url in line for line in about)
    assert headway.local_runs()[0].synced and run.health["unsent_bytes"] == 0


def test_media_and_artifacts_go_along(here: Client, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("0 1 2")
    data = headway.Artifact("digits", type="dataset")
    data.add_file(tmp_path / "data.txt")
    with headway.init(**OFF) as run:
        run.log({"note": Text("hello"), "loss": 1.0}, step=4)
        run.mark_input(data)
    until(lambda: list(here.runs.get(run.id).entries()), 30)
    entry = next(iter(here.runs.get(run.id).entries()))
    assert (entry.name, entry.step, entry.size) == ("note", 4, 5)
    assert here.artifacts.resolve("digits:latest").digest == data.digest
    assert run.directory is not None and not list((run.directory / "blobs" / "sha256").glob("*/*"))


def test_an_existing_name_means_what_the_strategy_says(here: Client) -> None:
    first = headway.init(name="same", **OFF)
    first.finish()
    with pytest.raises(ConflictError, match="'same'"):
        headway.init(name="same", conflict_strategy="error", **OFF)
    with headway.init(name="same", conflict_strategy="new", **OFF) as renamed:
        renamed.log({"x": 1})
    with headway.init(name="same", conflict_strategy="skip", **OFF) as skipped:
        skipped.log({"x": 1})
    names = {run.id: run.name for run in here.runs.list()}
    assert names == {first.id: "same", renamed.id: renamed.alternative_name}
    with headway.init(name="same", conflict_strategy="replace", **OFF) as replacing:
        replacing.log({"x": 1})
    until(lambda: {run.id for run in here.runs.list()} == {renamed.id, replacing.id}, 30)


def test_a_missing_folder_is_said_and_nothing_is_lost(here: Client, capfd: pytest.CaptureFixture[str]) -> None:
    with headway.init(folder="a/b", **OFF) as run:
        run.log({"x": 1}, step=0)
    said = capfd.readouterr().err
    assert "'a/b'" in said and "headway sync" in said
    assert not headway.local_runs()[0].synced
    report = headway.sync()
    assert [(one.state.value, len(one.problems)) for one in report.runs] == [("failed", 1)] and not report.ok
    with headway.init(folder="a/b", make_folder=True, **OFF):
        pass
    assert headway.sync().ok
    assert (here.runs.get(run.id).folder, points(here, run.id, "x")) == ("a/b", [(0, 1)])


def test_offline_and_then_uploaded_is_the_same_run(here: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with headway.init(mode="offline", name="off", config={"lr": 1}, **OFF) as run:
        run.log({"x": 1.5}, step=3, stage="val")
    assert list(here.projects.list(name=str(here.project))) == []
    for wrong in ({"conflict_strategy": "overwrite"}, {"folder": "../x"}):
        with pytest.raises(InvalidRequestError):
            run.upload(**wrong)
        with pytest.raises(InvalidRequestError):
            headway.upload(run.directory or "", **wrong)
    with pytest.raises(NotFoundError, match="'f'"):
        run.upload("f")
    run.upload("f", make_folder=True)
    found = here.runs.get(run.id)
    assert (found.name, found.folder) == ("off", "f")
    until(lambda: here.runs.get(run.id).state is RunState.COMPLETE, 30)
    assert points(here, run.id, "x", "val") == [(3, 1.5)]
    with headway.init(mode="offline", name="off", **OFF) as other, pytest.raises(ConflictError):
        other.upload("f", conflict_strategy="error")
    other.upload("f", conflict_strategy="new")
    until(lambda: here.runs.get(other.id).name == other.alternative_name, 30)
    with headway.load_run(run.id, mode="offline", **OFF) as again:
        again.log({"x": 2.5}, step=4, stage="val")
        again.upload("f")
        until(lambda: len(points(here, run.id, "x", "val")) == 2, 30)
        assert here.runs.get(run.id).state is RunState.RUNNING


def test_a_folder_given_on_upload_stays_when_facts_follow(here: Client) -> None:
    here.projects.create(str(here.project))
    with headway.init(mode="offline", folder="said", **OFF) as run:
        run.log({"x": 1})
    run.upload("given", make_folder=True)
    until(lambda: here.runs.get(run.id).state is RunState.COMPLETE, 30)
    assert here.runs.get(run.id).folder == "given"
    assert headway.local_runs()[0].folder == "given"


def test_a_run_of_the_server_is_gone_on_with_from_an_empty_disk(here: Client, tmp_path: Path) -> None:
    with headway.init(name="named", **OFF) as run:
        run.log({"x": 1}, step=0)
    with headway.load_run(run.id, dir=tmp_path / "other", **OFF) as again:
        again.log({"x": 2}, step=1)
    until(lambda: len(points(here, run.id, "x")) == 2, 30)
    assert here.runs.get(run.id).name == "named"
    with pytest.raises(ConflictError):
        headway.init(id=run.id, resume="never", dir=tmp_path / "third", **OFF)
    with pytest.raises(NotFoundError):
        headway.init(id="unheard-of", resume="must", **OFF)


def test_a_refused_token_stops_nothing(here: Client, monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    monkeypatch.setenv("HEADWAY_TOKEN", "hw_wrong")
    with headway.init(**OFF) as run:
        for step in range(1000):
            run.log({"x": step}, step=step)
    assert not only_run(base).synced
    with pytest.raises(headway.AuthenticationError):
        headway.upload(base)
    monkeypatch.setenv("HEADWAY_TOKEN", here.connection.token or "")
    assert headway.sync().ok
    assert [step for step, _ in points(here, run.id, "x")] == list(range(1000))


LEFT = f"""
import os, headway
run = headway.init({QUIET})
for step in range(20000):
    run.log({{"x": step}}, step=step)
os.kill(os.getpid(), 9)
"""


def test_the_next_run_sends_what_a_killed_one_left(running_server: ServerProcess, here: Client, base: Path) -> None:
    more = {name: os.environ[name] for name in ("HEADWAY_URL", "HEADWAY_TOKEN", "HEADWAY_PROJECT")}
    train(LEFT, base, more=more, code_expected=-9)
    killed = only_run(base)
    assert killed.state is RunState.LOST and not killed.synced
    headway.init(**OFF).finish()
    found = until(lambda: len(points(here, killed.id, "x")) == 20000, 30)
    assert found and headway.LocalRun.at(killed.path).synced


FORKED = f"""
import os, headway
with headway.init({QUIET}) as run:
    for child in range(3):
        if not os.fork():
            for step in range(100):
                run.log({{"x": child}}, step=child * 100 + step)
            os._exit(0)
    for _ in range(3):
        os.wait()
    print(run.id)
"""


def test_what_children_logged_is_sent_before_the_run_ends(here: Client, base: Path) -> None:
    more = {name: os.environ[name] for name in ("HEADWAY_URL", "HEADWAY_TOKEN", "HEADWAY_PROJECT")}
    run = train(FORKED, base, more=more).stdout.strip()
    until(lambda: here.runs.get(run).summary, 30)
    assert sorted(step or 0 for step, _ in points(here, run, "x")) == list(range(300))
    assert all(stream.closed for stream in here.runs.streams(run))


def test_a_server_that_never_answers_costs_the_end_no_more_than_its_timeout(tmp_path: Path) -> None:
    """Packets are dropped: connecting lasts until a timeout (R17)."""
    code = f"""
import headway, time
run = headway.init(url="http://192.0.2.1:9", token="hw_x", {QUIET})
run.log({{"x": 1}}, step=1)
started = time.monotonic()
run.finish(timeout=1)
print(time.monotonic() - started)
"""
    with started(code, tmp_path / "runs") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "headway sync" in err
    assert 1 <= float(out) < 10
    assert only_run(tmp_path / "runs").metrics("x").values == [1]


def test_runs_that_are_let_go_of_are_sent_all_the_same(here: Client, base: Path) -> None:
    more = {name: os.environ[name] for name in ("HEADWAY_URL", "HEADWAY_TOKEN", "HEADWAY_PROJECT")}
    code = f"""
import headway
for number in range(5):
    run = headway.init(name=str(number), {QUIET})
    for step in range(100):
        run.log({{"x": number}}, step=step)
"""
    train(code, base, more=more)
    until(lambda: all(run.state is RunState.COMPLETE for run in here.runs.list()), 90)
    found = {run.name: run.id for run in here.runs.list()}
    assert sorted(found) == ["0", "1", "2", "3", "4"]
    for name, run in found.items():
        assert points(here, run, "x") == [(step, int(name)) for step in range(100)]


def test_a_program_in_a_job_logs_into_the_jobs_run(here: Client) -> None:
    """Its ranks share the run; the job's log holds the program's own lines."""
    here.projects.create(str(here.project))
    code = (
        "import headway; r = headway.init(config={'lr': 0.1}); r.log({'loss': 1.5}, step=1); r.finish(); print('done')"
    )
    job = here.jobs.create("job", command=[sys.executable, "-c", code], count=2)
    job = here.jobs.wait(job.id, timeout=60)
    assert [row.message for row in here.jobs.logs(job.id)] == ["done", "done"]
    until(lambda: here.runs.get(job.run_id).summary, 30)
    run = here.runs.get(job.run_id)
    assert (run.name, run.alternative_name, run.config) == ("job", None, {"lr": 0.1})
    assert [(line.replica, line.values) for line in run.metrics("loss").lines] == [("rank0", [1.5]), ("rank1", [1.5])]
