"""SQLite: the contract, and what is SQLite's alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.storage import open_storage
from headway.storage.base import Storage
from headway.testing.storage import StorageContract


class TestSqliteStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        storage = open_storage(f"sqlite:///{tmp_path}/headway.db")
        yield storage
        storage.close()
