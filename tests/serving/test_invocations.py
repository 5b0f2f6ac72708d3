"""MLflow's scoring protocol: its documented bodies, CSV, and its errors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from headway.serving.protocols.base import ModelState
from headway.serving.runtimes.base import Signature, TensorSpec
from headway.testing.protocols import FunctionModel, ask

SUM = FunctionModel(
    lambda inputs: {"sum": inputs["x"].sum(axis=1)},
    Signature((TensorSpec("x", "float64", (None, 3)),), (TensorSpec("sum", "float64", (None,)),)),
)
NAMED = FunctionModel(
    lambda inputs: {"first": inputs["inputs"][:, 0], "all": inputs["inputs"]},
    Signature((TensorSpec("inputs", "float64", (None, 2), ("age", "height")),)),
)
COLUMNS = FunctionModel(
    lambda inputs: {"text": np.array([f"{n}:{c}" for n, c in zip(inputs["number"], inputs["city"], strict=True)])},
    Signature((TensorSpec("city", "object", (None,)), TensorSpec("number", "int64", (None,)))),
)
ECHO = FunctionModel(lambda inputs: inputs)


def post(model, body, content_type="application/json"):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = ask(model, "/invocations", text, {"Content-Type": content_type})
    return response.status, json.loads(response.body)


def test_the_documented_bodies():
    split = {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, 3], [4, 5, 6]]}}
    records = {"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": 6}]}
    for body in (split, records, {"instances": [[1, 2, 3], [4, 5, 6]]}, {"inputs": [[1, 2, 3], [4, 5, 6]]}):
        assert post(SUM, body) == (200, {"predictions": [6.0, 15.0]})
    with_index = {"dataframe_split": {**split["dataframe_split"], "index": [0, 1]}, "params": {}}
    assert post(SUM, with_index) == (200, {"predictions": [6.0, 15.0]})
    assert post(SUM, {"inputs": {"x": [[1, 2, 3]]}}) == (200, {"predictions": [6.0]})
    assert post(SUM, {"dataframe_split": {"data": [[1, 2, 3]]}}) == (200, {"predictions": [6.0]})


def test_csv_as_a_data_frame_writes_it():
    assert post(SUM, b"a,b,c\n1,2,3\n4,5.5,6\n", "text/csv") == (200, {"predictions": [6.0, 15.5]})
    assert post(SUM, b'\xef\xbb\xbf"a","b","c"\r\n1,,3\r\n', "text/csv; charset=utf-8") == (
        200,
        {"predictions": ["NaN"]},
    )
    assert post(COLUMNS, 'number,city\n7,"Bern, Köniz"\n9007199254740993,12\n'.encode(), "text/csv") == (
        200,
        {"predictions": ["7:Bern, Köniz", "9007199254740993:12"]},
    )
    rows = [{"a": 1, "b": 2.5, "c": "x", "d": True}]
    assert post(ECHO, b"a,b,c,d\n1,2.5,x,true\n", "text/csv") == (200, {"predictions": rows})


def test_cells_are_texts_for_a_model_of_texts():
    spec = TensorSpec("words", "object", (None, 2))
    assert post(FunctionModel(lambda i: i, Signature((spec,))), b"a,b\n1,x\n,2.50\n", "text/csv") == (
        200,
        {"predictions": [["1", "x"], ["", "2.50"]]},
    )
    single = FunctionModel(lambda i: i, Signature((TensorSpec("words", "object", (None,)),)))
    assert post(single, b"words\n007\n", "text/csv") == (200, {"predictions": ["007"]})
    mixed = TensorSpec("inputs", "object", (None, 2), ("a", "b"), mixed=True)
    assert post(FunctionModel(lambda i: i, Signature((mixed,))), b"b,a\nx,2.50\n", "text/csv") == (
        200,
        {"predictions": [[2.5, "x"]]},
    )


def test_columns_find_their_places_by_name_and_gaps_are_nan():
    split = {"dataframe_split": {"columns": ["height", "age"], "data": [[1.8, 30], [None, 40]]}}
    assert post(NAMED, split) == (
        200,
        {"predictions": [{"first": 30.0, "all": [30.0, 1.8]}, {"first": 40.0, "all": [40.0, "NaN"]}]},
    )
    records = {"dataframe_records": [{"number": 1, "city": "A"}, {"city": "B", "number": 2}]}
    assert post(COLUMNS, records) == (200, {"predictions": ["1:A", "2:B"]})


def test_a_model_without_signature_gets_rows_as_objects_or_the_value():
    split = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [None, "y"]]}}
    assert post(ECHO, split) == (200, {"predictions": [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]})
    assert post(ECHO, {"inputs": "any"}) == (200, {"predictions": "any"})
    assert post(ECHO, {"instances": [1, 2]}) == (200, {"predictions": [1, 2]})


def test_several_outputs_are_records_for_rows_and_columns_for_tensors():
    assert post(NAMED, {"instances": [[1, 2]]}) == (200, {"predictions": [{"first": 1.0, "all": [1.0, 2.0]}]})
    assert post(NAMED, {"inputs": [[1, 2]]}) == (200, {"predictions": {"first": [1.0], "all": [[1.0, 2.0]]}})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The document is empty"),
        (b"[" * 100_000, "JSON Parse error"),
        (b"[]", "must be an object with one of the fields 'dataframe_split'"),
        ({}, "exactly one of the fields"),
        ({"columns": [], "data": []}, "it has 'columns', 'data'"),
        ({"inputs": 1, "instances": [1]}, "it has 'instances', 'inputs'"),
        ({"inputs": [[1, 2, 3]], "params": {"temperature": 1}}, "takes no 'params'"),
        ({"instances": []}, "must be a list of rows, and not empty"),
        ({"instances": 1}, "must be a list of rows"),
        ({"dataframe_split": [1]}, "must be an object with 'columns' and 'data'"),
        ({"dataframe_split": {"columns": ["a"]}}, "must be an object with 'columns' and 'data'"),
        ({"dataframe_split": {"columns": ["a"], "data": []}}, "there are no rows"),
        ({"dataframe_split": {"columns": 1, "data": [[1]]}}, "must be a list of names"),
        ({"dataframe_split": {"data": [1]}}, "must be a list of names"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "a column is there twice"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}}, "row 1 must have 1 values, it has 2"),
        ({"dataframe_split": {"columns": ["a"], "data": [1]}}, "row 0 must have 1 values, it has none"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1]]}}, "rows of 1 features where there are 3"),
        ({"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, "x"]]}}, "at [0][2]: expected a number"),
        ({"dataframe_records": []}, "must be a list of objects, and not empty"),
        ({"dataframe_records": {"a": 1}}, "must be a list of objects"),
        ({"dataframe_records": [{"a": 1}, {"b": 1}]}, "row 1 has the names 'b', row 0 has 'a'"),
    ],
)
def test_bodies_that_are_refused_in_the_protocols_form(body, said):
    status, answer = post(SUM, body)
    assert status == 400 and sorted(answer) == ["error_code", "message"]
    assert answer["error_code"] == "BAD_REQUEST" and said in answer["message"], answer


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "a line of names and at least one row"),
        (b"a,b,c\n", "a line of names and at least one row"),
        (b"a,b,c\n1,2\n", "row 0 must have 3 values, it has 2"),
        (b'a,b,c\n1,2,"3\n', "The body is no CSV"),
        (b"a,b,c\n1,2,\xff\n", "The body is no CSV"),
        (b"a,b,c\n1,2,x\n", 'at [0][2]: expected a number (float64), found "x"'),
        (b"a,a,c\n1,2,3\n", "a column is there twice"),
        (b"a,b,c\n1,2," + b"9" * 200_000 + b"\n", "The body is no CSV: field larger than field limit"),
    ],
)
def test_csv_that_is_refused(body, said):
    status, answer = post(SUM, body, "text/csv")
    assert status == 400 and said in answer["message"], answer


def test_wrong_columns_are_named_with_the_nearest():
    body = {"dataframe_split": {"columns": ["hight", "age"], "data": [[1, 2]]}}
    assert "unknown column 'hight', did you mean 'height'?" in post(NAMED, body)[1]["message"]


def test_csv_only_here_and_nothing_else():
    for kind in ("application/octet-stream", "application/x-pickle", "application/x-parquet", "text/plain"):
        status, answer = post(SUM, {"inputs": [[1, 2, 3]]}, kind)
        assert status == 415 and answer["error_code"] == "BAD_REQUEST"
    for path in ("/predict", "/v1/models/m:predict", "/model-serving/d:predict", "/v2/models/m/infer"):
        assert ask(SUM, path, b"a,b,c\n1,2,3\n", {"Content-Type": "text/csv"}).status == 415


def test_ping_and_version():
    assert ask(SUM, "/ping").status == 200
    assert ask(SUM, "/ping", state=ModelState.LOADING).status == 503
    version = ask(SUM, "/version")
    assert version.status == 200 and version.content_type.startswith("text/plain") and version.body


def test_an_answer_without_a_form_is_an_internal_error():
    status, answer = post(FunctionModel(lambda _: {"a": object()}), {"inputs": 1})
    assert status == 500 and answer["error_code"] == "INTERNAL_ERROR" and "no JSON form" in answer["message"]
    assert math.isnan(float(post(FunctionModel(lambda _: math.nan), {"inputs": 1})[1]["predictions"]))
