"""Pictures: real points only, no extreme and no NaN lost, windows exact, from whatever level they are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headway.domain.metrics import Aggregate, Axis, MetricQuery, View
from headway.journal.frames import MAGIC
from headway.storage.series import charts
from headway.storage.series.aggregates import aggregate
from headway.storage.series.base import SeriesReader, StreamKey
from headway.storage.series.charts import Picture, Window, draw, thin
from headway.storage.series.lines import find_lines
from headway.storage.series.points import Points
from headway.storage.series.rows import Decoded, decode
from headway.storage.series.sqlite import SqliteSeries
from headway.storage.series.summaries import summarise
from headway.testing.series import StreamWriter, fold_all, logged, many_rows, schema_frame

ROWS = 300_000


class Truth(NamedTuple):
    """What was logged, as plain arrays."""

    step: NDArray[np.int64]
    value: NDArray[Any]
    time: NDArray[np.int64]
    epoch: NDArray[np.float64]


class Scene(NamedTuple):
    series: SeriesReader
    keys: dict[str, StreamKey]
    truth: dict[str, Truth]
    tails: dict[str, Decoded]

    def picture(self, name: str, window: Window, pixels: int, **query: Any) -> list[Picture]:
        wanted = MetricQuery(name=name, **query)
        with self.series.read() as snapshot:
            lines = find_lines(snapshot, "run1", list(self.keys.values()), self.tails, wanted)
            return [draw(snapshot, line, window, pixels) for line in lines]


def made(seed: int, rows: int = ROWS) -> Truth:
    rng = np.random.default_rng(seed)
    value = np.exp(-np.arange(rows) / 50_000) + 0.1 * rng.standard_normal(rows)
    value[rng.integers(0, rows, 5)] = [math.inf, -math.inf, 1e300, -1e300, -0.0]
    value[100_000:100_700] = math.nan
    value[rng.integers(0, rows, 9)] = math.nan
    time = 1_700_000_000_000 + np.cumsum(rng.integers(0, 200, rows))
    return Truth(np.arange(rows) * 3 + 7, value, time, np.arange(rows) / 1000)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A store with a long series, whole numbers, steps that go back, none at all, two schemas in turn; and a tail."""
    series = SqliteSeries(tmp_path_factory.mktemp("series") / "series.db")
    truth, keys, tails = {}, {}, {}

    def add(name: str, stream: str, data: bytes, cuts: tuple[float, ...] = (0.4, 0.9, 1.0), keep: float = 1.0) -> None:
        key = StreamKey("run1", f"metrics/{stream}", 1, 0, stream.partition("-")[0])
        keys[name] = key
        state = series.open(key)
        for cut in cuts:
            state = fold_all(series, state, data[: int(min(cut, keep) * len(data))])
        if keep < 1:
            tails[key.name] = decode(data[state.folded :], state.folded, state.schemas, state.sequence)

    long = made(1)
    data = MAGIC + schema_frame(1, [("long", "f")])
    data += many_rows(1, [long.value], step=long.step, time=long.time, epoch=long.epoch)
    truth["long"] = long
    add("long", "rank0-a", data, keep=0.97)

    whole = made(2)
    whole = whole._replace(value=np.random.default_rng(3).integers(-(2**62), 2**62, ROWS))
    data = MAGIC + schema_frame(1, [("whole", "i")])
    truth["whole"] = whole
    add("whole", "rank1-a", data + many_rows(1, [whole.value], step=whole.step, time=whole.time, epoch=whole.epoch))

    shuffled = made(4)
    order = np.random.default_rng(5).permutation(ROWS)
    shuffled = shuffled._replace(step=shuffled.step[order] // 2)
    data = MAGIC + schema_frame(1, [("shuffled", "f")])
    truth["shuffled"] = shuffled
    add("shuffled", "rank2-a", data + many_rows(1, [shuffled.value], step=shuffled.step, time=shuffled.time))

    plain = made(6)
    truth["plain"] = plain
    data = MAGIC + schema_frame(1, [("plain", "f")])
    add("plain", "rank3-a", data + many_rows(1, [plain.value], time=plain.time))

    turns = made(7)
    data = MAGIC + schema_frame(1, [("turns", "f")]) + schema_frame(2, [("turns", "f"), ("other", "f")])
    for number, at in enumerate(range(0, ROWS, 15_000)):
        some = slice(at, at + 15_000)
        columns = [turns.value[some]] * (1 + number % 2)
        data += many_rows(1 + number % 2, columns, first_sequence=at + 1, step=turns.step[some], time=turns.time[some])
    truth["turns"] = turns
    add("turns", "rank4-a", data)

    yield Scene(series, keys, truth, tails)
    series.close()


def places_of(truth: Truth, axis: Axis) -> NDArray[Any]:
    if axis is Axis.INDEX:
        return np.arange(len(truth.value))
    return {Axis.STEP: truth.step, Axis.TIME: truth.time, Axis.EPOCH: truth.epoch}[axis]


def check(picture: Picture, truth: Truth, window: Window, pixels: int) -> None:
    """Everything that a picture promises."""
    places, points = places_of(truth, window.axis), picture.points
    inside = window.holds(places)
    assert picture.total == inside.sum()
    assert len(points) <= 5 * pixels
    where = {(s, t): n for n, (s, t) in enumerate(zip(truth.step.tolist(), truth.time.tolist(), strict=True))}
    if truth.step[0] != points.step[0] and not points.has_step.any():
        found = np.searchsorted(truth.time, points.time)
        assert (truth.time[found] == points.time).all()
        found = points.row
    else:
        found = np.array([where[place] for place in zip(points.step.tolist(), points.time.tolist(), strict=True)])
    shown, real = points.bits, truth.value.view(np.uint64)[found]
    assert (shown == real).all()
    assert inside[found].all()
    assert len(np.unique(found)) == len(found)
    assert (np.diff(places[found]) >= 0).all()
    if picture.exact:
        assert len(found) == picture.total
    values = truth.value[inside]
    numbers = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if len(numbers):
        chosen = points.numbers()
        assert np.nanmin(chosen) == numbers.min()
        assert np.nanmax(chosen) == numbers.max()
    if len(numbers) < len(values):
        assert np.isnan(points.numbers()).any()
    first, last = np.flatnonzero(inside)[[0, -1]]
    assert places[found[0]] == places[inside].min() <= places[first]
    assert places[found[-1]] == places[inside].max() >= places[last]


@pytest.mark.parametrize("name", ["long", "whole", "shuffled", "turns"])
@pytest.mark.parametrize("pixels", [1, 20, 300, 4000])
def test_a_picture_is_made_of_real_points_and_loses_no_extreme(scene: Scene, name: str, pixels: int) -> None:
    for axis in (Axis.STEP, Axis.TIME, Axis.INDEX):
        (picture,) = scene.picture(name, Window(axis), pixels)
        check(picture, scene.truth[name], Window(axis), pixels)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["long", "whole", "turns"]),
    st.sampled_from([Axis.STEP, Axis.TIME, Axis.INDEX]),
    st.floats(0, 1),
    st.floats(0.0001, 1),
    st.integers(1, 1000),
)
def test_a_window_is_exact_at_its_edges(
    scene: Scene, name: str, axis: Axis, start: float, width: float, pixels: int
) -> None:
    places = places_of(scene.truth[name], axis)
    low = places[0] + start * (places[-1] - places[0]) * 0.9
    window = Window(axis, low, low + width * (places[-1] - low))
    if not window.holds(places).any():
        return
    (picture,) = scene.picture(name, window, pixels)
    check(picture, scene.truth[name], window, pixels)


