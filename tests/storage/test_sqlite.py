"""SQLite: the contract, and what is SQLite's alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.errors import ConflictError, CorruptDataError, UnavailableError
from headway.storage import open_storage
from headway.storage.base import Storage
from headway.storage.sql import sqlite
from headway.testing.storage import StorageContract
from headway.testing.storage.fixtures import in_threads


class TestSqliteStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        storage = open_storage(f"sqlite:///{tmp_path}/headway.db")
        yield storage
        storage.close()


HOLDER = """
import sys
from headway.storage import open_storage
storage = open_storage(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/data/headway.db"


def test_a_second_server_is_refused_and_told_whom_to_stop(url: str) -> None:
    command = [sys.executable, "-c", HOLDER, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(ConflictError, match=rf"process {holder.pid}\b"):
            open_storage(url)
        holder.kill()
    # The kernel dropped the lock with the process.
    open_storage(url).close()


def test_a_second_opening_in_one_process_is_refused_until_the_first_is_closed(url: str) -> None:
    first = open_storage(url)
    with pytest.raises(ConflictError, match=rf"process {os.getpid()}\b"):
        open_storage(url)
    with first.write() as session:
        session.settings.put("still", "usable")
    first.close()
    open_storage(url).close()


def test_an_opening_that_fails_gives_the_lock_back(tmp_path: Path, url: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "headway.db").write_bytes(b"this is no database" * 1000)
    for _ in range(2):
        with pytest.raises(CorruptDataError, match="not a database"):
            open_storage(url)
    assert (tmp_path / "data" / "headway.db").read_bytes() == b"this is no database" * 1000


def test_nobody_else_may_read_the_files(tmp_path: Path, url: str) -> None:
    storage = open_storage(url)
    with storage.write() as session:
        session.settings.put("a", "b")
    with storage.read() as session:
        assert session.settings.find("a") == "b"
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    storage.close()
    assert found == dict.fromkeys(["headway.db", "headway.db-wal", "headway.db-shm", "lock"], 0o600)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_closing_leaves_one_file_with_everything_in_it(tmp_path: Path, url: str) -> None:
    storage = open_storage(url)
    with storage.write() as session:
        session.settings.put("a", "b")
    storage.close()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["headway.db", "lock"]


def test_the_write_ahead_log_stays_bounded(tmp_path: Path, url: str) -> None:
    storage = open_storage(url)
    for number in range(120):
        with storage.write() as session:
            session.settings.put(str(number), "x" * 100_000)
        with storage.read() as session:
            assert session.settings.find(str(number)) is not None
    size = (tmp_path / "data" / "headway.db-wal").stat().st_size
    storage.close()
    assert size < 6_000_000


def test_readers_do_not_wait_for_the_writer_nor_for_each_other(url: str) -> None:
    storage = open_storage(url)
    inside = threading.Barrier(5, timeout=30)

    def read() -> None:
        with storage.read() as session:
            assert session.settings.find("absent") is None
            inside.wait()

    with storage.write() as session:
        session.settings.put("a", "b")
        in_threads(*[read] * 4, inside.wait)
    storage.close()


def test_a_session_that_cannot_get_its_turn_is_told_to_try_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WAIT_SECONDS", 0.05)
    storage = open_storage(url)

    def write() -> None:
        with storage.write():
            pass

    with storage.write(), pytest.raises(UnavailableError, match="too long"):
        in_threads(write)
    storage.close()
