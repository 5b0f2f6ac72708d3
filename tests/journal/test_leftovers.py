"""Shipping what a run left behind."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.domain.base import now
from headway.errors import (
    AuthenticationError,
    ConnectionFailedError,
    HeadwayError,
    InvalidRequestError,
    OffsetConflictError,
    UnavailableError,
)
from headway.journal.codec import JournalHeader
from headway.journal.facts import FactsWriter
from headway.journal.leftovers import find_journals, is_live, ship_directory, whole_length
from headway.journal.metrics import MetricsWriter
from headway.journal.shipper import StreamSink


def header(kind: str, writer: str) -> JournalHeader:
    return JournalHeader(run="run1", stream=f"{kind}/rank0-{writer}", writer=writer, created=now())


class Server:
    """Holds streams; may fail as ``weather`` says before or after it stored something."""

    def __init__(self, weather: Callable[[str], None] = lambda stream: None) -> None:
        self.held: dict[str, bytes] = {}
        self.closed: set[str] = set()
        self.weather = weather
        self.received = 0

    def sink(self, header: JournalHeader) -> StreamSink:
        server = self

        class Sink:
            def send(self, offset: int, data: bytes, *, close: bool) -> int:
                return server.take(header.stream, offset, data, close)

        return Sink()

    def take(self, stream: str, offset: int, data: bytes, close: bool) -> int:
        self.weather(stream)
        held = self.held.get(stream, b"")
        if offset > len(held):
            raise OffsetConflictError("Elsewhere.", details={"committed": len(held)})
        fresh = data[len(held) - offset :]
        assert not (fresh and stream in self.closed), "bytes after the end"
        self.received += len(fresh)
        self.held[stream] = held + fresh
        if close:
            self.closed.add(stream)
        self.weather(stream)
        return len(self.held[stream])


def metrics(directory: Path, writer: str, rows: int, *, close: bool = True) -> MetricsWriter:
    made = MetricsWriter(directory / f"metrics-rank0-{writer}.hwj", header("metrics", writer))
    for step in range(rows):
        made.log({"loss": 1.0, "step": step}, step)
    if close:
        made.close()
    return made


def die(writer: MetricsWriter) -> None:
    """Leave the file as a killed process does: not closed, and nobody's."""
    copy = writer.path.read_bytes()
    writer.close()
    writer.path.unlink()
    writer.path.write_bytes(copy)


def test_everything_arrives_and_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    metrics(tmp_path, "aa", 50_000)
    die(metrics(tmp_path, "bb", 100, close=False))
    with FactsWriter(tmp_path / "facts-rank0-cc.hwj", header("facts", "cc")) as facts:
        facts.write({"type": "state", "state": "complete"})
    server = Server()
    report = ship_directory(tmp_path, server.sink)
    assert report.complete and len(report.shipped) == 3 and not report.failed
    assert server.held == {journal.header.stream: journal.path.read_bytes() for journal in report.shipped}
    assert server.closed == {"metrics/rank0-aa", "facts/rank0-cc"}
    received = server.received
    again = ship_directory(tmp_path, server.sink)
    assert again == report
    assert server.received == received


def test_what_dead_writers_left_is_closed_by_one_who_knows_that_they_are_dead(tmp_path: Path) -> None:
    server = Server()
    die(metrics(tmp_path, "aa", 100, close=False))
    live = metrics(tmp_path, "bb", 100, close=False)
    report = ship_directory(tmp_path, server.sink, abandoned=True)
    assert server.closed == {"metrics/rank0-aa"} and not report.complete
    assert [(journal.live, journal.closed) for journal in report.shipped] == [(False, True), (True, False)]
    live.close()


def test_a_living_journal_goes_up_to_its_last_whole_frame_and_stays_open(tmp_path: Path) -> None:
    server = Server()
    writer = metrics(tmp_path, "aa", 100, close=False)
    whole = writer.position
    with writer.path.open("ab") as file:
        file.write(b"\x40\x00\x00\x00half a frame")
    report = ship_directory(tmp_path, server.sink)
    assert not report.complete and not report.failed
    assert (report.shipped[0].bytes, report.shipped[0].closed) == (whole, False)
    assert server.held["metrics/rank0-aa"] == writer.path.read_bytes()[:whole]
    assert not server.closed
    writer.close()
    report = ship_directory(tmp_path, server.sink)
    assert report.complete and server.closed == {"metrics/rank0-aa"}
    assert server.held["metrics/rank0-aa"] == writer.path.read_bytes()


