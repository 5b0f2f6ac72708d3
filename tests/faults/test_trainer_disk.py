"""A trainer whose disk is full, gone or read-only: training goes on, and nothing is lost that can be kept anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import headway
from headway import Client
from headway.testing.faults import until
from headway.testing.server import ServerProcess
from headway.testing.trainers import QUIET, started, steps
from headway.tracking.local import LocalRun, local_runs

MEGABYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "headway-test", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs root: sudo make test ({mounted.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where programs put what is temporary: on another file system than the small disk."""
    place = tmp_path / "temporary"
    place.mkdir(mode=0o700)
    yield {"TMPDIR": str(place)}


FILLING = f"""
import os, sys, headway
run = headway.init({QUIET})
print(run.id, flush=True)
for step in range(60_000):
    run.log({{"x": step}}, step=step)
print(run.health["dropped"], flush=True)
run.finish()
print(run.health["dropped"])
"""


def test_what_a_full_disk_does_not_take_goes_to_another_one(small_disk: Path, other_disk: dict[str, str]) -> None:
    """60,000 points need several times the room that there is (R9)."""
    with started(FILLING, small_disk / "runs", more=other_disk) as process:
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    run, *dropped = out.split()
    warnings = [line for line in err.splitlines() if "takes no data" in line]
    assert len(warnings) == 1 and "headway sync" in err, err
    elsewhere = next(Path(other_disk["TMPDIR"]).glob(f"headway-*/runs/{run}"))
    kept = [*steps(LocalRun.at(small_disk / "runs" / "runs" / run), "x"), *steps(LocalRun.at(elsewhere), "x")]
    assert sorted(step or 0 for step in kept) == sorted(set(kept))  # type: ignore[type-var]
    assert len(kept) + int(dropped[-1]) == 60_000
    assert int(dropped[-1]) <= 1


RETURNING = f"""
import os, sys, headway
filler = sys.argv[1]
run = headway.init({QUIET})
for step in range(10_000):
    run.log({{"x": step}}, step=step)
assert run._share.recorder.place is not run._share.recorder.home
os.unlink(filler)
for step in range(10_000, 11_000):
    run.log({{"x": step}}, step=step)
run.finish()
print(run.id, run.health["dropped"])
"""


def test_space_that_returns_brings_everything_home(small_disk: Path, other_disk: dict[str, str]) -> None:
    """Also what was in memory only."""
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * (MEGABYTE // 2))
    with started(RETURNING, small_disk / "runs", str(filler), more=other_disk) as process:
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    run, dropped = out.split()
    assert dropped == "0" and "headway sync" not in err
    assert steps(LocalRun.at(small_disk / "runs" / "runs" / run), "x") == list(range(11_000))
    assert not list(Path(other_disk["TMPDIR"]).glob("headway-*/runs/*"))


def test_a_full_disk_and_a_server_lose_nothing(
    small_disk: Path, other_disk: dict[str, str], running_server: ServerProcess
) -> None:
    """What is on no disk of its own is sent from where it is."""
    more = {"HEADWAY_URL": running_server.url, "HEADWAY_TOKEN": running_server.token, "HEADWAY_PROJECT": "disk"}
    with started(FILLING, small_disk / "runs", more={**more, **other_disk}) as process:
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    run, *dropped = out.split()
    with Client(running_server.url, running_server.token, project="disk") as client:
        until(lambda: len(there(client, run)) >= 59_999, 60)
        assert len(there(client, run)) + int(dropped[-1]) == 60_000
        assert there(client, run) == sorted(set(there(client, run)))


def there(client: Client, run: str) -> list[int]:
    return sorted(point.step or 0 for point in client.runs.get(run).metrics("x"))


REMOVED = f"""
import os, shutil, sys, headway
run = headway.init({QUIET})
print(run.id, flush=True)
for step in range(1000):
    run.log({{"x": step}}, step=step)
    if step == 500:
        shutil.rmtree(os.environ["HEADWAY_DIR"])
run.finish()
"""


def test_a_directory_that_is_removed_is_made_again_with_everything(tmp_path: Path) -> None:
    """``rm -rf`` while it is written (R11)."""
    with started(REMOVED, tmp_path / "runs") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert len([line for line in err.splitlines() if "was removed" in line]) == 1
    found = LocalRun.at(tmp_path / "runs" / "runs" / out.strip())
    assert steps(found, "x") == list(range(1000))
    assert found.state.value == "complete"


def test_a_directory_that_may_not_be_written_is_left_for_another(tmp_path: Path, other_disk: dict[str, str]) -> None:
    """Read-only for everybody, root included."""
    place = tmp_path / "locked"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "headway-test", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a read-only disk needs root: sudo make test")
    try:
        with started(FILLING.replace("60_000", "100"), place / "runs", more=other_disk) as process:
            out, err = process.communicate(timeout=60)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    assert process.returncode == 0, err
    assert out.split()[1:] == ["0", "0"]
    found = next(Path(other_disk["TMPDIR"]).glob("headway-*/runs/*"))
    assert steps(LocalRun.at(found), "x") == list(range(100))


def test_where_nothing_can_be_written_training_goes_on_and_points_are_counted(tmp_path: Path) -> None:
    code = f"""
import headway
from headway.tracking import opening, recorder
opening.fallback_base = recorder.fallback_base = lambda avoid: None
run = headway.init(dir="/proc/nowhere", {QUIET})
for step in range(100):
    run.log({{"x": step, "y": 1}}, step=step)
run.config["x"] = 1
run.finish()
print(run.health["dropped"])
"""
    with started(code, tmp_path / "runs") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.split() == ["200"]
    assert len([line for line in err.splitlines() if line.startswith("headway:")]) <= 2
    assert os.listdir(tmp_path) == [] and headway.local_runs(tmp_path) == local_runs(tmp_path) == []
    shutil.rmtree(tmp_path, ignore_errors=True)
