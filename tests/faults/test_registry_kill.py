"""kill -9 of client and server between upload and registration: no version without its files, no file for ever."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.errors import HeadwayError
from headway.testing.faults import repetitions, until
from headway.testing.server import ServerProcess

FILES = 12
SECONDS = 90.0
FULL_SECONDS = repetitions(300, 2400)

REGISTER = """
import sys
from headway import Client
with Client(sys.argv[1], sys.argv[2], project="faults", retry_for=0) as client:
    print("ready", flush=True)
    client.models.register("killed", sys.argv[3], version_name=sys.argv[4], aliases=["newest"])
"""


def new_folder(path: Path, chance: random.Random) -> Path:
    path.mkdir()
    for number in range(FILES):
        (path / f"{number}.bin").write_bytes(chance.randbytes(chance.randrange(1, 60_000)))
    return path


def stored(server: ServerProcess) -> set[str]:
    """Digests of the blobs on the server's disk."""
    return {path.name for path in (server.data / "blobs" / "sha256").glob("*/*")}


def received(server: ServerProcess, before: set[str]) -> int:
    return len(stored(server) - before)


def check_versions(client: Client, server: ServerProcess, directory: Path) -> set[str]:
    """Every version has all its files, with their contents; the digests that versions name."""
    named: set[str] = set()
    for version in client.models.versions():
        assert len(version.files) == FILES
        client.models.download(version, directory / new_id("out"))  # checks the digests
        named |= {entry.digest for entry in version.files}
    assert named <= stored(server)
    return named


@pytest.mark.timeout(FULL_SECONDS)
def test_a_kill_between_upload_and_registration_leaves_no_half_version_and_no_lost_file(
    own_server: ServerProcess,
    client: Client,
    connect: Callable[[ServerProcess], Client],
    chance: random.Random,
    tmp_path: Path,
) -> None:
    """The client ends with the server, so nobody goes on with what was begun."""
    registered = set()
    for number in range(repetitions(3, 20)):
        folder = new_folder(tmp_path / f"model{number}", chance)
        before = stored(own_server)
        command = [sys.executable, "-c", REGISTER, own_server.url, own_server.token, str(folder), f"name-{number}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # Anywhere from the first file to some time after the last: that is where the registration is.
        wanted = chance.randrange(1, FILES + 1)
        until(lambda b=before, w=wanted, p=process: received(own_server, b) >= w or p.poll() is not None, SECONDS)  # type: ignore[misc]
        time.sleep(chance.choice([0.0, chance.uniform(0, 0.03)]))
        own_server.kill()
        process.kill()
        process.communicate()
        own_server.start()
        names = {version.version_name for version in client.models.versions()}
        if process.returncode == 0:
            assert f"name-{number}" in names, "a version that was confirmed is gone"
        assert registered <= names
        registered = {name for name in names if name is not None}
    again = connect(own_server)
    named = check_versions(again, own_server, tmp_path)
    numbers = sorted(version.version for version in again.models.versions())
    assert len(numbers) == len(set(numbers)) == len(registered)
    if numbers:
        assert again.models.version("killed@newest").version == max(numbers)

    def swept() -> bool:
        again.gc(grace_hours=0)
        return stored(own_server) == named

    until(swept, SECONDS, "what no version names to be collected", pause=0.5)
    check_versions(again, own_server, tmp_path)


@pytest.mark.timeout(FULL_SECONDS)
def test_a_client_that_lives_on_gets_exactly_one_version(
    own_server: ServerProcess, client: Client, chance: random.Random, tmp_path: Path
) -> None:
    """Whatever the killed server had done of it: the repeated request makes nothing twice."""
    for number in range(repetitions(3, 20)):
        folder = new_folder(tmp_path / f"model{number}", chance)
        before = stored(own_server)
        failures: list[HeadwayError] = []

        def register(folder: Path = folder, failures: list[HeadwayError] = failures, name: str = f"n{number}") -> None:
            with Client(own_server.url, own_server.token, project="faults", retry_for=60.0) as patient:
                try:
                    patient.models.register("patient", folder, version_name=name)
                except HeadwayError as error:
                    failures.append(error)

        thread = threading.Thread(target=register)
        thread.start()
        wanted = chance.randrange(1, FILES + 1)
        until(lambda b=before, w=wanted, t=thread: received(own_server, b) >= w or not t.is_alive(), SECONDS)  # type: ignore[misc]
        time.sleep(chance.choice([0.0, chance.uniform(0, 0.03)]))
        own_server.kill()
        own_server.start()
        thread.join(SECONDS)
        assert not thread.is_alive()
        assert failures == []
    versions = list(client.models.versions("patient"))
    assert sorted(version.version for version in versions) == list(range(1, len(versions) + 1))
    assert {version.version_name for version in versions} == {f"n{number}" for number in range(len(versions))}
    assert len(versions) == repetitions(3, 20)
    check_versions(client, own_server, tmp_path)


def test_the_file_system_is_what_the_test_looks_at(own_server: ServerProcess, client: Client, tmp_path: Path) -> None:
    """``stored`` finds what a registration stores: else the tests above would hold of nothing."""
    folder = new_folder(tmp_path / "model", random.Random(os.getpid()))
    version = client.models.register("m", folder)
    assert {entry.digest for entry in version.files} == stored(own_server)