def test_every_level_draws_the_same_outline(scene: Scene) -> None:
    """Of a million points or of a thousand: where a pixel is wider than a bin, its extremes are found."""
    truth = scene.truth["long"]
    for pixels in (1, 2, 30, 200):
        (picture,) = scene.picture("long", Window(Axis.STEP), pixels)
        edges = np.linspace(truth.step[0], truth.step[-1], pixels + 1)
        for low, high in pairwise(edges):
            # What a bin at the edge holds may lie on either side of it.
            wide = 3 * (65_536 if pixels < 3 else 4096 if pixels < 37 else 256)
            numbers = truth.value[(truth.step >= low - wide) & (truth.step <= high + wide)]
            inner = truth.value[(truth.step >= low + wide) & (truth.step <= high - wide)]
            shown = picture.points.numbers()[(picture.points.step >= low - wide) & (picture.points.step <= high + wide)]
            if len(inner) and not np.isnan(inner).all():
                assert np.nanmax(inner) <= np.nanmax(shown) <= np.nanmax(numbers)
                assert np.nanmin(numbers) <= np.nanmin(shown) <= np.nanmin(inner)


def test_few_points_are_all_shown(scene: Scene) -> None:
    truth = scene.truth["long"]
    window = Window(Axis.STEP, int(truth.step[99_990]), int(truth.step[100_009]))
    (picture,) = scene.picture("long", window, 5)
    assert picture.exact
    assert picture.points.step.tolist() == truth.step[99_990:100_010].tolist()
    assert picture.points.time.tolist() == truth.time[99_990:100_010].tolist()
    assert picture.points.epoch.tolist() == truth.epoch[99_990:100_010].tolist()


