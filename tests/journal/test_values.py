"""What may be logged, exactly; and what is refused, by name."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InvalidRequestError
from headway.journal.documents import plain_json
from headway.journal.values import (
    plain_epoch,
    plain_name,
    plain_stage,
    plain_step,
    plain_time,
    plain_value,
    plain_values,
)

quick = settings(deadline=None, database=None)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


class Level(IntEnum):
    HIGH = 3


class MyFloat(float):
    """Lies about itself wherever it can."""

    def __float__(self) -> float:
        return 0.0

    def __repr__(self) -> str:
        return "0"


class MyInt(int):
    def __int__(self) -> int:
        return 0

    def __index__(self) -> int:
        return 0


class Tensor:
    """One element, as PyTorch has it."""

    def __init__(self, value: Any, error: Exception | None = None) -> None:
        self.value, self.error = value, error

    def item(self) -> Any:
        if self.error:
            raise self.error
        return self.value

    def __repr__(self) -> str:
        return f"tensor({self.value})"


class EagerTensor:
    """One element, as TensorFlow has it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def numpy(self) -> Any:
        return self.value


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class TestValues:
    @quick
    @given(st.floats(width=64))
    def test_every_float_is_itself(self, value: float) -> None:
        found = plain_value("loss", value)
        assert type(found) is float
        assert bits(found) == (bits(math.nan) if math.isnan(value) else bits(value))

    @quick
    @given(st.integers(-(2**63), 2**63 - 1))
    def test_every_int_of_64_bits_is_itself(self, value: int) -> None:
        assert plain_value("n", value) == value
        assert type(plain_value("n", value)) is int

    @quick
    @given(st.integers())
    def test_larger_ones_are_floats_where_that_is_exact(self, value: int) -> None:
        try:
            found = plain_value("n", value)
        except InvalidRequestError:
            assert not -(2**63) <= value < 2**63
            assert abs(value) > 2**1023 or int(float(value)) != value
        else:
            assert found == value

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (True, 1),
            (False, 0),
            (2**63, 2.0**63),
            (-(2**63), -(2**63)),
            (2**100, 2.0**100),
            (Level.HIGH, 3),
            (MyFloat(0.5), 0.5),
            (MyInt(7), 7),
            (-0.0, -0.0),
            (5e-324, 5e-324),
            (math.inf, math.inf),
            (Decimal("0.5"), 0.5),
            (Decimal("-Infinity"), -math.inf),
            (Decimal("1e300") * 0 + Decimal("0.25"), 0.25),
            (Fraction(3, 8), 0.375),
            (np.float64(0.1), 0.1),
            (np.float32(0.1), float(np.float32(0.1))),
            (np.float16(0.1), float(np.float16(0.1))),
            (np.longdouble(0.1), 0.1),
            (np.int8(-3), -3),
            (np.uint64(2**64 - 2**11), float(2**64 - 2**11)),
            (np.bool_(True), 1),
            (np.array(0.25), 0.25),
            (np.array([7]), 7),
            (np.array([[0.5]], dtype=np.float32), 0.5),
            (Tensor(0.75), 0.75),
            (Tensor(12), 12),
            (Tensor(True), 1),
            (EagerTensor(np.float32(0.5)), 0.5),
            (EagerTensor(np.array([3])), 3),
        ],
    )
    def test_accepted(self, value: object, expected: float) -> None:
        found = plain_value("m", value)
        assert type(found) is type(expected)
        assert found == expected and math.copysign(1, found) == math.copysign(1, expected)

    @pytest.mark.parametrize("value", [math.nan, -math.nan, np.float64("nan"), np.float32("nan"), Decimal("NaN")])
    def test_nan_is_the_canonical_one(self, value: object) -> None:
        assert bits(plain_value("m", value)).hex() == "000000000000f87f"

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "0.5",
            b"1",
            bytearray(b"1"),
            1 + 0j,
            np.complex128(1),
            [1.0],
            (1.0,),
            {"a": 1},
            {1.0},
            object(),
            Unprintable(),
            np.array([1.0, 2.0, 3.0]),
            np.array([]),
            np.array(["x"]),
            np.str_("1"),
            np.datetime64("2026-01-01"),
            Decimal("0.1"),
            Decimal("1e400"),
            Decimal("sNaN"),
            Fraction(1, 3),
            Fraction(10**400),
            2**64 + 1,
            -(2**63) - 1,
            10**400,
            Tensor([1, 2]),
            Tensor("1"),
            Tensor(0, RuntimeError("a Tensor with 3 elements cannot be converted to Scalar")),
            Tensor(0, ValueError("no")),
            EagerTensor("x"),
            lambda: 1.0,
            float,
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_refused_with_name_and_value(self, value: object) -> None:
        with pytest.raises(InvalidRequestError, match="'val/loss'") as caught:
            plain_value("val/loss", value)
        assert caught.value.hint
        assert len(str(caught.value)) < 1000

    def test_one_bad_value_refuses_the_call(self) -> None:
        with pytest.raises(InvalidRequestError, match="'b'"):
            plain_values({"a": 1, "b": "x", "c": 2})

    @pytest.mark.parametrize("metrics", [None, [("a", 1)], "a", 1.0, {"a"}])
    def test_metrics_are_a_mapping(self, metrics: object) -> None:
        with pytest.raises(InvalidRequestError, match="mapping"):
            plain_values(metrics)

    def test_no_framework_is_imported(self) -> None:
        code = (
            "import sys; from headway.journal.values import plain_value; "
            "from headway.journal.metrics import MetricsWriter\n"
            "plain_value('a', 1.0)\n"
            "try: plain_value('a', object())\n"
            "except Exception: pass\n"
            "print(sorted({'numpy', 'torch', 'tensorflow', 'jax', 'decimal', 'fractions'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert "numpy" not in done.stdout and "torch" not in done.stdout and done.returncode == 0, done.stderr


class TestNames:
    @quick
    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200))
    def test_any_text_is_a_name(self, name: str) -> None:
        assert plain_name(name) == name

    @pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 1025, "é" * 513, None, 1, b"loss", 1.5])
    def test_what_is_none(self, name: object) -> None:
        with pytest.raises(InvalidRequestError, match=r"[Nn]ame"):
            plain_name(name)

    def test_a_subclass_of_text_becomes_text(self) -> None:
        class Name(str):
            def __str__(self) -> str:
                return "other"

        assert type(plain_name(Name("loss"))) is str
        assert plain_name(Name("loss")) == "loss"


