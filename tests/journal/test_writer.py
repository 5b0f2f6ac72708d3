from __future__ import annotations

import errno
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.domain.base import now
from headway.errors import ConfigurationError, ConflictError, PayloadTooLargeError
from headway.journal.codec import (
    KIND_END,
    KIND_HEADER,
    KIND_LOG,
    PAYLOAD_LIMIT,
    JournalHeader,
    decode_header,
    decode_lines,
    encode_lines,
)
from headway.journal.reader import read_frames
from headway.journal.writer import Durability, JournalHealth, JournalWriter, new_writer_id

DEATHS = 200 if "HEADWAY_TEST_FULL" in os.environ else 5
"""How often a writer is killed under each policy."""
HEADER = JournalHeader(run="run1", stream="logs/worker-0-ab", writer="ab", created=now())


def line(number: int, text: str = "x") -> bytes:
    return encode_lines(number, 1000 + number, text.encode())


def line_numbers(path: Path) -> list[int]:
    return [decode_lines(frame.payload).first_line for frame in read_frames(path) if frame.kind == KIND_LOG]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.hwj"


class TestFile:
    def test_it_holds_header_frames_and_end(self, path: Path) -> None:
        with JournalWriter(path, HEADER) as writer:
            assert writer.append(KIND_LOG, line(1))
        reader = read_frames(path)
        header, log, end = reader
        assert (header.kind, decode_header(header.payload)) == (KIND_HEADER, HEADER)
        assert (log.kind, log.payload) == (KIND_LOG, line(1))
        assert end.kind == KIND_END
        assert reader.report.closed and reader.report.intact

    def test_only_its_owner_may_read_it(self, path: Path) -> None:
        old = os.umask(0)
        try:
            JournalWriter(path, HEADER).close()
        finally:
            os.umask(old)
        assert path.stat().st_mode & 0o777 == 0o600

    def test_a_frame_can_be_read_as_soon_as_append_returned(self, path: Path) -> None:
        with JournalWriter(path, HEADER) as writer:
            for number in range(1, 20):
                writer.append(KIND_LOG, line(number))
                assert line_numbers(path) == list(range(1, number + 1))
                assert writer.position == path.stat().st_size

    def test_it_is_never_reopened(self, path: Path) -> None:
        JournalWriter(path, HEADER).close()
        content = path.read_bytes()
        with pytest.raises(ConflictError, match=r"a\.hwj"):
            JournalWriter(path, HEADER)
        assert path.read_bytes() == content

    def test_a_link_is_not_followed(self, path: Path, tmp_path: Path) -> None:
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises((ConflictError, ConfigurationError)):
            JournalWriter(path, HEADER)
        assert not (tmp_path / "elsewhere").exists()

    def test_a_directory_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="missing"):
            JournalWriter(tmp_path / "missing" / "a.hwj", HEADER)

    def test_a_payload_over_the_limit_is_refused(self, path: Path) -> None:
        with JournalWriter(path, HEADER) as writer:
            with pytest.raises(PayloadTooLargeError):
                writer.append(KIND_LOG, bytes(PAYLOAD_LIMIT + 1))
            assert writer.append(KIND_LOG, line(1))
        assert line_numbers(path) == [1]

    def test_after_close_nothing_is_written(self, path: Path) -> None:
        writer = JournalWriter(path, HEADER)
        writer.close()
        writer.close()
        content = path.read_bytes()
        assert not writer.append(KIND_LOG, line(1))
        assert path.read_bytes() == content
        assert writer.health.dropped_frames == 1

    def test_writer_ids_differ(self) -> None:
        assert len({new_writer_id() for _ in range(100)}) == 100


