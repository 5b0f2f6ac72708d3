from __future__ import annotations

from pathlib import Path

import pytest

from headway.domain.base import now
from headway.errors import CorruptDataError, NotFoundError
from headway.journal.codec import KIND_LOG, JournalHeader, decode_lines, encode_lines
from headway.journal.reader import FrameReader, read_frames, read_header
from headway.journal.writer import JournalWriter

HEADER = JournalHeader(run="run1", stream="logs/worker-0-ab", writer="ab", attempt=3, replica="worker-0", created=now())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.hwj"
    with JournalWriter(path, HEADER) as writer:
        for number in range(1, 101):
            writer.append(KIND_LOG, encode_lines(number, 5, f"line {number} ".encode() * 20))
    return path


def numbers(reader: FrameReader) -> list[int]:
    return [decode_lines(frame.payload).first_line for frame in reader if frame.kind == KIND_LOG]


def change(path: Path, start: int, stop: int, replacement: bytes) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:start] + replacement + data[stop:])


def test_everything_is_read_and_counted(path: Path) -> None:
    reader = read_frames(path)
    assert numbers(reader) == list(range(1, 101))
    assert (reader.report.frames, reader.report.closed, reader.report.intact) == (102, True, True)


def test_reading_again_begins_anew(path: Path) -> None:
    reader = read_frames(path)
    assert numbers(reader) == numbers(reader)
    assert reader.report.frames == 102


def test_a_torn_tail_is_dropped(path: Path) -> None:
    frames = list(read_frames(path))
    cut = frames[50].end + 30
    change(path, cut, path.stat().st_size, b"")
    reader = read_frames(path)
    assert numbers(reader) == list(range(1, 51))
    assert (reader.report.torn, reader.report.closed, reader.report.intact) == (30, False, True)


def test_a_damaged_middle_is_skipped_and_reported(path: Path) -> None:
    frames = list(read_frames(path))
    change(path, frames[40].offset + 50, frames[42].offset + 50, bytes(frames[42].offset - frames[40].offset))
    reader = read_frames(path)
    assert numbers(reader) == [n for n in range(1, 101) if n not in (40, 41, 42)]
    assert not reader.report.intact
    assert reader.report.damaged_bytes == frames[42].end - frames[40].offset


def test_a_doubled_block_is_read_once(path: Path) -> None:
    frames = list(read_frames(path))
    start, stop = frames[10].offset + 7, frames[30].offset + 7
    data = path.read_bytes()
    change(path, stop, stop, data[start:stop])
    reader = read_frames(path)
    found = numbers(reader)
    assert found == [n for n in range(1, 101) if n in found]
    assert set(range(1, 101)) - set(found) <= {30}
    assert reader.report.repeated > 15


def test_the_header_says_whose_it_is(path: Path) -> None:
    assert read_header(path) == HEADER


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="missing"):
        list(read_frames(tmp_path / "missing.hwj"))
    with pytest.raises(NotFoundError, match="missing"):
        read_header(tmp_path / "missing.hwj")


@pytest.mark.parametrize("content", [b"", b"HWJ1", b"#!/bin/sh\n", bytes(10_000)])
def test_a_file_that_is_no_journal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.hwj"
    path.write_bytes(content)
    reader = read_frames(path)
    assert list(reader) == []
    assert reader.report.frames == 0
    with pytest.raises(CorruptDataError, match=r"a\.hwj"):
        read_header(path)
