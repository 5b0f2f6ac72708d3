"""PostgreSQL: the contract, with two servers on one database, and what is PostgreSQL's alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headway.storage import open_storage
from headway.storage.base import Storage
from headway.testing.storage import StorageContract


class TestPostgresStorage(StorageContract):
    @pytest.fixture
    def storage(self, postgres_url: str) -> Iterator[Storage]:
        storage = open_storage(postgres_url)
        yield storage
        storage.close()

    @pytest.fixture
    def peer(self, storage: Storage, postgres_url: str) -> Iterator[Storage]:
        peer = open_storage(postgres_url)
        yield peer
        peer.close()
