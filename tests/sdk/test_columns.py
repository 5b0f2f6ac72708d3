"""Packed columns: bit for bit what was sent, and nothing at all from a peer that lies."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InvalidRequestError, PlatformError
from headway.sdk.columns import Line, decode_columns, encode_columns, pack

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(INT64, st.floats(allow_nan=True, allow_infinity=True, width=64))
POINTS = st.lists(st.tuples(st.none() | INT64, VALUES, INT64, st.none() | st.floats()), max_size=30)


def bits(value: float | int | None) -> tuple[type, Any]:
    """A value so that -0.0 and NaN are told apart from what only looks like them."""
    if isinstance(value, float):
        return float, "nan" if math.isnan(value) else struct.pack("<d", value)
    return type(value), value


def rows(line: Iterable[Any]) -> list[list[tuple[type, Any]]]:
    return [[bits(number) for number in point] for point in line]


@given(st.lists(POINTS, max_size=3), st.integers(1, 300))
def test_every_point_comes_back_bit_for_bit(lines: list[Any], size: int) -> None:
    sent = [pack(points, replica=f"rank{number}", attempt=number) for number, points in enumerate(lines)]
    body = encode_columns(sent)
    found = decode_columns((body[at : at + size] for at in range(0, len(body), size)), "it")
    assert [rows(line) for line in found] == [rows(points) for points in lines]
    assert [(line.replica, line.attempt, line.exact) for line in found] == [
        (f"rank{number}", number, True) for number in range(len(lines))
    ]


def body_of(header: Any, data: bytes = b"", *, magic: bytes = b"HWC1", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return zstandard.compress(magic + struct.pack("<I", len(text) if length is None else length) + text + data)


def line_of(count: Any, **changes: Any) -> dict[str, Any]:
    columns = [["value", "f8", count], ["time", "i8", count]]
    return {"lines": [{"replica": "rank0", "attempt": None, "columns": columns, **changes}]}


WHOLE = body_of(line_of(2), bytes(32))
LIES = {
    "nothing": b"",
    "no zstd": b"HWC1" + bytes(40),
    "another magic": body_of(line_of(0), magic=b"HWC2"),
    "a header longer than the body": body_of(line_of(0), length=1000),
    "a header longer than any": body_of(line_of(0), length=2**32 - 1),
    "a header that is no JSON": body_of(b"{"),
    "a header nested too deeply": body_of(b"[" * 100_000),
    "a header that is a list": body_of([]),
    "lines that are no list": body_of({"lines": {}}),
    "a line that is none": body_of({"lines": [1]}),
    "a line without columns": body_of({"lines": [{}]}),
    "more points than bytes": body_of(line_of(3), bytes(32)),
    "fewer points than bytes": body_of(line_of(1), bytes(32)),
    "a count below zero": body_of(line_of(-1)),
    "a count that is true": body_of(line_of(True), bytes(16)),
    "a count that is text": body_of(line_of("2"), bytes(32)),
    "a column of three words": body_of(line_of(0, columns=[["value", "f8", "f8"]])),
    "an unknown type": body_of(line_of(0, columns=[["value", "f4", 0], ["time", "i8", 0]])),
    "a time of floats": body_of(line_of(0, columns=[["value", "f8", 0], ["time", "f8", 0]])),
    "no time": body_of(line_of(0, columns=[["value", "f8", 1]]), bytes(8)),
    "a column twice": body_of(line_of(0, columns=[["value", "f8", 0], ["value", "f8", 0], ["time", "i8", 0]])),
    "columns of different lengths": body_of(line_of(0, columns=[["value", "f8", 1], ["time", "i8", 2]]), bytes(24)),
    "a rank that is a number": body_of(line_of(0, replica=7)),
    "a total that is text": body_of(line_of(0, total="all")),
    "streams of other points": body_of(line_of(2, streams=[["metrics/a", 1]]), bytes(32)),
    "streams without a count": body_of(line_of(0, streams=[["metrics/a"]])),
    "streams that are text": body_of(line_of(0, streams="metrics/a")),
    "an attempt that is a list": body_of(line_of(0, attempt=[1])),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_peer_is_one_clear_error(lie: str) -> None:
    with pytest.raises(PlatformError, match="cannot be read"):
        decode_columns([LIES[lie]], "it")


@given(st.integers(0, len(WHOLE) - 1))
def test_a_cut_body_is_never_taken_for_whole(length: int) -> None:
    with pytest.raises(PlatformError):
        decode_columns([WHOLE[:length]], "it")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    for body in (data, zstandard.compress(data), zstandard.compress(b"HWC1" + data)):
        with pytest.raises(PlatformError):
            decode_columns([body], "it")


def test_columns_and_fields_of_a_newer_server_are_stepped_over() -> None:
    columns = [["value", "f8", 1], ["colour", "u1", 1], ["time", "i8", 1]]
    body = body_of(line_of(0, columns=columns, mood="good"), struct.pack("<dBq", 0.5, 7, 9))
    assert [tuple(point) for point in decode_columns([body], "it")[0]] == [(None, 0.5, 9, None)]


def test_a_bomb_takes_no_more_memory_than_was_allowed() -> None:
    header = json.dumps(line_of(1 << 24)).encode()
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    parts = [packer.compress(b"HWC1" + struct.pack("<I", len(header)) + header)]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(256)]
    bomb = b"".join([*parts, packer.flush()])
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(InvalidRequestError, match="memory") as refused:
        decode_columns([bomb], "it", limit=1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    assert "points=1000" in str(refused.value)


def test_a_claim_costs_nothing_until_its_bytes_come() -> None:
    tracemalloc.start()
    with pytest.raises(PlatformError, match="too early"):
        decode_columns([body_of(line_of(100_000_000), bytes(64))], "it")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_one_large_chunk_is_not_copied_again_and_again() -> None:
    line = pack((step, step / 3, step, None) for step in range(200_000))
    found = decode_columns([encode_columns([line])], "it")[0]
    assert isinstance(found, Line)
    assert found.values == line.values
    assert found.steps == line.steps
