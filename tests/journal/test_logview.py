from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.domain.base import now
from headway.domain.logs import LogRow
from headway.errors import InvalidRequestError
from headway.journal.codec import (
    KIND_END,
    KIND_HEADER,
    KIND_LOG,
    MAGIC,
    JournalHeader,
    encode_frame,
    encode_header,
    encode_lines,
    scan,
)
from headway.journal.cursors import LogCursor, Position
from headway.journal.logview import LogSource, read_page, read_tail

HEADER = JournalHeader(run="run1", stream="logs/worker-0-ab", writer="ab", created=now())


class Stream:
    """A log stream as a server holds it, which counts what is read of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data = MAGIC + encode_frame(KIND_HEADER, encode_header(HEADER))
        self.next_line = 1
        self.complete = False
        self.bytes_read = 0
        self.largest_read = 0

    def log(self, time_ms: int, *lines: str | bytes, stderr: bool | None = None) -> None:
        joined = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
        payload = encode_lines(self.next_line, time_ms, joined, stderr=bool(stderr), split=stderr is not None)
        self.data += encode_frame(KIND_LOG, payload)
        self.next_line += len(lines)

    def end(self) -> None:
        self.data += encode_frame(KIND_END, b"")
        self.complete = True

    def source(self, committed: int | None = None) -> LogSource:
        length = len(self.data) if committed is None else committed

        def read(offset: int, count: int) -> bytes:
            assert offset + count <= length
            self.largest_read = max(self.largest_read, count)
            piece = self.data[offset : offset + count]
            self.bytes_read += len(piece)
            return piece

        return LogSource(self.name, self.name, 1, length, read, complete=self.complete and length == len(self.data))


def texts(rows: Sequence[LogRow]) -> list[str]:
    return [row.message for row in rows]


def read_all(sources: Sequence[LogSource], limit: int = 1000) -> list[LogRow]:
    rows: list[LogRow] = []
    cursor = None
    while True:
        page, cursor = read_page(sources, cursor, limit)
        if not page:
            return rows
        assert len(page) <= limit
        rows += page
        cursor = LogCursor.parse(str(cursor))


class TestRows:
    def test_a_row_has_all_that_is_known(self) -> None:
        stream = Stream("worker-1")
        stream.log(1767323045678, "one", "two", stderr=True)
        rows, _ = read_page([stream.source()], None, 10)
        assert rows[1] == LogRow(
            line=2,
            message="two",
            timestamp=datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc),
            replica="worker-1",
            attempt=1,
            stderr=True,
        )

    def test_bytes_that_are_no_text_are_replaced(self) -> None:
        stream = Stream("worker-0")
        stream.log(5, b"caf\xe9 \x00 \x1b[31mred", "")
        assert texts(read_all([stream.source()])) == ["caf\ufffd \x00 \x1b[31mred", ""]

    def test_times_and_numbers_out_of_any_range_do_no_harm(self) -> None:
        stream = Stream("worker-0")
        stream.data += encode_frame(KIND_LOG, encode_lines(2**64 - 1, 2**64 - 1, b"forged"))
        stream.data += encode_frame(KIND_LOG, b"short") + encode_frame(9, b"from a later version")
        stream.log(5, "honest")
        assert texts(read_all([stream.source()])) == ["honest", "forged"][::-1]

    def test_streams_are_merged_by_time(self) -> None:
        one, two = Stream("worker-0"), Stream("worker-1")
        one.log(10, "a", "b")
        one.log(30, "e")
        two.log(10, "c")
        two.log(20, "d")
        two.log(40, "f")
        assert texts(read_all([one.source(), two.source()])) == list("abcdef")

    def test_a_clock_that_goes_back_changes_no_order_within_a_stream(self) -> None:
        one, two = Stream("worker-0"), Stream("worker-1")
        for index, time_ms in enumerate([50, 10, 60, 5]):
            one.log(time_ms, f"one{index}")
            two.log(20 + index, f"two{index}")
        found = texts(read_all([one.source(), two.source()], 2))
        assert [text for text in found if text.startswith("one")] == ["one0", "one1", "one2", "one3"]
        assert len(found) == 8

    def test_damage_is_left_out(self) -> None:
        stream = Stream("worker-0")
        for index in range(1, 101):
            stream.log(index, f"line {index}" * 50)
        frames = scan(stream.data).frames
        middle = frames[50].offset + 20
        stream.data = stream.data[:middle] + bytes(4096) + stream.data[middle + 4096 :]
        stream.end()
        found = [row.line for row in read_all([stream.source()], 7)]
        assert found == [n for n in range(1, 101) if n in found]
        assert len(found) > 85

    def test_no_sources_no_rows(self) -> None:
        rows, cursor = read_page([], None, 10)
        assert rows == [] and LogCursor.parse(str(cursor)) == LogCursor()

    def test_a_page_of_long_lines_ends_early(self) -> None:
        stream = Stream("worker-0")
        for index in range(20):
            stream.log(index, "x" * 1_000_000)
        rows, _ = read_page([stream.source()], None, 1000)
        assert 4 <= len(rows) <= 5
        assert len(read_all([stream.source()])) == 20


class TestLive:
    def test_rows_appear_when_their_frame_is_whole(self) -> None:
        stream = Stream("worker-0")
        stream.log(5, "first")
        begun = len(stream.data)
        stream.log(6, "second" * 100)
        rows, cursor = read_page([stream.source(begun + 40)], None, 10)
        assert texts(rows) == ["first"]
        assert read_page([stream.source(begun + 41)], cursor, 10)[0] == []
        assert texts(read_page([stream.source()], cursor, 10)[0]) == ["second" * 100]

    def test_streams_may_come_later(self) -> None:
        one, two = Stream("worker-0"), Stream("worker-1")
        one.log(5, "one")
        two.log(4, "two")
        _, cursor = read_page([one.source()], None, 10)
        assert texts(read_page([one.source(), two.source()], cursor, 10)[0]) == ["two"]

    @settings(deadline=None, database=None, max_examples=60)
    @given(st.integers(0, 2**32))
    def test_every_row_comes_once_and_in_order_however_the_streams_grow(self, seed: int) -> None:
        chance = random.Random(seed)
        streams = [make_stream(f"worker-{index}", chance) for index in range(chance.randint(1, 5))]
        committed = [0] * len(streams)
        rows: list[LogRow] = []
        cursor: LogCursor | None = None
        while True:
            sources = [stream.source(end) for stream, end in zip(streams, committed, strict=True)]
            page, cursor = read_page(sources, cursor, chance.randint(1, 40), max_bytes=chance.choice([1, 500, 10**6]))
            rows += page
            cursor = LogCursor.parse(str(cursor))
            if not page and all(source.complete for source in sources):
                break
            committed = [
                min(len(stream.data), end + chance.choice([0, 1, 30, 5000]))
                for stream, end in zip(streams, committed, strict=True)
            ]
        for stream in streams:
            expected = texts(read_all([stream.source()]))
            assert texts([row for row in rows if row.replica == stream.name]) == expected
            assert len(expected) == stream.next_line - 1


def make_stream(name: str, chance: random.Random, *, batches: int = 30) -> Stream:
    stream = Stream(name)
    time_ms = 1000
    for _ in range(chance.randint(0, batches)):
        time_ms += chance.choice([0, 1, 10])
        lines = [f"{name} {chance.random()} " + "x" * chance.choice([0, 0, 300]) for _ in range(chance.randint(1, 20))]
        if chance.random() < 0.1:
            lines.append("\x00".join(lines))
        stream.log(time_ms, *lines)
    stream.end()
    return stream


class TestTail:
    @settings(deadline=None, database=None, max_examples=80)
    @given(st.integers(0, 2**32), st.integers(0, 400))
    def test_it_is_the_end_of_everything(self, seed: int, count: int) -> None:
        chance = random.Random(seed)
        streams = [make_stream(f"worker-{index}", chance) for index in range(chance.randint(1, 5))]
        sources = [stream.source() for stream in streams]
        rows, cursor = read_tail(sources, count)
        assert rows == read_all(sources)[-count:] if count else rows == []
        assert read_page(sources, cursor, 10)[0] == []

    def test_it_goes_on_from_there(self) -> None:
        stream = Stream("worker-0")
        stream.log(1, "a", "b", "c")
        stream.log(2, "d")
        whole = len(stream.data)
        stream.log(3, "e" * 1000)
        rows, cursor = read_tail([stream.source(whole + 500)], 2)
        assert texts(rows) == ["c", "d"]
        assert texts(read_page([stream.source()], cursor, 10)[0]) == ["e" * 1000]

    def test_an_empty_stream_has_none(self) -> None:
        for stream in (Stream("worker-0"), Stream("worker-1")):
            stream.data = stream.data if stream.name == "worker-0" else b""
            assert read_tail([stream.source()], 10)[0] == []

    def test_a_printed_journal_is_not_taken_for_the_log(self) -> None:
        other, stream = Stream("other"), Stream("worker-0")
        for index in range(50):
            other.log(index, f"from another journal {index}")
        other.end()
        stream.log(1, "before", *["x" * 1000] * 200)
        stream.log(2, other.data)
        stream.log(3, "after")
        for committed in (len(stream.data), len(stream.data) - 5):
            source = stream.source(committed)
            assert read_tail([source], 3)[0] == read_all([source])[-3:]

    def test_damage_before_the_end_does_not_hide_it(self) -> None:
        stream = Stream("worker-0")
        for index in range(3000):
            stream.log(index, f"line {index}" * 10)
        spot = len(stream.data) - 100_000
        stream.data = stream.data[:spot] + bytes(5000) + stream.data[spot + 5000 :]
        stream.end()
        rows, _ = read_tail([stream.source()], 2000)
        assert rows == read_all([stream.source()])[-2000:]

    def test_long_lines_are_fewer(self) -> None:
        stream = Stream("worker-0")
        for index in range(20):
            stream.log(index, "x" * 1_000_000)
        rows, cursor = read_tail([stream.source()], 1000)
        assert 4 <= len(rows) <= 8 and rows[-1].line == 20
        assert read_page([stream.source()], cursor, 10)[0] == []


@pytest.fixture(scope="module")
def long_log() -> Stream:
    """50 MB in frames as a fast and as a slow program makes them."""
    stream = Stream("worker-0")
    parts = [stream.data]
    for index in range(20_000):
        stream.data = b""
        stream.log(index, *(["x" * 99] * (2500 if index % 100 == 0 else 1)))
        parts.append(stream.data)
    stream.data = b"".join(parts)
    stream.end()
    return stream


class TestCost:
    def test_a_page_reads_what_it_returns(self, long_log: Stream) -> None:
        _, cursor = read_page([long_log.source()], None, 1000)
        cursor = LogCursor({"worker-0": Position(scan(long_log.data).frames[15_000].offset)})
        for _ in range(10):
            long_log.bytes_read = 0
            rows, cursor = read_page([long_log.source()], cursor, 1000)
            assert len(rows) == 1000
            assert long_log.bytes_read <= 1 << 20

    def test_a_tail_reads_the_end(self, long_log: Stream) -> None:
        long_log.bytes_read = long_log.largest_read = 0
        rows, _ = read_tail([long_log.source()], 5000)
        assert [row.line for row in rows] == list(range(long_log.next_line - 5000, long_log.next_line))
        assert long_log.bytes_read < 4 << 20
        assert long_log.largest_read <= 1 << 20

    def test_many_streams_of_large_frames_fit_into_memory(self) -> None:
        streams = [Stream(f"worker-{index}") for index in range(24)]
        for index, stream in enumerate(streams):
            for batch in range(2):
                stream.log(batch, *[f"{index}" + "x" * 998] * 1000)
        sources = [stream.source() for stream in streams]
        tracemalloc.start()
        try:
            rows, _ = read_page(sources, None, 1500)
            page_peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            read_tail(sources, 1500)
            tail_peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(rows) == 1500 and rows[0].replica == "worker-0" and rows[-1].replica == "worker-1"
        assert page_peak < 16 << 20
        assert tail_peak < 24 << 20
        assert len(read_all(sources)) == 48_000


class TestCursor:
    @settings(deadline=None, database=None)
    @given(
        st.dictionaries(
            st.text(max_size=20), st.builds(Position, st.integers(0, 2**62), st.integers(0, 2**40)), max_size=20
        )
    )
    def test_its_text_means_the_same(self, positions: dict[str, Position]) -> None:
        cursor = LogCursor(positions)
        again = LogCursor.parse(str(cursor))
        assert again == cursor and hash(again) == hash(cursor)
        assert {name: again.of(name) for name in positions} == positions
        assert again.of("never heard of") == Position()

    def test_it_fits_into_a_url(self) -> None:
        positions = {f"logs/worker-{index}-0123456789abcdef": Position(10**9, 100) for index in range(64)}
        assert len(str(LogCursor(positions))) < 1200

    @settings(deadline=None, database=None)
    @given(st.one_of(st.text(), st.binary().map(lambda data: data.hex())))
    def test_other_text_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidRequestError, match="cursor"):
            LogCursor.parse(text)

    def test_a_changed_text_is_refused(self) -> None:
        text = str(LogCursor({"a": Position(1000, 5), "b": Position(7, 0)}))
        for at in range(len(text) - 1):
            for other in "Aa0-":
                if text[at] != other:
                    with pytest.raises(InvalidRequestError):
                        LogCursor.parse(text[:at] + other + text[at + 1 :])
        for wrong in (text[:-4], text + "AAAA", "A" * 100_000, ""):
            with pytest.raises(InvalidRequestError):
                LogCursor.parse(wrong)

    def test_a_position_within_a_frame_or_behind_the_end_does_no_harm(self) -> None:
        stream = Stream("worker-0")
        stream.log(1, "a", "b")
        stream.log(2, "c")
        stream.end()
        source = stream.source()
        for offset in range(len(stream.data) + 100):
            for skip in (0, 1, 50):
                rows, _ = read_page([source], LogCursor({"worker-0": Position(offset, skip)}), 10)
                assert set(texts(rows)) <= {"a", "b", "c"}
        assert read_page([replace(source, committed=0)], None, 10)[0] == []
