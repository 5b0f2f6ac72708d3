from __future__ import annotations

import os
import pty
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.agent.capture import Capture, CaptureReport
from headway.domain.base import now
from headway.domain.logs import CUT_MARK
from headway.journal.codec import KIND_LOG, JournalHeader, LogBatch, decode_lines
from headway.journal.lines import LIMIT_MARK, LINE_LIMIT, LineNumbers, LineSplitter
from headway.journal.reader import read_frames
from headway.journal.writer import JournalWriter

quick = settings(deadline=None, database=None)
MEGABYTES = 200 if "HEADWAY_TEST_FULL" in os.environ else 50
"""How much is printed at full speed."""


def split(data: bytes, *, line_limit: int = LINE_LIMIT, cuts: tuple[int, ...] = ()) -> list[bytes]:
    splitter = LineSplitter(line_limit=line_limit)
    batches: list[LogBatch] = []
    start = 0
    for cut in [*sorted(cuts), len(data)]:
        batches += splitter.feed(data[start:cut], 5)
        start = max(start, cut)
    batches += splitter.flush(6)
    return lines_of(batches)


def lines_of(batches: list[LogBatch]) -> list[bytes]:
    lines: list[bytes] = []
    for batch in batches:
        assert batch.first_line == len(lines) + 1
        lines += batch.lines.split(b"\n")
    return lines


def mark(count: int) -> bytes:
    return CUT_MARK.format(count=count).encode()


class TestLines:
    @pytest.mark.parametrize(
        ("printed", "lines"),
        [
            (b"", []),
            (b"\n", [b""]),
            (b"one\ntwo\n", [b"one", b"two"]),
            (b"one\n\n\ntwo", [b"one", b"", b"", b"two"]),
            (b"one\r\ntwo\r\n", [b"one", b"two"]),
            (b"one\r\r\ntwo\r", [b"one", b"two"]),
            (b"\r\n", [b""]),
            (b"\r", [b""]),
            (b" 10%\r 50%\r100%\ndone\n", [b"100%", b"done"]),
            (b" 10%\r 50%\r100%\r\n", [b"100%"]),
            (b" 10%\r 50%\r", [b" 50%"]),
            (b"\rlate", [b"late"]),
            (b"nul \0 \xff\xfe \x1b[31mred\x1b[0m\n", [b"nul \0 \xff\xfe \x1b[31mred\x1b[0m"]),
        ],
    )
    def test_a_line_is_what_a_terminal_still_shows(self, printed: bytes, lines: list[bytes]) -> None:
        assert split(printed) == lines
        assert split(printed, cuts=tuple(range(len(printed)))) == lines

    def test_a_long_line_is_cut_and_says_so(self) -> None:
        assert split(b"a" * 15 + b"\nnext\n" + b"b" * 10 + b"\n", line_limit=10) == [
            b"a" * 10 + mark(5),
            b"next",
            b"b" * 10,
        ]

    def test_text_over_a_long_line_takes_its_place(self) -> None:
        assert split(b"a" * 15 + b"\rshort\n", line_limit=10) == [b"short"]
        assert split(b"a" * 15 + b"\rshort\n", line_limit=10, cuts=(3, 12, 16)) == [b"short"]

    @pytest.mark.parametrize("letter", ["é", "€", "😀"])
    def test_no_letter_is_cut_in_two(self, letter: str) -> None:
        size = len(letter.encode())
        for shift in range(4):
            (line,) = split(b"." * shift + letter.encode() * 10, line_limit=13)
            kept, _, rest = line.decode().partition(" … ")
            assert kept.strip(".") == letter * len(kept.strip("."))
            assert rest == mark(shift + 10 * size - len(kept.encode())).decode().partition(" … ")[2]

    def test_bytes_that_are_no_text_are_cut_all_the_same(self) -> None:
        assert split(b"\x80" * 20, line_limit=10) == [b"\x80" * 10 + mark(10)]
        assert split(b"\xff" * 20, line_limit=10) == [b"\xff" * 10 + mark(10)]

    @quick
    @given(st.data())
    def test_how_it_arrives_does_not_matter(self, data: st.DataObject) -> None:
        alphabet = st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", b"\0", b"\xff", b"xxxxxxxx"])
        printed = b"".join(data.draw(st.lists(alphabet, max_size=60)))
        cuts = data.draw(st.lists(st.integers(0, len(printed)), max_size=10))
        assert split(printed, line_limit=9, cuts=tuple(cuts)) == [shown(line, 9) for line in plain_lines(printed)]

    def test_times_are_when_a_line_ended(self) -> None:
        splitter = LineSplitter(stderr=True)
        assert splitter.feed(b"one", 1) == []
        assert splitter.feed(b"\ntwo", 2) == [LogBatch(1, 2, True, b"one")]
        assert splitter.flush(3) == [LogBatch(2, 3, True, b"two")]
        assert splitter.flush(4) == []

    def test_two_outputs_share_their_numbers(self) -> None:
        numbers = LineNumbers()
        out, err = LineSplitter(numbers, stderr=False), LineSplitter(numbers, stderr=True)
        assert [batch.first_line for batch in out.feed(b"a\nb\n", 1) + err.feed(b"c\n", 2) + out.feed(b"d\n", 3)] == [
            1,
            3,
            4,
        ]


