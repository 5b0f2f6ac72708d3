"""TensorFlow Serving's REST API: the examples of its documentation, its forms and its errors."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest

from headway.serving.protocols.base import ModelState
from headway.serving.runtimes.base import Signature, TensorSpec
from headway.testing.protocols import FunctionModel, ask

HALF_PLUS_THREE = FunctionModel(
    lambda inputs: {"y": inputs["x"] * 0.5 + 3},
    Signature((TensorSpec("x", "float32", (None,)),), (TensorSpec("y", "float32", (None,)),)),
)
THREE_INPUTS = FunctionModel(
    lambda inputs: {
        "tags": np.array([tag.upper() for tag in inputs["tag"]], dtype=object),
        "total": inputs["signal"].sum(axis=1) + inputs["sensor"].sum(axis=(1, 2)),
    },
    Signature(
        (
            TensorSpec("tag", "object", (None,)),
            TensorSpec("signal", "float64", (None, 5)),
            TensorSpec("sensor", "float64", (None, 2, 2)),
        )
    ),
)
DIGITS = FunctionModel(
    lambda inputs: {
        "classes": inputs["x"].argmax(axis=1),
        "probabilities": inputs["x"] / inputs["x"].sum(axis=1, keepdims=True),
    },
    Signature((TensorSpec("x", "float64", (None, 2), ("a", "b")),)),
    metadata={"classes": ["cat", "dog"]},
)
ECHO = FunctionModel(lambda inputs: inputs)


def post(model, body, verb="predict"):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = ask(model, f"/v1/models/m:{verb}", text)
    assert response.content_type == "application/json"
    return response.status, json.loads(response.body)


def test_the_documented_example_of_half_plus_three():
    assert post(HALF_PLUS_THREE, {"instances": [1.0, 2.0, 5.0]}) == (200, {"predictions": [3.5, 4.0, 5.5]})
    body = {"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}
    assert post(HALF_PLUS_THREE, body, "regress") == (200, {"results": [3.5, 4.0]})
    status = ask(HALF_PLUS_THREE, "/v1/models/m")
    assert json.loads(status.body) == {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }


def test_the_documented_row_and_column_forms_of_three_inputs():
    rows = [
        {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
        {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
    ]
    columns = {
        "tag": ["foo", "bar"],
        "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
        "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
    }
    assert post(THREE_INPUTS, {"instances": rows}) == (
        200,
        {"predictions": [{"tags": "FOO", "total": 25.0}, {"tags": "BAR", "total": 38.0}]},
    )
    assert post(THREE_INPUTS, {"inputs": columns}) == (
        200,
        {"outputs": {"tags": ["FOO", "BAR"], "total": [25.0, 38.0]}},
    )


def test_tensors_of_one_by_two_and_a_single_object_with_the_inputs_name():
    model = FunctionModel(
        lambda inputs: {"y": inputs["x"].sum(axis=(1, 2))}, Signature((TensorSpec("x", "int64", (None, 1, 2)),))
    )
    assert post(model, {"instances": [[[1, 2]], [[3, 4]]]}) == (200, {"predictions": [3, 7]})
    assert post(model, {"instances": [{"x": [[1, 2]]}]}) == (200, {"predictions": [3]})
    assert post(model, {"inputs": {"x": [[[1, 2]]]}}) == (200, {"outputs": [3]})
    assert post(model, {"inputs": [[[2**53, 1]]]}) == (200, {"outputs": [2**53 + 1]})


def test_texts_of_one_input_and_bytes_as_base64_both_ways():
    model = FunctionModel(
        lambda inputs: {
            "size": np.array([len(item) for item in inputs["image"]]),
            "image_bytes": inputs["image"],
            "kind": np.array([type(item).__name__ for item in inputs["image"]], dtype=object),
        },
        Signature((TensorSpec("image", "object", (None,)),)),
    )
    raw = b"\xff\xd8 jpeg"
    sent = {"instances": [{"image": {"b64": base64.b64encode(raw).decode()}}, {"image": "text"}]}
    status, answer = post(model, sent)
    assert status == 200
    assert [base64.b64decode(row["image_bytes"]["b64"]) for row in answer["predictions"]] == [raw, b"text"]
    assert [row["kind"] for row in answer["predictions"]] == ["bytes", "str"]
    assert post(model, {"instances": ["foo", "barbaz"]})[1]["predictions"][1]["size"] == 6
    only = FunctionModel(lambda i: {"echo_bytes": i["image"]}, model.signature)
    assert post(only, {"inputs": ["abc"]}) == (200, {"outputs": [{"b64": "YWJj"}]})


def test_a_model_without_signature_gets_the_value_as_it_was_sent():
    for value in (1, "a", None, [1, "x", None], {"a": [True]}):
        assert post(ECHO, {"inputs": value}) == (200, {"outputs": value})
    assert post(ECHO, {"instances": [1, "x", None]}) == (200, {"predictions": [1, "x", None]})
    assert post(ECHO, {"inputs": {"b64": "YWJj"}}) == (200, {"outputs": {"b64": "YWJj"}})
    assert post(ECHO, {"inputs": {"b64": "YWJj", "more": 1}}) == (200, {"outputs": {"b64": "YWJj", "more": 1}})
    size = FunctionModel(lambda rows: {"size": [len(row) for row in rows]})
    assert post(size, {"inputs": ["a", "bb"]}) == (200, {"outputs": {"size": [1, 2]}})
    assert post(size, {"instances": ["a", "bb"]}) == (200, {"predictions": [{"size": 1}, {"size": 2}]})


def test_numbers_that_json_lacks_are_read_in_both_spellings_and_written_as_texts():
    for body in (
        b'{"instances": [NaN, Infinity, -Infinity, 1]}',
        b'{"instances": ["NaN", "Infinity", "-Infinity", 1]}',
    ):
        assert post(HALF_PLUS_THREE, body) == (200, {"predictions": ["NaN", "Infinity", "-Infinity", 3.5]})
    assert post(ECHO, b'{"inputs": NaN}') == (200, {"outputs": "NaN"})


def test_classification_pairs_labels_and_scores():
    body = {"signature_name": "tensorflow/serving/classify", "examples": [{"a": 3, "b": 1}, {"a": [0], "b": [1]}]}
    assert post(DIGITS, body, "classify") == (
        200,
        {"results": [[["cat", 0.75], ["dog", 0.25]], [["cat", 0.0], ["dog", 1.0]]]},
    )
    shared = {"context": {"a": 3}, "examples": [{"b": 1}, {"b": 3}]}
    assert post(DIGITS, shared, "classify")[1]["results"][1] == [["cat", 0.5], ["dog", 0.5]]
    nameless = FunctionModel(DIGITS.predict, DIGITS.signature)
    assert post(nameless, shared, "classify")[1]["results"][0] == [["", 0.75], ["", 0.25]]
    labelled = FunctionModel(
        lambda i: {"labels": np.array([["x", "y"]] * len(i["x"]), dtype=object), "scores": i["x"]}, DIGITS.signature
    )
    assert post(labelled, shared, "classify")[1] == {"results": [[["x", 3.0], ["y", 1.0]], [["x", 3.0], ["y", 3.0]]]}


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        (HALF_PLUS_THREE, {}, "Missing 'examples' key"),
        (HALF_PLUS_THREE, {"examples": {}}, "Missing 'examples' key"),
        (HALF_PLUS_THREE, {"examples": []}, "No values in 'examples'"),
        (HALF_PLUS_THREE, {"examples": [1]}, "example 0 is no object"),
        (HALF_PLUS_THREE, {"examples": [{"x": 1}], "context": 1}, "'context' must be an object"),
        (
            HALF_PLUS_THREE,
            {"examples": [{"x": 1}], "context": {"x": 1}},
            "the feature 'x' is in 'context' and in example",
        ),
        (HALF_PLUS_THREE, {"examples": [{"y": 1}]}, "unknown input 'y'"),
        (HALF_PLUS_THREE, {"examples": [{"x": [1, 2]}]}, "input 'x'"),
        (HALF_PLUS_THREE, {"examples": [{"x": 1}, {}]}, "row 1 has the names"),
        (ECHO, {"examples": [{"x": 1}]}, "This model has no signature"),
    ],
)
def test_examples_that_do_not_fit(model, body, said):
    for verb in ("classify", "regress"):
        status, answer = post(model, body, verb)
        assert status == 400 and said in answer["error"]


def test_a_model_that_cannot_classify_or_regress_says_so():
    assert "use ':predict'" in post(HALF_PLUS_THREE, {"examples": [{"x": 1}]}, "classify")[1]["error"]
    several = FunctionModel(lambda i: {"a": i["x"], "b": i["x"]}, HALF_PLUS_THREE.signature)
    assert "one number for each example" in post(several, {"examples": [{"x": 1}]}, "regress")[1]["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: "),
        (b"\xff", "JSON Parse error: "),
        (b"[" * 100_000, "JSON Parse error: "),
        (b'{"inputs":' + b"[" * 900 + b"]" * 900 + b', "x": {"b64": "*"}}', "JSON Parse error: "),
        (b'{"inputs":' + b"[" * 100_000 + b"NaN", "JSON Parse error: "),
        (b'{"inputs": 1e999}', "JSON Parse error: "),
        (b"[1]", "JSON Value: expecting an object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"inputs":[1],"instances":[1]}', "only one of 'inputs' or 'instances'"),
        (b'{"instances":{"a":1}}', "Expecting 'instances' to be a list/array"),
        (b'{"instances":[]}', "No values in 'instances' array"),
        (b'{"inputs":[1],"signature_name":5}', "'signature_name' key must be a string value."),
        (b'{"inputs":[1],"signature_name":"other"}', 'Serving signature name: "other" not found in signature def'),
        (b'{"inputs":{"b64":"*"}}', "Unable to base64 decode"),
        (b'{"inputs":["a"]}', """input 'x' at [0]: expected a number (float32), found "a\""""),
    ],
)
def test_bodies_that_are_no_request_are_400_in_the_protocols_form(body, said):
    status, answer = post(HALF_PLUS_THREE, body)
    assert status == 400 and list(answer) == ["error"] and said in answer["error"]
    assert len(answer["error"]) < 500


