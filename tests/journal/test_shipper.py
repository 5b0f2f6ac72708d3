from __future__ import annotations

import random
from pathlib import Path

import pytest

from headway.domain.base import now
from headway.errors import (
    ConnectionFailedError,
    CorruptDataError,
    HeadwayError,
    InternalError,
    NotFoundError,
    OffsetConflictError,
    PayloadTooLargeError,
    RateLimitedError,
    StorageFullError,
    UnavailableError,
)
from headway.journal.codec import JournalHeader
from headway.journal.shipper import CHUNK, RETRYABLE, Shipper
from headway.journal.writer import JournalWriter

HEADER = JournalHeader(run="run1", stream="logs/worker-0-ab", writer="ab", created=now())


class Server:
    """A server's side of a stream: what contracts section 2 says, and a log of what was asked."""

    def __init__(self) -> None:
        self.held = b""
        self.closed = False
        self.sends: list[tuple[int, int, bool]] = []
        self.largest = CHUNK

    def send(self, offset: int, data: bytes, *, close: bool) -> int:
        self.sends.append((offset, len(data), close))
        if len(data) > self.largest:
            raise PayloadTooLargeError("Too much at once.")
        if offset > len(self.held):
            raise conflict(len(self.held))
        fresh = data[len(self.held) - offset :]
        assert not (fresh and self.closed), "bytes after the end"
        self.held += fresh
        self.closed = self.closed or close
        return len(self.held)


def conflict(committed: int) -> OffsetConflictError:
    return OffsetConflictError("Elsewhere.", details={"committed": committed})


