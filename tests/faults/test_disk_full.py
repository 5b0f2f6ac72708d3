"""A full disk, a port in use, a data directory in use: one clear error each, nothing half-created."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from headway import Client
from headway.domain.jobs import JobState
from headway.errors import ConnectionFailedError, StorageFullError
from headway.testing.faults import until
from headway.testing.server import ServerProcess

MEGABYTE = 1 << 20

STEADY = """
import os, sys, time
step = 0
while not os.path.exists(sys.argv[1]):
    step += 1
    print(f"step {step}", "." * 200, flush=True)
    time.sleep(0.002)
print("the last line", flush=True)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "headway-test", str(place)]
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
        for size in (MEGABYTE, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    assert os.statvfs(disk).f_bavail == 0
    try:
        yield
    finally:
        filler.unlink()


def headway_up(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``headway up``, which is expected to give up by itself."""
    command = [sys.executable, "-m", "headway", "up", "--data", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def check_one_clear_error(ended: subprocess.CompletedProcess[str], words: str) -> None:
    said = ended.stdout + ended.stderr
    assert ended.returncode not in (0, None), said
    assert ended.returncode > 0, said
    assert "Traceback" not in said
    assert len(re.findall("(?i)error:", said)) <= 1, said
    assert re.search(words, said), said
    assert len(said.strip().splitlines()) <= 4, said
    assert "token:" not in said


def files_below(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*") if found.is_file()}


def test_a_full_disk_is_one_clear_error_each_time_and_passes_without_a_restart(
    small_disk: Path, tmp_path: Path
) -> None:
    with ServerProcess(small_disk / "data") as server, Client(server.url, server.token, project="full") as client:
        client.projects.create("full")
        large, enough = tmp_path / "weights.bin", tmp_path / "enough"
        large.write_bytes(os.urandom(2 * MEGABYTE))
        job = client.jobs.create("steady", command=[sys.executable, "-c", STEADY, str(enough)])
        until(lambda: client.jobs.get(job.id).state is JobState.RUNNING, 30, "running")
        until(lambda: list(client.jobs.logs(job.id, tail=1)), 30, "a line")
        blobs = files_below(server.data / "blobs")

        with filled(small_disk):
            for attempt in (lambda: client.models.register("large", large), fill_the_database(client)):
                with pytest.raises(StorageFullError) as caught:
                    attempt()
                assert (caught.value.status, caught.value.code) == (507, "storage_full")
            check_reads(server, client, job.id)
            assert list(client.models.list()) == []
            assert files_below(server.data / "blobs") == blobs
            held = [found.name for found in client.jobs.list()]
            with pytest.raises(StorageFullError):
                create_job(client, "one more")
            assert [found.name for found in client.jobs.list()] == held
            assert len(list(client.runs.list())) == len(held)
            enough.touch()

        assert client.jobs.wait(job.id, timeout=60).state is JobState.SUCCEEDED
        lines = [row.line for row in client.jobs.logs(job.id)]
        assert lines == sorted(set(lines))
        assert client.models.register("large", large).version == 1
        again = client.jobs.create("again", command="echo hello")
        assert client.jobs.wait(again.id, timeout=60).state is JobState.SUCCEEDED
        assert [row.message for row in client.jobs.logs(again.id)] == ["hello"]
        server.stop()
        with closing(sqlite3.connect(server.data / "headway.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert "Traceback" not in "".join(server.lines)


def create_job(client: Client, name: str) -> None:
    client.jobs.create(name, command="true", start=False, environment={"LARGE": "x" * 100_000})


def fill_the_database(client: Client) -> Callable[[], None]:
    """Creates records until there is no room; what the database had set aside is used first."""

    def attempt() -> None:
        for number in range(1000):
            create_job(client, f"job {number}")

    return attempt


def check_reads(server: ServerProcess, client: Client, job_id: str) -> None:
    assert client.projects.get("full").name == "full"
    assert client.jobs.get(job_id).state is JobState.RUNNING
    assert list(client.jobs.logs(job_id, tail=5))
    for path in ("/health", "/ready"):
        assert httpx.get(server.url + path, trust_env=False).status_code == 200


def test_a_server_that_cannot_begin_on_a_full_disk_says_so(small_disk: Path) -> None:
    with filled(small_disk):
        check_one_clear_error(headway_up(small_disk / "data", "--port", "0"), "(?i)space|full")
    with ServerProcess(small_disk / "data") as server:
        assert server.token


def test_a_port_in_use_is_one_clear_error_and_uses_no_token_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check_one_clear_error(headway_up(tmp_path / "data", "--port", str(port)), f"port {port}")
    with ServerProcess(tmp_path / "data") as server:
        assert server.token


def test_a_second_server_on_the_same_data_directory_is_refused(own_server: ServerProcess) -> None:
    before = (own_server.data / "server.json").read_bytes()
    check_one_clear_error(headway_up(own_server.data, "--port", "0"), "(?i)another|in use")
    assert (own_server.data / "server.json").read_bytes() == before
    assert httpx.get(f"{own_server.url}/ready", trust_env=False).status_code == 200
    with Client(own_server.url, own_server.token) as client:
        assert client.projects.create("still").name == "still"


def test_a_server_that_is_away_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with Client(url, "hw_none", retry_for=0.2) as client, pytest.raises(ConnectionFailedError, match=re.escape(url)):
        client.projects.create("nowhere")
