"""Whatever JSON arrives by whichever protocol: an answer or a refusal in that protocol's form, never a fault of ours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.serving.runtimes.base import Signature, TensorSpec
from headway.testing.protocols import FunctionModel, ask

WORDS = [
    "instances",
    "inputs",
    "outputs",
    "examples",
    "context",
    "signature_name",
    "dataframe_split",
    "dataframe_records",
    "columns",
    "data",
    "index",
    "params",
    "name",
    "shape",
    "datatype",
    "parameters",
    "binary_data_size",
    "binary_data",
    "binary_data_output",
    "id",
    "b64",
    "x",
    "y",
    "a",
    "b",
    "FP32",
    "INT64",
    "BYTES",
    "BOOL",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(width=32),
    st.sampled_from(WORDS),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
TENSORS = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "y", 1]), "shape": st.lists(st.integers(-1, 3), max_size=2) | VALUES},
    optional={
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "FP99", None]),
        "data": VALUES,
        "parameters": VALUES | st.fixed_dictionaries({"binary_data_size": st.integers(-1, 9) | VALUES}),
    },
)
BODIES = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {"inputs": st.lists(TENSORS, max_size=2)}, optional={"outputs": VALUES, "parameters": VALUES, "id": VALUES}
    ),
    st.fixed_dictionaries({"examples": st.lists(VALUES, max_size=2)}, optional={"context": VALUES}),
    st.fixed_dictionaries(
        {"dataframe_split": st.fixed_dictionaries({"columns": VALUES, "data": st.lists(st.lists(SCALARS, max_size=2))})}
    ),
    st.fixed_dictionaries({"dataframe_records": st.lists(st.dictionaries(st.sampled_from("xab"), VALUES))}),
    st.fixed_dictionaries({"instances": st.lists(st.lists(SCALARS, min_size=2, max_size=2))}),
)
PATHS = [
    "/v1/models/m:predict",
    "/v1/models/m:classify",
    "/v1/models/m:regress",
    "/v2/models/m/infer",
    "/invocations",
    "/predict",
    "/model-serving/d:predict",
]
MODELS = {
    "anything": FunctionModel(lambda inputs: inputs),
    "a batch of anything": FunctionModel(lambda rows: rows, batch=True),
    "a matrix": FunctionModel(
        lambda i: {"scores": i["x"], "classes": i["x"][:, 0]},
        Signature((TensorSpec("x", "float32", (None, 2), ("a", "b")),)),
    ),
    "two inputs": FunctionModel(
        lambda i: {"text_bytes": i["y"], "n": i["x"]},
        Signature((TensorSpec("x", "int64", (None,)), TensorSpec("y", "object", (None,)))),
    ),
    "a mixed table": FunctionModel(lambda i: i, Signature((TensorSpec("x", "object", (None, None), mixed=True),))),
    "any numbers": FunctionModel(lambda i: {"n": np.asarray(i["x"])}, Signature((TensorSpec("x", "", None),))),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@settings(deadline=None, max_examples=150)
@given(body=BODIES, path=st.sampled_from(PATHS), tail=st.binary(max_size=8))
def test_any_json_is_answered_or_refused(model, body, path, tail):
    text = json.dumps(body).encode()
    binary = path == "/v2/models/m/infer" or (path.endswith("d:predict") and tail)
    headers = {"Inference-Header-Content-Length": str(len(text))} if binary else {}
    response = ask(model, path, text + (tail if binary else b""), headers)
    assert response.status in (200, 400, 500)
    if response.content_type == "application/json":
        document = json.loads(response.body, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        if response.status != 200:
            assert list(document) in (["error"], ["error_code", "message"])
            assert len(response.body) < 10_000
    if response.status == 500:
        # What was asked for has no form: the model's side, and said in words.
        assert any(word in response.body for word in (b"tensor", b"JSON form", b":predict", b"rows", b"does not know"))
