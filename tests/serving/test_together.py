"""What arrives in one turn is read as one array and written together, and nobody's answer shows it."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headway.serving.arrivals import Arrivals
from headway.serving.batching import Batcher
from headway.serving.http.exchange import Exchange
from headway.serving.http.messages import Request
from headway.serving.metrics import RequestMetrics
from headway.serving.pace import Pace
from headway.serving.prediction import Prediction, finish_together
from headway.serving.protocols.base import Served
from headway.serving.protocols.paths import locate
from headway.serving.protocols.registry import wires
from headway.serving.runtimes.base import Signature, TensorSpec
from headway.serving.worker import ModelWorker
from headway.testing.protocols import FunctionModel, ask

SECONDS = 30.0
PATHS = ["/model-serving/d:predict", "/v1/models/m:predict"]


class Done:
    """Who answers go to."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.all = asyncio.get_running_loop().create_future()

    def answered(self) -> None:
        self.left -= 1
        if not self.left:
            self.all.set_result(None)


def ask_together(model, path, bodies, headers=((),)):
    """Answers to bodies that arrive in one turn of the loop, by what a replica puts a request through."""
    metrics = RequestMetrics()
    asked: list[int] = []

    def counting(inputs):
        asked.append(1)
        return model.predict(inputs)

    counted = FunctionModel(counting, model.signature, batch=model.batch, metadata=model.metadata)

    async def scene():
        worker, pace = ModelWorker(), Pace(pinned=False)
        options = {"max_rows": 256, "max_wait_ms": 0.0, "observe": lambda rows: None, "together": finish_together}
        arrivals = Arrivals(counted, Batcher(counted, worker, pace, **options))
        done, exchanges = Done(len(bodies)), []
        target = locate(path)
        wire = wires(Served("m", 3))[target.protocol]
        for number, body in enumerate(bodies):
            request = Request("POST", path, "1.1", list(headers[number % len(headers)]), "test")
            request.body = body
            exchanges.append(Exchange(request, done))
            arrivals.add(Prediction(exchanges[-1], counted, wire, metrics), target)
        await asyncio.wait_for(done.all, SECONDS)
        return [exchange.response for exchange in exchanges]

    responses = uvloop.run(scene())
    assert metrics.in_flight == 0
    assert sum(metrics.codes.values()) == len(bodies)
    return responses, len(asked)


def matrix(dtype, width=2):
    return Signature((TensorSpec("x", dtype, (None, width)),))


def scores(inputs):
    """Answers each row by itself, to the last bit, whatever stands beside it."""
    x = inputs["x"]
    return {"class": x.argmax(axis=1), "scores": x * x.dtype.type(0.1), "sum": x[:, 0] + x[:, 1]}


MODELS = {
    "float64": FunctionModel(scores, matrix("float64")),
    "float32": FunctionModel(scores, matrix("float32")),
    "float16 alone": FunctionModel(lambda i: {"y": i["x"]}, matrix("float16")),
    "float32 alone": FunctionModel(lambda i: {"y": i["x"] * np.float32(0.1)}, matrix("float32")),
    "any numbers": FunctionModel(lambda i: {"y": i["x"] * 2}, matrix("")),
    "int64": FunctionModel(lambda i: {"y": i["x"]}, matrix("int64")),
    "bool": FunctionModel(lambda i: {"y": i["x"]}, matrix("bool")),
    "texts": FunctionModel(lambda i: {"y": i["x"], "z_bytes": i["x"][:, 0]}, matrix("object")),
    "a mixed table": FunctionModel(
        lambda i: i, Signature((TensorSpec("x", "object", (None, 2), ("a", "b"), mixed=True),))
    ),
    "a vector": FunctionModel(lambda i: {"y": i["x"] + 1}, Signature((TensorSpec("x", "float32", (None,)),))),
    "free width": FunctionModel(
        lambda i: {"y": i["x"].sum(axis=1)}, Signature((TensorSpec("x", "float64", (None, None)),))
    ),
    "no rows": FunctionModel(
        lambda i: {"y": i["x"].sum()}, Signature((TensorSpec("x", "float64", (None, 2)),), rows=False)
    ),
    "two inputs": FunctionModel(
        lambda i: {"n": i["x"], "m": i["y"]},
        Signature((TensorSpec("x", "int64", (None,)), TensorSpec("y", "float32", (None,)))),
    ),
    "a function of rows": FunctionModel(lambda rows: rows, batch=True),
    "a function": FunctionModel(lambda value: value),
}

NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.integers(2**53 - 2, 2**64 + 2),
    st.floats(width=32),
    st.floats(),
    st.sampled_from([1e300, 65504.0, 65520.0, 2.0**53 + 2, -0.0]),
)
CELLS = st.one_of(NUMBERS, NUMBERS, st.booleans(), st.none(), st.sampled_from(["NaN", "a", "", {"b64": "YQ=="}]))
ROWS = st.one_of(
    st.lists(NUMBERS, min_size=2, max_size=2),
    st.lists(NUMBERS, min_size=2, max_size=2),
    st.lists(CELLS, min_size=1, max_size=3),
    CELLS,
    st.dictionaries(st.sampled_from(["x", "y", "a", "b"]), CELLS, max_size=2),
)
BODIES = st.one_of(
    st.fixed_dictionaries({"instances": st.lists(ROWS, max_size=3)}).map(json.dumps).map(str.encode),
    st.fixed_dictionaries({"instances": st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=3)})
    .map(json.dumps)
    .map(str.encode),
    st.fixed_dictionaries({"inputs": st.lists(ROWS, max_size=3)}).map(json.dumps).map(str.encode),
    st.fixed_dictionaries(
        {"instances": st.lists(ROWS, max_size=2), "signature_name": st.sampled_from(["serving_default", "other"])}
    )
    .map(json.dumps)
    .map(str.encode),
    st.sampled_from([b"", b"[", b"[]", b"[[1, 2]]", b'{"instances": 3}', b'{"instances": [[1, 2]]} x', b"\xff"]),
)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@settings(deadline=None, max_examples=40)
@given(bodies=st.lists(BODIES, min_size=1, max_size=6), path=st.sampled_from(PATHS))
@example(bodies=[b'{"instances": [[true, false]]}', b'{"instances": [[1.5, 2]]}'], path=PATHS[0])
@example(bodies=[b'{"instances": [[18014398509481985, 0]]}', b'{"instances": [[0.5, 2]]}'], path=PATHS[0])
@example(bodies=[b'{"instances": [[36028799166447617, 0]]}', b'{"instances": [[0.5, 2]]}'], path=PATHS[0])
@example(bodies=[b'{"instances": [[1, 2]]}', b'{"instances": [[0.5, 2]]}', b'{"instances": [[1, "a"]]}'], path=PATHS[1])
@example(bodies=[b'{"instances": [[1, 2]]}', b'{"instances": [[3, NaN], [5, 6]]}'], path=PATHS[1])
def test_answers_are_the_same_to_the_last_byte_as_one_by_one(model, bodies, path):
    together, _ = ask_together(model, path, bodies)
    for body, response in zip(bodies, together, strict=True):
        try:
            alone = ask(model, path, body)
        except (ValueError, TypeError) as error:  # the model's own refusal
            assert (response.status, json.loads(response.body)["error"]) == (400, str(error) or type(error).__name__)
            continue
        except Exception as error:  # noqa: BLE001  # its fault
            assert response.status == 500
            assert str(error) in json.loads(response.body)["error"]
            continue
        assert (response.status, response.body, response.content_type) == (
            alone.status,
            alone.body,
            alone.content_type,
        )


def test_many_are_one_prediction_and_a_misfit_among_them_is_refused_alone():
    bodies = [json.dumps({"instances": [[n, n + 0.5]] * (n % 3 + 1)}).encode() for n in range(40)]
    responses, asked = ask_together(MODELS["float32"], PATHS[0], bodies)
    assert {response.status for response in responses} == {200}
    assert asked == 1
    bodies[7], bodies[20] = b'{"instances": [[1]]}', b"{"
    responses, asked = ask_together(MODELS["float32"], PATHS[0], bodies)
    assert [number for number, response in enumerate(responses) if response.status != 200] == [7, 20]
    assert b"rows of 1 features where there are 2" in responses[7].body
    assert asked == 1


def test_what_the_head_says_of_one_binary_body_counts_among_others():
    body = b'{"instances": [[1, 2]]}'
    binary = [(b"inference-header-content-length", b"%d" % len(body))]
    responses, _ = ask_together(MODELS["float64"], PATHS[0], [body, body, body], headers=([], binary, []))
    assert [response.status for response in responses] == [200, 400, 200]


def test_an_answer_that_has_no_form_is_the_fault_of_its_own_row():
    def odd(inputs):
        values = np.empty(len(inputs["x"]), dtype=object)
        values[:] = [object() if row[0] < 0 else "fine" for row in inputs["x"]]
        return {"y": values}

    bodies = [b'{"instances": [[%d, 0]]}' % number for number in (1, -1, 2)]
    responses, _ = ask_together(FunctionModel(odd, matrix("float64")), PATHS[0], bodies)
    assert [response.status for response in responses] == [200, 500, 200]
    assert responses[0].body == b'{"predictions":["fine"]}'
