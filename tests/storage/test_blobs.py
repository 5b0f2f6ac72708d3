"""Blobs on the file system."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headway.domain.uploads import Upload
from headway.errors import ConflictError
from headway.storage.blobs.filesystem import FileBlobs
from headway.testing.blobs import BlobContract
from headway.testing.factories import digest_of, make_upload


class TestFileBlobs(BlobContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FileBlobs:
        return FileBlobs(tmp_path)


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_blob_is_one_private_file_named_by_its_digest(tmp_path: Path) -> None:
    digest = digest_of(b"x")
    FileBlobs(tmp_path).put(digest, [b"x"])
    [path] = files_below(tmp_path)
    assert path == tmp_path / "sha256" / digest[:2] / digest
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_temporary_is_left_by_a_put_that_fails(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="SHA-256"):
        FileBlobs(tmp_path).put(digest_of(b"right"), [b"wrong"])
    assert files_below(tmp_path) == []


def test_opening_removes_what_a_killed_process_left_a_day_ago_and_nothing_younger(tmp_path: Path) -> None:
    FileBlobs(tmp_path)
    old, young = tmp_path / "incoming" / "old", tmp_path / "incoming" / "young"
    for path, age in [(old, 25 * 3600), (young, 23 * 3600)]:
        path.write_bytes(b"part")
        os.utime(path, (time.time() - age, time.time() - age))
    FileBlobs(tmp_path)
    assert files_below(tmp_path) == [young]


def test_a_reader_that_stops_early_leaves_no_open_file(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    data = b"y" * 3_000_000
    blobs.put(digest_of(data), [data])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        blobs.read(digest_of(data))
        next(blobs.read(digest_of(data)))
    assert len(os.listdir("/proc/self/fd")) == before


def begun(blobs: FileBlobs, data: bytes) -> Upload:
    upload = make_upload(digest=digest_of(data), size=len(data), part_size=1000, place=blobs.begin(len(data)))
    for number in range(upload.parts):
        content = data[number * 1000 : (number + 1) * 1000]
        blobs.put_part(upload, number, digest_of(content), [content])
    return upload


def test_parts_outlive_the_process_that_received_them(tmp_path: Path) -> None:
    data = os.urandom(3500)
    upload = begun(FileBlobs(tmp_path), data)
    blobs = FileBlobs(tmp_path)
    assert set(blobs.parts(upload)) == {0, 1, 2, 3}
    blobs.verify(upload)
    FileBlobs(tmp_path).publish(upload)
    assert files_below(tmp_path) == [tmp_path / "sha256" / upload.digest[:2] / upload.digest]


def test_a_part_that_the_disk_lost_is_found_dropped_and_asked_for_again(tmp_path: Path) -> None:
    data = os.urandom(3500)
    upload = begun(FileBlobs(tmp_path), data)
    with (tmp_path / "incoming" / upload.place / "data").open("r+b") as file:
        file.seek(1500)
        file.write(b"\0" * 10)
    blobs = FileBlobs(tmp_path)
    with pytest.raises(ConflictError) as caught:
        blobs.verify(upload)
    assert caught.value.details["missing"] == [1]
    blobs.put_part(upload, 1, digest_of(data[1000:2000]), [data[1000:2000]])
    blobs.verify(upload)
    blobs.publish(upload)
    assert b"".join(blobs.read(upload.digest)) == data


def test_opening_removes_an_upload_to_which_nothing_came_for_a_day(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    old, young = begun(blobs, b"o" * 1500), begun(blobs, b"y" * 1500)
    yesterday = time.time() - 25 * 3600
    os.utime(tmp_path / "incoming" / old.place / "parts", (yesterday, yesterday))
    again = FileBlobs(tmp_path)
    assert set(again.parts(young)) == {0, 1}
    assert again.touched(old.place) is None


KILLED_IN_A_PART = """
import os, signal, sys
from pathlib import Path
from headway.storage.blobs.filesystem import FileBlobs
from headway.testing.factories import digest_of, make_upload

blobs = FileBlobs(Path(sys.argv[1]))
upload = make_upload(digest="ab" * 32, size=2000, part_size=1000, place=sys.argv[2])

def chunks():
    yield b"k" * 500
    os.kill(os.getpid(), signal.SIGKILL)

blobs.put_part(upload, 0, digest_of(b"k" * 1000), chunks())
"""


def test_a_process_killed_within_a_part_leaves_neither_the_part_nor_its_lock(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    data = b"k" * 2000
    upload = make_upload(digest=digest_of(data), size=2000, part_size=1000, place=blobs.begin(2000))
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_A_PART, str(tmp_path), upload.place], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert set(blobs.parts(upload)) == set()
    for number in range(2):
        blobs.put_part(upload, number, digest_of(b"k" * 1000), [b"k" * 1000])
    blobs.verify(upload)