def plain_lines(printed: bytes) -> list[bytes]:
    lines = printed.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def shown(line: bytes, limit: int) -> bytes:
    text = line.rstrip(b"\r").rpartition(b"\r")[2]
    return text if len(text) <= limit else text[:limit] + mark(len(text) - limit)


class Printed(NamedTuple):
    """What came of a program's output."""

    report: CaptureReport
    last: tuple[str, ...]
    batches: list[LogBatch]

    @property
    def lines(self) -> list[bytes]:
        return lines_of(self.batches)


class Recorder:
    """Runs programs with their output captured, as the agent does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0

    def path(self) -> Path:
        self.count += 1
        return self.directory / f"{self.count}.hwj"

    def run(self, code: str, *, split: bool = False, linger: float = 60, **limits: int) -> Printed:
        header = JournalHeader(run="run1", stream="logs/worker-0-ab", writer="ab", created=now())
        path = self.path()
        with JournalWriter(path, header) as writer:
            out_read, out_write = os.pipe()
            err_read, err_write = os.pipe() if split else (None, None)
            program = subprocess.Popen([sys.executable, "-c", code], stdout=out_write, stderr=err_write or out_write)
            os.close(out_write)
            if err_write:
                os.close(err_write)
            capture = Capture(out_read, err_read, writer, **limits)
            capture.start()
            assert program.wait(240) == 0
            report = capture.wait(linger)
        return Printed(report, capture.last_lines(), batches_in(path))


def batches_in(path: Path) -> list[LogBatch]:
    reader = read_frames(path)
    batches = [decode_lines(frame.payload) for frame in reader if frame.kind == KIND_LOG]
    assert reader.report.intact and reader.report.closed
    return batches


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


class TestPrograms:
    def test_both_outputs_keep_their_order(self, recorder: Recorder) -> None:
        printed = recorder.run(
            "import os\nfor i in range(2000): os.write(1 + i % 2, f'line {i}\\n'.encode())\nos.write(1, b'end')"
        )
        assert printed.lines == [f"line {i}".encode() for i in range(2000)] + [b"end"]
        assert printed.report == CaptureReport(lines=2001, unkept_lines=0, complete=True)
        assert {batch.stderr for batch in printed.batches} == {None}
        assert printed.last == (*(f"line {i}" for i in range(1981, 2000)), "end")

    def test_outputs_with_a_pipe_each_are_told_apart(self, recorder: Recorder) -> None:
        printed = recorder.run(
            "import os\nfor i in range(500): os.write(1, b'out\\n'); os.write(2, b'err\\nor\\n')", split=True
        )
        assert len(printed.lines) == 1500
        lines = {flag: [b.lines for b in printed.batches if b.stderr is flag] for flag in (True, False)}
        assert b"\n".join(lines[True]) == b"\n".join([b"err\nor"] * 500)
        assert b"\n".join(lines[False]) == b"\n".join([b"out"] * 500)

    def test_a_progress_bar_is_one_line(self, recorder: Recorder) -> None:
        printed = recorder.run(
            "import sys\n"
            "for i in range(100001): sys.stderr.write(f'\\r{i:6d}/100000 |{\"#\" * (i // 2000):50}|')\n"
            "sys.stderr.write('\\n'); print('done')"
        )
        assert printed.lines == [b"100000/100000 |" + b"#" * 50 + b"|", b"done"]

    def test_anything_may_be_printed(self, recorder: Recorder) -> None:
        """Random bytes, NULs, broken UTF-8 and colours, against a reference that sees all of it at once."""
        code = (
            "import os, random\nr = random.Random(7)\n"
            "data = bytes(r.choice(b'\\n\\r\\0\\x1b\\xffab\\xc3\\xa9') for _ in range(400000))\n"
            "while data:\n n = r.randint(1, 9000); os.write(1, data[:n]); data = data[n:]"
        )
        chance = random.Random(7)
        data = bytes(chance.choice(b"\n\r\0\x1b\xffab\xc3\xa9") for _ in range(400000))
        assert recorder.run(code).lines == [shown(line, LINE_LIMIT) for line in plain_lines(data)]

    def test_a_terminal_ends_like_a_pipe(self, recorder: Recorder) -> None:
        header = JournalHeader(run="run1", stream="logs/worker-0-ab", writer="ab", created=now())
        path = recorder.path()
        with JournalWriter(path, header) as writer:
            ours, theirs = pty.openpty()
            program = subprocess.Popen([sys.executable, "-c", "print('one'); print('two')"], stdout=theirs)
            os.close(theirs)
            capture = Capture(ours, None, writer)
            capture.start()
            program.wait(60)
            assert capture.wait(60).complete
        assert lines_of(batches_in(path)) == [b"one", b"two"]

    def test_whoever_keeps_the_pipe_open_is_not_waited_for(self, recorder: Recorder) -> None:
        printed = recorder.run(
            "import os, time\n"
            "keeper = os.fork()\n"
            "if keeper == 0:\n time.sleep(300); os._exit(0)\n"
            "print('keeper', keeper); print('unfinished', end='', flush=True); os._exit(0)",
            linger=0.3,
        )
        os.kill(int(printed.lines[0].split()[1]), signal.SIGKILL)
        assert printed.lines[1] == b"unfinished"
        assert printed.report == CaptureReport(lines=2, unkept_lines=0, complete=False)

    def test_over_the_replicas_limit_lines_are_counted_only(self, recorder: Recorder) -> None:
        printed = recorder.run("for i in range(200000): print('x' * 99)", replica_limit=5_000_000)
        *kept, last = printed.lines
        assert set(kept) == {b"x" * 99}
        assert 50_000 <= len(kept) <= 53_000
        assert last == LIMIT_MARK.format(limit=5_000_000).encode()
        assert printed.report.lines == 200_000
        assert printed.report.unkept_lines == 200_000 - len(kept)

    def test_no_limit_row_when_nothing_is_left_out(self, recorder: Recorder) -> None:
        printed = recorder.run("print('x' * 99)", replica_limit=100)
        assert printed.lines == [b"x" * 99]

    def test_last_lines_are_short(self, recorder: Recorder) -> None:
        printed = recorder.run("print('x' * 100000)\nprint('é')")
        assert printed.last[1] == "é"
        assert len(printed.last[0]) <= 5000


MEASURED = """
import os, resource, subprocess, sys
from pathlib import Path
from headway.agent.capture import Capture
from headway.domain.base import now
from headway.journal.codec import JournalHeader
from headway.journal.writer import JournalWriter

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

