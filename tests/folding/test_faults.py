"""Servers that are killed while metrics come in, and disks that are full: every accepted point is there once."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headway.domain.base import now
from headway.domain.runs import Stream
from headway.errors import StorageFullError
from headway.journal.compression import compress
from headway.sdk.columns import decode_columns
from headway.server.folding.child import FoldingChild
from headway.server.folding.messages import Setup
from headway.storage.segments.files import FileSegments
from headway.storage.series.packing import MEDIA_TYPE
from headway.storage.series.sqlite import SqliteSeriesReader
from headway.storage.series.streams import key_of
from headway.testing.faults import repetitions, seeded, until
from headway.testing.series import StreamWriter, bits_of, read_series
from headway.testing.server import ServerProcess

WRITERS = 4


class Shipping(threading.Thread):
    """One rank: logs and ships until told to stop, through whatever happens to the server."""

    def __init__(self, server: ServerProcess, run: str, rank: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._server, self._run_id, self._rank, self._stop_asked = server, run, rank, stop
        self.writer = StreamWriter()
        self.committed = 0

    def run(self) -> None:
        with httpx.Client(timeout=5, trust_env=False) as client:
            while not self._stop_asked.is_set():
                for _ in range(50):
                    self.writer.log(
                        {"loss": self.writer.sequence / 7, "count": self.writer.sequence}, step=self.writer.sequence
                    )
                self._ship(client, close=False)
            until(lambda: self._ship(client, close=True), 60, "the last bytes are accepted", pause=0.05)

    def _ship(self, client: httpx.Client, *, close: bool) -> bool:
        try:
            answer = client.put(
                f"{self._server.url}/api/v1/runs/{self._run_id}/streams/metrics/rank{self._rank}-a",
                params={"offset": self.committed, "writer": "a", "replica": f"rank{self._rank}", "close": close},
                content=compress(self.writer.data[self.committed :]),
                headers={"Authorization": f"Bearer {self._server.token}", "Content-Type": "application/zstd"},
            )
        except httpx.HTTPError:
            time.sleep(0.05)
            return False
        if answer.status_code == 409:
            self.committed = answer.json()["details"]["committed"]
        elif answer.status_code == 200:
            self.committed = answer.json()["committed"]
        return answer.status_code == 200 and self.committed == len(self.writer.data)


def api(server: ServerProcess, method: str, path: str, **keywords: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.token}", **keywords.pop("headers", {})}
    answer = httpx.request(
        method, f"{server.url}/api/v1{path}", headers=headers, timeout=30, trust_env=False, **keywords
    )
    answer.raise_for_status()
    return answer


def test_a_server_that_is_killed_while_metrics_come_in_loses_and_doubles_none(own_server: ServerProcess) -> None:
    server, chance = own_server, seeded()
    api(server, "POST", "/projects", json={"name": "faults"})
    created = api(server, "POST", "/runs", json={"project": "faults", "name": "a run"}).json()
    run = str(created.get("run", created)["id"])
    stop = threading.Event()
    ranks = [Shipping(server, run, rank, stop) for rank in range(WRITERS)]
    for rank in ranks:
        rank.start()
    try:
        for _ in range(repetitions(2, 200)):
            # Not before something is folded: that is what must not be torn.
            until(lambda: any(stream["folded"] for stream in streams_of(server, run)), 60, "folding", pause=0.05)
            stop.wait(chance.random() * 1.5)
            server.kill()
            server.start()
    finally:
        stop.set()
        for rank in ranks:
            rank.join(90)
    until(lambda: all(s["folded"] == s["committed"] for s in streams_of(server, run)), 60, "all is folded", pause=0.1)
    for name in ("loss", "count"):
        answer = api(server, "GET", f"/runs/{run}/metrics", params={"name": name}, headers={"Accept": MEDIA_TYPE})
        lines = decode_columns([answer.content], "the server")
        assert [line.replica for line in lines] == [f"rank{rank}" for rank in range(WRITERS)]
        for line, rank in zip(lines, ranks, strict=True):
            points = rank.writer.points["", name]
            assert [bits_of(value) for value in line.values] == [point.bits for point in points]
            assert line.steps == [point.step for point in points]


def streams_of(server: ServerProcess, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api(server, "GET", f"/runs/{run}/streams").json()["items"]
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "headway-test", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs root: sudo make test ({mounted.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """While the block runs not one byte is free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()


def test_on_a_full_disk_folding_waits_and_readers_go_on(small_disk: Path) -> None:
    data = small_disk / "data"
    segments, moment = FileSegments(small_disk / "data" / "segments"), now()
    stream = Stream(
        run_id="run1", name="metrics/rank0-a", writer_id="a", replica="rank0", created_at=moment, updated_at=moment
    )
    writer = StreamWriter()
    child = FoldingChild(Setup(database_url=None, data=data))

    def grow(rows: int) -> None:
        nonlocal stream
        for _ in range(rows):
            writer.log({f"m{n}": writer.sequence / (n + 3) for n in range(20)}, step=writer.sequence)
        segments.write("run1", stream.name, stream.committed, writer.data[stream.committed :])
        stream = stream.evolve(committed=len(writer.data))

    try:
        grow(2000)
        assert child.fold(stream).folded == len(writer.data)
        before = [points[:2000] for points in writer.points.values()]
        grow(3000)
        reader = SqliteSeriesReader(data / "series.db")
        with filled(small_disk):
            for _ in range(3):
                with pytest.raises(StorageFullError):
                    fold_whole(child, stream)
            assert [read_series(reader, [key_of(stream)], name)[0][:2000] for name in writer.points] == before
        fold_whole(child, stream)
        for name, points in writer.points.items():
            assert read_series(reader, [key_of(stream)], name) == [points]
        reader.close()
    finally:
        child.close()


def fold_whole(child: FoldingChild, stream: Stream) -> None:
    while child.fold(stream).folded < stream.committed:
        pass
