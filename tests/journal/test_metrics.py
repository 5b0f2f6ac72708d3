"""Writing metrics: exactly, in any way that a program may call it, and whatever the disk does."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import select
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.domain.base import now
from headway.errors import ConflictError, InvalidRequestError
from headway.journal.codec import JournalHeader
from headway.journal.frames import KIND_END, KIND_ROW, KIND_SCHEMA
from headway.journal.leftovers import is_live
from headway.journal.metrics import KEPT_ROWS, MAX_COLUMNS, MetricsWriter
from headway.journal.reader import JournalReport, read_frames
from headway.journal.rows import MediaEntry, Row, RowDecoder
from headway.journal.writer import Durability, JournalHealth

FULL = "HEADWAY_TEST_FULL" in os.environ
DEATHS = 200 if FULL else 40
FORKS = 200 if FULL else 20
HEADER = JournalHeader(run="run1", stream="metrics/rank0-ab", writer="ab", created=now())


def read(path: Path) -> tuple[list[Row], list[MediaEntry], JournalReport]:
    """Every row and entry, which are numbered without a gap."""
    reader, decoder = read_frames(path), RowDecoder()
    rows = list(decoder.feed(reader))
    assert (decoder.repeated, decoder.unreadable) == (0, 0)
    numbers = sorted([row.sequence for row in rows] + [entry.sequence for entry in decoder.entries])
    assert numbers == list(range(1, len(numbers) + 1))
    assert [row.sequence for row in rows] == sorted(row.sequence for row in rows)
    return rows, decoder.entries, reader.report


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or struct.pack("<d", one) == struct.pack("<d", other)
    return bool(one == other)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.hwj"


@pytest.fixture
def writer(path: Path) -> Iterator[MetricsWriter]:
    with MetricsWriter(path, HEADER) as writer:
        yield writer


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
VALUES = st.floats(width=64) | st.integers(-(2**63), 2**63 - 1) | st.booleans()
CALLS = st.lists(
    st.tuples(
        st.dictionaries(NAMES, VALUES, max_size=6),
        st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**31), 2**31).map(float),
        st.sampled_from([None, "train", "val", "", "é"]),
        st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=12,
)


class TestExactness:
    """R19, R20: every value, step and name comes back as it was, whichever way it went."""

    @settings(deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(CALLS, st.integers(1, 3))
    def test_calls_round_trip(self, tmp_path: Path, calls: list[Any], repeats: int) -> None:
        path = tmp_path / f"{random.getrandbits(64):x}.hwj"
        calls = [call for call in calls for _ in range(repeats)]
        with MetricsWriter(path, HEADER) as writer:
            for metrics, step, stage, epoch in calls:
                writer.log(metrics, step, stage=stage, epoch=epoch)
        rows, _, report = read(path)
        assert report.intact and report.closed
        calls = [call for call in calls if call[0]]
        assert len(rows) == len(calls)
        for row, (metrics, step, stage, epoch) in zip(rows, calls, strict=True):
            expected = [int(value) if isinstance(value, bool) else value for value in metrics.values()]
            assert row.names == tuple(metrics)
            assert all(same(one, other) for one, other in zip(row.values, expected, strict=True))
            assert (row.step, row.stage, row.epoch) == (step, stage, epoch)
        path.unlink()

    def test_a_row_can_be_read_as_soon_as_log_returned(self, path: Path, writer: MetricsWriter) -> None:
        for step in range(30):
            writer.log({"loss": step / 7, "n": step}, step)
            rows, _, _ = read(path)
            assert (rows[-1].step, rows[-1].values) == (step, (step / 7, step))
            assert writer.position == path.stat().st_size

    def test_names_are_written_once(self, path: Path, writer: MetricsWriter) -> None:
        for step in range(100):
            writer.log({"loss": 0.5, "accuracy": 0.1}, step, stage="train")
            writer.log({"loss": 0.5}, step, stage="val")
            writer.log({"loss": 1}, step, stage="val")
        schemas = [json.loads(frame.payload) for frame in read_frames(path) if frame.kind == KIND_SCHEMA]
        assert [(schema["id"], schema["stage"], schema["columns"]) for schema in schemas] == [
            (0, "train", [["loss", "f"], ["accuracy", "f"]]),
            (1, "val", [["loss", "f"]]),
            (2, "val", [["loss", "i"]]),
        ]

    def test_a_value_that_changes_its_type_is_still_exact(self, path: Path, writer: MetricsWriter) -> None:
        values: list[Any] = [0.5, 1, 2**63 - 1, 2**63, -0.0, True, np.float32(0.1), math.nan, -math.nan, math.inf, 5]
        for value in values:
            writer.log({"x": value, "y": 0.5}, 1)
        found = [row.values[0] for row in read(path)[0]]
        expected = [0.5, 1, 2**63 - 1, 2.0**63, -0.0, 1, float(np.float32(0.1)), math.nan, math.nan, math.inf, 5]
        assert all(same(one, other) for one, other in zip(found, expected, strict=True))
        bits = [struct.pack("<d", value).hex() for value in found if value != value]
        assert bits == ["000000000000f87f"] * 2

    def test_the_same_names_in_another_order(self, path: Path, writer: MetricsWriter) -> None:
        writer.log({"a": 1.0, "b": 2.0}, 1)
        writer.log({"b": 4.0, "a": 3.0}, 2)
        writer.log({"b": 6.0, "c": 5.0}, 3)
        found = [dict(zip(row.names, row.values, strict=True)) for row in read(path)[0]]
        assert found == [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}, {"b": 6.0, "c": 5.0}]

    def test_any_mapping_will_do(self, path: Path, writer: MetricsWriter) -> None:
        from collections import OrderedDict, defaultdict
        from types import MappingProxyType

        empty: defaultdict[str, float] = defaultdict(float, {"b": 9.0})
        for metrics in (MappingProxyType({"a": 1.0}), OrderedDict(a=2.0), defaultdict(float, {"a": 3.0}), empty):
            writer.log(metrics, 1)
        assert dict(empty) == {"b": 9.0}
        assert [row.values for row in read(path)[0]] == [(1.0,), (2.0,), (3.0,), (9.0,)]

    def test_nothing_to_log(self, path: Path, writer: MetricsWriter) -> None:
        writer.log({}, 3)
        assert read(path)[0] == []

    def test_one_metric(self, path: Path, writer: MetricsWriter) -> None:
        for step in range(5):
            writer.log({"loss": float(step)}, step)
        writer.log({"other": 1.0}, 5)
        assert [(row.names, row.values) for row in read(path)[0]] == [
            *((("loss",), (float(step),)) for step in range(5)),
            (("other",), (1.0,)),
        ]

    def test_time_is_that_of_the_call(self, path: Path, writer: MetricsWriter) -> None:
        before = time.time_ns()
        for step in range(3):
            writer.log({"loss": 1.0}, step)
        times = [row.time_ns for row in read(path)[0]]
        assert before <= times[0] <= times[1] <= times[2] <= time.time_ns()

    def test_rows_of_the_past(self, path: Path, writer: MetricsWriter) -> None:
        writer.log_at(1_700_000_000.25, {"loss": 1.0}, 3, stage="val", epoch=2)
        (row,) = read(path)[0]
        assert (row.time_ns, row.step, row.stage, row.epoch) == (1_700_000_000_250_000_000, 3, "val", 2.0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "keywords", "named"),
        [
            (({"loss": "0.5"},), {}, "'loss'"),
            (({"a": 1.0, "b": None},), {}, "'b'"),
            (({"b": np.zeros(3)},), {}, "'b'"),
            (({"": 1.0},), {}, "name"),
            (({"a\0": 1.0},), {}, "NUL"),
            (({3: 1.0},), {}, "name"),
            (([1.0],), {}, "mapping"),
            (({"loss": 1.0}, 1.5), {}, "step"),
            (({"loss": 1.0}, 2**63), {}, "step"),
            (({"loss": 1.0}, 1), {"stage": ["train"]}, "stage"),
            (({"loss": 1.0}, 1), {"stage": np.array(["a", "b"])}, "stage"),
            (({"loss": 1.0}, 1), {"epoch": math.nan}, "epoch"),
        ],
    )
    @pytest.mark.parametrize("warm", [False, True])
    def test_each_is_named_and_nothing_is_stored(
        self, path: Path, arguments: Any, keywords: Any, named: str, warm: bool
    ) -> None:
        with MetricsWriter(path, HEADER) as writer:
            if warm:
                writer.log({"loss": 0.5}, 1)
            before = path.read_bytes()
            with pytest.raises(InvalidRequestError, match=named):
                writer.log(*arguments, **keywords)
            assert path.read_bytes() == before
            writer.log({"loss": 0.5}, 1)
        assert len(read(path)[0]) == 1 + warm

    def test_an_int_that_grew_out_of_64_bits(self, path: Path, writer: MetricsWriter) -> None:
        writer.log({"n": 5, "m": 1.0}, 1)
        writer.log({"n": 2**70, "m": 1.0}, 1)
        with pytest.raises(InvalidRequestError, match="'n'"):
            writer.log({"n": 2**70 + 1, "m": 1.0}, 1)
        writer.log({"n": 6, "m": 1.0}, 1)
        assert [row.values[0] for row in read(path)[0]] == [5, 2.0**70, 6]


class TestLargeCalls:
    def test_ten_thousand_metrics_are_one_row(self, path: Path, writer: MetricsWriter) -> None:
        metrics = {f"layer/{number}/weight": number / 3 for number in range(10_000)}
        for step in range(3):
            writer.log(metrics, step)
        rows, _, report = read(path)
        assert [row.values for row in rows] == [tuple(metrics.values())] * 3
        assert report.rows == 3

    def test_rows_over_the_frame_limit_are_split(self, path: Path, writer: MetricsWriter) -> None:
        metrics = {f"{number}": float(number) for number in range(530_000)}
        writer.log(metrics, 5, stage="val", epoch=1)
        rows, _, report = read(path)
        assert report.intact and len(rows) > 1
        assert {(row.step, row.stage, row.epoch, row.time_ns) for row in rows} == {(5, "val", 1.0, rows[0].time_ns)}
        found = {name: value for row in rows for name, value in zip(row.names, row.values, strict=True)}
        assert found == metrics

    def test_names_over_the_frame_limit_are_split(self, path: Path, writer: MetricsWriter) -> None:
        metrics = {f"{number:06}" + "é" * 500: number for number in range(9_000)}
        for step in range(2):
            writer.log(metrics, step)
        rows, _, _ = read(path)
        assert sum(len(row.names) for row in rows if row.step == 0) == 9_000
        assert {name: value for row in rows for name, value in zip(row.names, row.values, strict=True)} == metrics

    def test_what_is_remembered_is_bounded(self, path: Path, writer: MetricsWriter) -> None:
        for number in range(100):
            writer.log({f"{number}/{column}": 1.0 for column in range(2_000)}, number)
        assert writer._columns <= MAX_COLUMNS
        rows, _, _ = read(path)
        assert [row.names[0] for row in rows] == [f"{number}/0" for number in range(100)]

    def test_a_schema_is_said_again_after_a_while(self, path: Path, writer: MetricsWriter) -> None:
        for step in range(40_000):
            writer.log({"loss": 0.5}, step)
            if step % 1000 == 0:
                assert writer.position  # somebody ships, which has the next row look around
        report = read(path)[2]
        schemas = [frame for frame in read_frames(path) if frame.kind == KIND_SCHEMA]
        assert 2 <= len(schemas) <= 4
        assert len({frame.payload for frame in schemas}) == 1
        assert report.rows == 40_000


class TestEntries:
    def test_rows_and_entries_share_their_numbers(self, path: Path, writer: MetricsWriter) -> None:
        writer.log({"loss": 1.0}, 1)
        writer.entry({"name": "sample", "type": "image", "digest": "ab", "step": 1, "details": {"caption": "τ"}})
        writer.log({"loss": 0.5}, 2)
        writer.entry({"name": "sample", "type": "text", "time": 5})
        rows, entries, report = read(path)
        assert [row.sequence for row in rows] == [1, 3]
        assert [entry.sequence for entry in entries] == [2, 4]
        assert entries[0].document["details"] == {"caption": "τ"}
        assert entries[0].document["time"] > 1_700_000_000_000 and entries[1].document["time"] == 5
        assert (report.rows, report.entries) == (2, 2)

    @pytest.mark.parametrize(
        "document", [{}, {"name": ""}, {"name": "x", "details": object()}, {"name": "x", "details": "y" * (5 << 20)}]
    )
    def test_what_is_none_is_refused(self, path: Path, writer: MetricsWriter, document: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequestError):
            writer.entry(document)
        assert read(path)[1] == []


class TestLife:
    def test_a_living_writer_can_be_told(self, path: Path) -> None:
        writer = MetricsWriter(path, HEADER)
        assert is_live(path)
        writer.log({"a": 1.0})
        assert is_live(path)
        writer.close()
        assert not is_live(path)

    def test_a_dead_one_too(self, tmp_path: Path) -> None:
        run(tmp_path, "writer.log({'a': 1.0}); os.kill(os.getpid(), 9)", code=-9)
        assert not is_live(tmp_path / "a.hwj")

    def test_it_is_never_reopened(self, path: Path, writer: MetricsWriter) -> None:
        with pytest.raises(ConflictError):
            MetricsWriter(path, HEADER)
        assert is_live(path)

    def test_after_close_rows_are_dropped_and_counted(self, path: Path) -> None:
        writer = MetricsWriter(path, HEADER)
        writer.log({"a": 1.0, "b": 2.0})
        writer.close()
        writer.close()
        content = path.read_bytes()
        for _ in range(3):
            writer.log({"a": 1.0, "b": 2.0}, 1)
        assert path.read_bytes() == content
        assert (writer.health.dropped_frames, writer.health.dropped_points) == (3, 6)
        assert writer.position == len(content)

    def test_the_account(self, path: Path) -> None:
        with MetricsWriter(path, HEADER) as writer:
            for step in range(10):
                writer.log({"a": 1.0}, step)
        health = writer.health
        assert (health.frames, health.bytes, health.ok) == (13, path.stat().st_size, True)
        assert health.frames == read(path)[2].frames

    def test_somebody_who_ships_is_told_of_every_change(self, path: Path) -> None:
        """At least one call between two looks at the position, if something was written in between."""
        told: list[int] = []
        with MetricsWriter(path, HEADER, on_append=lambda: told.append(1)) as writer:
            for step in range(100):
                before, position = len(told), writer.position
                writer.log({"a": 1.0, "b": 2.0}, step)
                assert writer.position > position and len(told) > before
            assert writer.position
            before = len(told)
            for step in range(1000):
                writer.log({"a": 1.0, "b": 2.0}, step)
            assert 1 <= len(told) - before <= 5

    def test_power_policy_syncs_each(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synced: list[int] = []
        real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", lambda descriptor: (real(descriptor), synced.append(1)))
        with MetricsWriter(path, HEADER, durability=Durability.POWER) as writer:
            for step in range(10):
                before = len(synced)
                writer.log({"a": 1.0}, step)
                assert len(synced) == before + 1

    def test_process_policy_syncs_a_group_soon(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synced = threading.Semaphore(0)
        real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", lambda descriptor: (real(descriptor), synced.release()))
        with MetricsWriter(path, HEADER) as writer:
            for _ in range(2):
                for step in range(100):
                    writer.log({"a": 1.0}, step)
                assert synced.acquire(timeout=20)


PRELUDE = """
import os, signal, sys, threading, time
from pathlib import Path
from headway.domain.base import now
from headway.journal.codec import JournalHeader
from headway.journal.metrics import MetricsWriter
from headway.journal.writer import Durability

