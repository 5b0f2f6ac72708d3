"""Steps through stored logs: however they are cut, together they are one scan from the start."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.domain.base import now
from headway.journal.codec import (
    KIND_END,
    KIND_HEADER,
    KIND_LOG,
    MAGIC,
    FrameDecoder,
    JournalHeader,
    encode_frame,
    encode_header,
    encode_lines,
)
from headway.journal.logview import LogSource, read_page
from headway.journal.rows import RowDecoder
from headway.monitors import Point, compile_expression, stored
from headway.monitors.reading import Place, PointRow, Step, step
from headway.monitors.rows import END, beginning, encode_points

HEADER = JournalHeader(run="run1", stream="logs/worker-0-a", writer="a", created=now())
EXPRESSION = compile_expression(r"loss (\S+)(?: at (\d+))?")

WORDS = st.sampled_from(
    [b"loss 0.5", b"loss 1e3 at 7", b"loss x", b"epoch", b"\0", b"\xff\xfe", b" ", b"loss nan", b"\xe2\x82", b""]
)
LINES = st.lists(WORDS, max_size=4).map(b" ".join)
BATCHES = st.lists(st.tuples(st.lists(LINES, min_size=1, max_size=12), st.integers(0, 1 << 41)), max_size=8)


def log_bytes(batches: list[tuple[list[bytes], int]], *, ended: bool = True) -> bytes:
    """A log stream as an agent ships it."""
    data = MAGIC + encode_frame(KIND_HEADER, encode_header(HEADER))
    number = 1
    for lines, time_ms in batches:
        data += encode_frame(KIND_LOG, encode_lines(number, time_ms, b"\n".join(lines)))
        number += len(lines)
    return data + encode_frame(KIND_END, b"") if ended else data


def rows_of(data: bytes, *, complete: bool) -> list[tuple[int, str, int]]:
    """Number, text and time of each line, as readers of logs see them."""
    source = LogSource(
        name="logs/a",
        replica="worker-0",
        attempt=1,
        committed=len(data),
        read=lambda offset, length: data[offset : offset + length],
        complete=complete,
    )
    found, cursor = [], None
    while True:
        rows, cursor = read_page([source], cursor, 1000)
        if not rows:
            return found
        found += [(row.line, row.message, round(row.timestamp.timestamp() * 1000)) for row in rows]


def steps(
    data: bytes, *, closed: bool, limit: int = 1 << 16, seconds: float = 9.0, size: int = 8 << 20
) -> Iterator[Step]:
    place = Place()
    for _ in range(10 * len(data) + 10):
        found = step(
            EXPRESSION,
            lambda offset, length: data[offset : offset + length],
            len(data),
            place,
            closed=closed,
            show=1 << 20,
            most_points=limit,
            seconds=seconds,
            batch_bytes=size,
        )
        yield found
        place = found.place
        if found.done:
            return
    raise AssertionError("it comes to no end")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=BATCHES,
    limit=st.integers(1, 5),
    hurry=st.booleans(),
    size=st.sampled_from([1, 50, 1000, 8 << 20]),
    piece=st.sampled_from([1, 10, 100, 1 << 18]),
    damage=st.none() | st.integers(0, 1 << 30),
    closed=st.booleans(),
)
def test_steps_of_any_size_together_read_each_line_once(
    monkeypatch: pytest.MonkeyPatch,
    batches: list[tuple[list[bytes], int]],
    limit: int,
    hurry: bool,
    size: int,
    piece: int,
    damage: int | None,
    closed: bool,
) -> None:
    monkeypatch.setattr(stored, "PIECE_BYTES", piece)
    data = log_bytes(batches)
    if damage is not None:
        place = damage % len(data)
        data = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
    lines = rows_of(data, complete=closed)
    expected = [
        (number, text, time, found.point)
        for number, text, time in lines
        if (found := EXPRESSION.match_line(text.encode())) is not None
    ]

    read = [*steps(data, closed=closed, limit=limit, seconds=-1.0 if hurry else 9.0, size=size)]
    shown = [(line.line, line.text, line.time_ms, line.point) for found in read for line in found.shown]
    assert repr(shown) == repr(expected)
    assert sum(found.lines for found in read) == len(lines)
    assert sum(found.matches for found in read) == len(expected)
    points = [row for found in read for row in found.rows]
    assert repr(points) == repr([PointRow(time, point) for _, _, time, point in expected if point is not None])
    assert all(len(found.rows) <= limit for found in read)
    newest = [found.newest for found in read if found.newest is not None]
    assert repr(newest[-1:]) == repr([line for found in read for line in found.shown][-1:])


def test_what_is_not_whole_yet_is_waited_for() -> None:
    data = log_bytes([([b"loss 1"], 5), ([b"loss 2"], 6)], ended=False)
    (first,) = steps(data[:-3], closed=False)
    assert [row.point.value for row in first.rows] == [1.0]
    found = step(EXPRESSION, lambda at, size: data[at : at + size], len(data), first.place, closed=False)
    assert [row.point.value for row in found.rows] == [2.0]
    assert (found.done, found.place) == (True, Place(len(data)))


@pytest.mark.parametrize(
    "line",
    [b"\0loss 3 at 4\0", b"\xff\xfe\x80 loss 3 at 4", b"x" * ((1 << 20) - 12) + b"loss 3 at 4"],
    ids=["NUL", "invalid UTF-8", "1 MiB"],
)
def test_lines_of_any_bytes_are_read(line: bytes) -> None:
    (found,) = steps(log_bytes([([b"", line, b"\xe2"], 9)]), closed=True)
    assert found.lines == 3
    assert found.rows == [PointRow(9, Point(3.0, 4))]


def test_bytes_that_are_not_there_any_more_do_not_keep_it_busy() -> None:
    data = log_bytes([([b"loss 1"], 5)])
    found = step(EXPRESSION, lambda at, size: data[at : at + size], len(data) + 1000, Place(), closed=False)
    assert found.done
    assert [row.point.value for row in found.rows] == [1.0]


@given(
    st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.floats(), st.none() | st.integers(-(1 << 63), (1 << 63) - 1)))
)
def test_points_are_rows_that_every_reader_of_metrics_takes(points: list[tuple[int, float, int | None]]) -> None:
    rows = [PointRow(time, Point(value if value == value else math.nan, step)) for time, value, step in points]
    middle = len(rows) // 2
    data = beginning(HEADER, "loss") + encode_points(rows[:middle], 0) + encode_points(rows[middle:], middle) + END
    decoder, reader = FrameDecoder(), RowDecoder()
    found = [*reader.feed(decoder.feed(data) + decoder.finish())]
    assert (reader.unreadable, reader.repeated, decoder.damage, decoder.torn) == (0, 0, [], 0)
    assert [row.sequence for row in found] == list(range(1, len(rows) + 1))
    assert repr([(row.step, row.values[0], row.names) for row in found]) == repr(
        [(row.point.step, row.point.value, ("loss",)) for row in rows]
    )
