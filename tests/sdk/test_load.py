"""Open-loop load: what is measured, what is counted, and answers however they are cut."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import ConnectionFailedError, InvalidRequestError
from headway.sdk.load.answers import AnswerReader, GarbageError
from headway.sdk.load.generator import run_load
from headway.sdk.load.inputs import made_up, read_bodies
from headway.sdk.load.plan import LoadPlan, quantiles

BODY = b'{"instances": [1]}'


def plan(url: str, *, rate: float = 40, seconds: float = 0.5, **more: Any) -> LoadPlan:
    return LoadPlan(f"{url}/model-serving/d:predict", {"X-Test": "1"}, [BODY], rate, seconds, **more)


def test_every_request_goes_out_and_is_counted(scripted: Any, script: Any) -> None:
    scripted.script = [script.answer(200, {"predictions": [1]}, X_Headway_Version="v2")]
    passed: list[int] = []
    report = run_load(plan(scripted.url), lambda second: passed.append(second.answered))

    assert (report.requests, report.answered, report.errors) == (20, 20, 0)
    assert (report.codes, report.versions, report.failures) == ({200: 20}, {"v2": 20}, {})
    assert sum(report.histogram.values()) == 20 == sum(passed)
    assert [second.second for second in report.per_second] == list(range(len(passed)))
    assert report.least is not None and report.p50 is not None and report.p99 is not None
    assert 0 < report.least <= report.p50 <= report.p99 <= (report.greatest or 0)
    assert len(scripted.requests) == 20
    assert {(each.method, each.path, each.body, each.headers["x-test"]) for each in scripted.requests} == {
        ("POST", "/model-serving/d:predict", BODY, "1")
    }


def test_several_bodies_take_turns(scripted: Any, script: Any) -> None:
    scripted.script = [script.answer(200, {})]
    run_load(LoadPlan(scripted.url, {}, [b"1", b"2", b"3"], 30, 0.2, connections=1))
    assert [each.body for each in scripted.requests] == [b"1", b"2", b"3", b"1", b"2", b"3"]


def test_a_server_that_stalls_does_not_hide_what_was_due_meanwhile(scripted: Any, script: Any) -> None:
    """One answer is held for a second: of those due in that second all have waited, though only one was on its way."""
    over = threading.Event()

    def held(handler: BaseHTTPRequestHandler) -> None:
        assert over.wait(60)
        script.answer(200, {})(handler)

    scripted.script = [held, script.answer(200, {})]
    report = run_load(plan(scripted.url, rate=20, seconds=1, connections=1), lambda _second: over.set())
    assert report.answered == 20
    assert report.greatest is not None and report.greatest >= 1
    assert report.p50 is not None and report.p50 >= 0.45


def test_other_answers_are_errors_and_no_latencies(scripted: Any, script: Any) -> None:
    scripted.script = [
        *[script.answer(200, {})] * 3,
        *[script.answer(429, {"error": "1024 requests wait"})] * 2,
        script.answer(503, {"error": "stopped"}),
        script.answer(200, {}),
    ]
    report = run_load(plan(scripted.url, connections=1))
    assert report.codes == {200: 17, 429: 2, 503: 1}
    assert (report.answered, report.errors, report.error_rate) == (17, 3, 0.15)
    assert sum(report.histogram.values()) == 17
    assert report.first_error == '429: {"error": "1024 requests wait"}'
    assert sum(second.errors for second in report.per_second) == 3


def test_connections_that_end_are_replaced(scripted: Any, script: Any) -> None:
    scripted.script = [script.answer(200, {}, Connection="close")]
    report = run_load(plan(scripted.url, connections=2))
    assert (report.answered, report.failures) == (20, {})


def test_what_breaks_off_is_told(scripted: Any, script: Any) -> None:
    scripted.script = [script.answer(200, {}), script.drop, script.answer(200, {})]
    report = run_load(plan(scripted.url, connections=1))
    assert (report.answered, report.failures) == (19, {"connection": 1})
    assert "broke" in report.first_error


def test_who_never_answers_is_given_up(scripted: Any) -> None:
    released = threading.Event()
    scripted.script = [lambda _handler: released.wait(60) and None]
    try:
        report = run_load(plan(scripted.url, connections=2, timeout=0.2))
    finally:
        released.set()
    assert (report.requests, report.answered, report.errors) == (20, 0, 20)
    assert set(report.failures) <= {"timeout", "unsent"}
    assert report.failures["timeout"] >= 2
    assert report.p50 is None
    assert report.error_rate == 1


def test_a_peer_that_speaks_something_else_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):  # the second connection takes the first one's place
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                    connection.recv(65536)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        report = run_load(plan(f"http://127.0.0.1:{port}", rate=10, seconds=0.2, connections=1, timeout=5))
    assert report.answered == 0
    assert report.failures["garbage"] >= 1
    assert "not HTTP/1.1" in report.first_error


def test_nobody_there_is_one_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailedError, match=str(port)):
        run_load(plan(f"http://127.0.0.1:{port}"))


def test_a_load_runs_where_a_loop_runs_already(scripted: Any, script: Any) -> None:
    import asyncio

    scripted.script = [script.answer(200, {})]

    async def notebook() -> int:
        return run_load(plan(scripted.url, rate=20, seconds=0.1)).answered

    assert asyncio.run(notebook()) == 2


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"rate": 0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": "5"}, "rate"),
        ({"seconds": -1}, "seconds"),
        ({"connections": 0}, "connections"),
        ({"connections": 1.5}, "connections"),
        ({"timeout": 0}, "timeout"),
        ({"rate": 1e5, "seconds": 80_000}, "more than 5000000 requests"),
    ],
)
def test_a_wrong_load_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        plan("http://127.0.0.1:1", **fields)


def test_a_header_cannot_hold_another() -> None:
    wrong = LoadPlan("http://h/", {"Authorization": "Bearer x\r\nHost: evil"}, [b""], 1, 1)
    with pytest.raises(InvalidRequestError, match="line break"):
        wrong.requests()


# Answers

WHOLE = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Headway-Version: v7\r\n\r\nhello"
    b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    b"HTTP/1.1 204 No Content\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: 1\r\n\r\n"
    b"HTTP/1.0 404 \r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
)
MEANT = [(200, "v7", True, b""), (503, "", True, b"abcde"), (204, "", True, b""), (200, "", True, b""),
         (404, "", False, b"no")]  # fmt: skip


@given(st.lists(st.integers(0, len(WHOLE)), max_size=40))
def test_answers_are_the_same_however_they_arrive(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WHOLE)]
    reader = AnswerReader()
    found = [answer for a, b in itertools.pairwise(places) for answer in reader.feed(WHOLE[a:b])]
    assert [(each.status, each.version, each.keeps, each.body) for each in found] == MEANT


def test_an_answer_may_end_with_its_connection() -> None:
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 500 Oh\r\n\r\nfor ever") == []
    found = reader.end()
    assert found is not None
    assert (found.status, found.keeps, found.body) == (500, False, b"for ever")
    assert AnswerReader().end() is None


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0", b"HTTX", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"],
)
def test_garbage_is_no_answer(garbage: bytes) -> None:
    with pytest.raises(GarbageError):
        AnswerReader().feed(garbage)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=200))
def test_quantiles_are_values_that_so_many_do_not_exceed(values: list[float]) -> None:
    found = quantiles(values)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert found[name] in values
        assert sum(value <= found[name] for value in values) >= share * len(values)
        assert sum(value < found[name] for value in values) < max(1, share * len(values))


# What is sent

TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 3]}


def test_inputs_are_made_up_as_the_model_says() -> None:
    one = json.loads(made_up({"inputs": [TENSOR]}, rows=2))["inputs"]
    assert [len(row) for row in one] == [3, 3]
    assert all(isinstance(value, float) for row in one for value in row)
    several = json.loads(
        made_up({"inputs": [TENSOR, {"name": "n", "datatype": "INT64", "shape": [-1]},
                            {"name": "b", "datatype": "BOOL", "shape": []}]})
    )["inputs"]  # fmt: skip
    assert (len(several["x"]), len(several["n"]), type(several["b"])) == (1, 1, bool)
    assert isinstance(several["n"][0], int)


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        (None, "does not say what it takes"),
        ({}, "does not say what it takes"),
        ({"inputs": []}, "does not say what it takes"),
        ({"inputs": [{"name": "t", "datatype": "BYTES", "shape": [-1]}]}, "'t' is of type BYTES"),
        ({"inputs": [{"name": "t", "datatype": "FP32"}]}, "shape of its input 't'"),
        ({"inputs": [{**TENSOR, "shape": [-1, -1]}]}, "may be anything"),
        ({"inputs": [{**TENSOR, "shape": [3000, 3000]}]}, "more than 4000000"),
    ],
)
def test_what_cannot_be_made_up_is_said(metadata: Any, named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        made_up(metadata)


def test_data_is_json_in_hand_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"inputs": 1}')
    (tmp_path / "many.jsonl").write_text('{"inputs": 1}\n\n{"inputs": 2}\n')
    assert read_bodies({"inputs": [1]}) == [b'{"inputs":[1]}']
    assert read_bodies(' {"inputs": 1}') == [b' {"inputs": 1}']
    assert read_bodies(tmp_path / "one.json") == read_bodies(str(tmp_path / "one.json")) == [b'{"inputs": 1}']
    assert read_bodies(tmp_path / "many.jsonl") == [b'{"inputs": 1}', b'{"inputs": 2}']
    assert read_bodies({"inputs": float("nan")}) == [b'{"inputs":NaN}']
    (tmp_path / "wrong.jsonl").write_text('{"inputs": 1}\n{inputs: 2}\n')
    (tmp_path / "empty.ndjson").write_text("\n")
    for data, named in (
        ("{inputs}", "not JSON"),
        (tmp_path / "wrong.jsonl", "line 2 is not JSON"),
        (tmp_path / "empty.ndjson", "empty"),
        ("absent.json", "absent.json"),
        ({"inputs": object()}, "JSON"),
    ):
        with pytest.raises(InvalidRequestError, match=named):
            read_bodies(data)
