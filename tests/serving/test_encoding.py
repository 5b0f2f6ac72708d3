"""JSON in and out of models."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.serving.encoding import EncodingError, decode_base64, dumps, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


def words_for(value):
    """What the documentation promises, written independently of the code."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, list):
        return [words_for(item) for item in value]
    if isinstance(value, dict):
        return {key: words_for(item) for key, item in value.items()}
    return value


def refuse_constant(word):
    raise AssertionError(f"{word} is no JSON")


@settings(deadline=None)
@given(VALUES)
def test_every_value_survives_and_the_text_is_valid_json(value):
    text = dumps(value)
    assert json.loads(text, parse_constant=refuse_constant) == words_for(value)


@settings(deadline=None)
@given(st.lists(st.floats(width=32), min_size=1))
def test_an_array_keeps_what_is_not_finite(numbers):
    read = json.loads(dumps({"x": np.array(numbers, dtype=np.float32)}), parse_constant=refuse_constant)["x"]
    assert [float(item) for item in read] == pytest.approx([float(n) for n in numbers], nan_ok=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.5), "0.5"),
        (np.int64(3), "3"),
        (np.bool_(True), "true"),
        (np.array(["a", "b"]), '["a","b"]'),
        (np.arange(6).reshape(2, 3)[:, ::2], "[[0,2],[3,5]]"),
        (np.array([1.5, None], dtype=object), "[1.5,null]"),
        (np.array(2), "2"),
        ({1: 2, np.int64(3): 4}, '{"1":2,"3":4}'),
        ((1, {2}), "[1,[2]]"),
        (b"abc", '{"b64":"YWJj"}'),
        (2**70, str(2**70)),
        (float("nan"), '"NaN"'),
        ([None, -math.inf], '[null,"-Infinity"]'),
    ],
)
def test_what_models_return_has_a_form(value, text):
    assert dumps(value) == text.encode()


def test_a_value_without_a_form_is_named():
    with pytest.raises(EncodingError, match="Thing"):
        dumps({"a": [type("Thing", (), {})()]})
    endless: list = []
    endless.append(endless)
    with pytest.raises(EncodingError, match="nested"):
        dumps(endless)


def test_bare_words_and_deep_nesting_in_requests():
    assert math.isnan(loads(b'{"x": NaN}')["x"])
    assert loads(b"[-Infinity]") == [-math.inf]
    for body in (b"[" * 100_000, b"[" * 100_000 + b"NaN", b"{", b"", b"\xff", b"1" * 10_000 + b"x"):
        with pytest.raises(EncodingError):
            loads(body)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_read_or_refused(body):
    try:
        loads(body)
    except EncodingError:
        pass


def test_base64_is_decoded_wherever_it_stands():
    assert decode_base64({"a": [{"b64": "YWJj"}, {"b64": "YWJj", "c": 1}]}) == {"a": [b"abc", {"b64": "YWJj", "c": 1}]}
    with pytest.raises(EncodingError, match="base64"):
        decode_base64([{"b64": "*"}])
    deep = loads(b"[" * 900 + b'{"b64": "YWJj"}' + b"]" * 900)
    with pytest.raises(EncodingError, match="nested more than 200 deep"):
        decode_base64(deep)
