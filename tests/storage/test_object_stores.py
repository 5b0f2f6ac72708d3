"""The server's own object area, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import create_engine, text

from headway.domain.base import PageRequest
from headway.domain.objects import StoredObject
from headway.storage import open_storage
from headway.storage.base import ObjectStorage, Session, Storage
from headway.storage.objects.base import ObjectStore
from headway.storage.objects.internal import FIRST_LOOK, InternalObjects
from headway.testing.factories import make_bucket, make_object
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


class Counting:
    """A session's objects, and how many were read."""

    def __init__(self, objects: ObjectStorage) -> None:
        self._objects, self.read, self.questions = objects, 0, 0

    def page(self, bucket_id: str, *, prefix: str = "", start: str = "", limit: int) -> Sequence[StoredObject]:
        found = self._objects.page(bucket_id, prefix=prefix, start=start, limit=limit)
        self.read, self.questions = self.read + len(found), self.questions + 1
        return found


def test_what_is_folded_is_not_gone_through(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/headway.db")
    bucket = make_bucket()
    keys = [f"{folder:02}/{number:04}" for folder in range(12) for number in range(1000)]
    with storage.write() as session:
        session.objects.put(bucket.id, [make_object(key=key) for key in [*keys, "first", "last"]])
    with storage.read() as session:
        counting = Counting(session.objects)
        cast(Any, session).objects = counting
        store = InternalObjects(session)
        found = store.list(bucket, PageRequest(), delimiter="/")
        assert found.prefixes == tuple(f"{folder:02}/" for folder in range(12))
        assert [stored.key for stored in found.items] == ["first", "last"]
        assert counting.read <= 12 * FIRST_LOOK + 10
        counting.read = counting.questions = 0
        whole = store.list(bucket, PageRequest(limit=1000), prefix="05/")
        assert [stored.key for stored in whole.items] == keys[5000:6000]
        assert (counting.read, counting.questions, whole.next_cursor) == (1000, 1, None)
    storage.close()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_pages_and_prefixes_are_found_through_the_index(
    request: pytest.FixtureRequest, database: str, tmp_path: Path
) -> None:
    """12,000 objects: the plan of a page reads as many rows as the page has."""
    url = f"sqlite:///{tmp_path}/headway.db"
    if database == "postgresql":
        url = request.getfixturevalue("new_postgres_database")()
    storage = open_storage(url)
    with storage.write() as session:
        session.objects.put("b1", [make_object(key=f"{number:05}") for number in range(12_000)])
    storage.close()
    statement = "SELECT document FROM objects WHERE bucket_id = 'b1' AND key >= '05' AND key < '06' AND key >= '05500'"
    statement += " ORDER BY key LIMIT 100"
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        if database == "postgresql":
            connection.execute(text("ANALYZE objects"))
        explain = "EXPLAIN QUERY PLAN " if database == "sqlite" else "EXPLAIN "
        plan = " ".join(str(row) for row in connection.execute(text(explain + statement)))
    engine.dispose()
    assert "objects_key" in plan or "sqlite_autoindex_objects_2" in plan, plan
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan
