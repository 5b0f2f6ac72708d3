"""Tables hold values exactly, and the three looks at a classifier agree with scikit-learn."""

from __future__ import annotations

import json
import math
import struct
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import CorruptDataError, InvalidRequestError, PayloadTooLargeError
from headway.tracking import tables as module
from headway.tracking.curves import Plot, confusion_matrix, pr_curve, roc_curve
from headway.tracking.tables import Table, decode_table

quick = settings(deadline=None, database=None)


def columns_of(table: Table) -> dict[str, list[Any]]:
    return decode_table(table.content()[0])


def types_of(table: Table) -> dict[str, str]:
    return {column["name"]: column["type"] for column in json.loads(table.content()[0])["columns"]}


def same(one: Any, other: Any) -> bool:
    """Of the same type and the same value, bit for bit but for the kind of NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other) or (one != one and other != other)
    return bool(one == other)


class Colour(str, Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class TestForms:
    def test_columns_and_rows(self) -> None:
        table = Table(columns=["a", "b"], rows=[[1, "x"], (2, None)], caption="two")
        assert columns_of(table) == {"a": [1, 2], "b": ["x", None]}
        assert table.details() == {"columns": ["a", "b"], "rows": 2}
        assert columns_of(Table([[1, "x"]], columns=["a", "b"])) == {"a": [1], "b": ["x"]}
        assert columns_of(Table(np.array([[1, 2], [3, 4]]), columns=["a", "b"])) == {"a": [1, 3], "b": [2, 4]}

    def test_mappings(self) -> None:
        assert columns_of(Table([{"a": 1}, {"b": 2.5, "a": None}])) == {"a": [1, None], "b": [None, 2.5]}
        assert columns_of(Table([{"a": 1}, {"b": 2}], columns=["b", "a"])) == {"b": [None, 2], "a": [1, None]}
        assert columns_of(Table({"a": [1, 2], "b": np.array([0.5, 1])})) == {"a": [1, 2], "b": [0.5, 1.0]}
        assert columns_of(Table({})) == {}
        assert columns_of(Table(columns=["a"], rows=[])) == {"a": []}

    def test_frames(self) -> None:
        frame = pd.DataFrame({"n": [1, 2], "x": [0.1, math.nan], "t": ["a", None], 5: [True, False]})
        found = columns_of(Table(frame))
        assert list(found) == ["n", "x", "t", "5"]
        assert found["n"] == [1, 2]
        assert found["t"] == ["a", None]
        assert same(found["x"][1], math.nan)
        assert found["5"] == [True, False]
        assert columns_of(Table(frame.set_index("t")))["t"][0] == "a"
        assert list(columns_of(Table(frame.set_index(["n", "t"])))) == ["n", "t", "x", "5"]
        assert columns_of(Table(pd.DataFrame({"a": [1]}, index=["row"])))["index"] == ["row"]

    def test_frames_with_types_of_their_own(self) -> None:
        frame = pd.DataFrame(
            {
                "missing": pd.array([1, None], dtype="Int64"),
                "when": pd.to_datetime(["2026-01-02 03:04:05.123456789", None]),
                "kind": pd.Categorical(["a", None]),
                "single": np.array([0.1, 2], np.float32),
            }
        )
        found = columns_of(Table(frame))
        assert found["missing"] == [1, None]
        assert found["when"] == ["2026-01-02T03:04:05.123456789", None]
        assert found["kind"] == ["a", None]
        assert found["single"] == [float(np.float32(0.1)), 2.0]

    def test_a_later_change_does_not_count(self) -> None:
        rows = [[1, [2]]]
        table = Table(columns=["a", "b"], rows=rows)
        rows[0][1].append(3)  # type: ignore[attr-defined]
        rows.append([4, []])
        assert columns_of(table) == {"a": [1], "b": [[2]]}


class TestValues:
    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            ([1, -(2**63), 2**64, 10**40, 0], "number"),
            ([0.1, -0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf, None], "number"),
            ([1, 1.0, 2**53 + 1], "number"),
            ([True, None, False], "boolean"),
            (["", "größe", "=1+1", "<b>", "NaN", "\0"], "text"),
            ([None, None], "text"),
            ([1, "1", None, True, 2.5, math.nan, "NaN", math.inf], "any"),
            ([[1, [2.5]], {"a": None}, {"number": "NaN"}, "x"], "any"),
        ],
    )
    def test_they_come_back_as_they_were(self, values: list[Any], kind: str) -> None:
        table = Table({"x": values})
        assert types_of(table) == {"x": kind}
        found = columns_of(table)["x"]
        assert all(same(one, other) for one, other in zip(found, values, strict=True)), found

    def test_times(self) -> None:
        zone = timezone(timedelta(hours=2))
        values = [datetime(2026, 1, 2, 3, 4, 5, 6, zone), date(2026, 1, 2), np.datetime64("2026-01-02T03", "ns"), None]
        table = Table({"x": [*values, np.datetime64("NaT"), pd.NaT]})
        assert types_of(table) == {"x": "time"}
        expected = ["2026-01-02T03:04:05.000006+02:00", "2026-01-02", "2026-01-02T03:00:00.000000000", None, None, None]
        assert columns_of(table)["x"] == expected
        assert columns_of(Table({"x": [values[1], 5]}))["x"] == ["2026-01-02", 5]

    def test_scalars_and_subclasses(self) -> None:
        values = [np.float32(0.1), np.int8(-1), np.bool_(True), np.str_("x"), Colour.RED, Level.HIGH, np.array(5)]
        expected = [float(np.float32(0.1)), -1, True, "x", "red", 3, 5]
        assert all(same(a, b) for a, b in zip(columns_of(Table({"x": values}))["x"], expected, strict=True))
        assert columns_of(Table({"x": [np.array([1.5, 2]), (1, date(2026, 1, 2))]}))["x"] == [
            [1.5, 2.0],
            [1, "2026-01-02"],
        ]

    @quick
    @given(
        st.lists(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec="utf-8"))),
            max_size=20,
        )
    )
    def test_any_mixture(self, values: list[Any]) -> None:
        found = columns_of(Table({"x": values}))["x"]
        assert all(same(one, other) for one, other in zip(found, values, strict=True))

    @pytest.mark.parametrize(
        "value",
        [
            b"bytes",
            1j,
            Decimal("0.1"),
            object(),
            timedelta(1),
            np.timedelta64(1, "ns"),
            pd.Timedelta(1),
            np.longdouble(0.1),
            "\ud800",
            {1: 2},
            [math.nan],
            {1, 2},
            np.complex128(1),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_is_refused_by_its_place(self, value: Any) -> None:
        with pytest.raises(InvalidRequestError, match=r"'x'"):
            Table({"x": ["fine", value]})

    def test_a_list_that_holds_itself(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        with pytest.raises(InvalidRequestError, match="nested"):
            Table({"x": [circle]})


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({}, "data, or of columns"),
            ({"data": [], "rows": []}, "data, or of columns"),
            ({"data": [[1]]}, "names of their columns"),
            ({"columns": ["a"], "rows": [[1], [1, 2]]}, "Row 1 .* 2 values"),
            ({"columns": ["a"], "rows": ["x"]}, "Row 0"),
            ({"columns": ["a"], "rows": [5]}, "Row 0"),
            ({"columns": ["a"], "rows": [{"b": 1}]}, "no column"),
            ({"columns": ["a", "a"], "rows": []}, "two columns 'a'"),
            ({"columns": [""], "rows": []}, "1 to 256"),
            ({"columns": ["x" * 257], "rows": []}, "1 to 256"),
            ({"data": {"a": [1], "b": []}}, "equally long"),
            ({"data": {"a": "text"}}, "list of values"),
            ({"data": {"a": [1]}, "columns": ["a"]}, "cannot be given"),
            ({"data": "text"}, "not made of str"),
            ({"data": 5}, "not made of int"),
            ({"data": pd.DataFrame([[1, 2]], columns=["a", "a"])}, "two columns 'a'"),
            ({"data": pd.DataFrame([[1, 2]], columns=["1", 1])}, "two columns '1'"),
        ],
    )
    def test_forms(self, arguments: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidRequestError, match=words):
            Table(**arguments)

    def test_sizes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(PayloadTooLargeError, match="1000 columns"):
            Table({str(number): [1] for number in range(1001)})
        monkeypatch.setattr(module, "MAX_CELLS", 5)
        with pytest.raises(PayloadTooLargeError, match="5 cells, not 6"):
            Table({"a": [1] * 3, "b": [1] * 3})
        monkeypatch.setattr(module, "MAX_TABLE_BYTES", 100)
        with pytest.raises(PayloadTooLargeError, match="100 bytes"):
            Table({"a": ["x" * 100]})

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            b"{}",
            b'{"rows": 1, "columns": [{"name": "a"}]}',
            b'{"rows": 2, "columns": [{"name": "a", "type": "number", "values": [1]}]}',
            b'{"rows": 1, "columns": [{"name": "a", "type": "number", "values": ["what"]}]}',
        ],
    )
    def test_what_is_no_stored_table(self, data: bytes) -> None:
        with pytest.raises(CorruptDataError):
            decode_table(data)


def view_of(plot: Plot) -> dict[str, Any]:
    view: dict[str, Any] = plot.details()["view"]
    return view


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Classes and scores with ties, of four classes."""
    chooser = np.random.default_rng(7)
    truth = chooser.integers(0, 4, 500)
    scores = np.round(chooser.random((500, 4)) + 0.5 * np.eye(4)[truth], 2)
    return truth, scores


class TestConfusion:
    @pytest.mark.parametrize("as_text", [False, True])
    def test_as_scikit_learn(self, as_text: bool, samples: tuple[np.ndarray, np.ndarray]) -> None:
        truth, scores = samples
        predicted = scores.argmax(axis=1)
        given_truth, given_predicted = (truth.astype(str), predicted.astype(str)) if as_text else (truth, predicted)
        plot = confusion_matrix(given_truth, given_predicted)
        found = columns_of(plot)
        expected = sklearn.metrics.confusion_matrix(truth, predicted)
        assert found["count"] == expected.ravel().tolist()
        labels = ["0", "1", "2", "3"] if as_text else [0, 1, 2, 3]
        assert view_of(plot) == {"kind": "confusion_matrix", "labels": labels}
        assert found["actual"] == [label for label in labels for _ in labels]
        assert found["predicted"] == labels * 4

    def test_labels(self) -> None:
        truth, predicted = ["b", "a", "c", "b"], ["b", "b", "c", "a"]
        some = columns_of(confusion_matrix(truth, predicted, labels=["b", "a"]))
        assert some["count"] == sklearn.metrics.confusion_matrix(truth, predicted, labels=["b", "a"]).ravel().tolist()
        named = confusion_matrix([0, 1, 1], [1, 1, 0], labels=["cat", "dog"])
        assert columns_of(named)["actual"] == ["cat", "cat", "dog", "dog"]
        assert columns_of(named)["count"] == [0, 1, 1, 1]
        absent = confusion_matrix([0, 0], [0, 0], labels=["cat", "dog", "cow"])
        assert columns_of(absent)["count"] == [2, 0, 0, 0, 0, 0, 0, 0, 0]
        assert view_of(confusion_matrix([True, False], [True, True]))["labels"] == [False, True]

    @pytest.mark.parametrize(
        ("truth", "predicted", "labels", "words"),
        [
            ([0], [0, 1], None, "1 samples"),
            ([], [], None, "list of classes"),
            ([0, "a"], [0, 0], None, "all numbers or all text"),
            ([0], [[1]], None, "list of classes"),
            ([math.nan], [0], None, "list of classes"),
            ("text", [0], None, "list of classes"),
            ([0], [0], ["a", "a"], "twice"),
            (list(range(1001)), list(range(1001)), None, "continuous"),
        ],
    )
    def test_what_is_refused(self, truth: Any, predicted: Any, labels: Any, words: str) -> None:
        with pytest.raises(InvalidRequestError, match=words):
            confusion_matrix(truth, predicted, labels)


