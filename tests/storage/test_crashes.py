"""kill -9 at any moment: what was acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from headway.storage import open_storage
from headway.storage.blobs.filesystem import FileBlobs
from headway.storage.segments.files import FileSegments
from headway.testing.factories import digest_of, make_project

WRITER = """
import sys
from headway.storage import open_storage
from headway.testing.factories import make_event, make_project

storage = open_storage(sys.argv[1])
while True:
    first, second = make_project(), make_project()
    with storage.write() as session:
        session.projects.add(first)
        event = session.events.append(make_event(subject_id=first.id, data={"second": second.id}))
        session.projects.add(second)
    print(first.id, second.id, event.sequence, flush=True)
"""

PUTTER = """
import sys
from pathlib import Path
from headway.storage.blobs.filesystem import FileBlobs
from headway.testing.factories import digest_of

blobs = FileBlobs(Path(sys.argv[1]))
number = 0

def chunks():
    for _ in range(8):
        print("chunk", flush=True)
        yield b"%08d" % number * 8192

while True:
    digest = digest_of(b"%08d" % number * 8192 * 8)
    print("begin", digest, flush=True)
    blobs.put(digest, chunks())
    print("done", digest, flush=True)
    number += 1
"""

SHIPPER = """
import sys
from pathlib import Path
from headway.storage.segments.files import FileSegments

segments, offset = FileSegments(Path(sys.argv[1])), 0
while True:
    data = b"%08d" % offset * 500
    segments.write("run1", "logs/worker-0", offset, data)
    offset += len(data)
    print(offset, flush=True)
"""


def lines_until_killed(script: str, argument: object, lines: int) -> list[str]:
    """What ``script`` printed until it was killed, somewhere after its first ``lines`` lines."""
    process = subprocess.Popen([sys.executable, "-c", script, str(argument)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        printed = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        printed += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return [line for line in printed if line.endswith("\n")]


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_leaves_every_session_that_ended_and_no_part_of_another(tmp_path: Path, seed: int) -> None:
    url = f"sqlite:///{tmp_path}/headway.db"
    generator = random.Random(seed)
    acknowledged: list[list[str]] = []
    for _ in range(2):
        printed = lines_until_killed(WRITER, url, generator.randrange(1, 60))
        acknowledged += [line.split() for line in printed]
        storage = open_storage(url)
        with storage.read() as session:
            for first, second, _ in acknowledged:
                assert session.projects.get(first).id == first
                assert session.projects.get(second).id == second
            events = {event.sequence: event for event in session.events.after(0, limit=100_000)}
            assert {int(sequence) for _, _, sequence in acknowledged} <= set(events)
            for event in events.values():
                assert session.projects.find(event.subject_id) is not None
                assert session.projects.find(event.data["second"]) is not None
        with storage.write() as session:
            session.projects.add(make_project())
        storage.close()
    check = sqlite3.connect(tmp_path / "headway.db")
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_put_leaves_whole_blobs_only(tmp_path: Path, seed: int) -> None:
    printed = lines_until_killed(PUTTER, tmp_path, random.Random(seed).randrange(1, 60))
    blobs = FileBlobs(tmp_path)
    words = [line.split() for line in printed]
    begun = [word[1] for word in words if word[0] == "begin"]
    done = [word[1] for word in words if word[0] == "done"]
    for digest in begun:
        size = blobs.size(digest)
        assert size is not None or digest not in done
        if size is not None:
            assert digest_of(b"".join(blobs.read(digest))) == digest
    stored = {path.name for path in (tmp_path / "sha256").rglob("*") if path.is_file()}
    assert set(done) <= stored <= set(begun)
    unfinished = next((digest for digest in begun if digest not in done), None)
    if unfinished is not None:
        number = len(done)
        assert blobs.put(unfinished, [b"%08d" % number * 8192 * 8]) == 8 * 8 * 8192


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_shipper_leaves_all_that_was_acknowledged_and_can_be_overwritten(tmp_path: Path, seed: int) -> None:
    printed = lines_until_killed(SHIPPER, tmp_path, random.Random(seed).randrange(1, 40))
    committed = int(printed[-1])
    segments = FileSegments(tmp_path)
    expected = b"".join(b"%08d" % offset * 500 for offset in range(0, committed, 4000))
    assert segments.read("run1", "logs/worker-0", 0, committed) == expected
    segments.write("run1", "logs/worker-0", committed, b"next")
    assert segments.read("run1", "logs/worker-0", committed, 10_000) == b"next"
