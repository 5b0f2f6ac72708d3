"""What a process prints is copied into its run's log, and the program never notices."""

from __future__ import annotations

import io
import logging
import os
import pty
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

from headway.domain.base import now
from headway.journal.codec import KIND_LOG, JournalHeader, LogBatch, decode_lines
from headway.journal.lines import LIMIT_MARK, LineSplitter
from headway.journal.reader import read_frames
from headway.journal.writer import JournalWriter
from headway.tracking.console import ConsoleCopy
from headway.tracking.terminal import DrawnLines

quick = settings(deadline=None, database=None)

START = """
import os, signal, sys, threading, time
from pathlib import Path
from headway.domain.base import now
from headway.journal.codec import JournalHeader
from headway.journal.writer import JournalWriter
from headway.tracking.console import ConsoleCopy
writer = JournalWriter(Path(sys.argv[1]), JournalHeader(run="r1", stream="logs/rank0-ab", writer="ab", created=now()))
console = ConsoleCopy(writer)
"""


class Printed(NamedTuple):
    code: int
    stdout: bytes
    stderr: bytes
    rows: list[tuple[bool | None, bytes]]

    @property
    def lines(self) -> list[bytes]:
        return [line for _, line in self.rows]


def rows_of(path: Path) -> list[tuple[bool | None, bytes]]:
    rows: list[tuple[bool | None, bytes]] = []
    for frame in read_frames(path):
        if frame.kind == KIND_LOG:
            batch = decode_lines(frame.payload)
            assert batch.first_line == len(rows) + 1
            rows += [(batch.stderr, line) for line in batch.lines.split(b"\n")]
    return rows


def run(tmp_path: Path, code: str) -> Printed:
    """Run a program of its own with a console copy (not started yet), its outputs being pipes."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.hwj"
    done = subprocess.run([sys.executable, "-c", START + code, str(path)], capture_output=True, timeout=120)
    return Printed(done.returncode, done.stdout, done.stderr, rows_of(path))


class Copied:
    """A console copy in this process, over streams of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        header = JournalHeader(run="r1", stream="logs/rank0-ab", writer="ab", created=now())
        self.writer = JournalWriter(path, header)

    def lines(self) -> list[bytes]:
        self.writer.close()
        return [line for _, line in rows_of(self.path)]


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Copied]:
    made = Copied(tmp_path / "a.hwj")
    yield made
    made.writer.close()


