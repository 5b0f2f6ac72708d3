"""What differs between runs, runs as tables, and what a run of a server can be asked, over a scripted transport."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import tracemalloc
from array import array
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import CorruptDataError, InvalidRequestError, NotFoundError, PlatformError, Run
from headway.domain.metrics import SeriesSummary
from headway.sdk.columns import MEDIA_TYPE, SPOOLED, Line, encode_columns, pack
from headway.sdk.compare import ABSENT, Change, ComparedRun, RunDiff, compare, difference, flatten, same
from headway.sdk.resources.metrics import POINTS_AT_ONCE
from headway.sdk.summaries import RunSummary
from headway.sdk.transport import Request, Response

TIME = "2026-01-02T03:04:05.678Z"
EVIL = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def run(id: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": id,
        "project_id": "prj1",
        "name": f"name of {id}",
        "created_at": TIME,
        "created_by": "usr1",
        **changes,
    }


def summary(name: str, last: Any, stage: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "stage": stage, "count": 1, "last": last, "min": last, "max": last, "mean": last, **more}


class Known:
    """A run that says what it is told to."""

    def __init__(self, **facts: Any) -> None:
        self._facts = ComparedRun("run1", "brave-fox", **facts)

    def compared(self) -> ComparedRun:
        return self._facts


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5))
def test_a_run_does_not_differ_from_itself(config: dict[str, Any]) -> None:
    found = compare(Known(config=config), Known(config=json.loads(json.dumps(config))))
    assert not found
    assert "Nothing differs." in repr(found)


@given(JSON, JSON)
def test_what_differs_differs_both_ways(a: Any, b: Any) -> None:
    assert same(a, a)
    assert same(a, b) is same(b, a)
    there, back = (
        compare(Known(config={"x": a}), Known(config={"x": b})),
        compare(Known(config={"x": b}), Known(config={"x": a})),
    )
    assert {c.key: (c.a, c.b) for c in there.config}.keys() == {c.key: (c.b, c.a) for c in back.config}.keys()


def test_only_what_differs_is_listed_with_its_path() -> None:
    a = Known(
        config={"lr": 0.1, "seed": 1, "optimizer": {"name": "adam", "betas": [0.9]}, "old": None, "flag": True},
        environment={"commit": "abc", "packages": {"numpy": "1.26", "zope.event": "5"}, "python": "3.12"},
        summary=RunSummary([SeriesSummary(**summary("loss", 0.5)), SeriesSummary(**summary("loss", 0.7, "val"))]),
        inputs=("mnist:v1", "base:v2"),
    )
    b = Known(
        config={"lr": 0.1, "seed": 1.0, "optimizer": {"name": "sgd", "betas": [0.9]}, "new": "x", "flag": 1},
        environment={"commit": "abd", "packages": {"numpy": "2.0", "zope.event": "6"}, "python": "3.12"},
        summary=RunSummary([SeriesSummary(**summary("loss", 0.5)), SeriesSummary(**summary("loss", "NaN", "val"))]),
        inputs=("mnist:v2", "base:v2"),
    )
    found = compare(a, b)
    assert found.config == (
        Change("optimizer.name", "adam", "sgd"),
        Change("old", None, ABSENT),
        Change("flag", True, 1),
        Change("new", ABSENT, "x"),
    )
    assert found.environment == (
        Change("commit", "abc", "abd"),
        Change("packages.numpy", "1.26", "2.0"),
        Change("packages.zope.event", "5", "6"),
    )
    assert [change.key for change in found.metrics] == ["val.loss"]
    assert math.isnan(found.metrics[0].b.last)
    assert found.inputs == (Change("mnist:v1", "mnist:v1", ABSENT), Change("mnist:v2", ABSENT, "mnist:v2"))
    document = found.to_dict()
    assert document["config"]["old"] == {"a": None}
    assert document["metrics"]["val.loss"]["b"]["last"] == "NaN"
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    text = repr(found)
    assert "optimizer.name  " in text
    assert "adam" in text
    assert "seed" not in text


def test_the_difference_of_a_metric_is_a_number_where_both_have_one() -> None:
    low, high = SeriesSummary(**summary("loss", 0.5)), SeriesSummary(**summary("loss", 2))
    assert difference(Change("loss", low, high)) == 1.5
    assert difference(Change("loss", low, ABSENT)) is None
    assert difference(Change("loss", low, SeriesSummary(**summary("loss", "-Infinity")))) == -math.inf


def test_a_mean_that_was_summed_in_another_order_is_the_same() -> None:
    def known(mean: float | str) -> Known:
        return Known(summary=RunSummary([SeriesSummary(**summary("loss", 1, mean=mean))]))

    assert not compare(known(0.2152635532473897), known(0.21526355324738972))
    assert not compare(known("NaN"), known("NaN"))
    assert compare(known(0.2152635), known(0.2152636))


def test_nested_settings_become_paths() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [{"f": 1}]}) == {"a.b.c": 1, "a.d": {}, "e": [{"f": 1}]}


class Tags(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("href", "src")]


PLAIN_TAGS = {"div", "p", "table", "caption", "tr", "th", "td"}


def test_no_repr_takes_a_text_for_markup(mock: Any) -> None:
    one = Known(config={EVIL: EVIL}, environment={EVIL: 1}, inputs=(EVIL,))
    diff = compare(one, Known(config={EVIL: 1}))
    assert isinstance(diff, RunDiff)
    items = [summary(EVIL, 0.5, EVIL)]
    mock.routes["GET /api/v1/runs"] = {
        "items": [{"run": run("run1", name=EVIL, config={EVIL: EVIL}), "summary": items}],
        "next_cursor": None,
    }
    table = mock.client().runs.table()
    view = table.runs[0]
    for shown in (diff, table, view, RunSummary([SeriesSummary(**item) for item in items])):
        markup = shown._repr_html_()
        assert Tags(markup).found <= PLAIN_TAGS
        assert "&lt;script&gt;" in markup


# --- what a run of a server can be asked ----------------------------------------------------------------------------


@pytest.fixture
def routes(mock: Any) -> Callable[..., None]:
    """One run on the mock server."""

    def add(id: str = "run1", **parts: Any) -> None:
        mock.routes[f"GET /api/v1/runs/{id}"] = run(id, **parts.get("record", {}))
        mock.routes[f"GET /api/v1/runs/{id}/summary"] = {"items": parts.get("summary", [])}
        mock.routes[f"GET /api/v1/runs/{id}/environment"] = parts.get("environment", {})
        mock.routes[f"GET /api/v1/runs/{id}/series"] = {"items": parts.get("series", [])}
        mock.routes["GET /api/v1/lineage"] = lambda request: (
            parts.get("lineage", {})
            or {
                "subject": query_of(request)["subject"],
                "nodes": [{"kind": "artifact-version", "id": "av1", "label": "mnist:v1"}],
                "edges": [{"source": "av1", "target": query_of(request)["subject"], "relation": "input"}],
            }
        )

    return add


def query_of(request: Request) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(request.url).query, keep_blank_values=True).items()}


def test_a_run_is_its_record_and_can_be_asked_on(mock: Any, routes: Callable[..., None]) -> None:
    routes(summary=[summary("loss", "NaN", "val"), summary("acc", 1)], record={"config": {"lr": 0.1}})
    found = mock.client().runs.get("run1")
    assert isinstance(found, Run)
    assert (found.id, found.config["lr"], found.state.value) == ("run1", 0.1, "running")
    assert found.model_dump()["name"] == "name of run1"
    assert "_session" not in repr(found)
    assert math.isnan(found.summary["validation.loss"].last)
    assert list(found.summary) == ["val.loss", "acc"]
    with pytest.raises(NotFoundError, match=r"Did you mean 'val\.loss'"):
        found.summary.find("val.los")
    asked = len(mock.requests)
    assert found.summary["acc"].last == 1
    assert len(mock.requests) == asked
    assert found.refresh().name == found.name


def test_metrics_ask_for_columns_and_every_keyword_travels(mock: Any) -> None:
    line = pack([(0, 1, 5, None)], replica="rank0")
    mock.routes["GET /api/v1/runs/run1/metrics"] = lambda request: Response(200, {}, encode_columns([line]))
    found = mock.client().runs.metrics(
        "run1", "a/τ loss", stage="validation", replica="rank0", view="all", axis="time", start=1.5, end=9, points=100
    )
    assert (found.values, found.stage, found.key) == ([1], "val", "val.a/τ loss")
    assert mock.requests[0].headers["Accept"] == MEDIA_TYPE
    assert query_of(mock.requests[0]) == {
        "name": "a/τ loss",
        "stage": "validation",
        "replica": "rank0",
        "view": "all",
        "axis": "time",
        "start": "1.5",
        "end": "9.0",
        "points": "100",
        "system": "false",
    }


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"points": 0}, {"points": 10**6}, {"view": "every"}, {"axis": "x"}, {"aggregate": "sum"}],
)
def test_a_wrong_question_is_refused_before_anything_is_sent(mock: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(wrong))):
        mock.client().runs.metrics("run1", **{"name": "loss", **wrong})
    with pytest.raises(InvalidRequestError, match="type of entry"):
        mock.client().runs.entries("run1", type="picture")
    with pytest.raises(InvalidRequestError, match="Did you mean 'finished_at'"):
        mock.client().runs.table(columns=["finishd_at"])
    assert mock.requests == []


def test_a_server_that_answers_json_is_named(mock: Any) -> None:
    mock.routes["GET /api/v1/runs/run1/metrics"] = {"lines": []}
    with pytest.raises(PlatformError, match="/runs/run1/metrics answered with columns that cannot be read"):
        mock.client().runs.metrics("run1", "loss")


def test_runs_are_compared_by_id_or_as_they_are(mock: Any, routes: Callable[..., None]) -> None:
    routes("run1", record={"config": {"lr": 0.1}}, environment={"commit": "abc"}, summary=[summary("loss", 1)])
    routes("run2", record={"config": {"lr": 0.2}}, environment={"commit": "abc"}, summary=[summary("loss", 1)])
    client = mock.client()
    by_id = client.runs.diff("run1", "run2")
    assert (by_id.config, by_id.environment, by_id.metrics, by_id.inputs) == ((Change("lr", 0.1, 0.2),), (), (), ())
    assert by_id.to_dict()["a"] == {"id": "run1", "name": "name of run1"}
    mixed = client.runs.get("run1").diff(Known(config={"lr": 0.1}, inputs=("other:v1",)))
    assert [change.key for change in mixed.inputs] == ["mnist:v1", "other:v1"]
    assert mixed.config == ()


def test_a_table_has_a_column_for_everything_that_occurs(mock: Any, routes: Callable[..., None]) -> None:
    first = run("run1", config={"lr": 0.1, "net": {"depth": 3}}, finished_at="2026-01-02T03:04:07.178Z")
    second = run("run2", config={"lr": 0.2})
    routes("run2", summary=[summary("acc", 0.9, "val"), summary("more", 1)])
    mock.routes["GET /api/v1/runs"] = {
        "items": [
            {"run": first, "summary": [summary("loss", 0.5, min=0.25)]},
            {"run": second, "summary": [summary("acc", 0.9, "val")], "complete": False},
        ],
        "next_cursor": None,
    }
    client = mock.client()
    table = client.runs.table("params.lr < 1", order_by="-created_at")
    assert query_of(mock.requests[0]) | {"limit": ""} == {
        "project": "digits",
        "filter": "params.lr < 1",
        "order_by": "-created_at",
        "include": "summary",
        "limit": "",
    }
    assert table.columns[5:] == ("params.lr", "params.net.depth", "metrics.loss", "metrics.val.acc", "metrics.more")
    rows = list(table)
    assert (rows[0]["duration"], rows[0]["params.net.depth"], rows[0]["metrics.loss"]) == (1.5, 3, 0.5)
    assert (rows[1]["duration"], rows[1]["params.net.depth"], rows[1]["metrics.more"]) == (None, None, 1)
    assert table.to_pandas()["params.lr"].tolist() == [0.1, 0.2]
    chosen = client.runs.table(columns=["name", "metrics.loss.min", "metrics.`loss`", "config.lr"])
    assert next(iter(chosen)) == {
        "name": "name of run1",
        "metrics.loss.min": 0.25,
        "metrics.`loss`": 0.5,
        "params.lr": 0.1,
    }


def series(name: str, count: int, **more: Any) -> dict[str, Any]:
    about = {"run_id": "run1", "name": name, "stage": "", "replica": "rank0", "attempts": [0], "count": count}
    return {**about, **more}


def test_an_export_tells_ranks_attempts_words_and_writers_apart(
    mock: Any, routes: Callable[..., None], tmp_path: Path
) -> None:
    routes(
        series=[
            series("loss", 200_000, stage="val", raw_stages=["val", "validation"], attempts=[0, 1]),
            series("loss", 1, stage="val", raw_stages=["validation"], replica="rank1"),
            series("cpu", 1, system=True),
        ]
    )
    stream = {"run_id": "run1", "created_at": TIME, "updated_at": TIME}
    mock.routes["GET /api/v1/runs/run1/streams"] = {
        "items": [{**stream, "name": f"metrics/{name}", "writer_id": f"writer-{name}"} for name in ("a", "b")]
    }
    asked: list[dict[str, str]] = []

    def answer(request: Request) -> Response:
        asked.append(query_of(request))
        points = [(step, len(asked), step, None) for step in range(3)]
        line = replace(pack(points, replica="rank0", attempt=1), streams=(("metrics/a", 2), ("metrics/b", 1)))
        return Response(200, {}, encode_columns([line]))

    mock.routes["GET /api/v1/runs/run1/metrics"] = answer
    path = mock.client().runs.export("run1", tmp_path / "points.csv")
    assert [(q["name"], q.get("stage"), q["word"], q["view"], q["system"]) for q in asked] == [
        ("loss", "val", "val", "all", "false"),
        ("loss", "val", "validation", "all", "false"),
        ("cpu", None, "", "all", "true"),
    ]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["writer"]) for row in rows[:3]] == [
        ("0", "writer-a"),
        ("1", "writer-a"),
        ("2", "writer-b"),
    ]
    assert [row["word"] for row in rows] == ["val"] * 3 + ["validation"] * 3 + [""] * 3
    assert {(row["replica"], row["attempt"]) for row in rows} == {("rank0", "1")}


def test_a_long_series_is_exported_from_the_disk_not_from_memory(
    mock: Any, routes: Callable[..., None], tmp_path: Path
) -> None:
    routes(series=[series("loss", 1)])
    mock.routes["GET /api/v1/runs/run1/streams"] = {"items": []}
    count = SPOOLED // 8 + 5
    column = memoryview(array("q", range(count)))
    body = encode_columns([Line(value=column, time=column, replica="rank0")])
    mock.routes["GET /api/v1/runs/run1/metrics"] = lambda request: Response(200, {}, body)
    source = mock.client().runs.get("run1").points()
    seen = 0
    tracemalloc.start()
    for block in source.blocks(tmp_path):
        assert len(block.line) <= POINTS_AT_ONCE
        assert (block.line.value[0], block.line.time[-1]) == (seen, seen + len(block.line) - 1)
        seen += len(block.line)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == count
    assert peak < SPOOLED
    assert list(tmp_path.iterdir()) == []


def test_an_export_takes_runs_in_any_form(mock: Any, routes: Callable[..., None], tmp_path: Path) -> None:
    routes()
    client = mock.client()
    view = client.runs.get("run1")
    mock.routes["GET /api/v1/runs/run1/streams"] = {"items": []}
    for runs in ("run1", view, ["run1", view], iter([view])):
        assert client.runs.export(runs, tmp_path / "a.ndjson").read_text() == ""
    with pytest.raises(InvalidRequestError, match="float is no run"):
        client.runs.export([0.5], tmp_path / "a.ndjson")
    assert view.export(tmp_path / "b.csv").exists()


PNG = b"\x89PNG not really"


def entry(data: bytes, **changes: Any) -> dict[str, Any]:
    about = {"run_id": "run1", "name": "samples", "type": "image", "media_type": "image/png", "time_ms": 5}
    return {**about, "digest": hashlib.sha256(data).hexdigest(), "size": len(data), **changes}


def test_media_are_read_saved_and_shown(mock: Any, routes: Callable[..., None], tmp_path: Path) -> None:
    routes()
    digest = hashlib.sha256(PNG).hexdigest()
    mock.routes["GET /api/v1/runs/run1/entries"] = {"items": [entry(PNG), entry(PNG, media_type="image/svg+xml")]}
    mock.routes[f"GET /api/v1/projects/prj1/blobs/{digest}"] = lambda request: Response(200, {}, PNG)
    plain, drawn = mock.client().runs.entries("run1", name="samples", stage="val", type="image")
    assert plain.read() == PNG
    assert plain.save(tmp_path / "a.png").read_bytes() == PNG
    assert "data:image/png;base64," in plain._repr_html_()
    assert "data:" not in drawn._repr_html_(), "an SVG may hold scripts"
    assert query_of(mock.requests[1])["type"] == "image"


def test_bytes_that_are_not_what_they_should_be_are_not_kept(
    mock: Any, routes: Callable[..., None], tmp_path: Path
) -> None:
    routes()
    mock.routes["GET /api/v1/runs/run1/entries"] = {"items": [entry(PNG)]}
    mock.routes[f"GET /api/v1/projects/prj1/blobs/{hashlib.sha256(PNG).hexdigest()}"] = lambda request: Response(
        200, {}, PNG[:-1] + b"?"
    )
    (found,) = mock.client().runs.get("run1").entries()
    with pytest.raises(CorruptDataError, match="digest"):
        found.read()
    with pytest.raises(CorruptDataError):
        found.save(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    assert "<img" not in found._repr_html_()
