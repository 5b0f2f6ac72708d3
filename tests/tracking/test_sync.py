"""Directories that were left behind, brought to a server: twice, from two places, in parts, while they are written."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headway
from headway import Client
from headway.domain.base import new_id
from headway.errors import ConfigurationError, ConnectionFailedError, InvalidRequestError, NotFoundError
from headway.testing.faults import repetitions, seeded, until
from headway.testing.server import ServerProcess
from headway.testing.trainers import QUIET, environment, started, train

OFF: dict[str, Any] = {"capture": False, "console": False, "system": False, "mode": "offline"}
POINTS = 5000


@pytest.fixture
def here(running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch, base: Path) -> Iterator[Client]:
    project = new_id("project")
    monkeypatch.setenv("HEADWAY_URL", running_server.url)
    monkeypatch.setenv("HEADWAY_TOKEN", running_server.token)
    monkeypatch.setenv("HEADWAY_PROJECT", project)
    with Client(project=project) as found:
        yield found


def logged(points: int = POINTS, **keywords: Any) -> headway.TrackedRun:
    with headway.init(**{**OFF, **keywords}) as run:
        for step in range(points):
            run.log({"x": step, "y": 0.5}, step=step)
    return run


def steps_there(client: Client, run: str) -> list[int]:
    return sorted(point.step or 0 for point in client.runs.get(run).metrics("x", view="all"))


def check_all(client: Client, run: str, points: int = POINTS) -> None:
    until(lambda: len(steps_there(client, run)) >= points, 30)
    assert steps_there(client, run) == list(range(points))


def test_a_second_sync_sends_nothing(here: Client, base: Path) -> None:
    runs = [logged(name=str(number)) for number in range(3)]
    first = headway.sync()
    assert {run.id for run in first.runs} == {run.id for run in runs} and first.ok
    assert all(run.sent_bytes > POINTS and run.state.value == "synced" for run in first.runs)
    second = headway.sync(base)
    assert [run.sent_bytes for run in second.runs] == [0, 0, 0] and second.ok
    for run in runs:
        check_all(here, run.id)
    assert all(run.synced for run in headway.local_runs())


def test_any_directory_above_will_do(here: Client, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = logged(10)
    assert run.directory is not None
    base.rename(base.parent / ".headway")
    for path in (base.parent, base.parent / ".headway", base.parent / ".headway" / "runs" / run.id):
        assert [found.id for found in headway.sync(path).runs] == [run.id]
    with pytest.raises(NotFoundError, match="no run in"):
        headway.sync(base.parent / ".headway" / "runs" / run.id / "blobs")
    check_all(here, run.id, 10)


def test_two_machines_at_once_change_nothing(here: Client, base: Path, tmp_path: Path) -> None:
    run = logged(20_000)
    copies = [base, tmp_path / "copy"]
    shutil.copytree(base, copies[1])
    reports = []
    threads = [threading.Thread(target=lambda copy=copy: reports.append(headway.sync(copy))) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.ok for report in reports] == [True, True]
    check_all(here, run.id, 20_000)


def test_parts_of_a_copy_are_sent_and_completed_later(here: Client, base: Path, tmp_path: Path) -> None:
    """Journals that are cut anywhere, as a copy that is under way leaves them."""
    chance = seeded()
    for _ in range(repetitions(3, 50)):
        run = logged(2000)
        assert run.directory is not None
        copy = tmp_path / new_id("copy") / run.id
        copy.mkdir(parents=True)
        for share in (0.3, 0.7):
            cut_copy(run.directory, copy, share, chance)
            report = headway.sync(copy)
            assert report.ok or all("does not begin with" in text for found in report.runs for text in found.problems)
        before = steps_there(here, run.id)
        assert before == list(range(len(before)))
        assert headway.sync(run.directory).ok
        check_all(here, run.id, 2000)
        shutil.rmtree(run.directory)


def cut_copy(source: Path, target: Path, share: float, chance: random.Random) -> None:
    for path in source.glob("*.hwj"):
        data = path.read_bytes()
        (target / path.name).write_bytes(data[: int(len(data) * share * chance.uniform(0.8, 1.0))])


WRITING = f"""
import headway, sys
with headway.init(mode="offline", {QUIET}) as run:
    print(run.id, flush=True)
    for step in range(int(sys.argv[1])):
        run.log({{"x": step}}, step=step)
