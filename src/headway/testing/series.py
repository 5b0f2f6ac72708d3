"""What every metric store promises, as tests; and streams of rows written frame by frame, for whoever reads them."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.domain.base import new_id
from headway.domain.metrics import MetricQuery, View, normal_stage
from headway.errors import ConflictError
from headway.journal.frames import KIND_END, KIND_ENTRY, KIND_ROW, KIND_SCHEMA, MAGIC, encode_frame
from headway.storage.series import base
from headway.storage.series.base import EntryFilter, EntryPlace, SeriesReader, SeriesWriter, StreamKey, StreamState
from headway.storage.series.lines import ChainReader, find_lines
from headway.storage.series.payloads import ROW_HEAD
from headway.storage.series.points import Points
from headway.storage.series.rows import decode
from headway.storage.series.summaries import plain, summarise
from headway.testing.faults import repetitions

_ROW = struct.Struct("<IQqBqd")
Value = int | float
Name = tuple[str, str]
"""Normalised stage and name."""


class Logged(NamedTuple):
    """One point as it must be read again. ``bits`` tells 0.0 from -0.0, and 1 from 1.0."""

    step: int | None
    bits: tuple[str, bytes]
    time: int
    epoch: float | None


def bits_of(value: Value) -> tuple[str, bytes]:
    """A value, comparable also where it is NaN."""
    if isinstance(value, int):
        return "i", struct.pack("<q", value)
    return "f", struct.pack("<d", math.nan if math.isnan(value) else value)


class StreamWriter:
    """A metrics stream, frame by frame, and a plain list of what it holds."""

    def __init__(self) -> None:
        self.data = MAGIC
        self.points: dict[Name, list[Logged]] = {}
        self.entries: list[dict[str, Any]] = []
        self.sequence = 0
        self._schemas: dict[tuple[str | None, tuple[tuple[str, str], ...]], int] = {}

    def log(
        self,
        values: Mapping[str, Value],
        *,
        step: int | None = None,
        epoch: float | None = None,
        stage: str | None = None,
        time: int = 1_700_000_000_000,
    ) -> None:
        """One row; ``time`` in milliseconds."""
        columns = tuple((name, "i" if isinstance(value, int) else "f") for name, value in values.items())
        number = self._schema(stage, columns)
        self.sequence += 1
        self.data += encode_frame(KIND_ROW, self.row(number, self.sequence, list(values.values()), step, epoch, time))
        for name, value in values.items():
            point = Logged(step, bits_of(value), time, epoch)
            self.points.setdefault((normal_stage(stage), name), []).append(point)

    def entry(self, name: str, *, type: str = "image", step: int | None = None, time: int = 1_700_000_000_000) -> None:
        """One media entry."""
        self.sequence += 1
        found = {
            "sequence": self.sequence,
            "name": name,
            "stage": None,
            "type": type,
            "digest": "0" * 64,
            "size": 10,
            "media_type": "image/png",
            "step": step,
            "epoch": None,
            "time": time,
            "details": {"caption": name},
        }
        self.entries.append(found)
        self.data += encode_frame(KIND_ENTRY, json.dumps(found).encode())

    def end(self) -> None:
        self.data += encode_frame(KIND_END, b"")

    @staticmethod
    def row(
        schema: int, sequence: int, values: Sequence[Value], step: int | None, epoch: float | None, time: int
    ) -> bytes:
        """A row's payload."""
        flags = (step is not None) | (epoch is not None) << 1
        head = _ROW.pack(schema, sequence, time * 1_000_000, flags, step or 0, epoch or 0.0)
        return head + b"".join(bits_of(value)[1] for value in values)

    def _schema(self, stage: str | None, columns: tuple[tuple[str, str], ...]) -> int:
        known = self._schemas.get((stage, columns))
        if known is not None:
            return known
        number = self._schemas[stage, columns] = len(self._schemas) + 1
        self.data += schema_frame(number, columns, stage)
        return number


