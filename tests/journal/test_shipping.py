"""One thread that ships every stream of a process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.domain.base import now
from headway.errors import (
    AuthenticationError,
    ConnectionFailedError,
    HeadwayError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    OffsetConflictError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    StaleAttemptError,
    StorageFullError,
    UnavailableError,
)
from headway.journal.codec import JournalHeader
from headway.journal.shipper import RETRYABLE, Shipper
from headway.journal.shipping import ShippingGroup
from headway.journal.writer import JournalWriter

KIND = 9
"""A kind of frame that nobody knows."""


class Server:
    """A server's side of one stream, which can be away or refuse."""

    def __init__(self, error: Exception | None = None) -> None:
        self.held = b""
        self.closed = False
        self.sends: list[int] = []
        self.tries: list[float] = []
        self.largest = 1 << 30
        self.error = error
        self.asked = threading.Semaphore(0)
        self.stored = threading.Semaphore(0)

    def send(self, offset: int, data: bytes, *, close: bool) -> int:
        self.tries.append(time.monotonic())
        self.asked.release()
        if self.error:
            raise self.error
        if len(data) > self.largest:
            raise PayloadTooLargeError("Too much at once.")
        if offset > len(self.held):
            raise OffsetConflictError("Elsewhere.", details={"committed": len(self.held)})
        fresh = data[len(self.held) - offset :]
        assert not (fresh and self.closed), "bytes after the end"
        self.held += fresh
        self.closed = self.closed or close
        self.sends.append(len(data))
        self.stored.release()
        return len(self.held)


