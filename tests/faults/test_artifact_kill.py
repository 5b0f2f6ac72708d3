"""kill -9 of client and server in the middle of large uploads and downloads: they go on, and nothing wrong is stored."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.domain.uploads import LARGE_BYTES, UploadState
from headway.errors import NotFoundError
from headway.sdk.transport import HttpTransport, Request, Response
from headway.testing.faults import repetitions, until
from headway.testing.server import ServerProcess

PARTS = 6
SIZE = PARTS * LARGE_BYTES - 12_345
PART = re.compile(r"/parts/([0-9]+)$")

UPLOAD = """
import sys
from headway import Client
with Client(sys.argv[1], sys.argv[2], project="faults") as client:
    print("ready", flush=True)
    client.artifacts.upload(sys.argv[3], sys.argv[4])
"""

DOWNLOAD = """
import sys
from headway import Client
with Client(sys.argv[1], sys.argv[2], project="faults") as client:
    print("ready", flush=True)
    client.artifacts.download(sys.argv[3], sys.argv[4])
"""


class Counting:
    """Real HTTP that counts the parts that the server took, and the bytes that it was asked for."""

    def __init__(self, url: str) -> None:
        self._inner = HttpTransport(url)
        self.taken: Counter[int] = Counter()
        self.ranges: list[str] = []

    def send(self, request: Request) -> Response:
        answer = self._inner.send(request)
        match = PART.search(request.url)
        if match is not None and answer.status == 204:
            self.taken[int(match[1])] += 1
        if "Range" in request.headers:
            self.ranges.append(request.headers["Range"])
        return answer

    def close(self) -> None:
        self._inner.close()


def counting(server: ServerProcess) -> tuple[Client, Counting]:
    transport = Counting(server.url)
    return Client(server.url, server.token, project="faults", retry_for=60.0, transport=transport), transport


def new_file(path: Path, chance: random.Random) -> str:
    """Random bytes; their SHA-256."""
    block = chance.randbytes(1 << 20)
    hasher = hashlib.sha256()
    with path.open("wb") as file:
        left = SIZE
        while left > 0:
            piece = (chance.randbytes(64) + block)[: min(left, 1 << 20)]
            file.write(piece)
            hasher.update(piece)
            left -= len(piece)
    return hasher.hexdigest()


def start(script: str, server: ServerProcess, *arguments: str) -> subprocess.Popen[str]:
    """A program of its own that talks to the server; it is ready."""
    command = [sys.executable, "-c", script, server.url, server.token, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def reached(count: Callable[[], int], wanted: int, worker: subprocess.Popen[str] | threading.Thread) -> None:
    """Wait until ``count`` gives as much as is wanted, or the worker is done."""

    def over() -> bool:
        return not worker.is_alive() if isinstance(worker, threading.Thread) else worker.poll() is not None

    until(lambda: over() or count() >= wanted, 60, f"{wanted} parts", pause=0.001)


def progress(client: Client, digest: str) -> UploadState:
    return client.blobs.begin(digest, SIZE)


def check_nothing_committed(client: Client, name: str, server: ServerProcess, digest: str) -> None:
    """No version is there, and what is stored under the digest, if anything, has that digest."""
    with pytest.raises(NotFoundError):
        client.artifacts.resolve(name)
    path = server.data / "blobs" / "sha256" / digest[:2] / digest
    if path.exists():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_a_client_that_is_killed_while_it_uploads_sends_only_what_was_not_taken(
    own_server: ServerProcess, client: Client, chance: random.Random, tmp_path: Path
) -> None:
    for number in range(repetitions(3, 50)):
        name, path = f"n{number}", tmp_path / "file"
        digest = new_file(path, chance)
        process = start(UPLOAD, own_server, name, str(path))
        try:
            reached(partial(_present, own_server), chance.randrange(0, PARTS), process)
            time.sleep(chance.uniform(0, 0.05))
        finally:
            end(process)
        if process.returncode == 0:
            assert client.artifacts.verify(name).ok
            continue
        check_nothing_committed(client, name, own_server, digest)
        again, transport = counting(own_server)
        with again:
            # A part that the killed client was sending may still be on its way into the server: then it is there, too.
            state = progress(again, digest)
            there = {place for place, present in enumerate(state.parts) if present}
            version = again.artifacts.upload(name, path)
            assert not there & set(transport.taken), "a part that the server had was sent again"
            assert max(transport.taken.values(), default=0) <= 1
            assert again.artifacts.verify(version).ok
    check_nothing_incoming(own_server)


def _present(server: ServerProcess) -> int:
    """How many parts of unfinished uploads the server has; 32 bytes of its file ``parts`` are not zero for each."""
    count = 0
    for path in (server.data / "blobs" / "incoming").glob("up-*/parts"):
        try:
            table = path.read_bytes()
        except FileNotFoundError:
            continue
        count += sum(any(table[at : at + 32]) for at in range(0, len(table), 32))
    return count


def check_nothing_incoming(server: ServerProcess) -> None:
    assert list((server.data / "blobs" / "incoming").iterdir()) == []


def test_a_server_that_is_killed_while_it_receives_keeps_every_part_that_it_took(
    own_server: ServerProcess, client: Client, chance: random.Random, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    for number in range(repetitions(2, 50)):
        new_file(path, chance)
        sender, transport = counting(own_server)
        failures: list[Exception] = []

        def send(name: str, sender: Client = sender, failures: list[Exception] = failures) -> None:
            try:
                sender.artifacts.upload(name, path)
            except Exception as error:  # noqa: BLE001 - told to the test
                failures.append(error)

        thread = threading.Thread(target=send, args=(f"n{number}",))
        thread.start()
        for _ in range(chance.randrange(1, 3)):
            reached(partial(_present, own_server), chance.randrange(0, PARTS), thread)
            time.sleep(chance.uniform(0, 0.05))
            own_server.kill()
            own_server.start()
        thread.join(120)
        assert not thread.is_alive()
        assert failures == []
        assert set(transport.taken.values()) <= {1}, "a part that the server had said to have was sent again"
        assert sender.artifacts.verify(f"n{number}").ok
        sender.close()
    check_nothing_incoming(own_server)


def test_a_download_goes_on_when_either_side_is_killed(
    own_server: ServerProcess,
    client: Client,
    connect: Callable[[ServerProcess], Client],
    chance: random.Random,
    tmp_path: Path,
) -> None:
    source = tmp_path / "file"
    digest = new_file(source, chance)
    version = client.artifacts.upload("data", source)
    for number in range(repetitions(2, 50)):
        target = tmp_path / f"target{number}"
        marks = partial(_marks, target / f".headway-{digest}.parts")
        process = start(DOWNLOAD, own_server, "data", str(target))
        try:
            reached(marks, chance.randrange(0, PARTS), process)
            time.sleep(chance.uniform(0, 0.02))
        finally:
            end(process)
        before = marks()
        assert not (target / "file").exists() or process.returncode == 0 or before == 0
        again, transport = counting(own_server)
        with again:
            reader = threading.Thread(target=again.artifacts.download, args=(version, target))
            reader.start()
            if number % 2:
                own_server.kill()
                own_server.start()
            reader.join(120)
        assert hashlib.sha256((target / "file").read_bytes()).hexdigest() == digest
        assert [path.name for path in target.iterdir()] == ["file"]
        if number % 2 == 0:
            assert len(transport.ranges) <= PARTS - before


def _marks(path: Path) -> int:
    try:
        return path.read_bytes().count(b"1")
    except FileNotFoundError:
        return 0


def test_small_files_survive_a_killed_server_too(
    own_server: ServerProcess, client: Client, chance: random.Random, tmp_path: Path
) -> None:
    for number in range(repetitions(2, 50)):
        folder = tmp_path / new_id("many")
        folder.mkdir()
        for index in range(150):
            (folder / str(index)).write_bytes(os.urandom(chance.randrange(0, 2000)))
        sender, _ = counting(own_server)
        thread = threading.Thread(target=sender.artifacts.upload, args=(f"many{number}", folder))
        thread.start()
        time.sleep(chance.uniform(0, 0.5))
        own_server.kill()
        own_server.start()
        thread.join(120)
        assert not thread.is_alive()
        with sender:
            assert sender.artifacts.verify(f"many{number}").ok
            assert sender.artifacts.resolve(f"many{number}").entries == 150