class TestCurves:
    def test_precision_and_recall_as_scikit_learn(self, samples: tuple[np.ndarray, np.ndarray]) -> None:
        truth, scores = samples
        plot = pr_curve(truth, scores, points=None)
        found = pd.DataFrame(columns_of(plot))
        for number in range(4):
            own = found[found["class"] == number]
            expected = sklearn.metrics.precision_recall_curve(truth == number, scores[:, number])
            assert own["precision"].tolist() == pytest.approx(expected[0].tolist())
            assert own["recall"].tolist() == pytest.approx(expected[1].tolist())
            assert own["threshold"].tolist()[:-1] == expected[2].tolist()
            area = sklearn.metrics.average_precision_score(truth == number, scores[:, number])
            assert view_of(plot)["average_precision"][number] == pytest.approx(area)

    def test_roc_as_scikit_learn(self, samples: tuple[np.ndarray, np.ndarray]) -> None:
        truth, scores = samples
        plot = roc_curve(truth, scores, labels=["a", "b", "c", "d"], points=None)
        found = pd.DataFrame(columns_of(plot))
        for number, name in enumerate("abcd"):
            own = found[found["class"] == name]
            expected = sklearn.metrics.roc_curve(truth == number, scores[:, number], drop_intermediate=False)
            assert own["false_positive_rate"].tolist() == pytest.approx(expected[0].tolist())
            assert own["true_positive_rate"].tolist() == pytest.approx(expected[1].tolist())
            assert own["threshold"].tolist() == expected[2].tolist()
            area = sklearn.metrics.roc_auc_score(truth == number, scores[:, number])
            assert view_of(plot)["auc"][number] == pytest.approx(area)

    @pytest.mark.parametrize("shape", ["one", "column", "both"])
    def test_two_classes(self, shape: str) -> None:
        truth, scores = [0, 0, 1, 1], np.array([0.1, 0.4, 0.35, 0.8])
        given_scores = {"one": scores, "column": scores[:, None], "both": np.stack([1 - scores, scores], axis=1)}[shape]
        plot = roc_curve(truth, given_scores, labels=["no", "yes"])
        assert view_of(plot) == {"kind": "roc_curve", "labels": ["yes"], "auc": [0.75]}
        assert set(columns_of(plot)["class"]) == {"yes"}

    def test_few_points_keep_the_ends_and_the_area(self, samples: tuple[np.ndarray, np.ndarray]) -> None:
        truth, scores = samples
        whole, few = roc_curve(truth, scores, points=None), roc_curve(truth, scores, points=10)
        assert view_of(few)["auc"] == view_of(whole)["auc"]
        found = columns_of(few)
        assert len(found["class"]) == 40
        assert found["true_positive_rate"][0] == found["false_positive_rate"][0] == 0
        assert found["true_positive_rate"][9] == found["false_positive_rate"][9] == 1
        assert found["threshold"][0] == math.inf

    def test_a_class_that_never_occurs(self) -> None:
        plot = pr_curve([0, 0, 1], np.eye(3))
        assert view_of(plot)["average_precision"][2] is None
        plot = roc_curve([0, 0], [0.1, 0.2])
        assert view_of(plot)["auc"] == [None]

    @pytest.mark.parametrize(
        ("truth", "scores", "options", "words"),
        [
            ([0, 1], [0.1], {}, "2 samples"),
            ([0, 1], [0.1, math.nan], {}, "NaN"),
            ([0, 5, 7], np.zeros((3, 4)), {}, "4 classes"),
            ([0, 1, 2], [0.1, 0.2, 0.3], {}, "2 classes"),
            ([0, 1], np.zeros((2, 2, 2)), {}, "shape"),
            ([0, 1], [0.1, 0.2], {"points": 1}, "2 points"),
            ([0, 1], ["a", "b"], {}, "numbers"),
        ],
    )
    def test_what_is_refused(self, truth: Any, scores: Any, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidRequestError, match=words):
            pr_curve(truth, scores, **options)
