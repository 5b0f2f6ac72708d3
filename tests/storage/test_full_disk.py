"""A full disk is one clear error: nothing is stored by half, and all goes on once there is room."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.errors import StorageFullError
from headway.storage.blobs.filesystem import FileBlobs
from headway.storage.segments.files import FileSegments
from headway.testing.factories import digest_of

ON_A_SMALL_DISK = """
import sys
from pathlib import Path

import pytest

from headway.errors import StorageFullError
from headway.storage import open_storage
from headway.storage.blobs.filesystem import FileBlobs
from headway.storage.segments.files import FileSegments
from headway.testing.factories import digest_of, make_event, make_job

MIB = 1024 * 1024
disk = Path(sys.argv[1])


def blobs():
    store, large = FileBlobs(disk / "blobs"), b"x" * (12 * MIB)
    with pytest.raises(StorageFullError):
        store.put(digest_of(large), [large[:MIB]] * 12)
    assert store.size(digest_of(large)) is None
    assert [path for path in (disk / "blobs").rglob("*") if path.is_file()] == []
    assert store.put(digest_of(b"small"), [b"small"]) == 5


def segments():
    store = FileSegments(disk / "segments")
    store.write("run1", "logs/a", 0, b"s" * MIB)
    with pytest.raises(StorageFullError):
        store.write("run1", "logs/a", MIB, b"t" * (12 * MIB))
    assert store.read("run1", "logs/a", 0, 13 * MIB) == b"s" * MIB
    store.write("run1", "logs/a", MIB, b"more")
    assert store.read("run1", "logs/a", MIB, 100) == b"more"
    store.delete_run("run1")


def database():
    (disk / "filler").write_bytes(b"f" * (2 * MIB))
    storage = open_storage(f"sqlite:///{disk}/database/headway.db")
    kept = []
    with pytest.raises(StorageFullError):
        for _ in range(1000):
            jobs = [make_job(reason="r" * 50_000) for _ in range(3)]
            with storage.write() as session:
                for job in jobs:
                    session.jobs.add(job)
                    session.events.append(make_event(subject_id=job.id))
            kept += jobs
    assert len(kept) > 3

    def check():
        with storage.read() as session:
            assert [session.jobs.get(job.id) for job in kept] == kept
            events = session.events.after(0, limit=10_000)
            assert [event.subject_id for event in events] == [job.id for job in kept]

    check()
    (disk / "filler").unlink()
    extra = make_job(reason="r" * 50_000)
    with storage.write() as session:
        session.jobs.add(extra)
        session.events.append(make_event(subject_id=extra.id))
    kept.append(extra)
    check()
    storage.close()
    storage = open_storage(f"sqlite:///{disk}/database/headway.db")
    check()
    storage.close()


blobs()
segments()
database()
"""


def small_disk_command(directory: Path) -> list[str] | None:
    """What runs a program with a disk of 8 MiB at ``directory``, which vanishes with it; None where nobody may mount."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    namespace = [unshare, "--mount"] if os.geteuid() == 0 else [unshare, "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=8m tmpfs '{directory}'"
    command = [*namespace, "/bin/sh", "-c", f'{mount} && exec "$@"', "sh"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True)
    return command if tried.returncode == 0 else None


def test_blobs_segments_and_database_on_a_disk_that_is_full(tmp_path: Path) -> None:
    command = small_disk_command(tmp_path)
    if command is None:
        pytest.skip("needs a mount namespace: run as root, or allow user namespaces (util-linux `unshare`)")
    subprocess.run([*command, sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path)], check=True)


def failing(real: Callable[..., int], allowed: int, number: int) -> Callable[..., int]:
    """``real``, a system call that writes, until ``allowed`` calls were made; then the error ``number``."""
    calls = 0

    def call(*arguments: Any) -> int:
        nonlocal calls
        calls += 1
        if calls > allowed:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    return call


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_leaves_nothing_of_a_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    blobs = FileBlobs(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(os.write, 1, number))
        with pytest.raises(StorageFullError, match="Free some space"):
            blobs.put(digest_of(b"ab"), [b"a", b"b"])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_leaves_a_stream_as_it_was_before_the_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    segments = FileSegments(tmp_path)
    segments.write("run1", "logs/a", 0, b"committed")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(os.pwrite, 0, number))
        with pytest.raises(StorageFullError):
            segments.write("run1", "logs/a", 9, b"more")
    assert segments.read("run1", "logs/a", 0, 100) == b"committed"
