"""JSON values as the arrays of a signature: exact where they fit, and in words where they do not."""

from __future__ import annotations

import json
import math

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headway.serving.protocols.base import BadRequestError
from headway.serving.protocols.values import reader_of
from headway.serving.runtimes.base import Signature, TensorSpec

NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")


def reader(*specs, rows=True):
    return reader_of(Signature(specs, rows=rows))


def one(dtype, shape=None, **kwargs):
    return reader(TensorSpec("x", dtype, shape, **kwargs))


def words_for(value):
    """Numbers that JSON lacks, as the documentation says they are sent."""
    if isinstance(value, list):
        return [words_for(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


@settings(deadline=None)
@given(
    st.sampled_from((*NUMBERS, "bool")).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    )
)
def test_every_array_survives_json(array):
    sent = orjson.loads(json.dumps(words_for(array.tolist()), allow_nan=False))
    call = one(array.dtype.name, (None,) * array.ndim).of_value(sent)
    found = call.inputs["x"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert call.rows == len(array)


@settings(deadline=None)
@given(hnp.arrays(object, hnp.array_shapes(max_dims=3, max_side=3), elements=st.text() | st.binary()))
def test_texts_survive_and_bytes_that_are_text_become_it(array):
    found = one("object", (None,) * array.ndim).of_value(array.tolist()).inputs["x"]
    assert found.dtype == object and found.shape == array.shape
    for before, after in zip(array.ravel(), found.ravel(), strict=True):
        assert after == before or after.encode() == before


@settings(deadline=None)
@given(st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=5))
def test_whole_numbers_are_exact_or_refused(numbers):
    for dtype in ("int64", "uint64"):
        bounds = np.iinfo(dtype)
        if all(bounds.min <= number <= bounds.max for number in numbers):
            assert one(dtype, (None,)).of_value(numbers).inputs["x"].tolist() == numbers
        else:
            with pytest.raises(BadRequestError, match="beyond the range of"):
                one(dtype, (None,)).of_value(numbers)


def test_a_model_that_takes_any_number_gets_one_type_of_them():
    for value in ([[1, 2]], [[1.0, 2.0]], [[True, 2]], [["Infinity", 2]], [[None, 2]]):
        found = one("", (None, 2)).of_value(value).inputs["x"]
        assert found.dtype == np.float64 and found[0, 1] == 2


@pytest.mark.parametrize(
    ("dtype", "shape", "value", "said"),
    [
        ("float32", (None, 2), [[1.0, "a"]], """input 'x' at [0][1]: expected a number (float32), found "a\""""),
        ("float32", (None, 2), [[1.0, "1.5"]], 'at [0][1]: expected a number (float32), found "1.5"'),
        ("float32", (None, 2), [[1.0, None]], "at [0][1]: expected a number (float32), found null"),
        ("float32", (None, 2), [[1.0, True], ["x", 1]], "at [0][1]: expected a number (float32), found true"),
        ("float64", (None,), [True, False], "at [0]: expected a number (float64), found true"),
        ("float64", (None,), [{"a": 1}], "at [0]: expected a number (float64), found an object"),
        ("float32", (None,), [0.0, 1e39], "at [1]: 1e+39 is beyond the range of float32"),
        ("float16", (None,), [70000], "at [0]: 70000 is beyond the range of float16"),
        ("float64", (None,), [10**400], "at [0]: 10000"),
        ("", (None,), [1.5, -(10**310)], "is beyond the range of any type"),
        ("float64", (None,), [10**5000], "a number of thousands of digits is beyond the range of float64"),
        ("int64", (None,), [1, 2.5], "at [1]: expected a whole number (int64), found 2.5"),
        ("int64", (None,), [1, 2.0], "at [1]: expected a whole number (int64), found 2.0"),
        ("int64", (None,), ["NaN"], 'at [0]: expected a whole number (int64), found "NaN"'),
        ("int64", (None,), [True], "at [0]: expected a whole number (int64), found true"),
        ("int8", (None, 1), [[0], [128]], "at [1][0]: 128 is beyond the range of int8, -128 to 127"),
        ("uint8", (None,), [-1], "at [0]: -1 is beyond the range of uint8, 0 to 255"),
        ("bool", (None,), [1], "at [0]: expected true or false, found 1"),
        ("object", (None,), ["a", 1], "at [1]: expected a text, found 1"),
        ("object", (None,), [None], "at [0]: expected a text, found null"),
        ("float64", (None, 2), [[1.0, 2.0], [3.0]], "at [1]: the lists are ragged: expected 2 items, found 1"),
        ("float64", (None, 2), [[1.0, 2.0], 3.0], "at [1]: expected a list of 2, found 3.0"),
        ("float64", (None, 2), [[1.0, [2.0]]], "at [0][1]: the lists are ragged"),
        ("object", (None, 2), [["a", "b"], ["c"]], "at [1]: the lists are ragged"),
        (
            "float64",
            (None, 3),
            [[1.0, 2.0]],
            "expected the shape [any, 3], found [1, 2]: rows of 2 features where there",
        ),
        ("float64", (None, 3), [1.0, 2.0, 3.0], "found [3]: a single row is a list of one row, [row]"),
        ("float64", (None, 2, 2), [[[1, 2]]], "expected the shape [any, 2, 2], found [1, 1, 2]"),
        ("float64", (None, 3), 1.5, "expected the shape [any, 3], found []"),
        ("float64", (None, 3), [], "expected the shape [any, 3], found [0]: there are no values"),
        ("float64", (None, 3), [[]], "found [1, 0]: there are no values"),
        ("float64", (None,), [], "there are no rows"),
        ("float64", (2,), [1.0], "expected the shape [2], found [1]"),
        ("datetime64[s]", (None,), ["2020"], "has the type datetime64[s], for which JSON has no values"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place_and_what_was_expected(dtype, shape, value, said):
    with pytest.raises(BadRequestError) as caught:
        one(dtype, shape).of_value(value)
    assert said in str(caught.value)
    assert caught.value.status == 400


def test_deep_and_long_values_are_refused_in_few_words():
    deep: list = [1.0]
    for _ in range(900):
        deep = [deep]
    for dtype in ("float32", "object"):
        with pytest.raises(BadRequestError, match="nested more than 32 deep"):
            one(dtype).of_value(deep)
    with pytest.raises(BadRequestError) as caught:
        one("float64", (None,)).of_value(["x" * 100_000])
    assert len(str(caught.value)) < 200
    with pytest.raises(BadRequestError) as caught:
        one("float64", (None,)).of_value({"y" * 10_000: 1, **{str(n): n for n in range(1000)}})
    assert len(str(caught.value)) < 5000


TWO = (TensorSpec("pixels", "float32", (None, 2)), TensorSpec("label", "int64", (None,)))


def test_several_inputs_by_name_in_either_form():
    rows = reader(*TWO).of_rows([{"pixels": [1, 2], "label": 3}, {"label": 4, "pixels": [5, 6]}])
    columns = reader(*TWO).of_value({"label": [3, 4], "pixels": [[1, 2], [5, 6]]})
    for call in (rows, columns):
        assert call.rows == 2 and list(call.inputs) == ["pixels", "label"]
        assert call.inputs["pixels"].tolist() == [[1, 2], [5, 6]] and call.inputs["label"].tolist() == [3, 4]
    assert rows.kind == columns.kind


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        ("of_value", {"pixel": [[1, 2]], "label": [1]}, "unknown input 'pixel', did you mean 'pixels'?"),
        ("of_value", {"pixels": [[1, 2]]}, "missing input 'label'; the model takes 'pixels', 'label'"),
        ("of_value", {"z": 1, "y": 2}, "unknown input 'z', 'y'; missing input 'pixels', 'label'"),
        ("of_value", [[1, 2]], "the model has several inputs; send an object with the names 'pixels', 'label'"),
        ("of_rows", [[1, 2]], "each instance is an object with the names 'pixels', 'label'"),
        ("of_value", {"pixels": [[1, 2]], "label": [1, 2]}, "different numbers of rows: {'pixels': 1, 'label': 2}"),
        ("of_rows", [{"pixels": [1, 2], "label": 1}, {"label": 2}], "row 1 has the names 'label', row 0 has"),
        ("of_rows", [{"pixels": [1, 2], "label": 1}, 7], "row 1 is no object"),
    ],
)
def test_wrong_names_and_forms(form, value, said):
    with pytest.raises(BadRequestError) as caught:
        getattr(reader(*TWO), form)(value)
    assert said in str(caught.value)


TABLE = TensorSpec("inputs", "float64", (None, 2), ("age", "height"))


def test_a_table_becomes_a_matrix_in_the_order_of_its_names():
    for call in (
        reader(TABLE).of_value({"height": [1, 2], "age": [3, 4]}),
        reader(TABLE).of_rows([{"height": 1, "age": 3}, {"age": 4, "height": 2}]),
        reader(TABLE).of_value([[3, 1], [4, 2]]),
        reader(TABLE).of_value({"inputs": [[3, 1], [4, 2]]}),
    ):
        assert call.inputs["inputs"].tolist() == [[3, 1], [4, 2]]
        assert call.rows == 2
    with pytest.raises(BadRequestError, match="unknown column 'hight', did you mean 'height'"):
        reader(TABLE).of_value({"hight": [1], "age": [2]})
    with pytest.raises(BadRequestError, match="each column must be a list with one value for each row"):
        reader(TABLE).of_value({"height": [1], "age": [2, 3]})
    with pytest.raises(BadRequestError, match="each column must be a list"):
        reader(TABLE).of_value({"height": 1, "age": 2})


def test_a_data_frame_is_a_matrix_by_its_names_or_as_it_stands_where_the_model_knows_none():
    plain = one("float32", (None, 2))
    found = plain.of_frame(["a", "b"], [[1, 3], [2, None]]).inputs["x"]
    np.testing.assert_array_equal(found, np.array([[1, 3], [2, np.nan]], dtype=np.float32))
    assert reader(TABLE).of_frame(["height", "age"], [[1, 3], [2, 4]]).inputs["inputs"].tolist() == [[3, 1], [4, 2]]
    assert one("float64", (None,)).of_frame(["x"], [[1], [None]]).rows == 2
    assert one("float64", (None, 2)).of_frame(["x"], [[[1, 2]]]).inputs["x"].tolist() == [[1, 2]]
    with pytest.raises(BadRequestError, match="unknown input 'a', 'b'"):
        plain.of_columns({"a": [1], "b": [3]})
    with pytest.raises(BadRequestError, match="unknown column 'hight', did you mean 'height'"):
        reader(TABLE).of_frame(["hight", "age"], [[1, 2]])
    with pytest.raises(BadRequestError, match="rows of 3 features where there are 2"):
        plain.of_frame(["a", "b", "c"], [[1, 3, 4]])


def test_a_mixed_table_keeps_texts_numbers_and_gaps():
    mixed = TensorSpec("inputs", "object", (None, 3), mixed=True)
    found = reader(mixed).of_value([["a", 1, None], ["b", 2.5, True]]).inputs["inputs"]
    assert found.tolist() == [["a", 1, None], ["b", 2.5, True]]
    with pytest.raises(BadRequestError, match="found an object"):
        reader(mixed).of_value([["a", {}, None]])


def test_only_like_calls_have_the_same_kind_and_what_has_no_rows_stands_alone():
    free = one("float32", (None, None))
    assert free.of_value([[1, 2]]).kind == free.of_value([[3, 4], [5, 6]]).kind
    assert free.of_value([[1, 2]]).kind != free.of_value([[1, 2, 3]]).kind
    assert one("", None).of_value([1]).kind != one("", None).of_value([[1]]).kind
    assert one("float32", (None, 2)).of_value([[1, 2]]).kind != one("float64", (None, 2)).of_value([[1, 2]]).kind
    alone = reader(TensorSpec("x", "float32", (None, 2)), rows=False).of_value([[1, 2]])
    assert alone.rows is None
    assert one("float32", ()).of_value(1.5).rows is None
    assert one("float32", None).of_value(1.5).rows is None


def test_tensors_keep_their_type_and_only_safe_casts_are_made():
    wide = one("float64", (None,))
    assert wide.of_arrays({"x": np.array([1.5], dtype=np.float32)}).inputs["x"].dtype == np.float64
    assert one("", (None,)).of_arrays({"x": np.array([True])}).inputs["x"].tolist() == [1.0]
    for dtype, sent in (("float32", np.float64), ("int64", np.float32), ("int32", np.int64), ("object", np.int64)):
        with pytest.raises(
            BadRequestError, match=f"expected {dtype.replace('object', 'texts')}, found {np.dtype(sent)}"
        ):
            one(dtype, (None,)).of_arrays({"x": np.array([1], dtype=sent)})
    with pytest.raises(BadRequestError, match="unknown input 'y'"):
        wide.of_arrays({"y": np.array([1.5])})
    with pytest.raises(BadRequestError, match=r"expected the shape \[any\], found \[1, 1\]"):
        wide.of_arrays({"x": np.array([[1.5]])})


@settings(deadline=None)
@given(
    st.sampled_from(("", "float16", "float32", "float64")),
    st.lists(
        st.one_of(
            st.floats(allow_nan=False),
            st.floats(65500, 65530),
            st.integers(-(10**310), 10**310),
            st.sampled_from(("NaN", "Infinity", "-Infinity", math.nan, math.inf)),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_every_mixture_of_numbers_and_words_is_read_or_its_first_misfit_is_named(dtype, numbers):
    def misfit(value):
        if isinstance(value, str) or (isinstance(value, float) and math.isinf(value)):
            return False
        try:
            with np.errstate(over="ignore"):
                return bool(np.isinf(np.float64(float(value)).astype(dtype or "float64")))
        except OverflowError:
            return True

    wrong = [place for place, value in enumerate(numbers) if misfit(value)]
    if wrong:
        with pytest.raises(BadRequestError) as caught:
            one(dtype, (None, None)).of_value([numbers])
        assert f"input 'x' at [0][{wrong[0]}]: " in str(caught.value) and "beyond the range" in str(caught.value)
        return
    found = one(dtype, (None, None)).of_value([numbers]).inputs["x"]
    with np.errstate(over="ignore"):
        expected = np.array([float(value) for value in numbers]).astype(found.dtype)
    np.testing.assert_array_equal(found[0], expected)


def test_tensors_by_column_make_a_table():
    table = reader(TABLE)
    columns = {"height": np.array([1, 2], dtype=np.int32), "age": np.array([[3.5], [4.5]])}
    call = table.of_arrays(columns)
    assert call.inputs["inputs"].tolist() == [[3.5, 1.0], [4.5, 2.0]] and call.rows == 2
    assert table.of_arrays({"inputs": np.array([[3, 1]], dtype=np.float32)}).inputs["inputs"].tolist() == [[3.0, 1.0]]
    mixed = reader(TensorSpec("inputs", "object", (None, 2), ("city", "n"), mixed=True))
    found = mixed.of_arrays({"n": np.array([7]), "city": np.array([b"Bern"], dtype=object)}).inputs["inputs"]
    assert found.tolist() == [["Bern", 7]]
    assert mixed.of_arrays({"inputs": np.array([[1, 2]])}).inputs["inputs"].tolist() == [[1, 2]]
    for wrong, said in (
        ({"height": np.array([1])}, "missing column 'age'"),
        ({**columns, "age": np.array([1.5])}, "each column must have one value for each row"),
        ({**columns, "age": np.array([[1.5, 2], [3, 4]])}, "each column must have one value for each row"),
        ({"height": np.array(1), "age": np.array(2)}, "each column must have one value for each row"),
        ({"height": np.array(["a", "b"], dtype=object), "age": np.array([1, 2])}, "expected float64, found texts"),
    ):
        with pytest.raises(BadRequestError, match=said):
            table.of_arrays(wrong)
