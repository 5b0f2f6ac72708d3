"""kill -9 while a monitor reads a stored log, at random and at placed instants: every line counts once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator

from headway import Client
from headway.domain.monitors import MonitorState
from headway.testing.faults import repetitions, until
from headway.testing.logs import ship_log
from headway.testing.server import ServerProcess

LOSS, ACCURACY = r"loss = (\S+), step = (\d+)", r"acc = (\S+), step = (\d+)"


def lines(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield (
            b"epoch %d: loss = %d, step = %d" % (number // 7, number * 2, number)
            if number % 3
            else b"\xff\0 acc = %d, step = %d"
            % (
                number,
                number,
            )
        )


def expected(count: int, *, loss: bool) -> list[tuple[int, float]]:
    if loss:
        return [(number, number * 2.0) for number in range(count) if number % 3]
    return [(number, float(number)) for number in range(0, count, 3)]


def points(client: Client, run: str) -> list[tuple[int | None, float]]:
    series = client.runs.metrics(run, "loss")
    return list(zip(series.steps, series.values, strict=True))


def read_all(client: Client, run: str) -> bool:
    return client.monitors.get("loss", run=run).state is not MonitorState.SCANNING


def test_a_server_that_is_killed_again_and_again_finds_each_point_once(
    own_server: ServerProcess, client: Client, chance: random.Random
) -> None:
    count = repetitions(60_000, 1_000_000)
    run = client.runs.create("log").id
    ship_log(own_server, run, lines(count))
    client.monitors.create("loss", LOSS, run=run)
    for number in range(repetitions(4, 20)):
        if number == repetitions(2, 10):
            client.monitors.update("loss", run=run, regex=ACCURACY)
        time.sleep(chance.uniform(0.0, 1.0))  # the random instant
        own_server.kill()
        own_server.start()
    until(lambda: read_all(client, run), 300, "the log is read", pause=0.2)
    found = client.monitors.get("loss", run=run)
    assert (found.revision, found.lines) == (2, count)
    assert points(client, run) == expected(count, loss=False)
    assert found.points == len(expected(count, loss=False))


WORK = """
import itertools, os, signal, sys
from pathlib import Path

from sqlalchemy import Engine, event

from headway.domain.monitors import MonitorSpec
from headway.monitors import reading
from headway.server.actions.monitors import add_all
from headway.server.app import open_platform
from headway.server.scanning import process
from headway.server.settings import ServerSettings
from headway.server.workers.monitors import MonitorWorker
from headway.storage.segments.files import FileSegments

data, run, regex, kills = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])


class Here:
    # Scans in this process.
    deaths = 0

    def __init__(self, platform):
        self.segments = platform.segments

    def scan(self, stream, regex, place, points):
        request = process.ScanRequest(stream=stream, regex=regex, place=place, points=points)
        return process.scan(request, self.segments)


def prepare():
    platform = open_platform(ServerSettings(data=data), "http://127.0.0.1:1")
    with platform.storage.write() as session:
        add_all(session, session.runs.get(run), [MonitorSpec(name="loss", regex=regex)], actor="usr1")
    platform.storage.close()


def work(last):
    # Until all is read, or killed at its last-th instant: a statement, a commit, or around the bytes of points.
    instants = itertools.count(1)

    def instant(*_):
        if next(instants) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def half_written(self, run_id, name, offset, data):
        instant()
        write(self, run_id, name, offset, data[: len(data) // 2])
        instant()
        write(self, run_id, name, offset, data)
        instant()

    write, step = FileSegments.write, reading.step
    process.step = lambda *arguments, **keywords: step(*arguments, **keywords, most_points=7)
    FileSegments.write = half_written
    platform = open_platform(ServerSettings(data=data), "http://127.0.0.1:1")
    event.listen(Engine, "before_cursor_execute", instant)
    event.listen(Engine, "commit", instant)
    monitors = MonitorWorker(platform)
    monitors._child = Here(platform)
    monitors.look()


def forked(function, *arguments):
    child = os.fork()
    if not child:
        try:
            function(*arguments)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


assert forked(prepare) == 0
killed = 0
for last in [*range(1, kills), 0]:
    ended = forked(work, last)
    if ended == 0:
        break
    assert ended == -9, ended
    killed += 1
print(killed)
"""


def test_a_kill_at_any_step_of_the_work_neither_loses_nor_doubles_a_point(
    own_server: ServerProcess, client: Client
) -> None:
    """Killed at the first thing that it does, then at the second, and so on, each time going on where that left it."""
    count = 2000
    run = client.runs.create("log").id
    ship_log(own_server, run, lines(count))
    own_server.kill()

    kills = repetitions(40, 400)
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(own_server.data), run, ACCURACY, str(kills)],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 20, "the work was over before it could be killed often enough"
    own_server.start()
    until(lambda: read_all(client, run), 120, "the log is read", pause=0.2)
    assert points(client, run) == expected(count, loss=False)
    found = client.monitors.get("loss", run=run)
    assert (found.lines, found.points) == (count, len(expected(count, loss=False)))