def test_poison_is_reported_alone(tmp_path: Path) -> None:
    """R8: what one stream is refused for stops no other."""
    for name in ("aa", "bb", "cc"):
        metrics(tmp_path, name, 10)
    (tmp_path / "metrics-rank0-dd.hwj").write_bytes(b"this is no journal at all")
    (tmp_path / "metrics-rank0-ee.hwj").write_bytes(b"")
    (tmp_path / "metrics-rank0-ff.hwj").mkdir()
    (tmp_path / "metrics-rank0-gg.hwj").symlink_to(tmp_path / "metrics-rank0-aa.hwj")
    (tmp_path / "metrics-rank0-hh.hwj.damaged").write_bytes(b"a backup")

    def refuse(stream: str) -> None:
        if stream.endswith("bb"):
            raise InvalidRequestError("not this one")

    server = Server(refuse)
    report = ship_directory(tmp_path, server.sink)
    assert {path.name[14:16]: type(error).__name__ for path, error in report.failed} == {
        "bb": "InvalidRequestError",
        "dd": "CorruptDataError",
    }
    assert not report.complete
    assert server.closed == {"metrics/rank0-aa", "metrics/rank0-cc"}
    assert (tmp_path / "metrics-rank0-bb.hwj").exists() and (tmp_path / "metrics-rank0-dd.hwj").exists()


def test_a_caller_may_refuse_a_stream(tmp_path: Path) -> None:
    metrics(tmp_path, "aa", 10)
    metrics(tmp_path, "bb", 10)
    server = Server()

    def sink_for(header: JournalHeader) -> StreamSink:
        if header.writer == "aa":
            raise InvalidRequestError("not ours")
        return server.sink(header)

    report = ship_directory(tmp_path, sink_for)
    assert [path.name for path, _ in report.failed] == ["metrics-rank0-aa.hwj"]
    assert set(server.held) == {"metrics/rank0-bb"}


@pytest.mark.parametrize("error", [ConnectionFailedError("x"), UnavailableError("x"), AuthenticationError("x")])
def test_what_would_meet_every_journal_is_raised(tmp_path: Path, error: HeadwayError) -> None:
    metrics(tmp_path, "aa", 10)

    def refuse(stream: str) -> None:
        raise error

    with pytest.raises(type(error)):
        ship_directory(tmp_path, Server(refuse).sink)


@pytest.mark.parametrize("seed", range(12))
def test_interrupted_at_any_point_and_repeated_it_arrives_once(tmp_path: Path, seed: int) -> None:
    """R25: two hosts, during writing, with answers that are lost."""
    chance = random.Random(seed)
    writers = [metrics(tmp_path, f"{name:02}", chance.randint(0, 2_000), close=False) for name in range(3)]

    def weather(stream: str) -> None:
        if chance.random() < 0.3:
            raise ConnectionFailedError("gone")

    server = Server(weather)
    complete = False
    for attempt in range(200):
        if attempt < 10:
            chance.choice(writers).log({"late": 1}, attempt)
        elif attempt == 10:
            for writer in writers:
                writer.close()
        try:
            if ship_directory(tmp_path, server.sink).complete:
                complete = True
                break
        except ConnectionFailedError:
            pass
    assert complete
    assert server.held == {f"metrics/rank0-{n:02}": writer.path.read_bytes() for n, writer in enumerate(writers)}
    assert len(server.closed) == 3


def test_a_directory_that_is_half_copied_is_completed_later(tmp_path: Path) -> None:
    """R25: rsync brought the first half of a file, and the rest an hour later."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    copy.mkdir()
    whole = metrics(source, "aa", 10_000).path.read_bytes()
    server = Server()
    (copy / "metrics-rank0-aa.hwj").write_bytes(whole[:1000])
    sent = ship_directory(copy, server.sink)
    assert sent.shipped[0].bytes == 1000 and not server.closed
    (copy / "metrics-rank0-aa.hwj").write_bytes(whole)
    assert ship_directory(copy, server.sink).complete
    assert server.held["metrics/rank0-aa"] == whole


def test_progress_is_told(tmp_path: Path) -> None:
    path = metrics(tmp_path, "aa", 50_000).path
    told: list[tuple[Path, int, int]] = []
    ship_directory(tmp_path, Server().sink, on_progress=lambda *progress: told.append(progress))
    size = path.stat().st_size
    assert [held for _, held, _ in told] == [*range(1 << 20, size, 1 << 20), size]
    assert {(where, total) for where, _, total in told} == {(path, size)}


def test_what_is_there(tmp_path: Path) -> None:
    assert find_journals(tmp_path) == []
    assert ship_directory(tmp_path, Server().sink).complete
    writer = metrics(tmp_path, "aa", 3, close=False)
    assert find_journals(tmp_path) == [writer.path]
    assert whole_length(writer.path) == writer.position
    assert is_live(writer.path)
    writer.close()
    assert not is_live(writer.path)
    with pytest.raises(FileNotFoundError):
        is_live(tmp_path / "missing.hwj")