header = JournalHeader(run="run1", stream="logs/worker-0-ab", writer="ab", created=now())
writer = JournalWriter(Path(sys.argv[1]), header)
ours, theirs = os.pipe()
program = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdout=theirs, stderr=theirs)
os.close(theirs)
before = peak()
capture = Capture(ours, None, writer)
capture.start()
code = program.wait()
report = capture.wait(60)
writer.close()
print(code, peak() - before, *report)
"""


class TestFlood:
    """Nothing holds the program up, and memory stays bounded: measured in a process of its own."""

    @staticmethod
    def flood(path: Path, code: str) -> CaptureReport:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(path), code], capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        status, grown, lines, unkept, complete = done.stdout.split()
        assert status == "0"
        assert int(grown) < 100
        return CaptureReport(int(lines), int(unkept), complete == "True")

    def test_lines_at_full_speed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.hwj"
        code = (
            "import sys\nblock = b''.join(b'%099d\\n' % i for i in range(1000))\n"
            f"for _ in range({MEGABYTES * 10}): sys.stdout.buffer.write(block)"
        )
        assert self.flood(path, code) == CaptureReport(MEGABYTES * 10_000, 0, True)
        next_line = 1
        for frame in read_frames(path):
            if frame.kind == KIND_LOG:
                batch = decode_lines(frame.payload)
                assert batch.first_line == next_line
                assert batch.lines[:99] == b"%099d" % ((next_line - 1) % 1000)
                next_line += batch.line_count
        assert next_line == MEGABYTES * 10_000 + 1

    def test_one_line_of_100_megabytes(self, tmp_path: Path) -> None:
        path = tmp_path / "a.hwj"
        code = (
            "import sys\nsys.stdout.write('before\\n')\n"
            "for _ in range(100): sys.stdout.write('x' * 1000000)\nprint('\\nafter')"
        )
        assert self.flood(path, code) == CaptureReport(3, 0, True)
        before, long, after = lines_of(batches_in(path))
        assert (before, after) == (b"before", b"after")
        assert long == b"x" * LINE_LIMIT + mark(100_000_000 - LINE_LIMIT)

    def test_a_progress_bar_without_end(self, tmp_path: Path) -> None:
        path = tmp_path / "a.hwj"
        code = f"import sys\nfor i in range({MEGABYTES * 10}): sys.stdout.write('\\r' + 'x' * 99999 + str(i))"
        assert self.flood(path, code) == CaptureReport(1, 0, True)
        assert lines_of(batches_in(path)) == [b"x" * 99999 + str(MEGABYTES * 10 - 1).encode()]


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    yield
    assert set(threading.enumerate()) <= threads
    assert open_descriptors() <= descriptors


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_full_disk_does_not_reach_the_program(tmp_path: Path) -> None:
    """The journal may not grow any more, and the program ends well all the same."""
    limited = MEASURED.replace(
        "before = peak()", "before = peak(); resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))"
    )
    code = "for i in range(200000): print('x' * 99)"
    done = subprocess.run(
        [sys.executable, "-c", limited, str(tmp_path / "a.hwj"), code], capture_output=True, text=True, timeout=240
    )
    status, _, lines, unkept, _ = done.stdout.split()
    assert (status, lines) == ("0", "200000")
    assert int(unkept) > 150_000
    kept = sum(decode_lines(f.payload).line_count for f in read_frames(tmp_path / "a.hwj") if f.kind == KIND_LOG)
    assert kept == 200_000 - int(unkept)
