"""Trainers and their server killed, absent, or unheard: each point is there exactly once in the end, and nobody waits."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import headway
from headway import Client
from headway.journal.doctor import examine
from headway.testing.faults import repetitions, until
from headway.testing.proxy import LosingProxy
from headway.testing.server import ServerProcess
from headway.testing.trainers import QUIET, environment, started
from headway.tracking.local import local_runs

NURSERY = f"""
import os, sys
import headway
from headway.tracking import opening, delivery, sync
for line in sys.stdin:
    mode, durability, reports = line.split()
    child = os.fork()
    if child:
        print(child, flush=True)
        os.waitpid(child, 0)
        continue
    told = int(reports)
    run = headway.init(mode=mode, durability=durability, {QUIET})
    os.write(told, f"{{run.id}}\\n".encode())
    step = 0
    while True:
        run.log({{"x": step, "y": 0.5}}, step=step)
        os.write(told, b"%d\\n" % step)
        step += 1
"""


class Nursery:
    """A process that has imported everything, and forks a trainer whenever one is asked for."""

    def __init__(self, directory: Path, more: dict[str, str]) -> None:
        self._reader, self._writer = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            env=environment(directory, more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(self._writer,),
        )

    def killed_after(self, seconds: float, mode: str, durability: str) -> tuple[str, int]:
        """A trainer that is killed ``seconds`` after its first point: its run, and the last step that was acknowledged."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{mode} {durability} {self._writer}\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        told = b""
        while told.count(b"\n") < 2:
            told += os.read(self._reader, 1 << 16)
        killing = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
        killing.start()
        while (running := killing.is_alive()) or self._has_more():
            if not running or self._has_more():
                told += os.read(self._reader, 1 << 16)
        lines = told.decode().splitlines()
        return lines[0], int(lines[-1] if told.endswith(b"\n") else lines[-2])

    def _has_more(self) -> bool:
        return bool(select.select([self._reader], [], [], 0.02)[0])

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        for descriptor in (self._reader, self._writer):
            os.close(descriptor)


def variables(server: ServerProcess) -> dict[str, str]:
    return {"HEADWAY_URL": server.url, "HEADWAY_TOKEN": server.token, "HEADWAY_PROJECT": "faults"}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HEADWAY_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def connected(running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for name, value in variables(running_server).items():
        monkeypatch.setenv(name, value)
    with Client() as found:
        yield found


def steps_there(client: Client, run: str) -> list[int]:
    return sorted(point.step or 0 for point in client.runs.get(run).metrics("x", view="all"))


def check_exactly_once(client: Client, run: str, acknowledged: int) -> None:
    """Every step up to the last acknowledged one (one more may have been on its way), each once."""
    until(lambda: len(steps_there(client, run)) > acknowledged, 60, f"{acknowledged} points of {run}")
    found = steps_there(client, run)
    assert found == list(range(len(found)))
    assert len(found) <= acknowledged + 2


def test_a_trainer_that_is_killed_at_any_moment_loses_nothing(
    here: Path, connected: Client, running_server: ServerProcess, chance: random.Random
) -> None:
    """SIGKILL, live and offline, under both policies; then one sync (R1)."""
    acknowledged = {}
    with closing(Nursery(here, variables(running_server))) as nursery:
        for number in range(repetitions(40, 400)):
            mode = ("online", "offline")[number % 2]
            durability = ("process", "power")[number // 2 % 2]
            run, last = nursery.killed_after(chance.uniform(0.0, 0.25), mode, durability)
            acknowledged[run] = last
    assert len(acknowledged) == repetitions(40, 400)
    assert all(item.healthy and item.report.torn < 4096 for item in examine(here))
    assert headway.sync().ok
    for run, last in acknowledged.items():
        check_exactly_once(connected, run, last)
    assert [run.sent_bytes for run in headway.sync().runs] == [0] * len(acknowledged)


STEADY = f"""
import os, sys, time, headway
with headway.init({QUIET}) as run:
    print(run.id, flush=True)
    step, slowest = 0, 0.0
    while not os.path.exists(sys.argv[1]):
        begun = time.perf_counter()
        run.log({{"x": step}}, step=step)
        slowest = max(slowest, time.perf_counter() - begun)
        step += 1
        time.sleep(0.0005)
print(step, slowest)
"""


def test_a_server_that_is_killed_again_and_again_costs_nothing(
    own_server: ServerProcess, here: Path, tmp_path: Path, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While two trainers log (R4, R5)."""
    enough = tmp_path / "enough"
    more = variables(own_server)
    with started(STEADY, here, str(enough), more=more) as one, started(STEADY, here, str(enough), more=more) as other:
        runs = [process.stdout.readline().strip() for process in (one, other) if process.stdout is not None]
        for _ in range(repetitions(4, 100)):
            threading.Event().wait(chance.uniform(0.05, 0.8))
            own_server.kill()
            own_server.start()
        enough.touch()
        counts = []
        for process in (one, other):
            out, err = process.communicate(timeout=90)
            assert process.returncode == 0, err
            counts.append(int(out.split()[-2]))
    for name, value in variables(own_server).items():
        monkeypatch.setenv(name, value)
    with Client() as client:
        assert headway.sync().ok
        for run, count in zip(runs, counts, strict=True):
            check_exactly_once(client, run, count - 1)
            assert len(steps_there(client, run)) == count


def test_without_a_server_training_is_the_same_and_everything_is_sent_later(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is not there from the beginning, and begins at that address afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code = f"""
import headway
run = headway.init({QUIET})
for step in range(50_000):
    run.log({{"x": step}}, step=step)
run.finish(timeout=0.2)
print(run.id)
"""
    more = {"HEADWAY_URL": f"http://127.0.0.1:{port}", "HEADWAY_TOKEN": "hw_none", "HEADWAY_PROJECT": "faults"}
    with started(code, here, more=more) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "headway sync" in err
    assert len([line for line in err.splitlines() if line.startswith("headway:")]) <= 3
    with ServerProcess(tmp_path / "data", port=port) as server:
        for name, value in variables(server).items():
            monkeypatch.setenv(name, value)
        assert headway.sync().ok
        with Client() as client:
            check_exactly_once(client, out.strip(), 49_999)


def test_answers_that_are_lost_double_nothing(
    here: Path, connected: Client, running_server: ServerProcess, chance: random.Random, tmp_path: Path
) -> None:
    """Requests arrive and are carried out; the trainer does not hear of it (R6)."""
    enough = tmp_path / "enough"
    with LosingProxy(running_server.port, 20, chance) as proxy:
        more = {**variables(running_server), "HEADWAY_URL": proxy.url}
        with started(STEADY, here, str(enough), more=more) as process:
            assert process.stdout is not None
            run = process.stdout.readline().strip()
            until(lambda: proxy.lost >= repetitions(10, 1000), 120, "answers are lost")
            enough.touch()
            out, err = process.communicate(timeout=90)
            assert process.returncode == 0, err
    assert headway.sync().ok
    count = int(out.split()[-2])
    check_exactly_once(connected, run, count - 1)
    assert len(steps_there(connected, run)) == count
    assert local_runs(here)[0].metrics("x").total == count
