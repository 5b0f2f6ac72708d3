"""What a model takes and answers, found out from examples of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway
from headway.domain.models import ModelSignature
from headway.errors import InvalidRequestError


def inputs_of(value: Any) -> list[tuple[str, str, tuple[int | None, ...]]]:
    return [(spec.name, spec.dtype, spec.shape) for spec in headway.infer_signature(value).inputs]


def example_of(value: Any) -> Any:
    return headway.infer_signature(value).example


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (np.zeros((5, 64), dtype=np.float32), "float32", (None, 64)),
        (np.zeros((2, 3, 28, 28), dtype=np.uint8), "uint8", (None, 3, 28, 28)),
        (np.array([True, False]), "bool", (None,)),
        (np.array(["a", "bc"]), "string", (None,)),
        (np.array([b"a"]), "string", (None,)),
        (np.array(["a", None], dtype=object), "string", (None,)),
        (np.array(["a", 1], dtype=object), "object", (None,)),
        (np.array(["2026-01-02"], dtype="datetime64[ns]"), "datetime64[ns]", (None,)),
        (np.float64(1.5), "float64", ()),
        ([1, 2], "int64", (None,)),
        ([1, 2.5], "float64", (None,)),
        ([[1, 2], [3, 4]], "int64", (None, 2)),
        ([[1, 2], [3]], "int64", (None, None)),
        ([[[0.5]], [[1.5]]], "float64", (None, 1, 1)),
        ([[1], [[2]]], "object", (None,)),
        ([True, 1], "object", (None,)),
        (["a", None], "string", (None,)),
        ([], "object", (None,)),
        ([np.zeros(4, dtype=np.float32), np.ones(4, dtype=np.float32)], "float32", (None, 4)),
        ("text", "string", ()),
        (7, "int64", ()),
        (True, "bool", ()),
    ],
)
def test_one_tensor(value: Any, dtype: str, shape: tuple[int | None, ...]) -> None:
    assert inputs_of(value) == [("input", dtype, shape)]


def test_the_columns_of_a_table() -> None:
    frame = pd.DataFrame(
        {
            "age": [1, 2],
            "income": [0.5, float("nan")],
            "name": ["a", None],
            "ok": pd.array([True, None], dtype="boolean"),
            "count": pd.array([1, None], dtype="Int64"),
            "kind": pd.Categorical(["x", "y"]),
            "when": pd.to_datetime(["2026-01-02", "2026-01-03"]),
            7: [[1], [2]],
        }
    )
    found = {name: dtype for name, dtype, shape in inputs_of(frame)}
    moment = found.pop("when")
    assert moment.startswith("datetime64[")
    assert found == {
        "age": "int64",
        "income": "float64",
        "name": "string",
        "ok": "bool",
        "count": "int64",
        "kind": "string",
        "7": "object",
    }
    assert {shape for _, _, shape in inputs_of(frame)} == {(None,)}
    plain = headway.infer_signature(frame[["age", "income"]])
    assert plain.example == [{"age": 1, "income": 0.5}, {"age": 2, "income": "NaN"}]


def test_columns_of_one_name_and_a_series() -> None:
    twice = pd.DataFrame([[1, "a"]], columns=["x", "x"])
    assert inputs_of(twice) == [("x", "int64", (None,)), ("x", "string", (None,))]
    assert inputs_of(pd.Series([1.5], name="price")) == [("price", "float64", (None,))]
    assert inputs_of(pd.Series([1.5])) == [("input", "float64", (None,))]


def test_names_of_a_dict_and_of_records() -> None:
    assert inputs_of({"image": np.zeros((1, 8), dtype=np.float32), "scale": 2.0, "words": ["a", "b"]}) == [
        ("image", "float32", (None, 8)),
        ("scale", "float64", ()),
        ("words", "string", (None,)),
    ]
    records = [{"a": 1, "b": [0.5, 1.5]}, {"a": 2.5, "b": [1.0, 2.0], "c": "x"}]
    assert inputs_of(records) == [("a", "float64", (None,)), ("b", "float64", (None, 2)), ("c", "string", (None,))]


def test_outputs_have_their_name() -> None:
    found = headway.infer_signature([[1.0]], np.array([0, 1]))
    assert [(spec.name, spec.dtype, spec.shape) for spec in found.outputs] == [("output", "int64", (None,))]
    assert headway.infer_signature([[1.0]]).outputs == ()


class Tensor:
    """As frameworks have them: ``dtype`` and ``shape``, and a way to NumPy."""

    def __init__(self, dtype: str, shape: tuple[Any, ...]) -> None:
        self.dtype, self.shape = dtype, shape

    def numpy(self) -> Any:
        return np.zeros([length or 1 for length in self.shape])

    def __getitem__(self, _: Any) -> Tensor:
        return self


def test_tensors_of_frameworks_are_read_by_what_all_of_them_have() -> None:
    assert inputs_of(Tensor("torch.bfloat16", (4, 8))) == [("input", "bfloat16", (None, 8))]
    assert inputs_of(Tensor("torch.float32", (4, None))) == [("input", "float32", (None, None))]


def test_examples_are_the_first_rows_as_json_and_short() -> None:
    assert example_of([[1, 2], [3, 4], [5, 6], [7, 8]]) == [[1, 2], [3, 4], [5, 6]]
    assert example_of(np.array([[0.5, float("inf")]])) == [[0.5, "Infinity"]]
    assert example_of({"x": np.arange(5)}) == {"x": [0, 1, 2]}
    assert example_of(np.zeros((3, 900), dtype=np.uint8)) == [[0] * 900]
    assert example_of(np.zeros((3, 9000), dtype=np.uint8)) is None
    assert example_of([b"\xff"]) is None


@pytest.mark.parametrize("value", [None, object(), {1, 2}, lambda: None, {"x": None}, [object()]])
def test_what_has_no_signature_is_refused_saying_what_is_taken(value: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        headway.infer_signature(value)
    assert "DataFrame" in str(caught.value.hint)


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="inputs"):
        headway.infer_signature({str(number): 1 for number in range(10_001)})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES)
def test_any_json_value_has_a_signature_that_is_json_or_is_refused(value: Any) -> None:
    try:
        found = headway.infer_signature(value)
    except InvalidRequestError:
        return
    assert ModelSignature.model_validate_json(found.model_dump_json()) == found
    json.dumps(found.example, allow_nan=False)


def test_nothing_is_imported_to_find_out() -> None:
    script = (
        "import sys, headway; headway.infer_signature([[1.5, 2.5]], ['a']);"
        "print([name for name in ('numpy', 'pandas', 'torch', 'tensorflow', 'jax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