path = Path(sys.argv[1]) / "a.hwj"
header = JournalHeader(run="run1", stream="metrics/rank0-ab", writer="ab", created=now())
troubles = []
writer = MetricsWriter(
    path, header, durability=Durability(sys.argv[2]), on_trouble=lambda health: troubles.append(health.last_error)
)
"""


def run(directory: Path, body: str, durability: str = "process", code: int = 0) -> str:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + textwrap.dedent(body)]
    done = subprocess.run([*command, str(directory), durability], capture_output=True, text=True, timeout=200)
    assert done.returncode == code, done.stderr
    return done.stdout


class TestThreads:
    """R15: nothing is lost, doubled or torn, whoever calls."""

    def test_64_threads(self, tmp_path: Path) -> None:
        count = 10_000 if FULL else 1_000
        run(
            tmp_path,
            f"""
            def work(number):
                for step in range({count}):
                    if step % 100 == 50:
                        writer.entry({{"name": "e", "details": {{"thread": number}}}})
                    else:
                        writer.log({{"thread": number, "value": step / 3}}, step)
            threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            writer.close()
            """,
        )
        rows, entries, report = read(tmp_path / "a.hwj")
        assert report.intact and report.closed
        assert len(rows) + len(entries) == 64 * count
        steps: dict[int, list[int]] = {}
        for row in rows:
            assert row.step is not None and row.values[1] == row.step / 3
            steps.setdefault(int(row.values[0]), []).append(row.step)
        expected = [step for step in range(count) if step % 100 != 50]
        assert steps == dict.fromkeys(range(64), expected)

    def test_a_signal_handler_may_log(self, tmp_path: Path) -> None:
        result = run(
            tmp_path,
            """
            import itertools
            count, in_handler = itertools.count(), []
            def handler(number, frame):
                writer.log({"handler": 1.0}, next(count))
                writer.log({"main": -1.0, "two": 2.0}, -1)
                in_handler.append(1)
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
            done = 0
            while len(in_handler) < 300:
                writer.log({"main": 1.0, "two": 2.0}, done)
                done += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            writer.close()
            print(len(in_handler), done)
            """,
        )
        in_handler, in_main = map(int, result.split())
        rows, _, report = read(tmp_path / "a.hwj")
        assert report.intact and report.closed
        # A handler may interrupt itself, so their order is not certain.
        assert sorted(row.step or 0 for row in rows if row.names == ("handler",)) == list(range(in_handler))
        assert [row.step for row in rows if row.values == (1.0, 2.0)] == list(range(in_main))
        assert sum(row.values == (-1.0, 2.0) for row in rows) == in_handler

    def test_an_interrupt_anywhere_loses_nothing_that_was_acknowledged(self, tmp_path: Path) -> None:
        """R16: handlers that raise, as Ctrl-C and time limits do, at random places within a call."""
        result = run(
            tmp_path,
            """
            class Stop(Exception): pass
            interrupts, armed = 0, False
            def handler(number, frame):
                global interrupts, armed
                if armed:
                    armed = False
                    interrupts += 1
                    raise (KeyboardInterrupt, TimeoutError, Stop)[interrupts % 3]()
            signal.signal(signal.SIGALRM, handler)
            acknowledged, raised, step = [], 0, 0
            signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
            while True:
                try:
                    while raised < 400:
                        metrics = {"a": 1.0, "b": 2.0} if step % 50 else {"c": step}
                        armed = True
                        writer.log(metrics, step)
                        armed = False
                        acknowledged.append(step)
                        step += 1
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    break
                except (KeyboardInterrupt, TimeoutError, Stop):
                    raised += 1
                    step += 1
            writer.close()
            Path(sys.argv[1], "acknowledged").write_text(" ".join(map(str, acknowledged)))
            print(raised, writer.health.dropped_frames)
            """,
        )
        raised, dropped = map(int, result.split())
        assert raised >= 400 and dropped == 0
        rows, _, report = read(tmp_path / "a.hwj")
        assert report.intact and report.closed and not report.torn
        found = [row.step for row in rows]
        assert len(found) == len(set(found))
        acknowledged = set(map(int, (tmp_path / "acknowledged").read_text().split()))
        assert acknowledged <= set(found)

    def test_a_signal_handler_may_close(self, tmp_path: Path) -> None:
        """A handler that finishes the run, and lets the program go on or not, wherever it interrupts it."""
        for seed in range(30 if FULL else 12):
            directory = tmp_path / str(seed)
            directory.mkdir()
            result = run(
                directory,
                f"""
                import random
                random.seed({seed})
                acknowledged = 0
                def handler(number, frame):
                    writer.log({{"last": 1.0}}, 7)
                    writer.close()
                    print(acknowledged, writer.position, path.stat().st_size, flush=True)
                    if {seed % 2}:
                        sys.exit(0)
                signal.signal(signal.SIGALRM, handler)
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.03))
                while not writer.closed:
                    writer.log({{"a": 1.0, "b": 2.0}}, acknowledged)
                    acknowledged += 1
                for _ in range(10):
                    writer.log({{"a": 1.0, "b": 2.0}}, 0)
                assert writer.health.dropped_frames >= 10
                """,
            )
            acknowledged, position, size = map(int, result.split())
            rows, _, report = read(directory / "a.hwj")
            assert report.intact and report.closed and position == size
            steps = [row.step for row in rows if row.names == ("a", "b")]
            assert steps[:acknowledged] == list(range(acknowledged)) and len(steps) <= acknowledged + 1
            assert [row.step for row in rows if row.names == ("last",)] == [7]
            assert not is_live(directory / "a.hwj")

    def test_finalizers_may_log(self, path: Path, writer: MetricsWriter) -> None:
        class Dying:
            def __del__(self) -> None:
                writer.log({"dying": 1.0})

        class Metrics(dict[str, float]):
            def __iter__(self) -> Iterator[str]:
                Dying()
                return super().__iter__()

        for step in range(50):
            writer.log({"a": 1.0}, step)
            writer.log(Metrics(a=2.0), step)
            Dying()
        rows, _, _ = read(path)
        assert sum(row.names == ("dying",) for row in rows) >= 100
        assert [row.step for row in rows if row.values == (2.0,)] == list(range(50))

    def test_threads_log_while_another_closes(self, path: Path) -> None:
        writer = MetricsWriter(path, HEADER)
        started = threading.Barrier(5)

        def work() -> None:
            started.wait(20)
            for step in range(3000):
                writer.log({"a": 1.0}, step)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait(20)
        writer.close()
        for thread in threads:
            thread.join(20)
        rows, _, report = read(path)
        assert report.intact and report.closed
        assert len(rows) + writer.health.dropped_frames == 12_000


class TestFork:
    """R13: a child writes nothing into its parent's journal, and never hangs."""

    def test_forks_while_threads_log(self, tmp_path: Path) -> None:
        result = run(
            tmp_path,
            f"""
            done = threading.Event()
            counts = []
            def work(number):
                count = 0
                while not done.is_set():
                    writer.log({{"thread": number, "x": 1.0}}, count)
                    count += 1
                counts.append(count)
            threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
            for thread in threads: thread.start()
            codes, mine = [], 0
            for index in range({FORKS}):
                writer.log({{"main": 1.0}}, mine)
                mine += 1
                child = os.fork()
                if child == 0:
                    writer.log({{"main": 1.0}}, -1)
                    writer.log({{"thread": 5, "x": 1.0}}, -1)
                    refused = writer.health.dropped_frames == 2
                    writer.close()
                    own = MetricsWriter(path.with_name(f"child{{index}}.hwj"), header)
                    own.log({{"own": 1.0}}, index)
                    own.close()
                    os._exit(0 if refused else 1)
                codes.append(os.waitpid(child, 0)[1])
            done.set()
            for thread in threads: thread.join()
            writer.close()
            print(sum(codes), sum(counts), mine, writer.health.dropped_frames)
            """,
        )
        failed, count, mine, dropped = map(int, result.split())
        assert (failed, dropped) == (0, 0)
        rows, _, report = read(tmp_path / "a.hwj")
        assert report.intact and report.closed
        assert sum(row.names == ("thread", "x") for row in rows) == count
        assert [row.step for row in rows if row.names == ("main",)] == list(range(mine))
        for index in range(FORKS):
            assert [row.step for row in read(tmp_path / f"child{index}.hwj")[0]] == [index]

    def test_a_forked_child_does_not_keep_the_journal_alive(self, tmp_path: Path) -> None:
        result = run(
            tmp_path,
            """
            writer.log({"a": 1.0})
            child = os.fork()
            if child == 0:
                os.close(1)
                os.close(2)
                signal.pause()
            print(child, flush=True)
            os._exit(0)
            """,
        )
        try:
            assert not is_live(tmp_path / "a.hwj")
        finally:
            os.kill(int(result), signal.SIGKILL)


