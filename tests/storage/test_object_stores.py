"""The server's own object area, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headway.storage import open_storage
from headway.storage.base import Session, Storage
from headway.storage.objects.base import ObjectStore
from headway.storage.objects.internal import InternalObjects
from headway.testing.storage.object_stores import ObjectStoreContract


class TestInternalObjects(ObjectStoreContract):
    @pytest.fixture(params=["sqlite", "postgresql"])
    def storage(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path}/headway.db"
        else:
            create: Callable[[], str] = request.getfixturevalue("new_postgres_database")
            url = create()
        storage = open_storage(url)
        yield storage
        storage.close()

    def store(self, session: Session) -> ObjectStore:
        return InternalObjects(session)
