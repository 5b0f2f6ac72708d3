"""The whole road of tracking: scripts as processes, a real server, and everything that can be asked of it afterwards."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import headway
from headway import Client
from headway.testing.server import ServerProcess

STEPS, RANKS = 120, 8
SECONDS = 60.0

TRAIN = """
import math, os, sys
import headway

with headway.init(name=sys.argv[1], config={"lr": float(sys.argv[2]), "net": {"depth": 3, "act": "relu"}}) as run:
    run.set(labels=["e2e", sys.argv[1]])
    for step in range(int(sys.argv[3])):
        run.log({"loss": math.exp(-step / 40) / 3, "images": 2**53 + step}, step=step, epoch=step / 10, stage="train")
        if step % 10 == 0:
            run.log({"loss": math.nan if step == 50 else 0.1 + 1 / (step + 1)}, step=step, stage="validation")
        run.log({"odd/name τ": -0.0 if step % 2 else -math.inf})
    print("trained", sys.argv[1])
"""

RESUME = """
import sys
import headway

with headway.load_run(sys.argv[1]) as run:
    assert run.attempt == 1
    for step in range(100, 140):
        run.log({"loss": float(step)}, step=step, stage="train")
"""

RANK = """
import os
import headway

rank = int(os.environ["RANK"])
with headway.init(name="ranks", console=False, system=False, capture=False) as run:
    for step in range(20):
        run.log({"loss": float(step + 100 * rank)}, step=step)
"""


def until(found: Callable[[], Any], what: str) -> Any:
    """What ``found`` gives once that is something."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come about in {SECONDS} s")