class TestFullDisk:
    """R9: nothing is raised, the newest rows stay, what was dropped is counted, and writing goes on."""

    def test_rows_wait_in_memory_and_are_written_when_space_returns(self, tmp_path: Path) -> None:
        result = run(
            tmp_path,
            """
            import resource
            def limit(size):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            for step in range(100):
                writer.log({"a": 1.0, "b": 2.0}, step)
            limit(path.stat().st_size + 100)
            for step in range(100, 5000):
                writer.log({"a": 1.0, "b": 2.0}, step)
            writer.log({"new": 1}, 5000)
            writer.entry({"name": "picture"})
            kept = writer.health.kept_frames
            limit(resource.RLIM_INFINITY)
            for step in range(5001, 5100):
                writer.log({"a": 1.0, "b": 2.0}, step)
            left = writer.health.kept_frames
            writer.close()
            print(kept, left, writer.health.dropped_frames, len(troubles), writer.position == path.stat().st_size)
            """,
        )
        assert result.split() == ["4901", "0", "0", "1", "True"]
        rows, entries, report = read(tmp_path / "a.hwj")
        assert report.intact and report.closed and not report.torn
        assert [row.step for row in rows] == list(range(5100))
        assert len(entries) == 1
        assert [row.time_ns for row in rows] == sorted(row.time_ns for row in rows)

    def test_the_newest_ones_stay_and_the_rest_is_counted(self, tmp_path: Path) -> None:
        result = run(
            tmp_path,
            """
            import resource
            def limit(size):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            writer.log({"a": 1.0, "b": 2.0}, -1)
            limit(path.stat().st_size)
            for step in range(12_345):
                writer.log({"a": 1.0, "b": 2.0}, step)
            health = writer.health
            print(health.kept_frames, health.dropped_frames, health.dropped_points, health.dropped_bytes)
            limit(resource.RLIM_INFINITY)
            writer.close()
            print(writer.health.kept_frames, writer.health.dropped_frames)
            """,
        )
        assert list(map(int, result.split())) == [KEPT_ROWS, 2345, 4690, 2345 * (9 + 37 + 16), 0, 2345]
        rows, _, report = read(tmp_path / "a.hwj")
        assert [row.step for row in rows] == [-1, *range(2345, 12_345)]
        assert report.intact and report.closed

    def test_rows_are_written_without_another_call(self, tmp_path: Path) -> None:
        result = run(
            tmp_path,
            """
            import resource
            def limit(size):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            limit(path.stat().st_size)
            for step in range(10):
                writer.log({"a": 1.0, "b": 2.0}, step)
            limit(resource.RLIM_INFINITY)
            deadline = time.monotonic() + 30
            while writer.health.kept_frames and time.monotonic() < deadline:
                time.sleep(0.05)
            print(writer.health.kept_frames, flush=True)
            os._exit(0)
            """,
        )
        assert result.split() == ["0"]
        assert [row.step for row in read(tmp_path / "a.hwj")[0]] == list(range(10))

    def test_a_disk_that_stays_full_costs_what_is_left(self, tmp_path: Path) -> None:
        result = run(
            tmp_path,
            """
            import resource
            writer.log({"a": 1.0, "b": 2.0}, 0)
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, resource.RLIM_INFINITY))
            for step in range(1, 11):
                writer.log({"a": 1.0, "b": 2.0}, step)
            writer.close()
            print(writer.health.kept_frames, writer.health.dropped_frames, writer.health.dropped_points)
            """,
        )
        assert result.split() == ["0", "10", "20"]
        rows, _, report = read(tmp_path / "a.hwj")
        assert len(rows) == 1 and report.intact

    @pytest.mark.parametrize("seed", range(60))
    def test_whatever_writes_do(self, path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        """Short writes and failures at random: rows arrive once, in order, and the account is right."""
        chance = random.Random(seed)
        real = os.write

        def unreliable(descriptor: int, data: bytes) -> int:
            if chance.random() < 0.6:
                return real(descriptor, data)
            if chance.random() < 0.5:
                return real(descriptor, bytes(data)[: chance.randint(0, len(data) - 1)])
            real(descriptor, bytes(data)[: chance.randint(0, len(data))])
            raise OSError(chance.choice([errno.ENOSPC, errno.EIO, errno.EDQUOT]), "no")

        writer = MetricsWriter(path, HEADER)
        monkeypatch.setattr(os, "write", unreliable)
        monkeypatch.setattr("headway.journal.metrics.write", unreliable)
        steps = []
        for step in range(300):
            metrics: dict[str, Any] = {"a": 1.0} if chance.random() < 0.9 else {"b": chance.randint(0, 3), "c": step}
            writer.log(metrics, step)
            steps.append(step)
            if chance.random() < 0.02:
                writer.entry({"name": "e"})
        monkeypatch.undo()
        writer.close()
        rows, _, report = read(path)
        assert [row.step for row in rows] == steps
        assert report.intact and report.closed and not writer.health.dropped_frames
        assert writer.position == path.stat().st_size and writer.health.frames == report.frames


KILLED = """
number = 0
while True:
    number += 1
    writer.log({"n": number, "x": number / 3} if number % 10 else {f"m{number % 70}": float(number)}, number)
    os.write(1, number.to_bytes(8, "little"))
"""


@pytest.mark.parametrize("seed", range(DEATHS))
def test_a_killed_writer_has_lost_nothing_that_it_acknowledged(tmp_path: Path, seed: int) -> None:
    """R1: every acknowledged row can be read, and none is there twice."""
    instant = random.Random(seed)
    durability = "power" if seed % 8 == 7 else "process"
    command = [sys.executable, "-c", PRELUDE + KILLED, str(tmp_path), durability]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout
    acknowledged = b""
    try:
        wanted = 8 * instant.randint(1, 400 if durability == "power" else 4000)
        while len(acknowledged) < wanted and (more := os.read(process.stdout.fileno(), 4096)):
            acknowledged += more
        if instant.random() < 0.5:
            select.select([], [], [], instant.random() / 100)
    finally:
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read()
        process.stdout.close()
        process.wait()
    last = int.from_bytes(acknowledged[len(acknowledged) // 8 * 8 - 8 :][:8], "little")
    rows, _, report = read(tmp_path / "a.hwj")
    assert [row.step for row in rows] == list(range(1, len(rows) + 1))
    assert last <= len(rows) <= last + 1
    assert report.intact and not report.closed
    assert not is_live(tmp_path / "a.hwj")


def test_troubles_are_told_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[JournalHealth] = []

    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with MetricsWriter(path, HEADER, on_trouble=told.append) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            for step in range(5):
                writer.log({"a": 1.0}, step)
        assert writer.health.kept_frames == 5
        writer.log({"a": 1.0}, 5)
    assert len(told) == 1 and "No space" in str(told[0].last_error)
    assert [frame.kind for frame in read_frames(path)].count(KIND_ROW) == 6
    assert [frame.kind for frame in read_frames(path)][-1] == KIND_END