def test_verbs_that_do_not_exist_and_names_that_matter_only_to_signatures():
    assert post(HALF_PLUS_THREE, {}, "explain") == (
        400,
        {"error": "The verb 'explain' is not offered; use ':predict'."},
    )
    assert post(ECHO, {"inputs": 1, "signature_name": "anything"}) == (200, {"outputs": 1})
    for name in ("", "serving_default"):
        assert post(HALF_PLUS_THREE, {"inputs": [1], "signature_name": name}) == (200, {"outputs": [3.5]})


def test_metadata_has_the_signature_as_tensorflow_serving_writes_it():
    metadata = json.loads(ask(THREE_INPUTS, "/v1/models/m/metadata").body)
    assert metadata["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    assert metadata["metadata"]["runtime"] == "function"
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["tag"]["dtype"] == "DT_STRING"
    assert signature["inputs"]["sensor"] == {
        "dtype": "DT_DOUBLE",
        "tensor_shape": {"dim": [{"size": size, "name": ""} for size in ("-1", "2", "2")], "unknown_rank": False},
        "name": "sensor",
    }
    loading = ask(THREE_INPUTS, "/v1/models/m/metadata", state=ModelState.LOADING)
    assert loading.status == 503 and ("Retry-After", "1") in loading.headers
    state = json.loads(ask(THREE_INPUTS, "/v1/models/m", state=ModelState.LOADING).body)
    assert state["model_version_status"][0]["state"] == "LOADING"
    assert "signature_def" not in json.loads(ask(ECHO, "/v1/models/m/metadata").body)["metadata"]


def test_columns_that_are_no_rows_stay_columns_and_ragged_ones_are_the_models_fault():
    scalar = FunctionModel(lambda _: {"a": 1, "b": [2]})
    assert post(scalar, {"instances": [1]}) == (200, {"predictions": {"a": 1, "b": [2]}})
    ragged = FunctionModel(lambda _: {"a": [1], "b": [2, 3]})
    status, answer = post(ragged, {"instances": [1]})
    assert status == 500 and "different lengths" in answer["error"]
    nan = FunctionModel(lambda _: {"a": np.array([math.nan]), "b": np.array([None], dtype=object)})
    assert post(nan, {"instances": [1]}) == (200, {"predictions": [{"a": "NaN", "b": None}]})


def test_narrow_floats_have_the_same_digits_in_every_form():
    signature = Signature((TensorSpec("x", "float32", (None, 2)),))
    two = FunctionModel(lambda i: {"a": i["x"], "scores": i["x"]}, signature)
    one = FunctionModel(lambda i: {"y": i["x"][:, :1]}, signature)
    body = json.dumps({"instances": [[0.1, 0.2]]}).encode()
    assert ask(two, "/v1/models/m:predict", body).body == b'{"predictions":[{"a":[0.1,0.2],"scores":[0.1,0.2]}]}'
    assert ask(one, "/v1/models/m:predict", body).body == b'{"predictions":[[0.1]]}'
    columns = json.dumps({"inputs": [[0.1, 0.2]]}).encode()
    assert ask(two, "/v1/models/m:predict", columns).body == b'{"outputs":{"a":[[0.1,0.2]],"scores":[[0.1,0.2]]}}'
    wanted = FunctionModel(lambda i: {"y": i["x"]}, Signature((TensorSpec("x", "float32", (None,)),)))
    examples = json.dumps({"examples": [{"x": 0.1}]}).encode()
    assert ask(wanted, "/v1/models/m:regress", examples).body == b'{"results":[0.1]}'
    labelled = FunctionModel(lambda i: {"scores": i["x"][:, None]}, wanted.signature)
    assert ask(labelled, "/v1/models/m:classify", examples).body == b'{"results":[[["",0.1]]]}'
    missing = FunctionModel(lambda i: {"a": i["x"] / 0, "b": i["x"]}, signature)
    with np.errstate(all="ignore"):
        assert post(missing, {"instances": [[0, 1]]})[1]["predictions"][0]["a"] == ["NaN", "Infinity"]