class Trainer:
    """A directory with scripts, and an account on the server."""

    def __init__(self, directory: Path, server: ServerProcess, client: Client) -> None:
        self.directory, self.client = directory, client
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HEADWAY_")}
        self.environment = {
            **kept,
            "HEADWAY_URL": server.url,
            "HEADWAY_TOKEN": server.token,
            "HEADWAY_PROJECT": str(client.project),
            "HEADWAY_CONFIG": str(directory / "config.yaml"),
        }
        self.runs: dict[str, str] = {}

    def start(self, script: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        path = self.directory / f"script-{hash(script) & 0xFFFF}.py"
        if not path.exists():  # a rank that runs already must not see it half written
            path.write_text(script)
        return subprocess.Popen(
            [sys.executable, str(path), *arguments],
            cwd=self.directory,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def train(self, script: str, *arguments: str, **variables: str) -> str:
        with self.start(script, *arguments, **variables) as process:
            said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
        return said

    def headway(self, *arguments: str) -> str:
        found = subprocess.run(
            [sys.executable, "-m", "headway", *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    def complete(self, name: str) -> headway.Run:
        """The run of that name on the server, once its end is known there."""

        def found() -> Any:
            runs = [run for run in self.client.runs.query(f"name = '{name}'") if run.state.value == "complete"]
            return runs[0] if runs else None

        return until(found, f"The end of {name}")


@pytest.fixture(scope="module")
def trainer(running_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two runs: ``online`` was sent while it ran, ``offline`` was synced afterwards, twice."""
    with Client(running_server.url, running_server.token) as administrator:
        project = administrator.projects.create("tracking-e2e")
    with Client(running_server.url, running_server.token, project=project.name) as client:
        found = Trainer(tmp_path_factory.mktemp("trainer"), running_server, client)
        found.train(TRAIN, "online", "0.1", str(STEPS))
        found.train(TRAIN, "offline", "0.2", str(STEPS), HEADWAY_MODE="offline")
        assert [run.name for run in client.runs.list()] == ["online"]
        found.headway("sync")
        found.headway("sync")
        yield found


def expected(step: int) -> float:
    return math.exp(-step / 40) / 3


@pytest.mark.parametrize("name", ["online", "offline"])
def test_every_point_is_on_the_server_exactly_once(trainer: Trainer, name: str) -> None:
    run: Any = trainer.complete(name)
    loss = run.metrics("loss", stage="training")
    assert loss.steps == list(range(STEPS))
    assert loss.values == [expected(step) for step in range(STEPS)]
    assert loss.epochs == [step / 10 for step in range(STEPS)]
    assert loss.exact
    assert run.metrics("images", stage="train").values == [2**53 + step for step in range(STEPS)]
    odd = run.metrics("odd/name τ")
    assert [str(value) for value in odd.values[:4]] == ["-inf", "-0.0", "-inf", "-0.0"]
    assert set(odd.steps) == {None}
    validation = run.metrics("loss", stage="val").to_pandas()
    assert validation["step"].tolist() == list(range(0, STEPS, 10))
    assert validation["value"].isna().tolist() == [step == 50 for step in range(0, STEPS, 10)]
    assert list(validation["replica"].unique()) == ["rank0"]
    local = next(each for each in headway.local_runs(trainer.directory / ".headway") if each.id == run.id)
    assert list(local.metrics("loss", "train")) == list(loss), "the same points here and there, times included"


def test_a_picture_has_fewer_points_and_the_same_extremes(trainer: Trainer) -> None:
    run: Any = trainer.complete("online")
    picture = run.metrics("loss", stage="train", points=5)
    assert len(picture) < STEPS
    assert not picture.exact
    assert picture.total == STEPS
    assert (min(picture.values), max(picture.values)) == (expected(STEPS - 1), expected(0))
    part = run.metrics("loss", stage="train", start=10, end=19)
    assert part.steps == list(range(10, 20))


def test_runs_are_found_by_what_they_were_and_became(trainer: Trainer) -> None:
    client = trainer.client
    trainer.complete("online")
    trainer.complete("offline")
    until(lambda: len(list(client.runs.query("metrics.val.loss.min < 0.2"))) == 2, "The index of summaries")
    assert [run.name for run in client.runs.query("params.lr < 0.15 and metrics.val.loss.min < 0.2")] == ["online"]
    assert [run.name for run in client.runs.query(order_by="-params.lr")] == ["offline", "online"]
    run = next(iter(client.runs.query("labels contains 'online'", include_summary=True)))
    summary = run.summary["validation.loss"]
    assert (summary.count, summary.nan_count, summary.min) == (STEPS // 10, 1, 0.1 + 1 / 111)
    assert run.summary["train.images"].last == 2**53 + STEPS - 1
    assert run.summary["odd/name τ"].min == -math.inf


def test_what_was_captured_and_printed_is_there(trainer: Trainer) -> None:
    run: Any = trainer.complete("online")
    environment = until(lambda: run.environment() if "packages" in run.environment() else None, "What was captured")
    assert environment["program"]["arguments"][1:] == ["online", "0.1", str(STEPS)]
    assert environment["packages"]["pydantic"]
    assert [row.message for row in run.logs()] == ["trained online"]
    assert any(series.system and series.count for series in run.series())


def test_runs_are_compared_wherever_they_are_kept(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    online, offline = trainer.complete("online"), trainer.complete("offline")
    diff = trainer.client.runs.diff(online.id, offline)  # type: ignore[arg-type]
    assert [(change.key, change.a, change.b) for change in diff.config] == [("lr", 0.1, 0.2)]
    assert diff.metrics == ()
    assert "program.arguments" in [change.key for change in diff.environment]
    assert "lr" in diff._repr_html_()
    for key, value in trainer.environment.items():
        if key.startswith("HEADWAY_"):
            monkeypatch.setenv(key, value)
    local = next(each for each in headway.local_runs(trainer.directory / ".headway") if each.id == online.id)
    same = headway.diff(local, online.id)
    assert (same.config, same.metrics) == ((), ())
    table = trainer.client.runs.table(columns=["name", "params.net.act", "metrics.train.loss.max"])
    assert sorted(row["name"] for row in table if row["metrics.train.loss.max"] == 1 / 3) == ["offline", "online"]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """An export's rows with their texts and numbers as Python has them."""
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        column = table.schema.get_field_index("time")
        rows = table.set_column(column, "time", table["time"].cast("int64")).to_pylist()
        return [{**row, "value": row["value"] if row["integer"] is None else row["integer"]} for row in rows]
    if path.suffix == ".ndjson":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("suffix", [".parquet", ".ndjson", ".csv"])
def test_exports_from_here_and_from_there_hold_the_same_points(trainer: Trainer, suffix: str, tmp_path: Path) -> None:
    run = trainer.complete("offline")
    there = trainer.client.runs.export(run, tmp_path / f"there{suffix}")
    here = tmp_path / f"here{suffix}"
    trainer.headway("run", "export", run.id, "--local", "--output", str(here))

    def sortable(row: dict[str, Any]) -> list[str]:
        return [str(row[key]) for key in row if key != "integer"]

    mine, theirs = sorted(map(sortable, rows_of(here))), sorted(map(sortable, rows_of(there)))
    assert mine == theirs
    assert len([row for row in rows_of(there) if row["word"] == "validation"]) == STEPS // 10
    assert len([row for row in rows_of(there) if row["name"] == "images"]) == STEPS


def test_the_terminal_shows_the_same(trainer: Trainer) -> None:
    online = trainer.complete("online")
    trainer.complete("offline")
    listed = trainer.headway("run", "list", "--columns", "name,state,params.lr", "--order-by", "params.lr").splitlines()
    assert [line.split() for line in listed[1:]] == [["online", "complete", "0.1"], ["offline", "complete", "0.2"]]
    shown = trainer.headway("run", "show", online.id)
    assert "val.loss" in shown
    assert "█" in shown
    document = json.loads(trainer.headway("run", "show", online.id, "--json"))
    assert {item["name"]: item["count"] for item in document["summary"]}["images"] == STEPS
    points = json.loads(trainer.headway("run", "metrics", online.id, "loss", "--stage", "train", "--json"))
    assert points["lines"][0]["columns"]["value"] == [expected(step) for step in range(STEPS)]
    assert trainer.headway("run", "logs", online.id) == "rank0 | trained online\n"
    assert "best" in trainer.headway("run", "tag", online.id, "best", "--remove", "e2e")
    assert trainer.client.runs.get(online.id).labels == ("online", "best")
    assert "Nothing differs." in trainer.headway("run", "diff", online.id, online.id)


def test_a_resumed_attempt_hides_what_it_repeats_and_deletes_nothing(trainer: Trainer) -> None:
    trainer.train(TRAIN, "resumed", "0.3", str(STEPS))
    run: Any = trainer.complete("resumed")
    trainer.train(RESUME, run.id)
    until(lambda: run.refresh().attempts == 2 and run.refresh().state.value == "complete", "The second attempt's end")
    loss = run.metrics("loss", stage="train")
    assert loss.steps == list(range(140))
    assert loss.values == [expected(step) for step in range(100)] + [float(step) for step in range(100, 140)]
    first, second = run.metrics("loss", stage="train", view="all").lines
    assert (first.attempt, first.steps, second.attempt, len(second)) == (0, list(range(STEPS)), 1, 40)
    exported = rows_of(run.export(trainer.directory / "resumed.ndjson"))
    attempts = [row["attempt"] for row in exported if row["name"] == "loss" and row["stage"] == "train"]
    assert (attempts.count(0), attempts.count(1)) == (STEPS, 40)
    assert len({row["writer"] for row in exported if row["name"] == "loss"}) == 2


def test_eight_ranks_share_a_run(trainer: Trainer) -> None:
    launch = {"WORLD_SIZE": str(RANKS), "MASTER_PORT": "29400"}
    processes = [trainer.start(RANK, RANK=str(rank), **launch) for rank in range(RANKS)]
    for process in processes:
        with process:
            said, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, said
    run: Any = trainer.complete("ranks")
    loss = run.metrics("loss")
    assert [line.replica for line in loss.lines] == [f"rank{rank}" for rank in range(RANKS)]
    assert [line.values for line in loss.lines] == [
        [float(step + 100 * rank) for step in range(20)] for rank in range(RANKS)
    ]
    assert run.metrics("loss", replica="rank3").values[0] == 300.0
    assert run.metrics("loss", aggregate="mean").values == [step + 350.0 for step in range(20)]
    assert run.summary["loss"].count == 20 * RANKS


def test_a_removed_run_is_gone(trainer: Trainer) -> None:
    trainer.train(TRAIN, "removed", "0.9", "3")
    run = trainer.complete("removed")
    trainer.headway("run", "rm", run.id, "--yes")
    with pytest.raises(headway.NotFoundError):
        trainer.client.runs.get(run.id)