def many_rows(
    schema: int,
    columns: Sequence[Any],
    *,
    first_sequence: int = 1,
    step: Any = None,
    epoch: Any = None,
    time: Any = 1_700_000_000_000,
) -> bytes:
    """The frames of many rows at once.

    Args:
        schema: Its number; the caller writes it first.
        columns: An array of float64 or int64 for each column.
        first_sequence: Of the first row.
        step: An array of int64, or None.
        epoch: An array of float64, or None.
        time: Milliseconds: one number, or an array.
    """
    kind = np.dtype([*ROW_HEAD.descr, ("values", "<u8", (len(columns),))])
    rows = np.zeros(len(columns[0]), kind)
    rows["length"], rows["kind"], rows["schema"] = kind.itemsize - 8, KIND_ROW, schema
    rows["sequence"] = np.arange(first_sequence, first_sequence + len(rows))
    rows["time"] = np.asarray(time) * 1_000_000
    rows["flags"] = (step is not None) | (epoch is not None) << 1
    rows["step"] = 0 if step is None else step
    rows["epoch"] = 0 if epoch is None else epoch
    for place, column in enumerate(columns):
        rows["values"][:, place] = column.view(np.uint64)
    raw, size = memoryview(rows.tobytes()), kind.itemsize
    rows["crc"] = [zlib.crc32(raw[at + 8 : at + size]) for at in range(0, len(raw), size)]
    return rows.tobytes()


def schema_frame(number: int, columns: Sequence[tuple[str, str]], stage: str | None = None) -> bytes:
    """A schema as a frame: names, each with ``f`` or ``i``."""
    payload = {"id": number, "stage": stage, "columns": columns}
    return encode_frame(KIND_SCHEMA, json.dumps(payload).encode())


def fold_all(series: SeriesWriter, state: StreamState, data: bytes, *, final: bool = False) -> StreamState:
    """Fold a stream up to the end of ``data``, which begins at its beginning."""
    decoded = decode(data[state.folded :], state.folded, state.schemas, state.sequence, final=final)
    return series.fold(state, decoded)


def logged(points: Points) -> list[Logged]:
    """Points as a writer's list has them."""
    steps = [step if has else None for step, has in zip(points.step.tolist(), points.has_step.tolist(), strict=True)]
    epochs = [e if has else None for e, has in zip(points.epoch.tolist(), points.has_epoch.tolist(), strict=True)]
    values = map(bits_of, points.values())
    return [Logged(*found) for found in zip(steps, values, points.time.tolist(), epochs, strict=True)]


def read_series(series: SeriesReader, keys: Sequence[StreamKey], name: Name, **query: Any) -> list[list[Logged]]:
    """Each line of a series as it is stored."""
    wanted = MetricQuery(name=name[1], stage=name[0] or None, **query)
    with series.read() as snapshot:
        lines = find_lines(snapshot, keys[0].run_id, keys, {}, wanted)
        reader = ChainReader.within(snapshot)
        return [logged(Points.joined(list(reader.batches(line)))) for line in lines]


VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(width=32),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-3, 3),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 2.0**53 + 2, 1.7976931348623157e308, 0.1, 0.25]),
)
NAMES = st.one_of(
    st.sampled_from(["loss", "a", "A", "e\u0301", "\u00e9", "val/τ loss", "x.y", "%", "'", '"', "\n", "😀" * 256]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20),
)
STAGES = st.one_of(st.none(), st.sampled_from(["train", "training", "val", "validation", "warm-up", ""]))
STEPS = st.one_of(st.none(), st.integers(-3, 12), st.integers(-(2**63), 2**63 - 1))
EPOCHS = st.one_of(st.none(), st.floats(0, 5), st.just(-0.0))
ROWS = st.lists(
    st.tuples(
        st.dictionaries(NAMES, VALUES, min_size=1, max_size=4),
        STEPS,
        EPOCHS,
        STAGES,
        st.integers(-(10**6), 2 * 10**12),
    ),
    max_size=25,
)
ANY_ROWS = settings(
    max_examples=repetitions(12, 300),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


class SeriesContract:
    """Subclass it, and override the fixture ``series`` with an empty store."""

    @pytest.fixture
    def series(self) -> SeriesWriter:
        raise NotImplementedError("override the fixture `series`")

    def key(self, run_id: str = "run1", name: str = "metrics/rank0-a", **fields: Any) -> StreamKey:
        return StreamKey(
            run_id, name, fields.pop("created", 1), fields.pop("attempt", 0), fields.pop("replica", "rank0")
        )

    @ANY_ROWS
    @given(rows=ROWS, cuts=st.lists(st.floats(0, 1), max_size=4))
    def test_what_was_logged_is_read_bit_for_bit_however_it_was_folded(
        self, series: SeriesWriter, rows: list[Any], cuts: list[float]
    ) -> None:
        writer = StreamWriter()
        for values, step, epoch, stage, time in rows:
            writer.log(values, step=step, epoch=epoch, stage=stage, time=time)
        key = self.key(new_id("run"))
        state = series.open(key)
        for cut in [*sorted(cuts), 1.0]:
            state = fold_all(series, state, writer.data[: int(cut * len(writer.data))])
        assert state.folded == len(writer.data)
        for name, points in writer.points.items():
            assert read_series(series, [key], name) == [points]
        series.delete_run(key.run_id)

    def test_many_small_folds_grow_together_and_nothing_is_lost(self, series: SeriesWriter) -> None:
        writer, key = StreamWriter(), self.key()
        state = series.open(key)
        for step in range(400):
            writer.log({"loss": 1 / (step + 1), "count": step}, step=step, time=1_700_000_000_000 + 100 * step)
            if step % 3 == 0:
                writer.log({"loss": float(step)}, stage="val", step=step)
            state = fold_all(series, state, writer.data)
        for name, points in writer.points.items():
            assert read_series(series, [key], name) == [points]
        with series.read() as snapshot:
            for column in snapshot.columns(key.run_id):
                blocks = snapshot.blocks(column.schema_id)
                assert [block.first_row for block in blocks] == [0, *(block.end for block in blocks[:-1])]
                assert blocks[-1].end == column.rows
                assert len(blocks) <= 10

    def test_blocks_have_a_bound_and_rows_keep_their_numbers(
        self, series: SeriesWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(base, "BLOCK_ROWS", 50)
        writer, key = StreamWriter(), self.key()
        state = series.open(key)
        for step in range(230):
            writer.log({"loss": float(step)}, step=step)
            if step % 70 == 0:
                state = fold_all(series, state, writer.data)
        fold_all(series, state, writer.data)
        with series.read() as snapshot:
            (column,) = snapshot.columns(key.run_id)
            assert [block.rows for block in snapshot.blocks(column.schema_id)][:4] == [50, 50, 50, 50]
            (line,) = find_lines(snapshot, key.run_id, [key], {}, MetricQuery(name="loss"))
            some = ChainReader.within(snapshot).points(line.chains[0], 45, 130)
        assert some.row.tolist() == list(range(45, 130))
        assert some.values() == [float(step) for step in range(45, 130)]

    def test_a_fold_from_an_outdated_state_changes_nothing(self, series: SeriesWriter) -> None:
        writer, key = StreamWriter(), self.key()
        writer.log({"loss": 1.0}, step=1)
        stale = series.open(key)
        fold_all(series, stale, writer.data)
        with pytest.raises(ConflictError):
            fold_all(series, stale, writer.data)
        assert read_series(series, [key], ("", "loss")) == [writer.points["", "loss"]]
        state = series.open(key)
        assert (state.folded, state.sequence, len(state.schemas)) == (len(writer.data), 1, 1)

    def test_a_state_that_is_opened_again_goes_on(self, series: SeriesWriter) -> None:
        writer, key = StreamWriter(), self.key()
        for step in range(10):
            writer.log({"a": step, "b": step / 7}, step=step, stage="training")
            fold_all(series, series.open(key), writer.data)
        assert read_series(series, [key], ("train", "a")) == [writer.points["train", "a"]]
        assert series.open(key).schemas[1].stage == "training"

    def test_rows_that_were_there_before_are_left_out_and_counted(self, series: SeriesWriter) -> None:
        writer, key = StreamWriter(), self.key()
        writer.log({"loss": 1.0}, step=1)
        start = len(writer.data)
        writer.log({"loss": 2.0}, step=2)
        writer.entry("picture")
        doubled = writer.data + writer.data[start:]
        state = fold_all(series, series.open(key), doubled)
        assert state.report.repeated == 2
        assert read_series(series, [key], ("", "loss")) == [writer.points["", "loss"]]
        with series.read() as snapshot:
            assert len(snapshot.entries(key.run_id, EntryFilter())) == 1
        assert series.open(key).report == state.report

    def test_a_stream_of_the_same_name_that_is_younger_replaces_the_older(self, series: SeriesWriter) -> None:
        first, second = StreamWriter(), StreamWriter()
        first.log({"loss": 1.0, "gone": 3})
        first.entry("picture")
        second.log({"loss": 2.0})
        fold_all(series, series.open(self.key()), first.data)
        again = self.key(created=2)
        # Readers that know of the younger one see nothing of the older, also before it is removed.
        assert read_series(series, [again], ("", "loss")) == []
        state = series.open(again)
        assert (state.folded, state.sequence, state.schemas) == (0, 0, {})
        fold_all(series, state, second.data)
        assert read_series(series, [again], ("", "loss")) == [second.points["", "loss"]]
        assert read_series(series, [again], ("", "gone")) == []
        with series.read() as snapshot:
            assert snapshot.entries("run1", EntryFilter()) == []

    def test_delete_run_removes_everything_of_it_and_nothing_else(self, series: SeriesWriter) -> None:
        writer = StreamWriter()
        writer.log({"loss": 1.0}, step=1)
        writer.entry("picture")
        keys = [self.key(run) for run in ("run1", "run12")]
        for key in keys:
            fold_all(series, series.open(key), writer.data)
        assert sorted(series.run_ids()) == ["run1", "run12"]
        series.delete_run("run1")
        series.delete_run("run1")
        assert list(series.run_ids()) == ["run12"]
        assert read_series(series, keys[:1], ("", "loss")) == []
        assert read_series(series, keys[1:], ("", "loss")) == [writer.points["", "loss"]]
        with series.read() as snapshot:
            assert snapshot.entries("run1", EntryFilter()) == []
            assert snapshot.streams("run1") == []
            assert len(snapshot.entries("run12", EntryFilter())) == 1
        assert series.open(keys[0]).folded == 0

    def test_delete_streams_removes_those_of_that_run_and_nothing_else(self, series: SeriesWriter) -> None:
        writer = StreamWriter()
        writer.log({"loss": 1.0}, step=1)
        writer.entry("picture")
        first, second = self.key("run1"), self.key("run1", name="metrics/rank1-a")
        other = self.key("run2")
        for key in (first, second, other):
            fold_all(series, series.open(key), writer.data)
        series.delete_streams("run1", [first.name, "metrics/absent-a"])
        series.delete_streams("run1", [first.name])
        series.delete_streams("run1", [])
        with series.read() as snapshot:
            assert [state.key.name for state in snapshot.streams("run1")] == [second.name]
            assert [state.key.name for state in snapshot.streams("run2")] == [other.name]
            assert len(snapshot.columns("run1")) == len(snapshot.entries("run1", EntryFilter())) == 1
        assert series.open(first).folded == 0

    def test_entries_come_by_place_and_filter(self, series: SeriesWriter) -> None:
        for number in range(2):
            writer = StreamWriter()
            for step in range(5):
                kind = "image" if step % 2 else "table"
                writer.entry(f"e{step}", type=kind, step=step, time=1000 * step + number)
            fold_all(series, series.open(self.key(name=f"metrics/rank{number}-a")), writer.data)
        with series.read() as snapshot:
            found = snapshot.entries("run1", EntryFilter())
            assert [entry.place.time for entry in found] == sorted(1000 * s + n for s in range(5) for n in range(2))
            after = snapshot.entries("run1", EntryFilter(), after=found[3].place, limit=2)
            assert after == found[4:6]
            assert [e.document["name"] for e in snapshot.entries("run1", EntryFilter(name="e3"))] == ["e3", "e3"]
            assert len(snapshot.entries("run1", EntryFilter(type="table"))) == 6
            assert snapshot.entries("run1", EntryFilter(stage="val")) == []
            assert snapshot.entries("run1", EntryFilter(), after=EntryPlace(2**62, "", 0)) == []

    def test_system_metrics_are_apart(self, series: SeriesWriter) -> None:
        writer = StreamWriter()
        writer.log({"cpu": 1.0})
        key = self.key(name="system/rank0-a")
        fold_all(series, series.open(key), writer.data)
        assert read_series(series, [key], ("", "cpu"), system=True) == [writer.points["", "cpu"]]
        assert read_series(series, [key], ("", "cpu")) == []

    @ANY_ROWS
    @given(attempts=st.lists(ROWS, min_size=1, max_size=3), cuts=st.lists(st.floats(0, 1), max_size=2))
    def test_summaries_and_views_are_those_of_a_plain_list(
        self, series: SeriesWriter, attempts: list[list[Any]], cuts: list[float]
    ) -> None:
        run_id = new_id("run")
        keys, writers = [], []
        for number, rows in enumerate(attempts):
            writer = StreamWriter()
            for place, (values, step, epoch, stage, _) in enumerate(rows):
                writer.log(values, step=step, epoch=epoch, stage=stage, time=1000 * number + place)
            key = self.key(run_id, f"metrics/rank0-{number}", attempt=number)
            state = series.open(key)
            for cut in [*sorted(cuts), 1.0]:
                state = fold_all(series, state, writer.data[: int(cut * len(writer.data))])
            keys.append(key)
            writers.append(writer)
        for name in {name for writer in writers for name in writer.points}:
            held = [writer.points.get(name, []) for writer in writers]
            shown = visible(held)
            assert read_series(series, keys, name) == [shown]
            assert read_series(series, keys, name, view=View.ALL) == [points for points in held if points]
            with series.read() as snapshot:
                found = {(item.stage, item.name): item for item in summarise(snapshot, run_id, keys, {})}
            check_summary(found[name], shown)
        series.delete_run(run_id)


def visible(attempts: Sequence[Sequence[Logged]]) -> list[Logged]:
    """What the default view shows of one rank's attempts."""
    shown: list[Logged] = []
    for number, points in enumerate(attempts):
        later = [p.step for other in attempts[number + 1 :] for p in other if p.step is not None]
        cutoff = min(later, default=None)
        shown += [p for p in points if cutoff is None or p.step is None or p.step < cutoff]
    return shown


def value_of(point: Logged) -> Value:
    kind, data = point.bits
    found: Value = struct.unpack("<q" if kind == "i" else "<d", data)[0]
    return found


def check_summary(summary: Any, points: Sequence[Logged]) -> None:
    """Compare with what a plain list of points comes to."""
    values = [value_of(point) for point in points]
    numbers = [value for value in values if isinstance(value, int) or not math.isnan(value)]
    finite = [value for value in numbers if isinstance(value, int) or math.isfinite(value)]
    assert (summary.count, summary.nan_count) == (len(values), len(values) - len(numbers))
    assert summary.min == (plain(min(numbers)) if numbers else None)
    assert summary.max == (plain(max(numbers)) if numbers else None)
    stepped = [(point.step, place) for place, point in enumerate(points) if point.step is not None]
    last = max(stepped)[1] if stepped else len(points) - 1
    assert summary.last_step == points[last].step
    assert bits_of(value_of(points[last])) == points[last].bits
    assert summary.last == plain(values[last])
    if finite:
        mean = sum(value / len(finite) for value in finite)
        scale = max(abs(value) for value in finite)
        assert summary.mean == pytest.approx(mean, rel=1e-9, abs=max(scale * 1e-12, 1e-300))
    else:
        assert summary.mean is None