class Fleet:
    """Writers whose journals one group ships."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.failures: list[HeadwayError] = []
        self.troubles: list[HeadwayError] = []
        self.failed = threading.Event()
        self.group = ShippingGroup(
            longest_pause=0.2, on_failure=self._fail, on_trouble=self.troubles.append, interval=0.01
        )
        self.writers: list[JournalWriter] = []

    def _fail(self, error: HeadwayError) -> None:
        self.failures.append(error)
        self.failed.set()

    def open(self, server: Server) -> JournalWriter:
        name = f"w{len(self.writers)}"
        header = JournalHeader(run="run1", stream=f"logs/{name}-ab", writer="ab", created=now())
        path = self.directory / f"{name}.hwj"
        writer = JournalWriter(path, header, on_append=self.group.notify)
        self.writers.append(writer)
        self.group.add(Shipper(path, server, limit=lambda: writer.position))
        return writer

    def finish(self, seconds: float = 20) -> int:
        for writer in self.writers:
            writer.close()
        return self.group.finish(seconds)

    def end(self) -> None:
        self.group.stop()
        for writer in self.writers:
            writer.close()
        thread = self.group._thread
        if thread is not None:
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.end()


def acquire(semaphore: threading.Semaphore) -> None:
    assert semaphore.acquire(timeout=20)


def test_what_is_appended_arrives_by_itself(fleet: Fleet) -> None:
    server = Server()
    writer = fleet.open(server)
    acquire(server.stored)
    for _ in range(3):
        writer.append(KIND, b"x" * 100)
        acquire(server.stored)
        assert len(server.held) == writer.position
    assert fleet.finish() == 0
    assert fleet.group.complete and fleet.group.settled and server.closed
    assert server.held == writer.path.read_bytes()


def test_many_streams_share_one_thread(fleet: Fleet) -> None:
    servers = [Server() for _ in range(8)]
    before = {thread for thread in threading.enumerate() if thread.name == "headway-shipping"}
    writers = [fleet.open(server) for server in servers]
    for round_number in range(50):
        for number, writer in enumerate(writers):
            writer.append(KIND, bytes([number]) * round_number)
    after = {thread for thread in threading.enumerate() if thread.name == "headway-shipping"}
    assert len(after - before) == 1
    assert fleet.finish() == 0
    assert [server.held for server in servers] == [writer.path.read_bytes() for writer in writers]
    assert all(server.closed for server in servers)


def test_what_arrives_meanwhile_is_merged(fleet: Fleet) -> None:
    server = Server()
    writer = fleet.open(server)
    for index in range(2000):
        writer.append(KIND, b"x" * (index % 50))
    assert fleet.finish() == 0
    assert server.held == writer.path.read_bytes()
    assert len(server.sends) < 500


@pytest.mark.parametrize(
    "error",
    [
        ConnectionFailedError("x"),
        StorageFullError("x"),
        InternalError("x"),
        UnavailableError("x"),
        RateLimitedError("x", details={"retry_after": 0}),
        AuthenticationError("x"),
        PermissionDeniedError("x"),
        NotFoundError("x"),
        RuntimeError("a fault in what carries the bytes"),
    ],
)
def test_an_outage_or_a_refused_token_loses_nothing(fleet: Fleet, error: Exception) -> None:
    """R8: 401, 403, 404, 429 and 5xx neither delete nor end anything."""
    server, other = Server(error), Server(error)
    writer, beside = fleet.open(server), fleet.open(other)
    for _ in range(3):
        writer.append(KIND, b"x" * 100)
        acquire(server.asked)
    assert fleet.group.waiting and not fleet.group.settled
    server.error = other.error = None
    acquire(server.stored)
    assert fleet.finish() == 0
    assert server.held == writer.path.read_bytes() and server.closed
    assert other.held == beside.path.read_bytes() and other.closed
    assert not fleet.failures
    assert len(fleet.troubles) == 1


@pytest.mark.parametrize(
    "error",
    [InvalidRequestError("not a journal"), StaleAttemptError("replaced"), OffsetConflictError("somebody else's")],
)
def test_a_stream_that_is_refused_for_good_is_given_up_alone(fleet: Fleet, error: HeadwayError) -> None:
    """R8: 422 for one stream quarantines that stream; the others flow."""
    good, bad, late = Server(), Server(error), Server()
    writers = [fleet.open(server) for server in (good, bad, late)]
    assert fleet.failed.wait(20)
    for _ in range(3):
        for writer in writers:
            writer.append(KIND, b"x" * 100)
    left = fleet.finish()
    assert left == writers[1].path.stat().st_size
    assert [server.closed for server in (good, bad, late)] == [True, False, True]
    assert good.held == writers[0].path.read_bytes()
    assert fleet.group.settled and not fleet.group.complete
    assert [(shipper.path, found) for shipper, found in fleet.group.errors] == [(writers[1].path, error)]
    assert fleet.failures == [error]


def test_413_makes_pieces_smaller(fleet: Fleet) -> None:
    server = Server()
    server.largest = 70_000
    writer = fleet.open(server)
    writer.append(KIND, b"x" * 2_000_000)
    assert fleet.finish() == 0
    assert server.held == writer.path.read_bytes() and max(server.sends) <= 70_000


def test_a_caller_may_call_what_it_does_not_wait_out(tmp_path: Path) -> None:
    failed = threading.Event()
    group = ShippingGroup(retry=RETRYABLE, on_failure=lambda error: failed.set())
    writer = JournalWriter(
        tmp_path / "a.hwj", JournalHeader(run="r", stream="logs/a-b", writer="b", created=now()), on_append=group.notify
    )
    group.add(Shipper(writer.path, Server(AuthenticationError("x")), limit=lambda: writer.position))
    assert failed.wait(20)
    writer.close()
    assert group.finish(20) > 0
    assert isinstance(group.errors[0][1], AuthenticationError)


def test_finish_says_what_is_left_and_may_be_called_again(fleet: Fleet) -> None:
    server = Server(ConnectionFailedError("x"))
    writer = fleet.open(server)
    writer.append(KIND, b"x" * 100)
    assert fleet.finish(0.05) == writer.path.stat().st_size
    assert not fleet.group.complete
    server.error = None
    assert fleet.group.finish(20) == 0
    assert fleet.group.complete and not fleet.group.errors


def test_pauses_grow_and_are_jittered(fleet: Fleet) -> None:
    server = Server(ConnectionFailedError("x"))
    fleet.open(server)
    for _ in range(8):
        acquire(server.asked)
    gaps = [later - earlier for earlier, later in zip(server.tries, server.tries[1:], strict=False)]
    assert all(gap >= 0.024 for gap in gaps)
    assert gaps[-1] >= 0.1


def test_it_waits_as_long_as_the_server_asks(fleet: Fleet) -> None:
    server = Server(RateLimitedError("x", details={"retry_after": 50}))
    fleet.open(server)
    acquire(server.asked)
    assert not server.asked.acquire(timeout=0.5)
    server.error = None
    assert fleet.finish() == 0


def test_stop_ends_it_whatever_is_left(fleet: Fleet) -> None:
    server = Server(RateLimitedError("x", details={"retry_after": 50}))
    fleet.open(server)
    acquire(server.asked)
    fleet.group.stop()
    thread = fleet.group._thread
    assert thread is not None
    thread.join(20)
    assert not thread.is_alive()


def test_a_group_without_streams_has_nothing_to_do() -> None:
    group = ShippingGroup()
    group.notify()
    assert group.finish(20) == 0
    assert group.complete and group.settled
    group.stop()


def test_signal_handlers_may_notify(tmp_path: Path) -> None:
    """A handler that appends interrupts the main thread wherever it is, also within ``notify``."""
    code = """
import signal, sys
from pathlib import Path
from headway.domain.base import now
from headway.journal.codec import JournalHeader
from headway.journal.shipper import Shipper
from headway.journal.shipping import ShippingGroup
from headway.journal.writer import JournalWriter

class Sink:
    held = 0
    def send(self, offset, data, *, close):
        self.held = max(self.held, offset + len(data))
        return self.held

group = ShippingGroup(interval=0.0)
writers = []
for name in "ab":
    path = Path(sys.argv[1]) / f"{name}.hwj"
    header = JournalHeader(run="r", stream=f"logs/{name}-x", writer=name, created=now())
    writer = JournalWriter(path, header, on_append=group.notify)
    group.add(Shipper(path, Sink(), limit=lambda writer=writer: writer.position))
    writers.append(writer)
handled = []
signal.signal(signal.SIGALRM, lambda number, frame: (writers[1].append(9, b"y"), handled.append(1)))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
while len(handled) < 100:
    writers[0].append(9, b"x")
    group.notify()
signal.setitimer(signal.ITIMER_REAL, 0)
for writer in writers:
    writer.close()
print(group.finish(20), group.complete)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "True"]), done.stderr
