"""Uploads in parts against a real server: parallel, resumed, verified; and a server that misbehaves."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from headway import Client
from headway.domain.base import new_id
from headway.domain.uploads import LARGE_BYTES, part_size
from headway.errors import ConnectionFailedError, HeadwayError, InvalidRequestError, WorkspaceError
from headway.sdk.parts import ATTEMPTS, PARALLEL, each
from headway.sdk.transport import HttpTransport, Request, Response, Transport
from headway.sdk.uploads import LocalFile, local_file, upload
from headway.testing.server import ServerProcess

MIB = 1 << 20
PART = re.compile(r"/uploads/[^/]+/parts/([0-9]+)$")


class Watched:
    """A transport that lets requests through, counts the parts, and can meddle with them."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.parts: Counter[int] = Counter()
        self.taken: Counter[int] = Counter()
        self.before: Any = None

    def send(self, request: Request) -> Response:
        match = PART.search(request.url)
        if match is not None:
            self.parts[int(match[1])] += 1
        if self.before is not None:
            request = self.before(request, match) or request
        answer = self._inner.send(request)
        if match is not None and answer.status == 204:
            self.taken[int(match[1])] += 1
        return answer

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def watched(running_server: ServerProcess) -> Watched:
    return Watched(HttpTransport(running_server.url))


@pytest.fixture
def client(running_server: ServerProcess, watched: Watched) -> Iterator[Client]:
    project = new_id("project")
    with Client(running_server.url, running_server.token, project=project, transport=watched) as found:
        found.projects.create(project)
        yield found


