"""R3: damaged journals of metrics. Nothing is raised, no wrong value accepted, every intact frame recovered and counted."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from headway.domain.base import now
from headway.errors import ConflictError, CorruptDataError, NotFoundError
from headway.journal.codec import JournalHeader, encode_lines
from headway.journal.doctor import BACKUP_SUFFIX, Finding, examine, guess_header, repair
from headway.journal.facts import FactsWriter, read_facts
from headway.journal.frames import KIND_ENTRY, KIND_FACT, KIND_LOG, KIND_ROW, Frame
from headway.journal.leftovers import ship_directory
from headway.journal.metrics import MetricsWriter
from headway.journal.reader import read_frames, read_header
from headway.journal.rows import Row, RowDecoder
from headway.journal.shipper import Shipper
from headway.journal.writer import JournalWriter

CASES = 5000 if "HEADWAY_TEST_FULL" in os.environ else 200
BLOCK = 64 << 10


def header(kind: str = "metrics", writer: str = "ab", run: str = "run1") -> JournalHeader:
    return JournalHeader(
        run=run, stream=f"{kind}/rank0-{writer}", writer=writer, attempt=1, replica="rank0", created=now()
    )


def rows_of(path: Path) -> list[Row]:
    return list(RowDecoder().feed(read_frames(path)))


@dataclass
class Sound:
    """A sound journal's bytes and frames."""

    data: bytes
    frames: list[Frame]
    rows: dict[int, Row]
    """By sequence."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Some hundred KiB with rows of several shapes, and media."""
    chance = random.Random(7)
    path = tmp_path_factory.mktemp("sound") / "metrics-rank0-ab.hwj"
    wide = [f"layer/{number}" for number in range(200)]
    with MetricsWriter(path, header()) as writer:
        for step in range(1_500):
            writer.log({"loss": chance.random(), "n": step, "x": math.nan}, step, stage="train")
            if step % 10 == 0:
                writer.log({"loss": chance.random()}, step, stage="val", epoch=step)
            if step % 100 == 0:
                writer.log({name: chance.random() for name in wide}, step)
                assert writer.position
            if step % 100 == 50:
                writer.entry({"name": "picture", "step": step, "type": "image"})
    frames = list(read_frames(path))
    decoder = RowDecoder()
    rows = {row.sequence: row for row in decoder.feed(frames)}
    assert not decoder.unreadable and not decoder.repeated
    return Sound(path.read_bytes(), frames, rows)


def flip(data: bytearray, chance: random.Random) -> list[tuple[int, int]]:
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    return [(at, at + 1)]


def zero(data: bytearray, chance: random.Random) -> list[tuple[int, int]]:
    start = chance.randrange(len(data)) // 4096 * 4096
    stop = min(len(data), start + chance.choice([4096, BLOCK]))
    data[start:stop] = bytes(stop - start)
    return [(start, stop)]


def cut(data: bytearray, chance: random.Random) -> list[tuple[int, int]]:
    at = chance.randrange(len(data))
    whole = len(data)
    del data[at:]
    return [(at, whole)]


def double(data: bytearray, chance: random.Random) -> list[tuple[int, int]]:
    start = chance.randrange(len(data))
    stop = min(len(data), start + BLOCK)
    data[stop:stop] = data[start:stop]
    return [(stop - 1, stop + 1)] if stop < len(data) - BLOCK else [(stop - 1, stop)]


def lose(data: bytearray, chance: random.Random) -> list[tuple[int, int]]:
    start = chance.randrange(len(data))
    stop = min(len(data), start + chance.choice([1, 100, BLOCK]))
    del data[start:stop]
    return [(start, stop)]


HARM: list[Callable[[bytearray, random.Random], list[tuple[int, int]]]] = [flip, zero, cut, double, lose]


def same(one: Row, other: Row) -> bool:
    return repr(one) == repr(other)