class Weather(Server):
    """A server behind a network where everything goes wrong that can, in an order that ``seed`` decides."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.largest = self.random.choice([CHUNK, 30_000])
        self.outage = 0

    def send(self, offset: int, data: bytes, *, close: bool) -> int:
        if self.outage:
            self.outage -= 1
            raise ConnectionFailedError("No answer.")
        return self.random.choice(
            [super().send] * 6
            + [self.answer_lost, self.refused, self.cut, self.arrives_twice, self.goes_away, self.forgets, self.rival]
        )(offset, data, close=close)

    def answer_lost(self, offset: int, data: bytes, *, close: bool) -> int:
        Server.send(self, offset, data, close=close)
        raise ConnectionFailedError("The answer was lost.")

    def refused(self, offset: int, data: bytes, *, close: bool) -> int:
        raise self.random.choice([UnavailableError, StorageFullError, RateLimitedError, InternalError])("Not now.")

    def cut(self, offset: int, data: bytes, *, close: bool) -> int:
        """A part of it arrives and is kept."""
        Server.send(self, offset, data[: len(data) // 2], close=False)
        if close:
            raise ConnectionFailedError("The connection broke.")
        return len(self.held)

    def arrives_twice(self, offset: int, data: bytes, *, close: bool) -> int:
        Server.send(self, offset, data, close=close)
        return Server.send(self, offset, data, close=close)

    def goes_away(self, offset: int, data: bytes, *, close: bool) -> int:
        self.outage = self.random.randint(1, 5)
        raise ConnectionFailedError("No answer.")

    def forgets(self, offset: int, data: bytes, *, close: bool) -> int:
        """Restored from an older copy."""
        self.held = self.held[: self.random.randint(0, len(self.held))]
        self.closed = False
        return Server.send(self, offset, data, close=close)

    def rival(self, offset: int, data: bytes, *, close: bool) -> int:
        """Somebody else sends the same file at the same time and is faster."""
        Server.send(self, offset, data, close=False)
        raise conflict(len(self.held))


@pytest.mark.parametrize("seed", range(200))
def test_every_byte_arrives_exactly_once_whatever_the_network_does(tmp_path: Path, seed: int) -> None:
    script = random.Random(seed)
    server = Weather(seed)
    path = tmp_path / "a.hwj"
    with JournalWriter(path, HEADER) as writer:
        shipper = Shipper(path, server, limit=lambda: writer.position, chunk=script.choice([5000, CHUNK]))
        for _ in range(script.randint(1, 30)):
            writer.append(9, script.randbytes(int(60_000 ** script.random())))
            ship(shipper, close=False)
    for _ in range(1000):
        if shipper.closed:
            break
        ship(shipper, close=True)
    shipper.release()
    assert server.held == path.read_bytes()
    assert server.closed
    assert shipper.remaining == 0


def ship(shipper: Shipper, *, close: bool) -> None:
    try:
        shipper.ship(close=close)
    except RETRYABLE:
        pass
    except OffsetConflictError as error:
        # A rival that stored nothing new looks like another writer; asking again tells.
        assert error.committed == shipper.position


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "a.hwj"
    with JournalWriter(path, HEADER) as writer:
        for index in range(40):
            writer.append(9, bytes([index]) * 100_000)
    return path


class TestShipper:
    def test_it_sends_pieces_of_a_mib_once_each(self, journal: Path) -> None:
        server = Server()
        Shipper(journal, server).ship(close=True)
        length = journal.stat().st_size
        offsets = list(range(0, length, CHUNK))
        assert server.sends == [(o, min(CHUNK, length - o), o == offsets[-1]) for o in offsets]
        assert server.held == journal.read_bytes()

    def test_later_bytes_are_sent_without_the_earlier_ones(self, tmp_path: Path) -> None:
        server = Server()
        with JournalWriter(tmp_path / "a.hwj", HEADER) as writer:
            shipper = Shipper(tmp_path / "a.hwj", server)
            for _ in range(5):
                before = writer.position
                writer.append(9, b"x" * 100)
                shipper.ship()
                assert server.sends[-1][0] in (0, before)
            shipper.ship()
            assert len(server.sends) == 5

    def test_closing_may_come_without_bytes(self, journal: Path) -> None:
        server = Server()
        shipper = Shipper(journal, server)
        shipper.ship()
        assert not server.closed and shipper.remaining == 0
        shipper.ship(close=True)
        assert server.closed and server.sends[-1][1:] == (0, True)
        shipper.ship(close=True)
        assert server.sends[-2][1:] != (0, True)

    def test_another_shipper_goes_on_where_the_server_stands(self, journal: Path) -> None:
        server = Server()
        server.held = journal.read_bytes()[:3_000_000]
        Shipper(journal, server).ship(close=True)
        assert [offset for offset, *_ in server.sends] == [0, 3_000_000]
        assert server.held == journal.read_bytes()

    def test_only_whole_frames_of_a_living_writer_are_sent(self, tmp_path: Path) -> None:
        server, path = Server(), tmp_path / "a.hwj"
        with JournalWriter(path, HEADER) as writer:
            shipper = Shipper(path, server, limit=lambda: writer.position)
            with path.open("ab") as torn:
                torn.write(b"torn")
            shipper.ship()
            assert len(server.held) == writer.position

    def test_smaller_pieces_when_the_server_asks_for_them(self, journal: Path) -> None:
        server = Server()
        server.largest = 70_000
        Shipper(journal, server).ship()
        assert server.held == journal.read_bytes()

    def test_a_piece_that_cannot_be_made_smaller(self, journal: Path) -> None:
        server = Server()
        server.largest = 10
        with pytest.raises(PayloadTooLargeError):
            Shipper(journal, server).ship()

    def test_another_writer_is_an_error(self, journal: Path) -> None:
        with pytest.raises(OffsetConflictError):
            Shipper(journal, Answers(conflict(0))).ship()

    def test_a_stream_longer_than_the_file_is_an_error(self, journal: Path) -> None:
        with pytest.raises(CorruptDataError, match="Another writer"):
            Shipper(journal, Answers(conflict(journal.stat().st_size + 1))).ship()
        with pytest.raises(CorruptDataError, match="Another writer"):
            Shipper(journal, Answers(journal.stat().st_size + 1)).ship()

    def test_a_server_that_makes_no_progress_is_not_asked_for_ever(self, journal: Path) -> None:
        with pytest.raises(UnavailableError):
            Shipper(journal, Answers(0)).ship()
        with pytest.raises(UnavailableError):
            Shipper(journal, Answers(*[conflict(committed) for committed in [1000, 2000] * 50])).ship()

    def test_a_file_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError):
            Shipper(tmp_path / "a.hwj", Server())

    def test_a_released_shipper_still_knows_what_is_left(self, journal: Path) -> None:
        shipper = Shipper(journal, Server())
        shipper.release()
        shipper.release()
        assert shipper.remaining == journal.stat().st_size


class Answers:
    """Gives one answer after the other, the last one again and again."""

    def __init__(self, *answers: int | HeadwayError) -> None:
        self.answers = list(answers)

    def send(self, offset: int, data: bytes, *, close: bool) -> int:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, HeadwayError):
            raise answer
        return answer