class TestThreads:
    def test_many_threads_lose_and_tear_nothing(self, path: Path) -> None:
        appended = []
        with JournalWriter(path, HEADER, on_append=lambda: appended.append(1)) as writer:

            def work(first: int) -> None:
                for number in range(first, first + 500):
                    assert writer.append(9, str(number).encode() * 20)

            threads = [threading.Thread(target=work, args=(10_000 * index,)) for index in range(1, 9)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        reader = read_frames(path)
        found = [frame.payload for frame in reader if frame.kind == 9]
        assert sorted(found) == sorted(str(10_000 * i + n).encode() * 20 for i in range(1, 9) for n in range(500))
        assert reader.report.intact
        assert len(appended) == 4001

    def test_a_signal_handler_may_append(self, tmp_path: Path) -> None:
        result = run_script(
            tmp_path,
            """
            import signal
            in_handler = []
            def handler(number, frame):
                in_handler.append(writer.append(10, b"handler" * 100))
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for index in range(20000):
                writer.append(9, b"main" * 100)
                if len(in_handler) >= 200 and index >= 2000:
                    break
            signal.setitimer(signal.ITIMER_REAL, 0)
            writer.close()
            print(len(in_handler), index + 1)
            """,
        )
        in_handler, in_main = map(int, result.split())
        reader = read_frames(tmp_path / "a.hwj")
        kinds = [frame.kind for frame in reader]
        assert (kinds.count(10), kinds.count(9)) == (in_handler, in_main)
        assert in_handler > 0
        assert reader.report.intact and reader.report.closed


PRELUDE = """
import os, sys
from pathlib import Path
from headway.domain.base import now
from headway.journal.codec import KIND_LOG, JournalHeader, encode_lines
from headway.journal.writer import Durability, JournalWriter

path = Path(sys.argv[1]) / "a.hwj"
header = JournalHeader(run="run1", stream="logs/worker-0-ab", writer="ab", created=now())
troubles = []
note = lambda health: troubles.append(health.last_error)
writer = JournalWriter(path, header, durability=Durability(sys.argv[2]), on_trouble=note)
"""


def script(body: str) -> str:
    lines = body.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return PRELUDE + "\n".join(text[indent:] for text in lines)


def run_script(directory: Path, body: str, durability: str = "process") -> str:
    done = subprocess.run(
        [sys.executable, "-c", script(body), str(directory), durability], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestDisk:
    def test_a_full_disk_drops_counts_and_recovers(self, tmp_path: Path) -> None:
        """The kernel refuses to let the file grow, after it wrote a part: as on a disk that is full."""
        result = run_script(
            tmp_path,
            """
            import resource
            def limit(size):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            def put(number):
                return writer.append(KIND_LOG, encode_lines(number, 5, b"x" * 1000))
            first = [put(number) for number in range(1, 11)]
            limit(path.stat().st_size + 1500)
            full = [put(number) for number in range(11, 16)]
            limit(resource.RLIM_INFINITY)
            later = [put(number) for number in range(16, 21)]
            writer.close()
            print(repr((first, full, later, writer.health.dropped_frames, writer.health.dropped_bytes, troubles)))
            """,
        )
        first, full, later, dropped, dropped_bytes, troubles = eval(result)
        assert first == [True] * 10
        assert full == [True, False, False, False, False]
        assert later == [True] * 5
        assert (dropped, dropped_bytes) == (4, 4 * 1026)
        assert len(troubles) == 1 and "too large" in troubles[0]
        reader = read_frames(tmp_path / "a.hwj")
        numbers = [decode_lines(frame.payload).first_line for frame in reader if frame.kind == KIND_LOG]
        assert numbers == [*range(1, 12), *range(16, 21)]
        assert reader.report.intact and reader.report.closed and reader.report.torn == 0

    def test_a_journal_that_cannot_be_begun_leaves_nothing(self, tmp_path: Path) -> None:
        result = run_script(
            tmp_path,
            """
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
            try:
                JournalWriter(path.with_name("b.hwj"), header)
            except OSError as error:
                print(type(error).__name__, path.with_name("b.hwj").exists())
            """,
        )
        assert result.split() == ["OSError", "False"]

    def test_a_torn_frame_that_cannot_be_taken_back_spoils_nothing_else(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.write
        with JournalWriter(path, HEADER) as writer:
            writer.append(KIND_LOG, line(1))

            def half(descriptor: int, data: bytes) -> int:
                real(descriptor, bytes(data)[: len(data) // 2])
                raise OSError(errno.EIO, "broken")

            def refuse(descriptor: int, length: int) -> None:
                raise OSError(errno.EIO, "broken")

            with monkeypatch.context() as patch:
                patch.setattr(os, "write", half)
                patch.setattr(os, "ftruncate", refuse)
                assert not writer.append(KIND_LOG, line(2, "y" * 500))
            assert writer.append(KIND_LOG, line(3))
        reader = read_frames(path)
        assert [decode_lines(frame.payload).first_line for frame in reader if frame.kind == KIND_LOG] == [1, 3]
        assert len(reader.report.damage) == 1

    def test_an_interrupt_within_a_write_tears_nothing(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.write
        with JournalWriter(path, HEADER) as writer:

            def interrupted(descriptor: int, data: bytes) -> int:
                real(descriptor, bytes(data)[:7])
                raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(os, "write", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    writer.append(KIND_LOG, line(1))
            assert writer.append(KIND_LOG, line(2))
        assert line_numbers(path) == [2]
        assert read_all(path).report.intact

    def test_short_writes_are_continued(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:10]))
        with JournalWriter(path, HEADER) as writer:
            assert writer.append(KIND_LOG, line(1, "z" * 1000))
        reader = read_all(path)
        assert line_numbers(path) == [1] and reader.report.intact


def read_all(path: Path):  # type: ignore[no-untyped-def]
    reader = read_frames(path)
    for _ in reader:
        pass
    return reader


class TestSync:
    def test_process_policy_syncs_a_group_soon(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synced = count_syncs(monkeypatch)
        with JournalWriter(path, HEADER) as writer:
            for number in range(1, 101):
                writer.append(KIND_LOG, line(number))
            until(lambda: bool(synced))
            assert len(synced) < 20
            before = len(synced)
            writer.append(KIND_LOG, line(101))
            until(lambda: len(synced) > before)

    def test_power_policy_syncs_each(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synced = count_syncs(monkeypatch)
        with JournalWriter(path, HEADER, durability=Durability.POWER) as writer:
            for number in range(1, 11):
                before = len(synced)
                writer.append(KIND_LOG, line(number))
                assert len(synced) == before + 1

    def test_a_failing_sync_is_reported_once_and_not_raised(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(descriptor: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", refuse)
        troubles: list[JournalHealth] = []
        with JournalWriter(path, HEADER, durability=Durability.POWER, on_trouble=troubles.append) as writer:
            assert not writer.append(KIND_LOG, line(1))
            assert not writer.append(KIND_LOG, line(2))
            assert writer.health.sync_errors == 3
            assert not writer.health.ok
        assert len(troubles) == 1
        assert line_numbers(path) == [1, 2]

    def test_close_leaves_no_thread(self, path: Path) -> None:
        before = set(threading.enumerate())
        with JournalWriter(path, HEADER) as writer:
            writer.append(KIND_LOG, line(1))
            assert set(threading.enumerate()) > before
        assert set(threading.enumerate()) <= before


def count_syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    synced: list[int] = []
    real = os.fdatasync

    def counting(descriptor: int) -> None:
        real(descriptor)
        synced.append(descriptor)

    monkeypatch.setattr(os, "fdatasync", counting)
    return synced


class TestFork:
    def test_children_write_nothing_into_their_parents_journal(self, tmp_path: Path) -> None:
        """Forks while another thread is appending, so that locks are held at that moment."""
        result = run_script(
            tmp_path,
            """
            import threading, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            done = threading.Event()
            counts = []
            def work():
                count = 0
                while not done.is_set():
                    count += writer.append(9, b"parent" * 50)
                counts.append(count)
            thread = threading.Thread(target=work)
            thread.start()
            codes = []
            for index in range(20):
                child = os.fork()
                if child == 0:
                    refused = not writer.append(9, b"child") and "belongs" in writer.health.last_error
                    writer.close()
                    own = JournalWriter(path.with_name(f"child{index}.hwj"), header)
                    stored = own.append(9, b"own")
                    own.close()
                    os._exit(0 if refused and stored else 1)
                codes.append(os.waitpid(child, 0)[1])
            done.set()
            thread.join()
            writer.close()
            print(sum(codes), counts[0], writer.health.dropped_frames)
            """,
        )
        failed, count, dropped = map(int, result.split())
        assert (failed, dropped) == (0, 0)
        reader = read_frames(tmp_path / "a.hwj")
        payloads = [frame.payload for frame in reader if frame.kind == 9]
        assert payloads == [b"parent" * 50] * count
        assert reader.report.intact and reader.report.closed
        for index in range(20):
            assert [f.payload for f in read_frames(tmp_path / f"child{index}.hwj") if f.kind == 9] == [b"own"]


KILLED = """
number = 0
while True:
    number += 1
    assert writer.append(KIND_LOG, encode_lines(number, 5, b"x" * (number * 37 % 3000)))
    os.write(1, number.to_bytes(8, "little"))
"""


def kill_at_random(directory: Path, seed: int, durability: str) -> None:
    """Ends a writer without warning and compares what it said was safe with what is there."""
    instant = random.Random(seed)
    command = [sys.executable, "-c", script(KILLED), str(directory), durability]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout
    acknowledged = b""
    try:
        wanted = 8 * instant.randint(1, 4000 if durability == "process" else 400)
        while len(acknowledged) < wanted and (more := os.read(writer.stdout.fileno(), 4096)):
            acknowledged += more
        if instant.random() < 0.5:
            select.select([], [], [], instant.random() / 100)
    finally:
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read()
        writer.stdout.close()
        writer.wait()
    last = int.from_bytes(acknowledged[len(acknowledged) // 8 * 8 - 8 :][:8], "little")
    reader = read_frames(directory / "a.hwj")
    numbers = [decode_lines(frame.payload).first_line for frame in reader if frame.kind == KIND_LOG]
    assert numbers == list(range(1, len(numbers) + 1))
    assert last <= len(numbers) <= last + 1
    assert reader.report.intact and not reader.report.closed


class TestSudden:
    """R1: a writer that is killed at any instant has lost nothing that it was told is stored."""

    @pytest.mark.parametrize("durability", ["process", "power"])
    @pytest.mark.parametrize("seed", range(DEATHS))
    def test_death(self, tmp_path: Path, seed: int, durability: str) -> None:
        kill_at_random(tmp_path, seed, durability)