@pytest.fixture
def large(tmp_path: Path) -> LocalFile:
    """Five parts, the last one short."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(4 * LARGE_BYTES + 1000))
    return local_file(path, "large")


def send(client: Client, *files: LocalFile) -> None:
    assert client.project is not None
    upload(client.blobs, files, project=client.project)


def check(client: Client, file: LocalFile) -> None:
    with client.blobs.open(file.entry.digest) as answer:
        assert b"".join(answer.chunks()) == file.path.read_bytes()


def test_a_large_file_goes_in_parts_each_once(client: Client, watched: Watched, large: LocalFile) -> None:
    send(client, large)
    assert watched.parts == dict.fromkeys(range(5), 1)
    check(client, large)
    send(client, large)
    assert watched.parts.total() == 5


def test_small_files_go_in_one_request(client: Client, watched: Watched, tmp_path: Path) -> None:
    files = []
    for number, size in enumerate((0, 1, 1000, LARGE_BYTES)):
        path = tmp_path / str(number)
        path.write_bytes(os.urandom(size))
        files.append(local_file(path, path.name))
    send(client, *files, *files)
    assert watched.parts.total() == 0
    for file in files:
        check(client, file)


def test_an_interrupted_upload_goes_on_and_sends_nothing_again_that_was_taken(
    client: Client, watched: Watched, large: LocalFile
) -> None:
    def fail_at(request: Request, match: Any) -> None:
        if match is not None and match[1] == "3":
            raise WorkspaceError("the client goes away")

    watched.before = fail_at
    with pytest.raises(WorkspaceError):
        send(client, large)
    watched.before = None
    assert watched.taken[3] == 0
    send(client, large)
    assert watched.taken == dict.fromkeys(range(5), 1)
    check(client, large)


def test_a_part_that_is_changed_on_the_way_is_sent_again(client: Client, watched: Watched, large: LocalFile) -> None:
    def corrupt(request: Request, match: Any) -> Request | None:
        if match is None or match[1] != "1" or watched.parts[1] > 2:
            return None
        content = request.content
        assert callable(content)
        data = bytearray(b"".join(content()))
        data[len(data) // 2] ^= 1
        return Request(request.method, request.url, request.headers, bytes(data), request.timeout)

    watched.before = corrupt
    send(client, large)
    assert watched.parts == {0: 1, 1: 3, 2: 1, 3: 1, 4: 1}
    check(client, large)


def test_a_way_that_changes_every_part_is_given_up_and_nothing_is_stored(
    client: Client, watched: Watched, large: LocalFile
) -> None:
    def corrupt(request: Request, match: Any) -> Request | None:
        if match is None:
            return None
        content = request.content
        assert callable(content)
        data = b"".join(content())[::-1]
        return Request(request.method, request.url, request.headers, data, request.timeout)

    watched.before = corrupt
    with pytest.raises(WorkspaceError):
        send(client, large)
    assert max(watched.parts.values()) == ATTEMPTS
    assert client.blobs.missing([large.entry.digest]) == {large.entry.digest}


def test_a_lost_answer_is_asked_for_again(client: Client, watched: Watched, large: LocalFile) -> None:
    lost = []

    def lose(request: Request, match: Any) -> Request | None:
        if request.url.endswith("/finish") and not lost:
            watched._inner.send(request).close()
            lost.append(request)
            raise ConnectionFailedError("the answer did not arrive")
        return None

    watched.before = lose
    send(client, large)
    assert lost
    check(client, large)


def test_a_file_that_shrinks_or_changes_while_it_is_sent_is_refused(
    client: Client, watched: Watched, large: LocalFile
) -> None:
    for change in (lambda data: data[: len(data) // 2], lambda data: data[::-1]):
        content = large.path.read_bytes()
        large.path.write_bytes(change(content))
        with pytest.raises(WorkspaceError, match="changed"):
            send(client, large)
        large.path.write_bytes(content)
        assert client.blobs.missing([large.entry.digest]) == {large.entry.digest}
    send(client, large)
    check(client, large)


def test_two_who_send_one_blob_at_once_share_the_work(client: Client, watched: Watched, large: LocalFile) -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        for future in [pool.submit(send, client, large) for _ in range(2)]:
            future.result()
    check(client, large)


def test_memory_stays_bounded_on_both_sides(client: Client, running_server: ServerProcess, tmp_path: Path) -> None:
    assert running_server.process is not None
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(250 * MIB)
        file.write(os.urandom(MIB))
    large = local_file(path, "sparse")
    server, own = psutil.Process(running_server.process.pid), psutil.Process()
    before, most, ends = own.memory_info().rss, [0, 0], threading.Event()

    def watch() -> None:
        while not ends.wait(0.01):
            most[0] = max(most[0], own.memory_info().rss - before)
            most[1] = max(most[1], server.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        send(client, large)
    finally:
        ends.set()
        watcher.join()
    assert most[0] < 100 * MIB
    assert most[1] < 200 * MIB


def test_a_server_that_forgets_every_upload_is_given_up(mock: Any, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"l" * (LARGE_BYTES + 1))
    file = local_file(path, "large")
    state = {"held": False, "id": "up1", "part_size": LARGE_BYTES, "parts": [False, False]}
    mock.routes["POST /api/v1/projects/digits/blobs/missing"] = {"missing": [file.entry.digest]}
    mock.routes["POST /api/v1/projects/digits/uploads"] = state
    with mock.client() as client, pytest.raises(HeadwayError):
        upload(client.blobs, [file], project="digits")
    begun = [request for request in mock.requests if request.url.endswith("/uploads")]
    assert len(begun) == ATTEMPTS


@pytest.mark.parametrize("size", [1, LARGE_BYTES, 1 << 32, 1 << 40, 1 << 46])
def test_parts_are_at_most_ten_thousand(size: int) -> None:
    part = part_size(size)
    assert part % MIB == 0
    assert -(-size // part) <= 10_000


def test_at_most_so_many_wait_and_the_first_error_ends_it() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 5:
            raise InvalidRequestError("five")

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool, pytest.raises(InvalidRequestError, match="five"):
        each(pool, work, range(10**9))
    assert max(begun) < 100
