"""Rows out of stream bytes, many at a time, held against a decoder that takes one row at a time."""

from __future__ import annotations

import json
import math
import random
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headway.domain.base import now
from headway.domain.metrics import check_metric_name, normal_stage
from headway.journal.codec import JournalHeader
from headway.journal.decoding import FrameDecoder, scan
from headway.journal.frames import KIND_ENTRY, KIND_ROW, KIND_SCHEMA, MAGIC, encode_frame
from headway.journal.metrics import MetricsWriter
from headway.journal.rows import RowDecoder
from headway.storage.series.checksums import holds
from headway.storage.series.payloads import Schema
from headway.storage.series.points import Points
from headway.storage.series.rows import Decoded, decode
from headway.testing.faults import repetitions, seeded
from headway.testing.series import (
    ANY_ROWS,
    ROWS,
    Logged,
    Name,
    StreamWriter,
    bits_of,
    logged,
)

ROW = struct.Struct("<IQqBqd")


class Plain:
    """The same result the plain way."""

    def __init__(self, data: bytes, *, final: bool = True) -> None:
        decoder = FrameDecoder()
        frames = decoder.feed(data) + (decoder.finish() if final else [])
        self.points: dict[Name, list[Logged]] = {}
        self.entries: list[Any] = []
        self.repeated = self.unreadable = 0
        self.damaged = sum(item.length for item in decoder.damage) + (decoder.torn if final else 0)
        self.end = len(data) if final else decoder.offset
        self._last = 0
        self._schemas: dict[int, Any] = {}
        for frame in frames:
            if frame.kind == KIND_SCHEMA:
                found = json.loads(frame.payload)
                self._schemas.setdefault(found["id"], found)
            elif frame.kind == KIND_ROW:
                self._row(frame.payload)
            elif frame.kind == KIND_ENTRY:
                found = json.loads(frame.payload)
                if self._fresh(found["sequence"]):
                    self.entries.append(found)

    def _fresh(self, sequence: int) -> bool:
        if sequence <= self._last:
            self.repeated += 1
            return False
        self._last = sequence
        return True

    def _row(self, payload: bytes) -> None:
        schema = self._schemas.get(int.from_bytes(payload[:4], "little"))
        if schema is None or len(payload) != ROW.size + 8 * len(schema["columns"]):
            self.unreadable += 1
            return
        _, sequence, time, flags, step, epoch = ROW.unpack_from(payload)
        if not self._fresh(sequence):
            return
        for place, (name, kind) in enumerate(schema["columns"]):
            raw = payload[ROW.size + 8 * place : ROW.size + 8 * place + 8]
            value = struct.unpack("<d" if kind == "f" else "<q", raw)[0]
            point = Logged(step if flags & 1 else None, bits_of(value), time // 10**6, epoch if flags & 2 else None)
            self.points.setdefault((normal_stage(schema["stage"]), check_metric_name(name)), []).append(point)


def points_of(found: Sequence[Decoded]) -> dict[Name, list[Logged]]:
    """All points of some pieces, series by series in the order logged."""
    parts: dict[Name, list[Points]] = {}
    for decoded in found:
        for rows in decoded.rows:
            for place, (name, kind) in enumerate(rows.schema.columns):
                points = Points.of(rows.axes, rows.bits([place])[0], 0, floats=kind == "f")
                parts.setdefault((normal_stage(rows.schema.stage), name), []).append(points)
    ordered = {}
    for name, held in parts.items():
        joined = Points.joined(held)
        ordered[name] = logged(joined.take(np.argsort(joined.sequence, kind="stable")))
    return ordered


def pieces(data: bytes, cuts: Sequence[int]) -> list[Decoded]:
    """``data`` decoded as it might arrive."""
    schemas: dict[int, Schema] = {}
    at = sequence = 0
    found = []
    for end in [*sorted(cuts), len(data)]:
        decoded = decode(data[at:end], at, schemas, sequence, final=end == len(data))
        schemas.update(decoded.schemas)
        at, sequence = decoded.end, decoded.sequence
        found.append(decoded)
    return found


def check(data: bytes, cuts: Sequence[int] = ()) -> None:
    expected, found = Plain(data), pieces(data, cuts)
    assert points_of(found) == expected.points
    assert [entry for decoded in found for entry in decoded.entries] == expected.entries
    assert sum(decoded.report.repeated for decoded in found) == expected.repeated
    assert sum(decoded.report.damaged for decoded in found) == expected.damaged
    assert sum(decoded.report.unreadable for decoded in found) == expected.unreadable
    assert found[-1].end == len(data)


@ANY_ROWS
@given(rows=ROWS, cuts=st.lists(st.floats(0, 1), max_size=4), entries=st.sets(st.integers(0, 25)))
def test_any_rows_cut_anywhere_are_those_that_were_written(
    rows: list[Any], cuts: list[float], entries: set[int]
) -> None:
    writer = StreamWriter()
    for place, (values, step, epoch, stage, time) in enumerate(rows):
        if place in entries:
            writer.entry(f"picture {place}", step=place)
        writer.log(values, step=step, epoch=epoch, stage=stage, time=time)
    writer.end()
    check(writer.data, [int(cut * len(writer.data)) for cut in cuts])
    assert points_of(pieces(writer.data, ())) == writer.points


def long_stream(rows: int = 400, *, mixed: bool = True) -> StreamWriter:
    """Runs of equal rows, with others between."""
    writer = StreamWriter()
    for step in range(rows):
        writer.log({"a": step / 3, "b": step}, step=step, time=1000 * step)
        if mixed and step % 90 == 50:
            writer.log({"a": math.nan}, stage="val", step=step)
            writer.entry("picture", step=step)
    return writer


@settings(max_examples=40, deadline=None)
@given(st.data())
@example(None)
def test_runs_of_equal_rows_cut_anywhere(data: Any) -> None:
    writer = long_stream()
    cuts = [] if data is None else data.draw(st.lists(st.integers(0, len(writer.data)), max_size=3))
    check(writer.data, cuts)


def damage(data: bytes, chance: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(found))
        how = chance.randrange(5)
        if how == 0:
            found[place] ^= 1 << chance.randrange(8)
        elif how == 1:
            found[place : place + 64] = bytes(min(64, len(found) - place))
        elif how == 2:
            del found[place : place + chance.randrange(1, 400)]
        elif how == 3:
            found[place:place] = found[place : place + chance.randrange(1, 3000)]
        else:
            found[place:place] = chance.randbytes(chance.randrange(1, 200))
    return bytes(found)


def test_damage_is_seen_as_everywhere_else_and_never_read() -> None:
    chance = seeded()
    whole = long_stream()
    known = {name: set(points) for name, points in whole.points.items()}
    for _ in range(repetitions(150, 5000)):
        data = damage(whole.data, chance)
        check(data)
        for name, points in points_of(pieces(data, ())).items():
            assert set(points) <= known[name]


def test_what_is_no_schema_row_or_entry_is_counted_and_stops_nothing() -> None:
    writer = StreamWriter()
    writer.log({"loss": 1.0}, step=1)
    bad = [
        (KIND_SCHEMA, b"not json"),
        (KIND_SCHEMA, b'{"id": -1, "stage": null, "columns": [["a", "f"]]}'),
        (KIND_SCHEMA, b'{"id": 7, "stage": null, "columns": [["a", "x"]]}'),
        (KIND_SCHEMA, b'{"id": 7, "stage": null, "columns": [["\\u0000", "f"]]}'),
        (KIND_SCHEMA, b'{"id": 7, "stage": "\\ud800", "columns": [["a", "f"]]}'),
        (KIND_SCHEMA, b'{"id": 1, "stage": null, "columns": [["other", "f"]]}'),
        (KIND_ROW, b"short"),
        (KIND_ROW, StreamWriter.row(99, 2, [1.0], 1, None, 0)),
        (KIND_ROW, StreamWriter.row(1, 2, [1.0, 2.0], 1, None, 0)),
        (KIND_ROW, StreamWriter.row(1, 2**63 + 5, [1.0], 1, None, 0)),
        (KIND_ENTRY, b"[]"),
        (KIND_ENTRY, b'{"sequence": 0}'),
        (KIND_ENTRY, b'{"sequence": 5, "name": "\\ud800"}'),
        (KIND_ENTRY, b'{"sequence": 5, "name": "x", "type": "no such type"}'),
        (15, b"from the future"),
    ]
    for kind, payload in bad:
        writer.data += encode_frame(kind, payload)
    writer.log({"loss": 2.0}, step=2)
    decoded = decode(writer.data, 0, {})
    assert decoded.report.unreadable == len(bad) - 1
    assert points_of([decoded]) == writer.points
    assert decoded.end == len(writer.data)


def test_a_nan_is_made_the_canonical_one() -> None:
    writer = StreamWriter()
    writer.log({"loss": 1.0})
    row = bytearray(StreamWriter.row(1, 2, [1.0], None, None, 0))
    row[-8:] = struct.pack("<Q", 0xFFF0_0000_0000_0001)
    writer.data += encode_frame(KIND_ROW, bytes(row))
    (rows,) = decode(writer.data, 0, {}).rows
    assert rows.bits()[0].tolist()[1] == struct.unpack("<Q", struct.pack("<d", math.nan))[0]


def test_an_incomplete_end_is_waited_for_and_lost_only_when_nothing_follows() -> None:
    writer = long_stream(50)
    cut = writer.data[:-10]
    open_end = decode(cut, 0, {})
    assert open_end.end < len(cut)
    assert open_end.report.damaged == 0
    closed = decode(cut, 0, {}, final=True)
    assert closed.end == len(cut)
    assert closed.report.damaged == len(cut) - open_end.end
    for short in (b"", MAGIC[:2], MAGIC):
        assert decode(short, 0, {}).end in (0, len(MAGIC))
        assert decode(short, 0, {}).report.damaged == 0


def test_a_long_stretch_of_rubbish_is_passed_over() -> None:
    writer = long_stream(30)
    rubbish = random.Random(1).randbytes(1 << 20) * 40
    decoded = decode(writer.data + rubbish, 0, {})
    assert points_of([decoded]) == writer.points
    assert len(writer.data) + (30 << 20) < decoded.end <= len(writer.data) + len(rubbish)
    assert decoded.report.damaged > 30 << 20


@settings(max_examples=60, deadline=None)
@given(st.integers(9, 300), st.integers(1, 70), st.integers(0, 2**32 - 1), st.booleans())
def test_checksums_of_many_frames_hold_exactly_when_each_does(size: int, count: int, seed: int, spoil: bool) -> None:
    chance = random.Random(seed)
    frames = []
    for _ in range(count):
        covered = chance.randbytes(size - 8)
        frames.append(struct.pack("<II", size - 8, zlib.crc32(covered)) + covered)
    region = bytearray(b"".join(frames))
    if spoil:
        # The length is compared elsewhere.
        place = chance.randrange(len(region))
        while place % size < 4:
            place = chance.randrange(len(region))
        region[place] ^= 1 << chance.randrange(8)
    claims = np.ndarray((count,), "<u4", bytes(region), 4, (size,)).copy()
    assert holds(memoryview(region), claims, size) is not spoil


def test_what_a_tracker_writes_is_read(tmp_path: Path) -> None:
    """The journal's own writer, and the journal's own reader of rows."""
    path = tmp_path / "metrics.hwj"
    header = JournalHeader(run="run1", stream="metrics/rank0-a", writer="a", created=now())
    with MetricsWriter(path, header) as writer:
        for step in range(300):
            writer.log({"loss": 1 / (step + 1), "count": step}, step)
            if step % 40 == 0:
                writer.log({"loss": math.nan, "τ": -0.0}, stage="validation", epoch=step / 7)
                writer.log({"count": 2**63 - 1}, step)
        writer.log({f"m{number}": float(number) for number in range(5000)}, 1)
    data = path.read_bytes()
    expected: dict[Name, list[Logged]] = {}
    rows = RowDecoder()
    for row in rows.feed(scan(data).frames):
        for name, value in zip(row.names, row.values, strict=True):
            point = Logged(row.step, bits_of(value), row.time_ns // 10**6, row.epoch)
            expected.setdefault((normal_stage(row.stage), name), []).append(point)
    assert len(expected) == 5004
    assert points_of(pieces(data, [len(data) // 3])) == expected
    check(data)


@pytest.mark.parametrize("columns", [0, 1, 3000])
def test_rows_of_any_width(columns: int) -> None:
    writer = StreamWriter()
    for step in range(40):
        writer.log({f"m{number}": step + number / 7 for number in range(columns)}, step=step)
    check(writer.data)