def test_a_series_without_steps_is_drawn_by_index(scene: Scene) -> None:
    (by_step,) = scene.picture("plain", Window(Axis.STEP), 100)
    (by_index,) = scene.picture("plain", Window(Axis.INDEX), 100)
    assert by_step.points.row.tolist() == by_index.points.row.tolist()
    assert by_step.total == ROWS
    (some,) = scene.picture("plain", Window(Axis.INDEX, 10, 19), 100)
    assert some.points.row.tolist() == list(range(10, 20))


def test_lines_too_long_to_be_numbered_exactly_are_numbered_by_rows(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "EXACT_MOST", 1000)
    for name in ("long", "whole"):
        for window in (Window(Axis.INDEX), Window(Axis.INDEX, 70_001, 230_000)):
            (picture,) = scene.picture(name, window, 50)
            check(picture, scene.truth[name], window, 50)
    (picture,) = scene.picture("turns", Window(Axis.INDEX), 50)
    assert picture.total == ROWS
    (picture,) = scene.picture("shuffled", Window(Axis.STEP), 50)
    truth = scene.truth["shuffled"]
    assert np.nanmax(picture.points.numbers()) == np.nanmax(truth.value)
    assert picture.total == ROWS


def test_epochs_are_an_axis(scene: Scene) -> None:
    window = Window(Axis.EPOCH, 50.0, 120.0)
    (picture,) = scene.picture("long", window, 100)
    check(picture, scene.truth["long"], window, 100)
    assert [picture.total for picture in scene.picture("shuffled", Window(Axis.EPOCH), 100)] == [0]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-50, 50), st.floats() | st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=80),
    st.integers(1, 6),
)
def test_thinning_any_points_keeps_first_last_extremes_and_nan(rows: list[tuple[int, Any]], pixels: int) -> None:
    writer = StreamWriter()
    for step, value in rows:
        writer.log({"a": value}, step=step)
    parts = []
    for found in decode(writer.data, 0, {}).rows:
        parts.append(Points.of(found.axes, found.bits()[0], 0, floats=found.schema.columns[0][1] == "f"))
    points = Points.joined(parts)
    shown = thin(points, points.step, pixels)
    assert len(shown) <= 5 * pixels
    assert set(logged(shown)) <= set(logged(points))
    assert (np.diff(shown.step) >= 0).all()
    numbers = points.numbers()
    if not np.isnan(numbers).all():
        assert np.nanmin(shown.numbers()) == np.nanmin(numbers)
        assert np.nanmax(shown.numbers()) == np.nanmax(numbers)
    assert np.isnan(shown.numbers()).any() == np.isnan(numbers).any()
    assert (shown.step[0], shown.step[-1]) == (points.step.min(), points.step.max())


@pytest.fixture
def resumed(tmp_path: Path) -> Iterator[tuple[SqliteSeries, list[StreamKey], dict[str, Decoded]]]:
    """Three attempts of 100,000, 120,000 and 1,000 rows; the second begins at step 60,000, the third at 150,000."""
    series = SqliteSeries(tmp_path / "series.db")
    keys, tails = [], {}
    for attempt, (start, rows) in enumerate([(0, 100_000), (60_000, 120_000), (150_000, 1000)]):
        key = StreamKey("run1", f"metrics/rank0-{attempt}", attempt, attempt, "rank0")
        keys.append(key)
        data = MAGIC + schema_frame(1, [("loss", "f")])
        step = np.arange(start, start + rows)
        data += many_rows(1, [step / 2 + attempt * 1_000_000], step=step, time=1000 * attempt + step)
        state = series.open(key)
        if attempt < 2:
            fold_all(series, state, data)
        else:
            tails[key.name] = decode(data, 0, {})
    yield series, keys, tails
    series.close()