"""


def test_a_run_that_is_being_written_is_sent_as_far_as_it_is(here: Client, base: Path) -> None:
    with started(WRITING, base, "200000") as process:
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        states = [headway.sync(base).runs[0].state.value for _ in range(3)]
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert states[0] in ("running", "synced")
    report = headway.sync(base)
    assert report.ok and report.runs[0].state.value == "synced"
    check_all(here, run, 200_000)


def test_what_is_refused_or_broken_stops_nothing_else(here: Client, base: Path) -> None:
    good, broken, foreign = (logged(10, name=name) for name in ("good", "broken", "foreign"))
    assert broken.directory is not None and foreign.directory is not None and good.directory is not None
    journal = next(broken.directory.glob("metrics-*"))
    journal.write_bytes(b"this is no journal" * 100)
    other = new_id("project")
    here.projects.create(other)
    headway.sync(foreign.directory, project=other)
    report = {run.name: run for run in headway.sync(base, project=str(here.project)).runs}
    assert report["good"].state.value == "synced"
    assert report["broken"].state.value == "failed" and journal.name in report["broken"].problems[0]
    assert report["foreign"].state.value == "failed" and foreign.id in report["foreign"].problems[0]
    check_all(here, good.id, 10)
    assert here.runs.get(broken.id).name == "broken"


def test_damage_in_the_middle_costs_no_more_than_itself(here: Client, base: Path) -> None:
    run = logged(1000)
    assert run.directory is not None
    journal = next(run.directory.glob("metrics-*"))
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 0xFF
    journal.write_bytes(data)
    assert headway.sync().ok
    until(lambda: len(steps_there(here, run.id)) >= 999, 30)
    found = steps_there(here, run.id)
    assert len(found) == 999 and set(found) < set(range(1000))


def test_wrong_requests_are_named_before_anything_is_sent(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged(1)
    with pytest.raises(ConfigurationError, match="No server is configured"):
        headway.sync()
    monkeypatch.setenv("HEADWAY_URL", "http://127.0.0.1:9")
    with pytest.raises(InvalidRequestError, match="conflict_strategy must be one of skip, error, new, replace"):
        headway.sync(conflict_strategy="skipp")
    with pytest.raises(InvalidRequestError, match="folder"):
        headway.sync(folder="a/../b")


def test_a_server_that_is_away_is_one_error(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged(1)
    monkeypatch.setattr("headway.tracking.sync.RETRY_SECONDS", 0.0)
    monkeypatch.setenv("HEADWAY_URL", "http://127.0.0.1:9")
    with pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1:9"):
        headway.sync()


def command(base: Path, *arguments: str, more: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headway", *arguments],
        env=environment(base, more),
        cwd=base.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_commands_say_what_they_did(here: Client, base: Path) -> None:
    run = logged(100, name="named")
    assert run.directory is not None and here.connection.token is not None
    server = {"HEADWAY_URL": here.url, "HEADWAY_TOKEN": here.connection.token, "HEADWAY_PROJECT": str(here.project)}
    said = command(base, "sync", more=server)
    assert said.returncode == 0 and run.id in said.stdout and "synced" in said.stdout, said.stderr
    again = json.loads(command(base, "sync", str(run.directory), "--json", more=server).stdout)
    assert [(found["id"], found["state"], found["sent_bytes"]) for found in again["runs"]] == [(run.id, "synced", 0)]
    assert command(base, "doctor", str(base)).returncode == 0
    assert "Nothing is damaged" in command(base, "repair", str(base)).stderr

    journal = next(run.directory.glob("metrics-*"))
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 0xFF
    journal.write_bytes(data)
    sick = command(base, "doctor", str(base))
    assert sick.returncode == 1 and journal.name in sick.stdout
    assert json.loads(command(base, "doctor", str(base), "--json").stdout)["items"]
    assert command(base, "repair", str(base)).returncode == 0
    assert command(base, "doctor", str(base)).returncode == 0
    assert journal.with_name(journal.name + ".damaged").read_bytes() == data
    assert command(base, "sync", "nowhere", more=server).returncode == 4


KILLED = f"""
import os, headway
run = headway.init(mode="offline", {QUIET})
print(run.id, flush=True)
for step in range(1000):
    run.log({{"x": step}}, step=step)
os.kill(os.getpid(), 9)
"""


def test_a_run_that_was_killed_is_lost_there_too_with_all_its_points(here: Client, base: Path) -> None:
    run = train(KILLED, base, code_expected=-9).stdout.strip()
    assert headway.sync().ok
    check_all(here, run, 1000)
    assert here.runs.get(run).finished_at is None
