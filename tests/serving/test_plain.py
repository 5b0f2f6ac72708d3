"""Plain JSON, and the endpoint that finds the protocol in the body."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headway.serving.runtimes.base import Signature, TensorSpec
from headway.testing.protocols import FunctionModel, ask

ENDPOINT = "/model-serving/d:predict"
DOUBLE = FunctionModel(lambda i: {"y": i["x"] * 2}, Signature((TensorSpec("x", "float64", (None,)),)))
SPLIT = FunctionModel(
    lambda i: {"sum": i["m"].sum(axis=1), "first": i["m"][:, 0]},
    Signature((TensorSpec("m", "float32", (None, 2), ("a", "b")),)),
)
ECHO = FunctionModel(lambda inputs: inputs)


def post(model, body, path="/predict", **headers):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = ask(model, path, text, headers)
    return response.status, json.loads(response.body)


def test_the_body_is_the_value_and_the_answer_the_result():
    for value in (None, True, 1, 2.5, "a", [], {}, [1, [2]], {"inputs": 1}, {"a": {"b": [None]}}):
        assert post(ECHO, value) == (200, value)
    assert post(ECHO, {"b64": "YWJj"}) == (200, {"b64": "YWJj"})


def test_a_model_with_a_signature_takes_lists_objects_and_rows():
    assert post(DOUBLE, [1, 2]) == (200, [2.0, 4.0])
    assert post(DOUBLE, {"x": [1]}) == (200, [2.0])
    assert post(DOUBLE, [{"x": 1}, {"x": 2}]) == (200, [2.0, 4.0])
    assert post(SPLIT, [[1, 2], [3, 4]]) == (200, {"sum": [3.0, 7.0], "first": [1.0, 3.0]})
    assert post(SPLIT, {"b": [2], "a": [1]}) == (200, {"sum": [3.0], "first": [1.0]})
    assert post(SPLIT, [{"b": 2, "a": 1}]) == (200, [{"sum": 3.0, "first": 1.0}])


def test_a_model_that_takes_batches_gets_lists_and_its_columns_are_columns():
    seen = []

    def predict(rows):
        seen.append(rows)
        return {"n": [len(row) for row in rows]}

    model = FunctionModel(predict, batch=True)
    assert post(model, ["a", "bb"]) == (200, {"n": [1, 2]})
    assert post(model, [{"a": 1}]) == (200, [{"n": 1}])
    assert seen == [["a", "bb"], [{"a": 1}]]


def test_a_data_frame_is_an_answer_in_every_protocol():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n": [1, 2], "text": ["a", "b"], "gap": [0.5, float("nan")]})
    model = FunctionModel(lambda _: frame)
    rows = [{"n": 1, "text": "a", "gap": 0.5}, {"n": 2, "text": "b", "gap": "NaN"}]
    columns = {"n": [1, 2], "text": ["a", "b"], "gap": [0.5, "NaN"]}
    assert post(model, 1) == (200, columns)
    assert post(model, {"instances": [1]}, "/v1/models/m:predict") == (200, {"predictions": rows})
    assert post(model, {"inputs": 1}, "/v1/models/m:predict") == (200, {"outputs": columns})
    assert post(model, {"instances": [1]}, "/invocations") == (200, {"predictions": rows})
    tensors = post(
        model, {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}, "/v2/models/m/infer"
    )
    assert {each["name"]: each["data"] for each in tensors[1]["outputs"]} == columns
    assert post(FunctionModel(lambda _: frame["n"]), 1) == (200, [1, 2])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The document is empty"),
        (b"nope", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        ({"y": [1]}, "unknown input 'y'"),
        (["a"], "expected a number"),
        ([[1]], "expected the shape [any], found [1, 1]"),
        ([], "there are no rows"),
    ],
)
def test_what_does_not_fit_is_400(body, said):
    status, answer = post(DOUBLE, body)
    assert status == 400 and list(answer) == ["error"] and said in answer["error"]


def test_the_endpoint_answers_in_the_protocol_that_was_spoken():
    assert post(DOUBLE, {"instances": [1]}, ENDPOINT) == (200, {"predictions": [2.0]})
    assert post(DOUBLE, {"inputs": [1]}, ENDPOINT) == (200, {"outputs": [2.0]})
    assert post(DOUBLE, {"inputs": {"x": [1]}}, ENDPOINT) == (200, {"outputs": [2.0]})
    assert post(DOUBLE, {"dataframe_records": [{"x": 1}]}, ENDPOINT) == (200, {"predictions": [2.0]})
    assert post(DOUBLE, {"dataframe_split": {"columns": ["x"], "data": [[1]]}}, ENDPOINT) == (
        200,
        {"predictions": [2.0]},
    )
    assert post(DOUBLE, [1, 2], ENDPOINT) == (200, [2.0, 4.0])
    assert post(DOUBLE, {"x": [1]}, ENDPOINT) == (200, [2.0])
    tensors = {"id": "7", "inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.5]}]}
    status, answer = post(DOUBLE, tensors, ENDPOINT)
    assert status == 200 and answer["id"] == "7" and answer["outputs"][0]["data"] == [3.0]


def test_the_endpoint_takes_binary_tensors_by_their_header():
    head = json.dumps(
        {
            "inputs": [{"name": "x", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    response = ask(DOUBLE, ENDPOINT, head + np.array([1.5, 2.5], dtype="<f8").tobytes(), headers)
    length = int(dict(response.headers)["Inference-Header-Content-Length"])
    assert np.frombuffer(response.body[length:], dtype="<f8").tolist() == [3.0, 5.0]
    del headers["Inference-Header-Content-Length"]
    assert ask(DOUBLE, ENDPOINT, head, headers).status == 415


def test_the_endpoint_refuses_in_the_protocol_that_was_spoken():
    assert "error" in post(DOUBLE, {"instances": ["a"]}, ENDPOINT)[1]
    assert "message" in post(DOUBLE, {"dataframe_records": [{"x": "a"}]}, ENDPOINT)[1]
    assert (
        "unknown input 'q'"
        in post(DOUBLE, {"inputs": [{"name": "q", "shape": [1], "datatype": "FP64", "data": [1]}]}, ENDPOINT)[1][
            "error"
        ]
    )
    for body, said in (
        ({}, "Missing 'inputs' or 'instances' key"),
        ([], "expecting an object"),
        (b"", "The document is empty"),
        ({"inputs": 1, "instances": [1]}, "only one of 'inputs' or 'instances'"),
    ):
        status, answer = post(ECHO, body, ENDPOINT)
        assert status == 400 and said in answer["error"]
    failing = FunctionModel(lambda _: object())
    assert "message" in post(failing, {"dataframe_records": [{"x": 1}]}, ENDPOINT)[1]
    assert "error" in post(failing, 1, ENDPOINT)[1]


def test_state_and_metadata_of_the_endpoint_are_tensorflow_servings():
    assert json.loads(ask(DOUBLE, "/model-serving/d").body)["model_version_status"][0]["state"] == "AVAILABLE"
    assert json.loads(ask(DOUBLE, "/model-serving/d/metadata").body)["model_spec"]["version"] == "3"
    state = json.loads(ask(DOUBLE, "/model-serving/d").body)["model_version_status"]
    assert [entry["version"] for entry in state] == ["3"]


@pytest.mark.parametrize("path", ["/predict", "/v1/models/m:predict", "/v2/models/m/infer", "/invocations", ENDPOINT])
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "application/x-pickle"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_any_other_body_is_415(path, headers):
    assert ask(ECHO, path, b"{}", headers).status == 415
