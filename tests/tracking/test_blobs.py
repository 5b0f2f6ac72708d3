"""Blobs beside a run: by content, whole or not at all, private, and given back once the server holds them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headway.errors import ConflictError, InvalidRequestError
from headway.tracking import blobs as module
from headway.tracking.blobs import KeptBlob, LocalBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    (tmp_path / "run").mkdir()
    return LocalBlobs(tmp_path / "run")


def small_disk_command(directory: Path) -> list[str] | None:
    """What runs a program with a disk of 1 MiB at ``directory``, which vanishes with it; None where nobody may mount."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    namespace = [unshare, "--mount"] if os.geteuid() == 0 else [unshare, "--map-root-user", "--mount"]
    command = [*namespace, "/bin/sh", "-c", f"mount -t tmpfs -o size=1m tmpfs '{directory}' && exec \"$@\"", "sh"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True)
    return command if tried.returncode == 0 else None


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class TestKeeping:
    @pytest.mark.parametrize("data", [b"", b"x", b"ab" * (1 << 20)])
    def test_bytes_and_files_are_kept_by_content(self, data: bytes, blobs: LocalBlobs, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(data)
        expected = KeptBlob(digest_of(data), len(data))
        assert blobs.keep(data, "text/plain") == blobs.keep(tmp_path / "file") == expected
        path = tmp_path / "run" / "blobs" / "sha256" / expected.digest[:2] / expected.digest
        assert blobs.path(expected.digest) == path
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert list((tmp_path / "run" / "blobs" / "incoming").iterdir()) == []

    def test_a_link_is_followed_and_the_file_may_change_afterwards(self, blobs: LocalBlobs, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"before")
        (tmp_path / "link").symlink_to(tmp_path / "file")
        kept = blobs.keep(tmp_path / "link")
        (tmp_path / "file").write_bytes(b"after!")
        assert blobs.path(kept.digest).read_bytes() == b"before"

    def test_the_same_content_is_written_and_told_once(self, tmp_path: Path) -> None:
        told: list[int] = []
        blobs = LocalBlobs(tmp_path, on_keep=lambda: told.append(1))
        first = blobs.keep(b"same")
        inode = blobs.path(first.digest).stat().st_ino
        assert blobs.keep(b"same") == first
        assert blobs.path(first.digest).stat().st_ino == inode
        assert told == [1]

    def test_what_a_power_loss_left_is_replaced(self, blobs: LocalBlobs) -> None:
        kept = blobs.keep(b"whole")
        blobs.path(kept.digest).write_bytes(b"")
        assert blobs.keep(b"whole") == kept
        assert blobs.path(kept.digest).read_bytes() == b"whole"

    def test_from_many_threads(self, blobs: LocalBlobs) -> None:
        def work() -> None:
            for number in range(50):
                blobs.keep(b"%d" % number)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {blob.digest for blob in blobs.pending()} == {digest_of(b"%d" % number) for number in range(50)}


class TestTrouble:
    def test_paths_that_are_no_files(self, blobs: LocalBlobs, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path, words in [("gone", "No such file"), ("pipe", "regular file"), ("run", "regular file")]:
            with pytest.raises(InvalidRequestError, match=words):
                blobs.keep(tmp_path / path)
        assert list(blobs.pending()) == []

    @pytest.mark.parametrize("change", ["grow", "rewrite", "truncate"])
    def test_a_file_that_changes_while_it_is_read(
        self, change: str, blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"x" * (3 << 20))
        os.utime(path, ns=(0, 0))
        original = hashlib.sha256

        class Changing:
            """Changes the file in the middle of its being read."""

            def __init__(self) -> None:
                self.hasher, self.parts = original(), 0

            def update(self, data: bytes) -> None:
                self.hasher.update(data)
                self.parts += 1
                if self.parts == 1:
                    with path.open("r+b") as file:
                        if change == "truncate":
                            file.truncate(2 << 20)
                        else:
                            file.seek(0, os.SEEK_END if change == "grow" else os.SEEK_SET)
                            file.write(b"y")

            def hexdigest(self) -> str:
                return self.hasher.hexdigest()

        monkeypatch.setattr(module.hashlib, "sha256", Changing)
        with pytest.raises(ConflictError, match="changed while it was read"):
            blobs.keep(path)
        assert list(blobs.pending()) == []
        assert list((tmp_path / "run" / "blobs" / "incoming").iterdir()) == []

    def test_a_full_disk(self, tmp_path: Path) -> None:
        code = """
import resource, signal, sys
from pathlib import Path
from headway.errors import StorageFullError
from headway.tracking.blobs import LocalBlobs
blobs = LocalBlobs(Path(sys.argv[1]))
kept = blobs.keep(b"small")
try:
    blobs.keep(b"x" * (64 << 20))
except StorageFullError as error:
    print(error.code)
print([blob.digest == kept.digest for blob in blobs.pending()], len(list(Path(sys.argv[1]).rglob("incoming/*"))))
blobs.sync()
"""
        command = small_disk_command(tmp_path)
        if command is None:
            pytest.skip("needs a mount namespace: run as root, or allow user namespaces (util-linux `unshare`)")
        done = subprocess.run(
            [*command, sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
        )
        assert done.stdout.splitlines() == ["storage_full", "[True] 0"], done.stderr

    @pytest.mark.parametrize("digest", ["", "x", "A" * 64, "../" + "a" * 61, "a" * 63])
    def test_names_that_are_no_digests(self, digest: str, blobs: LocalBlobs) -> None:
        with pytest.raises(InvalidRequestError, match="SHA-256"):
            blobs.path(digest)
        with pytest.raises(InvalidRequestError):
            blobs.release(digest)


class TestPending:
    def test_until_they_are_released(self, blobs: LocalBlobs, tmp_path: Path) -> None:
        assert list(blobs.pending()) == []
        first, second = blobs.keep(b"one"), blobs.keep(b"three")
        (tmp_path / "run" / "blobs" / "sha256" / first.digest[:2] / "stranger").write_bytes(b"")
        found = {blob.digest: (blob.size, blob.path.read_bytes()) for blob in LocalBlobs(tmp_path / "run").pending()}
        assert found == {first.digest: (3, b"one"), second.digest: (5, b"three")}
        blobs.release(first.digest)
        blobs.release(first.digest)
        assert [blob.digest for blob in blobs.pending()] == [second.digest]

    def test_released_while_they_are_listed(self, blobs: LocalBlobs) -> None:
        kept = [blobs.keep(b"%d" % number) for number in range(20)]
        listed = blobs.pending()
        first = next(listed)
        for blob in kept:
            blobs.release(blob.digest)
        assert [first, *listed] == [first]


class TestSyncing:
    def test_a_kept_blob_is_synced_soon(self, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
        synced = threading.Event()
        original = os.fsync

        def fsync(descriptor: int) -> None:
            original(descriptor)
            synced.set()

        monkeypatch.setattr(os, "fsync", fsync)
        blobs.keep(b"x")
        assert synced.wait(60)

    def test_one_that_is_gone_meanwhile(self, blobs: LocalBlobs) -> None:
        blobs.release(blobs.keep(b"x").digest)
        blobs.sync()

    def test_a_forked_child_keeps_blobs_of_its_own(self, tmp_path: Path) -> None:
        code = """
import os, sys, threading
from pathlib import Path
from headway.tracking.blobs import LocalBlobs
blobs = LocalBlobs(Path(sys.argv[1]))
stop = threading.Event()
def work():
    number = 0
    while not stop.is_set():
        blobs.keep(b"%d" % number)
        blobs.sync()
        number += 1
thread = threading.Thread(target=work)
thread.start()
for number in range(20):
    pid = os.fork()
    if pid == 0:
        blobs.keep(b"child %d" % number)
        blobs.sync()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
thread.join()
"""
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
        kept = {blob.digest for blob in LocalBlobs(tmp_path).pending()}
        assert {digest_of(b"child %d" % number) for number in range(20)} <= kept