def check(path: Path, sound: Sound, touched: list[tuple[int, int]]) -> Finding:
    """No wrong value, and everything that was not touched."""
    reader, decoder = read_frames(path), RowDecoder()
    frames: list[Frame] = []

    def kept() -> object:
        for frame in reader:
            frames.append(frame)
            yield frame

    rows = list(decoder.feed(kept()))  # type: ignore[arg-type]
    assert all(same(row, sound.rows[row.sequence]) for row in rows)
    assert [row.sequence for row in rows] == sorted({row.sequence for row in rows})
    found = {(frame.kind, frame.payload) for frame in frames}
    for frame in sound.frames:
        if not any(frame.offset < stop and start < frame.end for start, stop in touched):
            assert (frame.kind, frame.payload) in found
    # A row may be whole and its schema lost; nothing else is left out.
    whole = sum(frame.kind == KIND_ROW for frame in frames)
    assert len(rows) + decoder.unreadable >= whole and len(rows) <= whole
    assert reader.report.rows == whole
    (finding,) = examine(path)
    assert finding.report == reader.report and finding.unreadable == decoder.unreadable
    return finding


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("part", range(CASES // 200))
def test_damaged_journals(
    sound: Sound, tmp_path: Path, harm: Callable[[bytearray, random.Random], list[tuple[int, int]]], part: int
) -> None:
    path = tmp_path / "metrics-rank0-ab.hwj"
    for seed in range(40):
        chance = random.Random(part * 1000 + seed)
        data = bytearray(sound.data)
        touched = harm(data, chance)
        path.write_bytes(data)
        finding = check(path, sound, touched)
        if harm in (flip, zero) and touched[0][0] > 300:
            assert finding.report.damage or finding.report.torn or data == sound.data
        if harm is double:
            assert finding.report.repeated or finding.report.damage
        assert finding.describe()


@pytest.mark.parametrize("seed", range(CASES // 5))
def test_repair_brings_a_sound_journal_with_every_frame_at_its_place(sound: Sound, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    directory = tmp_path / "runs" / "run1"
    directory.mkdir(parents=True)
    path = directory / "metrics-rank0-ab.hwj"
    data = bytearray(sound.data[: chance.randrange(2000, 120_000)])
    for _ in range(chance.randint(1, 3)):
        HARM[chance.randrange(2)](data, chance)
    if seed % 4 == 0:
        double(data, chance)
    path.write_bytes(data)
    before, (finding,) = list(read_frames(path)), examine(path)
    done = repair(path)
    after = list(read_frames(path))
    places = {frame.offset: frame for frame in after}
    assert all(places[frame.offset] == frame for frame in before)
    (mended,) = examine(path)
    assert mended.unreadable <= finding.unreadable
    assert mended.report.intact and not mended.report.torn and mended.header is not None
    assert done.backup is not None and done.backup.read_bytes() == bytes(data)
    assert done.backup.name == path.name + BACKUP_SUFFIX
    assert {row.sequence for row in rows_of(path)} >= {row.sequence for row in rows_of(done.backup)}
    assert all(same(row, sound.rows[row.sequence]) for row in rows_of(path))
    assert done.cut == len(data) - path.stat().st_size
    assert (path.stat().st_mode & 0o777) == 0o600


class TestExamine:
    def test_a_directory_at_any_depth(self, tmp_path: Path) -> None:
        run = tmp_path / ".headway" / "runs" / "run1"
        run.mkdir(parents=True)
        with MetricsWriter(run / "metrics-rank0-ab.hwj", header()) as metrics:
            metrics.log({"a": 1.0})
            metrics.entry({"name": "x"})
        facts = FactsWriter(run / "facts-rank0-cd.hwj", header("facts", "cd"))
        facts.write({"type": "state"})
        with JournalWriter(run / "logs-rank0-ef.hwj", header("logs", "ef")) as logs:
            logs.append(KIND_LOG, encode_lines(1, 5, b"one\ntwo"))
        (run / "system-rank0-gh.hwj").write_bytes(b"what is this")
        found = {finding.path.name: finding for finding in examine(tmp_path)}
        metrics_found = found["metrics-rank0-ab.hwj"]
        assert metrics_found.healthy and not metrics_found.live and metrics_found.report.closed
        assert metrics_found.describe() == "1 rows, 1 media entries; closed"
        assert found["facts-rank0-cd.hwj"].live
        assert found["facts-rank0-cd.hwj"].describe() == "1 facts; being written"
        assert found["logs-rank0-ef.hwj"].report.batches == 1
        assert not found["system-rank0-gh.hwj"].healthy
        assert "header is not readable" in found["system-rank0-gh.hwj"].describe()
        facts.close()

    def test_nothing_there(self, tmp_path: Path) -> None:
        assert examine(tmp_path) == []
        with pytest.raises(NotFoundError):
            examine(tmp_path / "missing.hwj")

    def test_frames_that_make_no_sense_are_counted(self, tmp_path: Path) -> None:
        path = tmp_path / "a.hwj"
        with JournalWriter(path, header()) as writer:
            writer.append(KIND_ROW, (5 << 32).to_bytes(40, "little"))
            writer.append(KIND_ENTRY, b"{}")
            writer.append(KIND_FACT, b"{}")
            writer.append(KIND_LOG, b"short")
        (finding,) = examine(path)
        assert finding.unreadable == 2 and not finding.healthy and "2 frames make no sense" in finding.describe()


class TestRepair:
    def test_a_living_journal_is_left_alone(self, tmp_path: Path) -> None:
        with MetricsWriter(tmp_path / "a.hwj", header()) as writer:
            with pytest.raises(ConflictError, match="being written"):
                repair(writer.path)

    def test_a_missing_one(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError):
            repair(tmp_path / "a.hwj")

    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "a.hwj"
        MetricsWriter(path, header()).close()
        for taken in (tmp_path / "target.hwj", tmp_path / f"a.hwj{BACKUP_SUFFIX}"):
            taken.write_bytes(b"precious")
        with pytest.raises(ConflictError):
            repair(path, tmp_path / "target.hwj")
        with pytest.raises(ConflictError):
            repair(path)
        assert {taken.read_bytes() for taken in tmp_path.iterdir() if taken != path} == {b"precious"}

    def test_a_sound_journal_stays_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "a.hwj"
        with MetricsWriter(path, header()) as writer:
            for step in range(100):
                writer.log({"a": 1.0}, step)
        done = repair(path, tmp_path / "b.hwj")
        assert (tmp_path / "b.hwj").read_bytes() == path.read_bytes()
        assert (done.filled, done.cut, done.backup, done.header_made) == (0, 0, None, False)

    @pytest.mark.parametrize("harm", ["flip", "magic", "zeros"])
    def test_a_lost_header_is_made_from_the_names(self, tmp_path: Path, harm: str) -> None:
        directory = tmp_path / "runs" / "run7"
        directory.mkdir(parents=True)
        path = directory / "metrics-rank0-ab.hwj"
        with MetricsWriter(path, header(run="run7")) as writer:
            for step in range(3000):
                writer.log({"a": 1.0}, step)
                assert writer.position
        with FactsWriter(directory / "facts-rank0-cd.hwj", header("facts", "cd", run="run7")) as facts:
            facts.write({"type": "state"})
        data = bytearray(path.read_bytes())
        if harm == "flip":
            data[40] ^= 1
        elif harm == "magic":
            data[0] ^= 1
        else:
            data[:4096] = bytes(4096)
        path.write_bytes(data)
        done = repair(path)
        found = read_header(path)
        assert (found.run, found.stream, found.writer, found.attempt, found.replica) == (
            "run7",
            "metrics/rank0-ab",
            "ab",
            1,
            "rank0",
        )
        assert done.header_made is (harm != "magic")
        (finding,) = examine(path)
        assert finding.report.intact and finding.report.closed
        assert len(data) == path.stat().st_size

    def test_a_lost_header_of_a_file_with_another_name(self, tmp_path: Path) -> None:
        path = tmp_path / "renamed.hwj"
        with MetricsWriter(path, header()) as writer:
            writer.log({"a": 1.0}, 1)
        data = bytearray(path.read_bytes())
        data[40] ^= 1
        path.write_bytes(data)
        with pytest.raises(CorruptDataError, match="does not say"):
            repair(path)
        assert [item.name for item in tmp_path.iterdir()] == ["renamed.hwj"]
        repair(path, header=header())
        assert read_header(path).stream == "metrics/rank0-ab"
        assert [row.step for row in rows_of(path)] == [1]

    def test_roles_may_have_dashes(self, tmp_path: Path) -> None:
        directory = tmp_path / "runs" / "r"
        directory.mkdir(parents=True)
        path = directory / "metrics-worker-1-ab.hwj"
        path.write_bytes(b"")
        assert guess_header(path).stream == "metrics/worker-1-ab"

    def test_a_stream_that_was_shipped_in_part_goes_on_after_a_repair(self, tmp_path: Path) -> None:
        """The server holds the damaged beginning; what follows is at the same offsets as before."""
        path = tmp_path / "metrics-rank0-ab.hwj"
        with MetricsWriter(path, header()) as writer:
            for step in range(20_000):
                writer.log({"a": 1.0, "n": step}, step)
        data = bytearray(path.read_bytes())
        data[500_000:500_100] = b"\xff" * 100
        path.write_bytes(data)

        class Sink:
            held = bytearray()

            def send(self, offset: int, sent: bytes, *, close: bool) -> int:
                assert offset <= len(self.held)
                self.held[offset:] = sent
                return len(self.held)

        sink = Sink()
        shipper = Shipper(path, sink, limit=lambda: 700_000)
        shipper.ship()
        shipper.release()
        repair(path)
        ship_directory(tmp_path, lambda found: sink)
        assert bytes(sink.held[700_000:]) == path.read_bytes()[700_000:]
        held = tmp_path / "held"
        held.write_bytes(sink.held)
        assert rows_of(held) == rows_of(path)
        assert len(rows_of(held)) >= 19_995

    def test_a_schema_that_was_lost_is_found_further_on(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics-rank0-ab.hwj"
        with MetricsWriter(path, header()) as writer:
            for step in range(24_000):
                writer.log({"a": 1.0}, step)
                assert writer.position
        frames = list(read_frames(path))
        data = bytearray(path.read_bytes())
        data[frames[1].offset + 12] ^= 1
        path.write_bytes(data)
        (finding,) = examine(path)
        assert finding.unreadable > 10_000
        repair(path)
        (mended,) = examine(path)
        assert mended.healthy
        assert [row.step for row in rows_of(path)] == list(range(24_000))

    def test_facts_survive(self, tmp_path: Path) -> None:
        path = tmp_path / "facts-rank0-ab.hwj"
        with FactsWriter(path, header("facts")) as writer:
            for number in range(100):
                writer.write({"type": "config", "set": {"n": number}, "time": number})
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        before = read_facts(path)
        repair(path)
        assert read_facts(path) == before and len(before) == 99
