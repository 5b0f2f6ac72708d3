"""The server's own object area, on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import Engine, event

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


def many_objects(url: str) -> tuple[str, tuple[Any, ...]]:
    """12,000 objects, and the statement that reads 100 from the middle of a prefix on."""
    found: list[tuple[str, tuple[Any, ...]]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        found.append((statement, parameters))

    storage = open_storage(url)
    with storage.write() as session:
        session.objects.put("b1", [make_object(key=f"{number:05}") for number in range(12_000)])
    with storage.read() as session:
        event.listen(Engine, "before_cursor_execute", note)
        page = session.objects.page("b1", prefix="0", start="05500", limit=100)
        event.remove(Engine, "before_cursor_execute", note)
    storage.close()
    assert [stored.key for stored in page] == [f"{number:05}" for number in range(5500, 5600)]
    return found[-1]


def test_sqlite_enters_the_index_where_a_page_begins(tmp_path: Path) -> None:
    statement, parameters = many_objects(f"sqlite:///{tmp_path}/headway.db")
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    with closing(sqlite3.connect(tmp_path / "headway.db")) as connection:
        connection.set_progress_handler(count, 100)
        assert len(connection.execute(statement, parameters).fetchall()) == 100
    assert calls * 100 < 3000, "steps of SQLite's machine; going through what comes before would take 20,000 more"


def test_postgresql_enters_the_index_where_a_page_begins(new_postgres_database: Callable[[], str]) -> None:
    url = new_postgres_database()
    statement, parameters = many_objects(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE objects")
        (plan,) = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).fetchone() or ()
    limit = plan[0]["Plan"]
    (scan,) = limit["Plans"]
    assert (scan["Node Type"], scan["Index Name"], scan["Actual Rows"]) == ("Index Scan", "objects_key", 100), plan
    assert scan.get("Rows Removed by Filter", 0) == 0, plan
