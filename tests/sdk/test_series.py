"""A metric as a program reads it: exact numbers, arrays, frames, and reprs that nobody can write markup into."""

from __future__ import annotations

import math
import sys
from html.parser import HTMLParser
from typing import Any

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InvalidRequestError, MissingExtraError
from headway.sdk.columns import decode_columns, encode_columns, pack
from headway.sdk.pictures import WIDTH, condense, svg_lines, text_line
from headway.sdk.series import MetricSeries

BIG = 2**53 + 1


def series(*lines: list[tuple[Any, ...]], **fields: Any) -> MetricSeries:
    packed = [pack(points, replica=f"rank{number}") for number, points in enumerate(lines)]
    sent = decode_columns([encode_columns(packed)], "it")
    return MetricSeries(fields.pop("run_id", "run1"), fields.pop("name", "loss"), fields.pop("stage", ""), tuple(sent))


def test_numbers_are_those_that_were_logged() -> None:
    found = series([(0, 1, 10, None), (None, 0.5, 11, 2.5), (2**62, math.inf, 12, None)])
    assert found.values == [1, 0.5, math.inf]
    assert [type(value) for value in found.values] == [int, float, float]
    assert found.steps == [0, None, 2**62]
    assert found.times == [10, 11, 12]
    assert found.epochs == [None, 2.5, None]
    assert [point.value for point in found] == found.values
    assert len(found) == found.total == 3
    assert found.exact


def test_ranks_follow_each_other() -> None:
    found = series([(0, 1.0, 1, None)], [(0, 2.0, 1, None), (1, 3.0, 2, None)])
    assert found.values == [1.0, 2.0, 3.0]
    assert [line.replica for line in found.lines] == ["rank0", "rank1"]


def test_arrays_share_the_memory_that_came() -> None:
    found = series([(step, step / 2, step * 1000, None) for step in range(5)])
    values, steps = found.to_numpy(), found.to_numpy("step")
    assert (values.dtype, steps.dtype, found.to_numpy("time").dtype) == ("float64", "int64", "datetime64[ms]")
    assert numpy.shares_memory(values, numpy.frombuffer(found.lines[0].value))
    assert values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert found.to_numpy("time")[4] == numpy.datetime64(4, "s")
    assert numpy.isnan(found.to_numpy("epoch")).all()


@pytest.mark.parametrize(
    ("lines", "kind", "expected"),
    [
        ([[(0, BIG, 0, None)]], "int64", [BIG]),
        ([[(0, 1, 0, None), (1, 0.5, 0, None)]], "float64", [1.0, 0.5]),
        ([[(0, BIG, 0, None), (1, 0.5, 0, None)]], "object", [BIG, 0.5]),
        ([[(0, BIG, 0, None)], [(0, 0.5, 0, None)]], "object", [BIG, 0.5]),
        ([[(0, 3, 0, None)], [(0, 0.5, 0, None)]], "float64", [3.0, 0.5]),
        ([[], [(0, 4, 0, None)]], "int64", [4]),
        ([], "float64", []),
    ],
)
def test_no_array_rounds_a_whole_number(lines: list[Any], kind: str, expected: list[Any]) -> None:
    values = series(*lines).to_numpy()
    assert values.tolist() == expected
    assert values.dtype == kind or not lines[0]


def test_missing_steps_are_nan_in_arrays_and_na_in_frames() -> None:
    found = series([(BIG, 1.0, 1, None), (None, 2.0, 2, None)], [(3, 3.0, 3, 0.5)])
    steps = found.to_numpy("step")
    assert steps[2] == 3.0
    assert math.isnan(steps[1])
    frame = found.to_pandas()
    assert frame["step"].tolist() == [BIG, pandas.NA, 3]
    assert list(frame.columns) == ["step", "value", "epoch", "time", "replica"]
    assert frame["replica"].tolist() == ["rank0", "rank0", "rank1"]
    assert str(frame["time"].dtype) == "datetime64[ms, UTC]"
    assert frame["time"].iloc[1] == pandas.Timestamp("1970-01-01T00:00:00.002Z")


def test_attempts_are_a_column_where_they_are_told_apart() -> None:
    lines = tuple(pack([(0, 1.0, 0, None)], replica="rank0", attempt=number) for number in (0, 1))
    frame = MetricSeries("run1", "loss", "", lines).to_pandas()
    assert frame["attempt"].tolist() == [0, 1]
    assert frame["step"].dtype == "int64"


def test_a_series_without_points_is_empty_everywhere() -> None:
    found = MetricSeries("run1", "loss", "")
    assert (len(found), found.values, list(found)) == (0, [], [])
    assert found.to_numpy("time").dtype == "datetime64[ms]"
    assert len(found.to_pandas()) == 0
    assert "0 points" in found._repr_html_()


def test_a_wrong_column_is_met_with_the_right_one() -> None:
    with pytest.raises(InvalidRequestError, match="Did you mean 'step'"):
        series([]).to_numpy("steps")  # type: ignore[arg-type]


def test_without_pandas_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"headway\[dataframe\]"):
        series([]).to_pandas()


class Tags(HTMLParser):
    """The tags and attributes of some markup."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.words: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


EVIL = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def test_what_people_wrote_is_text_in_a_notebook() -> None:
    lines = (pack([(0, 1.0, 0, None), (1, 2.0, 1, None)], replica=EVIL),)
    tags = Tags(MetricSeries(EVIL, EVIL, EVIL, lines)._repr_html_())
    assert set(tags.found) == {"div", "b", "br", "svg", "title", "path", "table", "tr", "th", "td"}
    assert any(EVIL in word for word in tags.words)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=600), st.integers(1, 50))
def test_extremes_stay_visible_at_any_width(values: list[float], width: int) -> None:
    stretches = condense(values, width)
    finite = [value for value in values if math.isfinite(value)]
    known = [extent for extent in stretches if extent is not None]
    assert len(stretches) == min(width, len(values))
    if finite:
        assert min(extent.low for extent in known) == min(finite)
        assert max(extent.high for extent in known) == max(finite)
    assert len(text_line(values, width)) in (0, len(stretches))
    assert "nan" not in svg_lines([values], "x")
    assert "inf" not in svg_lines([values], "x")


def test_a_picture_of_many_points_stays_small() -> None:
    assert len(svg_lines([[math.sin(x / 1000) for x in range(100_000)]], "sine")) < WIDTH * 40
