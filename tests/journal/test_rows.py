"""Schema, row and entry frames: golden bytes, round trips, and reading what is damaged."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.domain.base import now
from headway.errors import CorruptDataError
from headway.journal import metrics as metrics_module
from headway.journal.codec import JournalHeader
from headway.journal.frames import KIND_ENTRY, KIND_FILLER, KIND_ROW, KIND_SCHEMA, Frame, encode_frame
from headway.journal.metrics import MetricsWriter
from headway.journal.reader import read_frames
from headway.journal.rows import (
    Row,
    RowDecoder,
    Schema,
    decode_entry,
    decode_row,
    decode_schema,
    encode_row,
    encode_schema,
    sequence_of,
)

quick = settings(deadline=None, database=None)
HEADER = JournalHeader(run="run1", stream="metrics/rank0-ab", writer="ab", created=now())
TIME = 1_767_323_045_678_901_234

SCHEMA = '{"id":0,"stage":"train","columns":[["loss","f"],["seen","i"],["τ/µ","f"]]}'
GOLDEN_SCHEMA = (
    "4d0000001e59adee047b226964223a302c227374616765223a22747261696e222c22636f6c756d6e73223a5b5b226c6f7373222c2266225d2c"
    "5b227365656e222c2269225d2c5b22cf842fc2b5222c2266225d5d7d"
)
GOLDEN_ROWS = """
3e00000016c85a2d05000000000100000000000000f2670d45f2ca8618
030700000000000000000000000000f83f000000000000e03fffffffffffffff7f000000000000f87f
3e000000cb73902e05000000000200000000000000f2670d45f2ca8618
01000000000000008000000000000000000000000000000080ffffffffffffffff000000000000f0ff
3e0000009ed2639105000000000300000000000000f2670d45f2ca8618
000000000000000000000000000000000001000000000000000000000000000000000000000000f03f
"""


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MetricsWriter:
    monkeypatch.setattr(metrics_module, "time_ns", lambda: TIME)
    return MetricsWriter(tmp_path / "a.hwj", HEADER)


def written(writer: MetricsWriter) -> list[Frame]:
    """What follows the header."""
    return list(read_frames(writer.path))[1:]


class TestFormatVersion1:
    """These bytes are what files out there contain: a change here breaks them."""

    def test_schema_and_rows(self, writer: MetricsWriter) -> None:
        writer.log({"loss": 0.5, "seen": 2**63 - 1, "τ/µ": math.nan}, 7, stage="train", epoch=1.5)
        writer.log({"loss": -0.0, "seen": -1, "τ/µ": -math.inf}, -(2**63), stage="train")
        writer.log({"loss": 5e-324, "seen": 0, "τ/µ": 1.0}, stage="train")
        writer.close()
        schema, *rows, _ = [encode_frame(frame.kind, frame.payload).hex() for frame in written(writer)]
        assert bytes.fromhex(schema)[9:].decode() == SCHEMA
        assert schema == GOLDEN_SCHEMA
        assert "".join(rows) == GOLDEN_ROWS.replace("\n", "")

    def test_what_a_row_is_made_of(self, writer: MetricsWriter) -> None:
        writer.log({"loss": 0.5, "seen": 3}, 7, epoch=1.5)
        frame = written(writer)[1]
        assert frame.payload == struct.pack("<IQqBqddq", 0, 1, TIME, 3, 7, 1.5, 0.5, 3)

    def test_entry(self, writer: MetricsWriter) -> None:
        writer.log({"loss": 1.0})
        writer.entry({"name": "picture", "stage": None, "type": "image", "step": 3, "details": {"x": math.inf}})
        frame = written(writer)[-1]
        assert frame.kind == KIND_ENTRY
        assert frame.payload.decode() == (
            f'{{"sequence":2,"time":{TIME // 1_000_000},"name":"picture","stage":null,"type":"image","step":3,'
            '"details":{"x":"Infinity"}}'
        )


def frames(*contents: tuple[int, bytes]) -> list[Frame]:
    return [Frame(number, kind, payload) for number, (kind, payload) in enumerate(contents)]


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUES = st.floats(width=64) | st.integers(-(2**63), 2**63 - 1)


def same(one: Any, other: Any) -> bool:
    """Equal in type and every bit, with one NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or struct.pack("<d", one) == struct.pack("<d", other)
    return bool(one == other)


