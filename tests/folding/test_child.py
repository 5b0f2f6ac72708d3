"""The folding process: killed at any instant it neither loses nor doubles a point."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from headway.domain.runs import Stream
from headway.errors import UnavailableError
from headway.server.folding.child import FoldingChild
from headway.server.folding.messages import FoldRequest, Setup
from headway.storage.segments.files import FileSegments
from headway.storage.series.sqlite import SqliteSeries, SqliteSeriesReader
from headway.storage.series.streams import key_of
from headway.testing.faults import FULL, repetitions, seeded, until
from headway.testing.series import StreamWriter, read_series

DIE_AT = """
import os, signal, sys
from sqlalchemy import Engine, event
from headway.server.folding.process import main

counted = 0

def count(*arguments):
    global counted
    counted += 1
    if counted == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, sys.argv[2], count)
main()
"""


def grown(writer: StreamWriter, rows: int, chance: random.Random) -> None:
    for _ in range(rows):
        step = writer.sequence
        values = {"loss": chance.random(), "count": step} if chance.random() < 0.9 else {"val": chance.random()}
        writer.log(values, step=step)


def ship(segments: FileSegments, stream: Stream, data: bytes, *, closed: bool = False) -> Stream:
    segments.write(stream.run_id, stream.name, stream.committed, data[stream.committed :])
    return stream.evolve(committed=len(data), closed=closed)


def insist(child: FoldingChild, stream: Stream) -> None:
    """Fold everything, however often the process has to be started."""

    def folded() -> bool:
        try:
            return child.fold(stream).folded == stream.committed
        except UnavailableError:
            return False

    until(folded, 60, "folded", pause=0.02)


def check(data: Path, stream: Stream, writer: StreamWriter) -> None:
    series = SqliteSeriesReader(data / "series.db")
    for name, points in writer.points.items():
        assert read_series(series, [key_of(stream)], name) == [points]
    series.close()


def test_it_folds_summarises_and_deletes(
    data: Path, segments: FileSegments, stream: Stream, children: Callable[[], FoldingChild]
) -> None:
    child, writer = children(), StreamWriter()
    grown(writer, 50, random.Random(1))
    stream = ship(segments, stream, writer.data)
    insist(child, stream)
    check(data, stream, writer)
    found = child.summaries("run1", (stream,)).summaries
    assert {item.name: item.count for item in found} == {name: len(p) for (_, name), p in writer.points.items()}
    child.delete("run1")
    assert child.summaries("run1", (stream,)).summaries == ()
    assert child.pid is not None
    assert psutil.Process(child.pid).nice() == psutil.Process().nice() + 5


def test_it_ends_when_the_server_does(children: Callable[[], FoldingChild], stream: Stream, data: Path) -> None:
    """A server that is killed closes the pipe without a word."""
    script = (
        "import os, sys; from pathlib import Path\n"
        "from headway.server.folding.child import FoldingChild; from headway.server.folding.messages import Setup\n"
        "child = FoldingChild(Setup(database_url=None, data=Path(sys.argv[1])))\n"
        "child.delete('run1'); print(child.pid, flush=True); sys.stdin.read()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        child = psutil.Process(pid)
        server.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 20, "the process ends")
    # Nobody holds the store any more.
    SqliteSeries(data / "series.db").close()


def test_killed_at_random_instants_it_loses_and_doubles_nothing(
    data: Path, segments: FileSegments, stream: Stream, children: Callable[[], FoldingChild]
) -> None:
    chance, writer, child = seeded(), StreamWriter(), children()
    grown(writer, 20, chance)
    insist(child, stream := ship(segments, stream, writer.data))
    killed: list[int] = []
    for _ in range(repetitions(5, 200)):
        grown(writer, chance.randrange(1, 400), chance)
        stream = ship(segments, stream, writer.data)
        if child.pid is None:
            insist(child, stream)
        pid = child.pid
        assert pid is not None
        grown(writer, 100, chance)
        stream = ship(segments, stream, writer.data)
        killer = threading.Timer(chance.random() * 0.03, kill_if_there, (pid, killed))
        killer.start()
        try:
            child.fold(stream)
        except UnavailableError:
            pass
        killer.join()
        check_no_more_than(data, stream, writer)
    insist(child, stream)
    check(data, stream, writer)
    assert killed


def kill_if_there(pid: int, killed: list[int]) -> None:
    """The process may have been found dead, and replaced, since."""
    try:
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
    except ProcessLookupError:
        pass


def check_no_more_than(data: Path, stream: Stream, writer: StreamWriter) -> None:
    """What is stored is a beginning of what was logged, as far as the store says that it is folded."""
    series = SqliteSeriesReader(data / "series.db")
    for name, points in writer.points.items():
        for found in read_series(series, [key_of(stream)], name):
            assert found == points[: len(found)]
    series.close()


@pytest.mark.parametrize(
    ("moment", "few"), [("before_cursor_execute", (3, 12, 25)), ("after_cursor_execute", (9, 20)), ("commit", (1, 2))]
)
def test_killed_at_every_statement_it_loses_and_doubles_nothing(
    data: Path,
    segments: FileSegments,
    stream: Stream,
    children: Callable[[], FoldingChild],
    moment: str,
    few: tuple[int, ...],
) -> None:
    chance, writer = random.Random(5), StreamWriter()
    grown(writer, 30, chance)
    stream = ship(segments, stream, writer.data)
    first = children()
    insist(first, stream)
    first.close()
    for place in range(1, 60) if FULL else few:
        grown(writer, 30, chance)
        stream = ship(segments, stream, writer.data)
        killed = fold_and_die(data, stream, place, moment)
        check_no_more_than(data, stream, writer)
        if not killed:
            break
    insist(children(), stream)
    check(data, stream, writer)


def fold_and_die(data: Path, stream: Stream, place: int, moment: str) -> bool:
    """Whether the process was killed at its ``place``-th event of that kind."""
    lines = [Setup(database_url=None, data=data), FoldRequest(stream=stream)]
    ended = subprocess.run(
        [sys.executable, "-c", DIE_AT, str(place), moment],
        input="".join(line.model_dump_json() + "\n" for line in lines).encode(),
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert ended.returncode in (0, -signal.SIGKILL)
    return ended.returncode == -signal.SIGKILL
