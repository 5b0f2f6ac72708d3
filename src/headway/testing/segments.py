"""What every segment store promises, as tests."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.domain.base import new_id
from headway.errors import ConflictError, InvalidRequestError
from headway.storage.segments.base import SegmentStore

LOGS = "logs/worker-0-abc"


class SegmentContract:
    """Subclass it, and override the fixture ``segments`` with an empty store."""

    @pytest.fixture
    def segments(self) -> SegmentStore:
        raise NotImplementedError("override the fixture `segments`")

    def test_bytes_come_back_as_they_were_written(self, segments: SegmentStore) -> None:
        segments.write("run1", LOGS, 0, b"hello ")
        segments.write("run1", LOGS, 6, bytes(range(256)))
        assert segments.read("run1", LOGS, 0, 10_000) == b"hello " + bytes(range(256))

    def test_a_read_gives_less_at_the_end_and_nothing_beyond(self, segments: SegmentStore) -> None:
        segments.write("run1", LOGS, 0, b"0123456789")
        assert segments.read("run1", LOGS, 8, 100) == b"89"
        assert segments.read("run1", LOGS, 10, 100) == b""
        assert segments.read("run1", LOGS, 10_000, 100) == b""
        assert segments.read("run1", LOGS, 3, 0) == b""

    def test_an_unknown_stream_reads_as_empty(self, segments: SegmentStore) -> None:
        assert segments.read("run1", LOGS, 0, 100) == b""

    def test_a_write_replaces_what_lies_beyond_its_offset(self, segments: SegmentStore) -> None:
        segments.write("run1", LOGS, 0, b"committed")
        segments.write("run1", LOGS, 9, b"left by a crash, longer than what follows")
        segments.write("run1", LOGS, 9, b"new")
        assert segments.read("run1", LOGS, 0, 1000) == b"committednew"
        segments.write("run1", LOGS, 4, b"X")
        assert segments.read("run1", LOGS, 0, 1000) == b"commX"

    def test_a_write_beyond_the_end_is_refused_and_changes_nothing(self, segments: SegmentStore) -> None:
        with pytest.raises(ValueError, match="beyond"):
            segments.write("run1", LOGS, 1, b"x")
        segments.write("run1", LOGS, 0, b"abc")
        with pytest.raises(ValueError, match="beyond"):
            segments.write("run1", LOGS, 4, b"x")
        with pytest.raises(ValueError, match="beyond"):
            segments.write("run1", LOGS, -1, b"x")
        assert segments.read("run1", LOGS, 0, 1000) == b"abc"

    def test_negative_reads_are_refused(self, segments: SegmentStore) -> None:
        for offset, length in [(-1, 1), (0, -1)]:
            with pytest.raises(ValueError, match="negative"):
                segments.read("run1", LOGS, offset, length)

    def test_streams_and_runs_are_apart(self, segments: SegmentStore) -> None:
        places = [("run1", LOGS), ("run1", "metrics/worker-0-abc"), ("run1", "logs/worker-1-abc"), ("run2", LOGS)]
        for number, (run_id, name) in enumerate(places):
            segments.write(run_id, name, 0, b"%d" % number)
        assert [segments.read(*place, 0, 10) for place in places] == [b"0", b"1", b"2", b"3"]

    def test_delete_run_removes_all_its_streams_and_no_others(self, segments: SegmentStore) -> None:
        for run_id in ("run1", "run12"):
            segments.write(run_id, LOGS, 0, b"x")
            segments.write(run_id, "metrics/a", 0, b"x")
        segments.delete_run("run1")
        segments.delete_run("run1")
        assert segments.read("run1", LOGS, 0, 10) == segments.read("run1", "metrics/a", 0, 10) == b""
        assert segments.read("run12", LOGS, 0, 10) == segments.read("run12", "metrics/a", 0, 10) == b"x"
        segments.write("run1", LOGS, 0, b"again")
        assert segments.read("run1", LOGS, 0, 10) == b"again"

    @pytest.mark.parametrize("name", ["logs/.", "logs/..", "logs/...", "logs/-", "a/" + "x" * 128])
    def test_every_stream_name_is_just_a_name(self, segments: SegmentStore, name: str) -> None:
        segments.write("run1", name, 0, name.encode())
        segments.write("run1", LOGS, 0, b"other")
        assert segments.read("run1", name, 0, 1000) == name.encode()

    @pytest.mark.parametrize(
        "name",
        ["", "logs", "logs/", "/logs/a", "../a", "logs/../x", "logs/a/b", "LOGS/a", "logs/a\n", "logs/a\0", "l/é"],
    )
    def test_what_is_no_stream_name_is_refused(self, segments: SegmentStore, name: str) -> None:
        with pytest.raises(InvalidRequestError):
            segments.write("run1", name, 0, b"x")
        with pytest.raises(InvalidRequestError):
            segments.read("run1", name, 0, 1)

    @pytest.mark.parametrize("run_id", ["", ".", "..", "../run", "a/b", "run\n", "run\0", "a" * 65])
    def test_what_is_no_run_id_is_refused(self, segments: SegmentStore, run_id: str) -> None:
        with pytest.raises(InvalidRequestError):
            segments.write(run_id, LOGS, 0, b"x")
        with pytest.raises(InvalidRequestError):
            segments.read(run_id, LOGS, 0, 1)
        with pytest.raises(InvalidRequestError):
            segments.delete_run(run_id)

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(writes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=50)), max_size=12), data=st.data())
    def test_it_behaves_as_a_byte_string(
        self, segments: SegmentStore, writes: list[tuple[float, bytes]], data: st.DataObject
    ) -> None:
        run_id, expected = new_id("run"), b""
        for share, piece in writes:
            offset = int(share * len(expected))
            segments.write(run_id, LOGS, offset, piece)
            expected = expected[:offset] + piece
        start, length = data.draw(st.integers(0, 400)), data.draw(st.integers(0, 400))
        assert segments.read(run_id, LOGS, start, length) == expected[start : start + length]
        assert segments.read(run_id, LOGS, 0, len(expected) + 1) == expected

    def test_what_was_dropped_is_gone_and_the_stream_goes_on(self, segments: SegmentStore) -> None:
        assert segments.start("run1", LOGS) == 0
        segments.write("run1", LOGS, 0, b"0123456789")
        segments.drop("run1", LOGS, 10)
        segments.drop("run1", LOGS, 10)
        assert segments.start("run1", LOGS) == 10
        assert segments.read("run1", LOGS, 10, 100) == b""
        segments.write("run1", LOGS, 10, b"")
        segments.write("run1", LOGS, 10, b"abc")
        segments.write("run1", LOGS, 13, b"def")
        assert segments.read("run1", LOGS, 10, 100) == b"abcdef"
        with pytest.raises(ConflictError) as caught:
            segments.read("run1", LOGS, 9, 2)
        assert caught.value.details["start"] == 10
        with pytest.raises(ValueError, match="before"):
            segments.write("run1", LOGS, 9, b"x")
        with pytest.raises(ValueError, match="beyond"):
            segments.drop("run1", LOGS, 17)
        assert segments.read("run1", LOGS, 10, 100) == b"abcdef"

    def test_what_lies_behind_a_drop_stays(self, segments: SegmentStore) -> None:
        segments.write("run1", LOGS, 0, b"0123456789")
        for before in (0, 4, 9):
            segments.drop("run1", LOGS, before)
            assert segments.read("run1", LOGS, before, 100) == b"0123456789"[before:]
        segments.drop("run1", "metrics/unknown", 0)
        assert segments.read("run1", "metrics/unknown", 0, 10) == b""

    def test_a_run_that_was_dropped_from_can_be_deleted_and_begun_again(self, segments: SegmentStore) -> None:
        segments.write("run1", LOGS, 0, b"0123456789")
        segments.drop("run1", LOGS, 10)
        segments.delete_run("run1")
        assert segments.start("run1", LOGS) == 0
        segments.write("run1", LOGS, 0, b"again")
        assert segments.read("run1", LOGS, 0, 10) == b"again"

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(steps=st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.binary(max_size=50)), max_size=15))
    def test_drops_between_writes_lose_nothing_behind_them(
        self, segments: SegmentStore, steps: list[tuple[bool, float, bytes]]
    ) -> None:
        run_id, expected, dropped = new_id("run"), b"", 0
        for drops, share, piece in steps:
            place = dropped + int(share * (len(expected) - dropped))
            if drops:
                segments.drop(run_id, LOGS, place)
                dropped = place
            else:
                segments.write(run_id, LOGS, place, piece)
                expected = expected[:place] + piece
            assert segments.read(run_id, LOGS, dropped, len(expected) + 1) == expected[dropped:]
            assert segments.start(run_id, LOGS) <= dropped

    def test_threads_write_their_streams_side_by_side(self, segments: SegmentStore) -> None:
        def fill(name: str) -> None:
            for number in range(20):
                segments.write("run1", name, number * 4, b"%04d" % number)

        names = [f"logs/worker-{number}" for number in range(4)]
        threads = [threading.Thread(target=fill, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in names:
            assert segments.read("run1", name, 0, 1000) == b"".join(b"%04d" % number for number in range(20))