class TestSteps:
    @quick
    @given(st.integers(-(2**63), 2**63 - 1))
    def test_any_int_of_64_bits(self, step: int) -> None:
        assert plain_step(step) == step

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (None, None),
            (True, 1),
            (3.0, 3),
            (-0.0, 0),
            (1e18, 10**18),
            (np.int64(5), 5),
            (np.uint8(5), 5),
            (np.float32(6.0), 6),
            (np.array(7), 7),
            (np.array(8.0), 8),
            (Tensor(9), 9),
            (Tensor(9.0), 9),
            (Level.HIGH, 3),
        ],
    )
    def test_accepted(self, step: object, expected: int | None) -> None:
        found = plain_step(step)
        assert found == expected and type(found) is type(expected)

    @pytest.mark.parametrize(
        "step",
        [1.5, math.nan, math.inf, "3", 2**63, -(2**63) - 1, 1e19, [1], 1j, np.array([1, 2]), object(), Tensor("x")],
    )
    def test_refused(self, step: object) -> None:
        with pytest.raises(InvalidRequestError, match="step"):
            plain_step(step)


class TestEpochs:
    @quick
    @given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53) | st.none())
    def test_accepted(self, epoch: float | None) -> None:
        assert plain_epoch(epoch) == epoch

    @pytest.mark.parametrize("epoch", [math.nan, math.inf, "1", 2**53 + 1, 10**400, object(), [1]])
    def test_refused(self, epoch: object) -> None:
        with pytest.raises(InvalidRequestError, match="epoch"):
            plain_epoch(epoch)


class TestStages:
    @pytest.mark.parametrize("stage", [None, "", "train", "é" * 128, "warm up"])
    def test_accepted(self, stage: str | None) -> None:
        assert plain_stage(stage) == stage

    @pytest.mark.parametrize("stage", ["x" * 257, "\ud800", "a\0b", 1, b"train", ["train"], np.array(["a", "b"])])
    def test_refused(self, stage: object) -> None:
        with pytest.raises(InvalidRequestError, match="stage"):
            plain_stage(stage)


@pytest.mark.parametrize("seconds", ["now", math.nan, math.inf, None, 1e30, -1, 10**400])
def test_a_time_is_a_number_of_seconds(seconds: object) -> None:
    with pytest.raises(InvalidRequestError, match="time"):
        plain_time(seconds)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


class TestDocuments:
    @settings(quick, max_examples=40)
    @given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=5))
    def test_json_round_trips(self, document: dict[str, Any]) -> None:
        import json

        assert json.loads(plain_json(document, "it")) == document

    def test_what_json_does_not_have(self) -> None:
        document = {"a": math.nan, "b": [math.inf, (-math.inf, np.float32(0.5))], "c": {"d": np.int64(3), "e": True}}
        assert plain_json(document, "it") == (b'{"a":"NaN","b":["Infinity",["-Infinity",0.5]],"c":{"d":3,"e":true}}')

    @pytest.mark.parametrize(
        ("document", "place"),
        [
            ({"a": {"b": [1, object()]}}, r"it\.a\.b\[1\]"),
            ({"a": {1: 2}}, r"it\.a has the key 1"),
            ({"a": b"bytes"}, r"it\.a is a bytes"),
            ({"a": {1, 2}}, r"it\.a is a set"),
            ({"a": np.array([1, 2])}, r"it\.a is a ndarray"),
            ({"a": "\ud800"}, r"it\.a holds a lone surrogate"),
            ({"a": 1j}, r"it\.a is a complex"),
        ],
    )
    def test_what_has_no_place_in_json_is_named(self, document: dict[str, Any], place: str) -> None:
        with pytest.raises(InvalidRequestError, match=place):
            plain_json(document, "it")

    def test_a_document_that_holds_itself(self) -> None:
        document: dict[str, Any] = {}
        document["me"] = document
        with pytest.raises(InvalidRequestError, match="holds itself"):
            plain_json(document, "it")