@st.composite
def schemas_and_rows(draw: st.DrawFn) -> tuple[Schema, Row]:
    found = draw(st.dictionaries(NAMES, VALUES, min_size=1, max_size=12))
    stage = draw(st.none() | NAMES)
    types = "".join("f" if isinstance(value, float) else "i" for value in found.values())
    schema = Schema(draw(st.integers(0, 2**32 - 1)), stage, tuple(found), types)
    step = draw(st.none() | st.integers(-(2**63), 2**63 - 1))
    epoch = draw(st.none() | st.floats(allow_nan=False, allow_infinity=False))
    sequence, moment = draw(st.integers(1, 2**64 - 1)), draw(st.integers(-(2**63), 2**63 - 1))
    return schema, Row(sequence, moment, step, epoch, stage, schema.names, tuple(found.values()))


@quick
@given(schemas_and_rows())
def test_rows_round_trip(pair: tuple[Schema, Row]) -> None:
    schema, row = pair
    assert decode_schema(encode_schema(schema)) == schema
    found = decode_row(schema, encode_row(schema, row))
    assert all(same(one, other) for one, other in zip(found[:6], row[:6], strict=True))
    assert all(same(one, other) for one, other in zip(found.values, row.values, strict=True))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"id":0,"stage":null}',
        b'{"id":-1,"stage":null,"columns":[]}',
        b'{"id":4294967296,"stage":null,"columns":[]}',
        b'{"id":true,"stage":null,"columns":[]}',
        b'{"id":0,"stage":3,"columns":[]}',
        b'{"id":0,"stage":null,"columns":[["a","x"]]}',
        b'{"id":0,"stage":null,"columns":[["a","ff"]]}',
        b'{"id":0,"stage":null,"columns":[["a"]]}',
        b'{"id":0,"stage":null,"columns":[[1,"f"]]}',
        b'{"id":0,"stage":null,"columns":5}',
        b"[" * 100_000,
    ],
)
def test_a_schema_that_is_none(payload: bytes) -> None:
    with pytest.raises(CorruptDataError):
        decode_schema(payload)


def test_unknown_keys_of_a_schema_are_passed_over() -> None:
    payload = b'{"id":1,"stage":null,"columns":[["a","f"]],"units":["m"]}'
    assert decode_schema(payload) == Schema(1, None, ("a",), "f")


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"sequence":"1"}', b'{"sequence":0}', b"\xff"])
def test_an_entry_that_is_none(payload: bytes) -> None:
    with pytest.raises(CorruptDataError):
        decode_entry(payload)
    assert sequence_of(Frame(0, KIND_ENTRY, payload)) is None


class TestDecoder:
    SCHEMA = Schema(0, None, ("a",), "f")

    def row(self, sequence: int, schema: int = 0, value: float = 1.0) -> tuple[int, bytes]:
        row = Row(sequence, TIME, sequence, None, None, ("a",), (value,))
        return KIND_ROW, encode_row(self.SCHEMA._replace(id=schema), row)

    def test_repeated_rows_and_entries_are_left_out(self) -> None:
        schema = (KIND_SCHEMA, encode_schema(self.SCHEMA))
        entry = (KIND_ENTRY, b'{"sequence":3,"name":"x"}')
        block = [self.row(1), self.row(2), entry, self.row(4)]
        decoder = RowDecoder()
        rows = list(decoder.feed(frames(schema, *block, schema, *block, self.row(5))))
        assert [row.sequence for row in rows] == [1, 2, 4, 5]
        assert [found.sequence for found in decoder.entries] == [3]
        assert (decoder.repeated, decoder.unreadable) == (4, 0)

    def test_rows_without_their_schema_are_counted(self) -> None:
        decoder = RowDecoder()
        contents = [self.row(1), (KIND_SCHEMA, encode_schema(self.SCHEMA)), self.row(2), self.row(3, schema=9)]
        assert [row.sequence for row in decoder.feed(frames(*contents))] == [2]
        assert decoder.unreadable == 2

    def test_payloads_that_make_no_sense_are_stepped_over(self) -> None:
        decoder = RowDecoder()
        schema = (KIND_SCHEMA, encode_schema(self.SCHEMA))
        junk = [
            (KIND_ROW, b""),
            (KIND_ROW, bytes(40)),
            (KIND_SCHEMA, b"x"),
            (KIND_ENTRY, b"x"),
            (KIND_FILLER, bytes(9)),
        ]
        assert [row.sequence for row in decoder.feed(frames(schema, *junk, self.row(1)))] == [1]
        assert decoder.unreadable == 4

    def test_it_goes_on_where_it_was(self) -> None:
        decoder = RowDecoder()
        for content in [(KIND_SCHEMA, encode_schema(self.SCHEMA)), self.row(1), self.row(1), self.row(2)]:
            list(decoder.feed(frames(content)))
        assert (decoder.sequence, decoder.repeated) == (2, 1)
