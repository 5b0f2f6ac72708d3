"""kill -9 of server and client in the middle of writes to the object area: an object has its content or is not there."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.errors import ConflictError, NotFoundError
from headway.sdk.transport import HttpTransport, Request, Response
from headway.testing.faults import repetitions, until
from headway.testing.server import ServerProcess

FILES = 150


class Stopped(BaseException):
    """This client ends here."""


class Meddling:
    """Real HTTP; ``before_naming`` is called when all contents were sent and are about to be named."""

    def __init__(self, url: str, before_naming: Callable[[], None]) -> None:
        self._inner, self._before = HttpTransport(url), before_naming

    def send(self, request: Request) -> Response:
        if request.method == "POST" and request.url.endswith("/objects"):
            self._before()
        return self._inner.send(request)

    def close(self) -> None:
        self._inner.close()


def meddling(server: ServerProcess, before_naming: Callable[[], None]) -> Client:
    transport = Meddling(server.url, before_naming)
    return Client(server.url, server.token, project="faults", retry_for=60.0, transport=transport)


@pytest.fixture
def folder(tmp_path: Path, chance: random.Random) -> Path:
    root = tmp_path / "folder"
    for index in range(FILES):
        path = root / str(index % 7) / str(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(index.to_bytes(2, "big") + os.urandom(chance.randrange(0, 2000)))
    return root


def count(client: Client, address: str) -> int:
    try:
        return sum(1 for _ in client.objects.list(address))
    except NotFoundError:
        return 0  # not even the bucket


def read(client: Client, address: str) -> bytes:
    """What an object holds, read at one moment: one that is replaced meanwhile is told."""
    while True:
        try:
            return client.objects.read(address)
        except ConflictError:
            continue


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def restart(server: ServerProcess) -> None:
    server.kill()
    server.start()


def test_a_server_that_is_killed_between_sending_and_naming_has_kept_the_contents(
    own_server: ServerProcess, client: Client, folder: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    def kill() -> None:
        if not seen:
            restart(own_server)
            seen.append(count(client, "s3://data"))

    with meddling(own_server, kill) as sender:
        assert len(sender.objects.upload(folder, "s3://data/in")) == FILES
    assert seen == [0]
    client.objects.download("s3://data/in", tmp_path / "target")
    assert contents(tmp_path / "target") == contents(folder)


def test_nothing_is_there_of_a_client_that_dies_before_naming_and_its_contents_are_collected(
    own_server: ServerProcess, client: Client, folder: Path
) -> None:
    def stop() -> None:
        own_server.kill()
        raise Stopped

    with meddling(own_server, stop) as sender, pytest.raises(Stopped):
        sender.objects.upload(folder, "s3://data/in")
    own_server.start()
    assert list(client.objects.buckets()) == []
    collected: list[int] = []

    def all_collected() -> bool:
        # What was sent a moment ago is never collected: several passes may be needed.
        collected.append(client.gc(grace_hours=0).blobs)
        return sum(collected) >= FILES

    until(all_collected, 120, f"{FILES} contents that nobody names")
    assert sum(collected) == FILES
    assert [path for path in (own_server.data / "blobs" / "sha256").rglob("*") if path.is_file()] == []


def test_a_folder_is_there_whole_or_not_at_all_whenever_the_server_is_killed(
    own_server: ServerProcess, client: Client, folder: Path, chance: random.Random, tmp_path: Path
) -> None:
    for number in range(repetitions(3, 50)):
        address = f"s3://{new_id('b')}/in"
        naming = threading.Event()
        with meddling(own_server, naming.set) as sender:
            thread = threading.Thread(target=sender.objects.upload, args=(folder, address))
            thread.start()
            if number % 2:
                naming.wait(60)
                time.sleep(chance.uniform(0, 0.05))
            else:
                time.sleep(chance.uniform(0, 1))
            restart(own_server)
            while thread.is_alive():
                assert count(client, address) in (0, FILES)
                thread.join(0.01)
        assert count(client, address) == FILES
        client.objects.download(address, tmp_path / f"target{number}")
        assert contents(tmp_path / f"target{number}") == contents(folder)


def test_an_object_that_is_replaced_has_the_former_or_the_new_content(
    own_server: ServerProcess, client: Client, chance: random.Random
) -> None:
    address = "s3://data/key"
    former = os.urandom(1000)
    client.objects.put(address, former)
    for number in range(repetitions(3, 50)):
        new = os.urandom(1000 + number)
        naming = threading.Event()
        with meddling(own_server, naming.set) as sender:
            thread = threading.Thread(target=sender.objects.put, args=(address, new))
            thread.start()
            assert naming.wait(60)
            time.sleep(chance.uniform(0, 0.02))
            restart(own_server)
            assert read(client, address) in (former, new)
            thread.join(120)
            assert not thread.is_alive()
        assert client.objects.read(address) == new
        former = new


def test_what_is_deleted_together_goes_together(
    own_server: ServerProcess, client: Client, folder: Path, chance: random.Random
) -> None:
    for _ in range(repetitions(2, 50)):
        client.objects.upload(folder, "s3://data/in")
        thread = threading.Thread(target=client.objects.delete, args=("s3://data/in",), kwargs={"recursive": True})
        thread.start()
        time.sleep(chance.uniform(0, 0.05))
        restart(own_server)
        while thread.is_alive():
            assert count(client, "s3://data/in") in (0, FILES)
            thread.join(0.01)
        assert count(client, "s3://data/in") == 0
