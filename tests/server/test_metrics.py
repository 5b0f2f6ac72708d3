"""Metrics over HTTP, before and after they are folded, on both databases: what was logged is what is read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from headway.domain.metrics import normal_stage
from headway.domain.runs import SYSTEM
from headway.errors import StorageFullError
from headway.journal.compression import compress
from headway.journal.frames import MAGIC
from headway.sdk.columns import decode_columns
from headway.server.actions import metrics as actions
from headway.server.workers import folding
from headway.server.workers.folding import KINDS, FoldingWorker
from headway.storage.series.packing import MEDIA_TYPE
from headway.testing.faults import repetitions, until
from headway.testing.series import ANY_ROWS, ROWS, Logged, StreamWriter, bits_of, many_rows, schema_frame


class Runs:
    """A server with runs to which streams are shipped, and a folding worker that works when told to."""

    def __init__(self, world: Any) -> None:
        self.world, self.platform = world, world.platform
        self.headers = world.headers(world.admin_token)
        self.project = world.project()
        self.worker = FoldingWorker(world.platform)

    def create(self) -> str:
        answer = self.world.client.post(
            "/api/v1/runs", json={"project": self.project.id, "name": "a run"}, headers=self.headers
        )
        assert answer.status_code == 201, answer.text
        found = answer.json()
        return str(found.get("run", found)["id"])

    def ship(
        self, run: str, data: bytes, *, stream: str = "metrics/rank0-a", attempt: int = 0, close: bool = False
    ) -> None:
        """``data`` is all of the stream that there is by now."""
        rank = stream.partition("/")[2].partition("-")[0]
        for offset in range(0, max(1, len(data)), 4 << 20):
            piece = data[offset : offset + (4 << 20)]
            last = offset + len(piece) == len(data)
            answer = self.world.client.request(
                "PUT",
                f"/api/v1/runs/{run}/streams/{stream}",
                params={
                    "offset": offset,
                    "writer": "a",
                    "attempt": attempt,
                    "replica": rank,
                    "close": str(close and last).lower(),
                },
                content=compress(piece),
                headers={**self.headers, "Content-Type": "application/zstd"},
            )
            assert answer.status_code == 200, answer.text

    def fold_some(self) -> None:
        """All that are whole frames by now."""

        def idle() -> bool:
            self.worker.look()
            with self.platform.storage.read() as session:
                return all(self.worker.has_tried(stream) for stream in session.streams.unfolded(KINDS))

        until(idle, 60, "folded", pause=0.05)

    def fold(self) -> None:
        """Everything."""
        self.fold_some()
        with self.platform.storage.read() as session:
            assert [stream for stream in session.streams.unfolded(KINDS) if stream.closed] == []

    def get(self, run: str, what: str, **parameters: Any) -> Any:
        answer = self.world.client.get(f"/api/v1/runs/{run}/{what}", params=parameters, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refusal(self, run: str, what: str, **parameters: Any) -> dict[str, Any]:
        answer = self.world.client.get(f"/api/v1/runs/{run}/{what}", params=parameters, headers=self.headers)
        assert 400 <= answer.status_code < 500, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def packed(self, run: str, **parameters: Any) -> list[list[Logged]]:
        """Every line as it comes in packed columns."""
        answer = self.world.client.get(
            f"/api/v1/runs/{run}/metrics", params=parameters, headers={**self.headers, "Accept": MEDIA_TYPE}
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == MEDIA_TYPE
        return [
            [
                Logged(step, bits_of(value), time, epoch)
                for step, value, time, epoch in zip(line.steps, line.values, line.times, line.epochs, strict=True)
            ]
            for line in decode_columns([answer.content], "the server")
        ]

    def in_json(self, run: str, **parameters: Any) -> list[list[Logged]]:
        return [
            [
                Logged(step, bits_of(_number(value)), time, epoch)
                for step, value, time, epoch in zip(*(line["columns"][name] for name in COLUMNS), strict=True)
            ]
            for line in self.get(run, "metrics", **parameters)["lines"]
        ]


COLUMNS = ("step", "value", "time", "epoch")


def _number(value: Any) -> Any:
    return float(value.replace("Infinity", "inf")) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def sqlite_runs(world: Any) -> Iterator[Runs]:
    runs = Runs(world)
    yield runs
    runs.worker.close()


@pytest.fixture
def postgres_runs(postgres_world: Any) -> Iterator[Runs]:
    runs = Runs(postgres_world)
    yield runs
    runs.worker.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Runs:
    # What waits here waits for the test.
    monkeypatch.setattr(folding, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(folding, "SUMMARY_SECONDS", 0.0)
    name = "sqlite_runs" if request.param == "sqlite" else "postgres_runs"
    found: Runs = request.getfixturevalue(name)
    return found


def check_all(runs: Runs, run: str, writer: StreamWriter) -> None:
    for (stage, name), points in writer.points.items():
        wanted = {"name": name, **({"stage": stage} if stage else {})}
        assert runs.packed(run, **wanted) == [points]
        assert runs.in_json(run, **wanted) == [points]
    listed = {(item["stage"], item["name"]): item["count"] for item in runs.get(run, "series")["items"]}
    assert listed == {name: len(points) for name, points in writer.points.items()}
    summaries = {(item["stage"], item["name"]): item["count"] for item in runs.get(run, "summary")["items"]}
    assert summaries == listed


@settings(ANY_ROWS, max_examples=repetitions(5, 200))
@given(rows=ROWS)
def test_any_value_step_and_name_comes_back_exactly_folded_or_not(runs: Runs, rows: list[Any]) -> None:
    writer, run = StreamWriter(), runs.create()
    for values, step, epoch, stage, time in rows:
        writer.log(values, step=step, epoch=epoch, stage=stage, time=time)
    half = writer.data[: len(writer.data) // 2]
    runs.ship(run, half)
    runs.fold_some()
    runs.ship(run, writer.data)
    check_all(runs, run, writer)
    runs.ship(run, writer.data, close=True)
    runs.fold()
    check_all(runs, run, writer)
    with runs.platform.storage.read() as session:
        indexed = {(item.stage, item.name): item for item in session.run_metrics.of_run(run)}
    shown = {(item["stage"], item["name"]): item for item in runs.get(run, "summary")["items"]}
    assert {name: json.loads(item.model_dump_json()) for name, item in indexed.items()} == shown
    for stage in {normal_stage(row[3]) for row in rows}:
        assert all(item["stage"] == stage for item in runs.get(run, "summary", prefix=f"{stage}.")["items"] if stage)


def test_a_point_is_seen_at_once_and_its_bytes_go_when_it_is_folded(runs: Runs) -> None:
    writer, run = StreamWriter(), runs.create()
    for step in range(10):
        writer.log({"loss": 1 / (step + 1)}, step=step)
        runs.ship(run, writer.data)
        assert runs.in_json(run, name="loss") == [writer.points["", "loss"]]
    runs.ship(run, writer.data, close=True)
    runs.fold()
    assert runs.platform.segments.start(run, "metrics/rank0-a") == len(writer.data)
    assert runs.in_json(run, name="loss") == [writer.points["", "loss"]]
    # A resend of what was folded and given back is harmless.
    runs.ship(run, writer.data, close=True)
    assert runs.in_json(run, name="loss") == [writer.points["", "loss"]]


def test_ranks_attempts_and_stages(runs: Runs) -> None:
    run = runs.create()
    for attempt, rank, steps in [(0, 0, range(10)), (0, 1, range(10)), (1, 0, range(6, 12))]:
        writer = StreamWriter()
        for step in steps:
            writer.log({"loss": float(100 * attempt + 10 * rank + step)}, step=step, stage=("val", "validation")[rank])
        runs.ship(run, writer.data, stream=f"metrics/rank{rank}-{attempt}", attempt=attempt)
        if attempt == 0:
            runs.fold_some()
    question = {"name": "loss", "stage": "validate"}
    lines = runs.get(run, "metrics", **question)["lines"]
    assert [(line["replica"], line["attempt"]) for line in lines] == [("rank0", None), ("rank1", None)]
    assert [line["total"] for line in lines] == [12, 10]
    assert lines[0]["columns"]["value"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, *(100.0 + step for step in range(6, 12))]
    told = [
        [line.streams for line in actions.read_packed(runs.platform, runs.world.admin, run, wanted)]
        for wanted in (actions.MetricQuery(**question, view="all"), actions.MetricQuery(**question))
    ]
    ranks = (("metrics/rank0-0", 10),), (("metrics/rank0-1", 6),), (("metrics/rank1-0", 10),)
    assert told == [list(ranks), [(), ranks[2]]]
    every = runs.get(run, "metrics", **question, view="all")["lines"]
    assert [(line["replica"], line["attempt"], line["total"]) for line in every] == [
        ("rank0", 0, 10),
        ("rank0", 1, 6),
        ("rank1", 0, 10),
    ]
    (alone,) = runs.get(run, "metrics", **question, replica="rank1", start=3, end=4)["lines"]
    assert alone["columns"]["value"] == [13.0, 14.0]
    (old,) = runs.get(run, "metrics", **question, attempt=0, replica="rank0")["lines"]
    assert old["total"] == 10
    (mean,) = runs.get(run, "metrics", **question, aggregate="mean")["lines"]
    assert (mean["replica"], mean["columns"]["step"]) == (None, list(range(12)))
    assert mean["columns"]["value"][5:7] == [(5 + 15) / 2, (106 + 16) / 2]
    series = runs.get(run, "series")["items"]
    assert [(item["replica"], item["attempts"], item["raw_stages"], item["count"]) for item in series] == [
        ("rank0", [0, 1], ["val"], 16),
        ("rank1", [0], ["validation"], 10),
    ]
    (summary,) = runs.get(run, "summary")["items"]
    assert (summary["count"], summary["last"], summary["last_step"], summary["min"]) == (22, 111.0, 11, 0.0)


def test_pictures_and_system_metrics(runs: Runs) -> None:
    run, rows = runs.create(), 100_000
    values = np.sin(np.arange(rows) / 9000)
    values[[77_777, 33_333, 55_555]] = [50.0, -50.0, math.nan]
    frames = MAGIC + schema_frame(1, [("loss", "f")]) + many_rows(1, [values], step=np.arange(rows))
    runs.ship(run, frames)
    runs.ship(run, frames, stream="system/rank0-a")
    for _ in range(2):
        for extra in ({}, {"system": "true"}):
            (line,) = runs.get(run, "metrics", name="loss", points=200, **extra)["lines"]
            columns = line["columns"]
            assert line["total"] == rows
            assert not line["exact"]
            assert len(columns["step"]) <= 5 * 200
            numbers = [_number(value) for value in columns["value"]]
            assert {50.0, -50.0} < set(numbers)
            assert columns["value"][columns["step"].index(55_555)] == "NaN"
            assert columns["step"] == sorted(columns["step"])
        (part,) = runs.get(run, "metrics", name="loss", points=200, start=33_330, end=33_336)["lines"]
        assert (part["exact"], part["columns"]["step"]) == (True, list(range(33_330, 33_337)))
        assert [item["system"] for item in runs.get(run, "series")["items"]] == [False, True]
        assert len(runs.packed(run, name="loss")[0]) == rows
        runs.fold_some()
    with runs.platform.storage.read() as session:
        assert session.streams.of_run(run, kind=SYSTEM)[0].folded > 0
        assert len(session.run_metrics.of_run(run)) == 1


def test_entries_are_paged_by_time_folded_or_not(runs: Runs) -> None:
    run = runs.create()
    writers = [StreamWriter(), StreamWriter()]
    for step in range(6):
        for rank, writer in enumerate(writers):
            kind = ("image", "table")[step % 2]
            writer.entry(f"e{step}", type=kind, step=step, time=1000 * step + rank)
            runs.ship(run, writer.data, stream=f"metrics/rank{rank}-a")
        if step == 2:
            runs.fold_some()
    for _ in range(2):
        found: list[Any] = []
        cursor: dict[str, Any] = {}
        while True:
            page = runs.get(run, "entries", limit=5, **cursor)
            found += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert [(item["step"], item["replica"]) for item in found] == [
            (s, f"rank{r}") for s in range(6) for r in (0, 1)
        ]
        assert found[0]["details"] == {"caption": "e0"}
        assert len(runs.get(run, "entries", type="table")["items"]) == 6
        assert len(runs.get(run, "entries", name="e4", stage="")["items"]) == 2
        runs.fold_some()
    assert runs.refusal(run, "entries", cursor="1:2")["code"] == "invalid_request"
    assert runs.refusal(run, "entries", cursor="99999999999999999999999:a:1")["code"] == "invalid_request"
    assert runs.refusal(run, "entries", type="picture")["code"] == "invalid_request"


def test_what_cannot_be_asked_is_said(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, run = StreamWriter(), runs.create()
    for step in range(50):
        writer.log({"loss": step}, step=step)
    runs.ship(run, writer.data)
    assert "did you mean" in runs.refusal(run, "metrics", name="loss", pionts=5)["hint"].lower()
    assert runs.refusal(run, "metrics")["code"] == "invalid_request"
    assert runs.refusal(run, "metrics", name="loss", points=0)["code"] == "invalid_request"
    assert runs.refusal(run, "metrics", name="loss", axis="place")["code"] == "invalid_request"
    assert runs.refusal(run, "metrics", name="loss", aggregate="mean", axis="index")["code"] == "invalid_request"
    assert runs.refusal("run-unknown", "series")["code"] == "not_found"
    assert runs.get(run, "metrics", name="none")["lines"] == []
    assert runs.packed(run, name="none") == []
    monkeypatch.setattr(actions, "MOST_IN_JSON", 49)
    refused = runs.refusal(run, "metrics", name="loss")
    assert refused["code"] == "invalid_request"
    assert MEDIA_TYPE in refused["hint"]
    assert len(runs.packed(run, name="loss")[0]) == 50
    assert len(runs.in_json(run, name="loss", end=10)[0]) == 11


def test_long_lines_are_sent_in_pieces_whatever_becomes_of_them_meanwhile(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MOST_IN_JSON", 0)
    run, writer = runs.create(), StreamWriter()
    for step in range(700):
        value: Any = step if step % 5 else step / 3
        writer.log({"loss": value}, step=step if step % 7 else None, epoch=None if step % 3 else step / 9)
    runs.ship(run, writer.data[:40_000])
    runs.fold_some()
    runs.ship(run, writer.data)
    lines = actions.read_packed(runs.platform, runs.world.admin, run, actions.MetricQuery(name="loss"))
    before = [points for line in lines for points in line.batches()]
    runs.fold_some()
    after = [points for line in lines for points in line.batches()]
    assert [p.step.tolist() for p in before] == [p.step.tolist() for p in after]
    assert runs.packed(run, name="loss") == [writer.points["", "loss"]]
    shown = runs.packed(run, name="loss", start=100, end=200)
    assert shown == [[p for p in writer.points["", "loss"] if p.step is not None and 100 <= p.step <= 200]]


def test_bytes_that_are_given_back_while_they_are_about_to_be_read_are_read_from_the_store(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, run = StreamWriter(), runs.create()
    for step in range(20):
        writer.log({"loss": float(step)}, step=step)
    runs.ship(run, writer.data)
    segments, asked = runs.platform.segments, 0
    real = segments.read

    def late(*place: Any) -> bytes:
        nonlocal asked
        asked += 1
        if asked == 1:
            runs.fold_some()
            segments.drop(run, "metrics/rank0-a", len(writer.data))
        return real(*place)

    monkeypatch.setattr(segments, "read", late)
    assert runs.in_json(run, name="loss") == [writer.points["", "loss"]]
    assert asked == 1


def test_a_deleted_run_gives_everything_back(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, run = StreamWriter(), runs.create()
    for step in range(20):
        writer.log({"loss": float(step)}, step=step)
        writer.entry("picture")
    runs.ship(run, writer.data)
    runs.fold_some()
    assert run in runs.platform.series.run_ids()
    answer = runs.world.client.request("DELETE", f"/api/v1/runs/{run}", headers=runs.headers)
    assert answer.status_code in (200, 204), answer.text
    monkeypatch.setattr(folding, "SWEEP_SECONDS", 0.0)
    runs.fold()
    assert run not in runs.platform.series.run_ids()
    assert runs.platform.segments.read(run, "metrics/rank0-a", 0, 10) == b""


def test_trouble_waits_and_passes(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, for example: nothing is lost, it is said once, and it goes on by itself."""
    monkeypatch.setattr(folding, "TROUBLE_PAUSE", 0.0)
    writer, run = StreamWriter(), runs.create()
    writer.log({"loss": 1.0}, step=1)
    runs.ship(run, writer.data)

    def full(*_: Any) -> Any:
        raise StorageFullError("No space is left for the database.")

    with monkeypatch.context() as patch:
        patch.setattr(runs.worker._child, "fold", full)
        for _ in range(5):
            runs.worker.look()
    assert caplog.text.count("No space is left") == 1
    assert runs.in_json(run, name="loss") == [writer.points["", "loss"]]
    runs.fold()
    assert runs.in_json(run, name="loss") == [writer.points["", "loss"]]


def test_a_stream_that_ends_within_a_frame_is_not_tried_for_ever(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, run = StreamWriter(), runs.create()
    writer.log({"loss": 1.0}, step=1)
    runs.ship(run, writer.data[:-3])
    runs.fold_some()
    asked: list[Any] = []
    monkeypatch.setattr(runs.worker._child, "fold", lambda stream: asked.append(stream))
    for _ in range(3):
        runs.worker.look()
    assert [stream for stream in asked if stream.run_id == run] == []


def test_nobody_else_folds_the_same_bytes_twice(runs: Runs) -> None:
    """Two servers, or one that was paused and its successor."""
    writer, run = StreamWriter(), runs.create()
    for step in range(30):
        writer.log({"loss": float(step)}, step=step)
    runs.ship(run, writer.data)
    with runs.platform.storage.read() as session:
        stale = session.streams.find(run, "metrics/rank0-a")
    runs.fold_some()
    assert stale is not None
    assert runs.worker._child.fold(stale).folded == len(writer.data)
    assert runs.in_json(run, name="loss") == [writer.points["", "loss"]]
