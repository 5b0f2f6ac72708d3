"""A full disk in the middle of an artifact: one clear error, nothing wrong stored, and on it goes once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headway import Client
from headway.domain.uploads import LARGE_BYTES
from headway.errors import NotFoundError, StorageFullError
from headway.sdk.uploads import local_file
from headway.testing.server import ServerProcess

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 80 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=80m,mode=0700", "headway-test", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs root: sudo make test ({mounted.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def nearly_filled(disk: Path, left: int) -> Iterator[None]:
    """While the block runs only ``left`` bytes are free."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - left)
    try:
        yield
    finally:
        filler.unlink()


def test_a_server_whose_disk_fills_up_keeps_what_it_took_and_goes_on(small_disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3 * LARGE_BYTES))
    with ServerProcess(small_disk / "data") as server:
        with Client(server.url, server.token, project="full", retry_for=0) as client:
            client.projects.create("full")
            with nearly_filled(small_disk, 10 * MIB), pytest.raises(StorageFullError) as caught:
                client.artifacts.upload("data", path)
            assert caught.value.status == 507
            digest = local_file(path, path.name).entry.digest
            state = client.blobs.begin(digest, path.stat().st_size)
            with nearly_filled(small_disk, 20 * MIB), pytest.raises(StorageFullError):
                client.artifacts.upload("data", path)
            assert list(client.artifacts.list()) == []
            assert client.blobs.missing([digest]) == {digest}
            assert sum(client.blobs.begin(digest, path.stat().st_size).parts) >= sum(state.parts)
            version = client.artifacts.upload("data", path)
            assert client.artifacts.verify(version).ok
            assert list((server.data / "blobs" / "incoming").iterdir()) == []


def test_a_client_whose_disk_fills_up_goes_on_once_there_is_room(
    small_disk: Path, client_of_running: Client, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3 * LARGE_BYTES))
    (tmp_path / "small").write_bytes(os.urandom(MIB))
    version = client_of_running.artifacts.upload("data", {"large": path, "small": tmp_path / "small"})
    target = small_disk / "target"
    for left in (20 * MIB, 100):
        with nearly_filled(small_disk, left), pytest.raises(StorageFullError, match=r"large|small"):
            client_of_running.artifacts.download(version, target)
        assert not (target / "large").exists()
    client_of_running.artifacts.download(version, target)
    assert (target / "large").read_bytes() == path.read_bytes()
    assert sorted(found.name for found in target.iterdir()) == ["large", "small"]


def test_a_local_artifact_on_a_full_disk_keeps_what_it_had(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import headway

    monkeypatch.setenv("HEADWAY_DIR", str(small_disk / "home"))
    (tmp_path / "a").write_text("a")
    (tmp_path / "large").write_bytes(os.urandom(8 * MIB))
    artifact = headway.Artifact("data")
    artifact.add_file(tmp_path / "a")
    with nearly_filled(small_disk, 4 * MIB), pytest.raises(StorageFullError):
        artifact.add_file(tmp_path / "large")
    assert list(headway.Artifact.load(artifact.directory).objects) == ["a"]
    artifact.add_file(tmp_path / "large")
    assert list(artifact.objects) == ["a", "large"]
    with pytest.raises(NotFoundError):
        headway.Artifact.load(small_disk)