def test_a_later_attempt_hides_what_it_repeats(resumed: Any) -> None:
    series, keys, tails = resumed
    scene = Scene(series, {key.name: key for key in keys}, {}, tails)
    for window in (Window(Axis.STEP), Window(Axis.INDEX), Window(Axis.TIME)):
        (picture,) = scene.picture("loss", window, 50)
        values, steps = picture.points.numbers(), picture.points.step
        assert picture.total == 60_000 + 90_000 + 1000
        assert (values[steps < 60_000] < 1_000_000).all()
        assert ((values >= 1_000_000) & (values < 2_000_000))[(steps >= 60_000) & (steps < 150_000)].all()
        assert (values[steps >= 150_000] >= 2_000_000).all()
        assert steps.max() == 150_999
    every = scene.picture("loss", Window(Axis.STEP), 50, view=View.ALL)
    assert [picture.total for picture in every] == [100_000, 120_000, 1000]
    (first,) = scene.picture("loss", Window(Axis.STEP), 50, attempt=0)
    assert first.total == 100_000
    with series.read() as snapshot:
        (summary,) = summarise(snapshot, "run1", keys, tails)
    assert (summary.count, summary.last_step) == (151_000, 150_999)
    assert summary.max == summary.last == 2_000_000 + 150_999 / 2
    assert summary.min == 0.0
    steps = np.arange(151_000)
    kept = steps / 2 + 1e6 * (steps >= 60_000) + 1e6 * (steps >= 150_000)
    assert summary.mean == pytest.approx(kept.mean())


def test_hidden_points_cannot_be_seen_by_index_of_long_lines(resumed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    series, keys, tails = resumed
    monkeypatch.setattr(charts, "EXACT_MOST", 1000)
    scene = Scene(series, {key.name: key for key in keys}, {}, tails)
    (picture,) = scene.picture("loss", Window(Axis.INDEX, 59_990, 60_009), 50)
    assert picture.points.step.tolist() == list(range(59_990, 60_010))
    assert picture.points.numbers().tolist() == [s / 2 + 1e6 * (s >= 60_000) for s in range(59_990, 60_010)]


def points(rows: list[tuple[int | None, Any]], time: int = 0) -> Points:
    writer = StreamWriter()
    for step, value in rows:
        writer.log({"a": value}, step=step, time=time)
    found = decode(writer.data, 0, {}).rows
    return Points.joined([Points.of(r.axes, r.bits()[0], 0, floats=r.schema.columns[0][1] == "f") for r in found])


def test_ranks_are_put_together_step_by_step() -> None:
    ranks = [points([(0, 1.0), (2, 3.0), (None, 9.0)]), points([(0, 3.0), (1, math.nan), (2, 4.0)], 5)]
    mean = aggregate(ranks, Aggregate.MEAN)
    assert mean.step.tolist() == [0, 1, 2]
    assert [str(value) for value in mean.values()] == ["2.0", "nan", "3.5"]
    assert mean.time.tolist() == [5, 5, 5]
    assert [str(value) for value in aggregate(ranks, Aggregate.MAX).values()] == ["3.0", "nan", "4.0"]
    whole = [points([(0, 2**62), (1, 5)]), points([(0, 2**62 + 1), (1, -5)])]
    assert aggregate(whole, Aggregate.MIN).values() == [2**62, -5]
    assert aggregate(whole, Aggregate.MAX).values() == [2**62 + 1, 5]
    assert aggregate(whole, Aggregate.MEAN).values() == [float(2**62), 0.0]
    huge = [points([(0, 1.7e308)]), points([(0, 1.7e308)])]
    assert aggregate(huge, Aggregate.MEAN).values() == [1.7e308]
    assert len(aggregate([], Aggregate.MEAN)) == 0