class TestCopy:
    def test_both_outputs_reach_terminal_and_log(self, tmp_path: Path) -> None:
        printed = run(
            tmp_path,
            """
console.start()
print("one", 1, end=" ")
print("two")
print("wrong", file=sys.stderr)
sys.stdout.writelines(["three\\n", "four"])
console.stop()
print("not copied")
writer.close()
""",
        )
        assert printed.code == 0
        assert printed.stdout == b"one 1 two\nthree\nfournot copied\n"
        assert printed.stderr == b"wrong\n"
        assert printed.rows == [(False, b"one 1 two"), (True, b"wrong"), (False, b"three"), (False, b"four")]

    def test_a_line_is_in_the_journal_before_print_returns(self, tmp_path: Path) -> None:
        printed = run(tmp_path, "console.start()\nprint('last words')\nos.kill(os.getpid(), signal.SIGKILL)")
        assert printed.code == -signal.SIGKILL
        assert printed.lines == [b"last words"]

    def test_the_traceback_that_ends_a_program(self, tmp_path: Path) -> None:
        printed = run(tmp_path, "console.start()\nraise ValueError('bad loss')")
        assert printed.code == 1
        assert printed.lines[0].startswith(b"Traceback")
        assert printed.lines[-1] == b"ValueError: bad loss"

    def test_the_stream_stays_what_it_was(self, tmp_path: Path, copied: Copied) -> None:
        for stream in (sys.stdout, sys.stderr):
            assert "write" not in getattr(stream, "__dict__", {})
        before = [(s, s.encoding, s.isatty(), s.errors, s.buffer) for s in (sys.stdout, sys.stderr)]
        console = ConsoleCopy(copied.writer)
        console.start()
        assert before == [(s, s.encoding, s.isatty(), s.errors, s.buffer) for s in (sys.stdout, sys.stderr)]
        assert sys.stdout.write("x\n") == 2
        console.stop()
        console.stop()
        for stream in (sys.stdout, sys.stderr):
            assert "write" not in getattr(stream, "__dict__", {})
        assert copied.lines() == [b"x"]

    def test_a_logging_handler_that_was_there_before(self, monkeypatch: pytest.MonkeyPatch, copied: Copied) -> None:
        stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
        handler = logging.StreamHandler(stream)
        monkeypatch.setattr(sys, "stderr", stream)
        console = ConsoleCopy(copied.writer)
        console.start()
        handler.emit(logging.makeLogRecord({"msg": "epoch 1: größe"}))
        console.stop()
        assert copied.lines() == ["epoch 1: größe".encode()]
        stream.flush()
        assert stream.buffer.getvalue() == "epoch 1: größe\n".encode("latin-1")  # type: ignore[attr-defined]

    def test_user_code_that_replaces_the_streams(self, monkeypatch: pytest.MonkeyPatch, copied: Copied) -> None:
        class Tee:
            def __init__(self, under: io.StringIO) -> None:
                self.under, self.file = under, io.StringIO()

            def write(self, text: str) -> None:
                self.file.write(text)
                self.under.write(text)

        original = io.StringIO()
        monkeypatch.setattr(sys, "stdout", original)
        console = ConsoleCopy(copied.writer)
        console.start()
        tee = Tee(original)
        sys.stdout = tee  # type: ignore[assignment]
        print("through a tee")
        console.stop()
        print("later")
        assert original.getvalue() == tee.file.getvalue() == "through a tee\nlater\n"
        assert copied.lines() == [b"through a tee"]

    def test_somebody_else_who_exchanges_write_later(self, monkeypatch: pytest.MonkeyPatch, copied: Copied) -> None:
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        monkeypatch.setattr(sys, "stdout", stream)
        console = ConsoleCopy(copied.writer)
        console.start()
        ours = stream.write
        stream.write = lambda text: ours(text.upper())  # type: ignore[method-assign]
        print("one")
        console.stop()
        print("two")
        stream.flush()
        assert stream.buffer.getvalue() == b"ONE\nTWO\n"  # type: ignore[attr-defined]
        assert copied.lines() == [b"ONE"]

    def test_two_copies_at_a_time_are_given_back_in_any_order(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stdout", stream)
        first, second = Copied(tmp_path / "1.hwj"), Copied(tmp_path / "2.hwj")
        one, two = ConsoleCopy(first.writer), ConsoleCopy(second.writer)
        one.start()
        two.start()
        print("both")
        one.stop()
        print("second")
        two.stop()
        print("none")
        assert stream.getvalue() == "both\nsecond\nnone\n"
        assert (first.lines(), second.lines()) == ([b"both"], [b"both", b"second"])

    def test_one_stream_for_both_is_copied_once(self, monkeypatch: pytest.MonkeyPatch, copied: Copied) -> None:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        console = ConsoleCopy(copied.writer)
        console.start()
        print("once", file=sys.stderr)
        console.stop()
        assert copied.lines() == [b"once"]

    @pytest.mark.parametrize("missing", [None, "closed", object()])
    def test_streams_that_are_none(self, missing: object, monkeypatch: pytest.MonkeyPatch, copied: Copied) -> None:
        if missing == "closed":
            missing = io.StringIO()
            missing.close()
        monkeypatch.setattr(sys, "stdout", missing)
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        console = ConsoleCopy(copied.writer)
        console.start()
        print("heard", file=sys.stderr)
        console.stop()
        assert copied.lines() == [b"heard"]

    def test_a_stream_that_is_closed_meanwhile(self, monkeypatch: pytest.MonkeyPatch, copied: Copied) -> None:
        stream = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(sys, "stdout", stream)
        console = ConsoleCopy(copied.writer)
        console.start()
        print("before")
        stream.close()
        with pytest.raises(ValueError, match="closed"):
            print("after")
        console.stop()
        assert copied.lines() == [b"before"]

    def test_what_the_original_says_is_what_the_program_hears(
        self, monkeypatch: pytest.MonkeyPatch, copied: Copied
    ) -> None:
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", stream)
        console = ConsoleCopy(copied.writer)
        console.start()
        with pytest.raises(UnicodeEncodeError):
            sys.stdout.write("ä\n")
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")  # type: ignore[call-overload]
        console.stop()
        assert copied.lines() == []

    def test_bytes_that_are_no_text(self, monkeypatch: pytest.MonkeyPatch, copied: Copied) -> None:
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
        monkeypatch.setattr(sys, "stdout", stream)
        console = ConsoleCopy(copied.writer)
        console.start()
        print(b"\xff\xfe name".decode("utf-8", "surrogateescape"))
        stream.buffer.write(b"\x00\xff binary\n")
        console.stop()
        console.copy("nothing any more\n")
        stream.flush()
        assert copied.lines() == [b"\xff\xfe name"]
        assert b"\x00\xff binary\n" in stream.buffer.getvalue()  # type: ignore[attr-defined]

    @quick
    @given(st.lists(st.text(st.characters(codec=None, exclude_categories=())), min_size=1))
    def test_any_text_is_taken(self, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
        made = Copied(tmp_path_factory.mktemp("log") / "a.hwj")
        console = ConsoleCopy(made.writer)
        for text in texts:
            console.copy(text)
        console.copy("\nlast\n")
        console.stop()
        assert made.lines()[-1] == b"last"
        assert console.unkept_lines == 0


class TestTrouble:
    def test_a_full_disk_is_counted_and_printing_goes_on(self, tmp_path: Path) -> None:
        code = """
import resource
console.start()
print("kept")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = os.stat(sys.argv[1]).st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
for number in range(10):
    print("lost", number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("kept again")
console.stop()
print(console.lines, console.unkept_lines)
"""
        path = tmp_path / "a.hwj"
        done = subprocess.run([sys.executable, "-c", START + code, str(path)], capture_output=True, timeout=60)
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == b"12 10"
        batches = [decode_lines(frame.payload) for frame in read_frames(path) if frame.kind == KIND_LOG]
        assert [(batch.first_line, batch.lines) for batch in batches] == [(1, b"kept"), (12, b"kept again")]

    def test_the_journals_complaint_is_printed_and_copied_without_a_circle(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        header = JournalHeader(run="r1", stream="logs/rank0-ab", writer="ab", created=now())
        writer = JournalWriter(
            tmp_path / "a.hwj", header, on_trouble=lambda health: print("trouble:", health.last_error, file=sys.stderr)
        )
        console = ConsoleCopy(writer)
        console.start()
        writer.close()
        print("into nothing", file=sys.stderr)
        console.stop()
        assert stream.getvalue() == "into nothing\ntrouble: This journal is closed.\n"
        assert console.unkept_lines == 2

    def test_over_the_limit_lines_are_counted(self, monkeypatch: pytest.MonkeyPatch, copied: Copied) -> None:
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        console = ConsoleCopy(copied.writer, limit=100)
        console.start()
        for _ in range(50):
            print("x" * 9)
        console.stop()
        assert copied.lines() == [b"x" * 9] * 10 + [LIMIT_MARK.format(limit=100).encode()]
        assert (console.lines, console.unkept_lines) == (50, 40)


class TestConcurrency:
    def test_threads(self, monkeypatch: pytest.MonkeyPatch, copied: Copied) -> None:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stdout", stream)
        console = ConsoleCopy(copied.writer)
        console.start()

        def work(name: int) -> None:
            for number in range(500):
                sys.stdout.write(f"{name}:{number}\n")

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        console.stop()
        lines = copied.lines()
        assert sorted(lines) == sorted(stream.getvalue().encode().splitlines())
        for name in range(8):
            own = [line for line in lines if line.startswith(b"%d:" % name)]
            assert own == [b"%d:%d" % (name, number) for number in range(500)]

    def test_signal_handlers_and_finalizers_that_print(self, tmp_path: Path) -> None:
        printed = run(
            tmp_path,
            """
console.start()
class Loud:
    def __del__(self):
        print("gone")
signal.signal(signal.SIGALRM, lambda *_: sys.stderr.write("alarm\\n"))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for number in range(20000):
    if number % 100 == 0:
        Loud()
    sys.stdout.write(f"line {number}\\n")
signal.setitimer(signal.ITIMER_REAL, 0)
console.stop()
""",
        )
        assert printed.code == 0
        out = [line for stderr, line in printed.rows if not stderr]
        err = [line for stderr, line in printed.rows if stderr]
        assert out == printed.stdout.splitlines()
        assert len(out) == 20200
        assert err == printed.stderr.splitlines()
        assert set(err) == {b"alarm"}

    def test_a_forked_child_is_not_copied_and_does_not_hang(self, tmp_path: Path) -> None:
        printed = run(
            tmp_path,
            """
console.start()
stop = threading.Event()
def work():
    while not stop.is_set():
        sys.stderr.write("parent's thread\\n")
thread = threading.Thread(target=work)
thread.start()
children = []
for number in range(20):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        sys.stdout.write(f"child {number}\\n")
        console.stop()
        sys.stdout.flush()
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
thread.join()
print("parent", codes == [0] * 20)
console.stop()
""",
        )
        assert printed.code == 0
        assert sorted(printed.stdout.splitlines()) == sorted([b"child %d" % n for n in range(20)] + [b"parent True"])
        assert [line for stderr, line in printed.rows if not stderr] == [b"parent True"]

    def test_much_output_needs_little_memory(self, tmp_path: Path) -> None:
        printed = run(
            tmp_path,
            """
import resource
console.start()
print("x" * 1000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
line = "y" * 999 + "\\n"
for _ in range(20000):
    sys.stdout.write(line)
for _ in range(20000):
    sys.stdout.write(line[:-1])
console.stop()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, file=sys.stderr)
""",
        )
        assert printed.code == 0
        assert int(printed.stderr) < 30
        assert printed.lines[1:-1] == [b"y" * 999] * 20000
        assert b"more bytes]" in printed.lines[-1]


class TestTerminal:
    def test_on_a_terminal(self, tmp_path: Path) -> None:
        """A real terminal: it stays one for the program, and shows every byte at once."""
        path = tmp_path / "a.hwj"
        master, slave = pty.openpty()
        code = """
console.start()
assert sys.stdout.isatty() and os.isatty(1)
sys.stdout.write("go? ")
sys.stdout.flush()
for percent in range(0, 101, 10):
    sys.stderr.write(f"\\r{percent:3d}%")
    sys.stderr.flush()
sys.stderr.write("\\n")
print(input())
console.stop()
"""
        program = subprocess.Popen(
            [sys.executable, "-c", START + code, str(path)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        try:
            shown = b""
            while b"100%\r\n" not in shown:
                shown += os.read(master, 1000)
            os.write(master, b"yes\n")
            assert program.wait(60) == 0
        finally:
            program.kill()
            program.wait()
            os.close(master)
        assert shown.startswith(b"go? ")
        assert shown.count(b"%") == 11
        assert rows_of(path) == [(True, b"100%"), (False, b"go? yes")]


def drawn(*writes: str) -> list[str]:
    lines = DrawnLines(LineSplitter())
    batches: list[LogBatch] = []
    for text in writes:
        batches += lines.feed(text.encode(), 1)
    batches += lines.flush(2)
    found: list[str] = []
    for batch in batches:
        assert batch.first_line == len(found) + 1
        found += batch.lines.decode().split("\n")
    return found


UP = "\x1b[A"


class TestProgressBars:
    def test_one_bar(self) -> None:
        bars = [f"\r{percent:3d}%|{'#' * (percent // 10):10}|" for percent in range(0, 101, 5)]
        assert drawn("start\n", *bars, "\n", "end\n") == ["start", "100%|##########|", "end"]

    def test_two_bars_below_each_other(self) -> None:
        """Written as tqdm does with ``position=1, leave=False``: newline, draw, up."""
        writes = ["\router:   0%"]
        for epoch in range(3):
            for step in range(5):
                writes += ["\n", f"\rinner: {step * 25:3d}%", UP]
            writes += ["\n", "\r            \r", UP]
            writes.append(f"\router: {(epoch + 1) * 33:3d}%")
        assert drawn(*writes, "\n", "done\n") == ["outer:   0%", "outer:  99%", "done"]
        assert drawn("".join(writes) + "\ndone\n") == ["outer:   0%", "outer:  99%", "done"]

    def test_bars_that_stay(self) -> None:
        writes = [
            "\ra 0%",
            "\n",
            "\rb 0%",
            UP,
            "\ra 50%",
            "\n",
            "\rb 50%",
            UP,
            "\ra 100%",
            "\n",
            "\rb 100%",
            "\n",
            "end\n",
        ]
        assert drawn(*writes) == ["a 0%", "a 100%", "b 100%", "end"]

    def test_a_live_table(self) -> None:
        """As rich draws: erase, up, erase, and everything anew."""
        frames = [f"loss {5 - n}\naccuracy {n}" for n in range(5)]
        writes = [frames[0]] + [f"\r\x1b[2K\x1b[1A\x1b[2K{frame}" for frame in frames[1:]]
        assert drawn(*writes, "\n", "end\n") == ["loss 5", "loss 1", "accuracy 4", "end"]

    def test_ordinary_lines_are_there_at_once(self) -> None:
        lines = DrawnLines(LineSplitter())
        assert [batch.lines for batch in lines.feed(b"one\n\x1b[31mtwo\x1b[0m\nthr", 1)] == [b"one\n\x1b[31mtwo\x1b[0m"]

    def test_a_screen_is_bounded(self) -> None:
        assert drawn("a\n", "\x1b[9999A", "b", "\n" * 200, "c\n")[:2] == ["a", "b"]

    @pytest.mark.timeout(60)
    def test_a_hostile_output(self) -> None:
        assert len(drawn("\x1b[A\n\n" * 100_000)) >= 100_000

    @quick
    @given(st.lists(st.sampled_from(["a", "b", "\n", "\r", UP, "\x1b[2K", "\x1b[3A", "\x1b[", "é"])), st.integers(1, 5))
    def test_how_it_is_cut_changes_nothing(self, pieces: list[str], size: int) -> None:
        whole = drawn("".join(pieces))
        assert drawn(*pieces) == whole
        grouped = ["".join(pieces[at : at + size]) for at in range(0, len(pieces), size)]
        assert drawn(*grouped) == whole
