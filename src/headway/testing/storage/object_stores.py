"""What every place for buckets promises, as tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.domain.base import PageRequest, new_id
from headway.domain.objects import Bucket, ObjectListing, ObjectPut
from headway.errors import InvalidRequestError
from headway.storage.base import Session, Storage
from headway.storage.objects.base import ObjectStore
from headway.testing import factories as make
from headway.testing.factories import digest_of, moment
from headway.testing.storage.fixtures import StorageFixtures

CONTENT = b"bytes"
ODD_KEYS = (
    "/",
    "//",
    ".",
    "..",
    "a/../b",
    "/etc/passwd",
    "a\\b",
    "%2e%2e%2f",
    "a%00b",
    "C:",
    "é",
    "e\u0301",
    " ",
    "x" * 1024,
)
"""Keys that are like any other, whatever they would be as paths."""


class ObjectStoreContract(StorageFixtures):
    """Subclass it, and override the fixture ``storage`` and the method ``store``."""

    def store(self, session: Session) -> ObjectStore:
        raise NotImplementedError("override `store`")

    @contextmanager
    def opened(self, storage: Storage, *, content: bytes = CONTENT) -> Iterator[tuple[ObjectStore, Bucket]]:
        """A store with an empty bucket, of whose project ``content`` was uploaded."""
        bucket = make.make_bucket(project_id=new_id("prj"))
        with storage.write() as session:
            session.buckets.add(bucket)
            session.blobs.add(bucket.project_id, digest_of(content), len(content), moment())
            yield self.store(session), bucket

    def test_an_object_is_put_found_replaced_and_deleted(self, storage: Storage) -> None:
        with self.opened(storage) as (store, bucket):
            wanted = ObjectPut(key="a/b", digest=digest_of(CONTENT), size=5, md5="a" * 32, executable=True)
            (stored,) = store.put(bucket, [wanted], actor="usr1")
            assert store.find(bucket, "a/b") == stored
            assert (stored.uri, stored.digest, stored.md5, stored.executable, stored.updated_by) == (
                f"s3://{bucket.name}/a/b",
                digest_of(CONTENT),
                "a" * 32,
                True,
                "usr1",
            )
            store.put(bucket, [put_of("a/b")], actor="usr2")
            found = store.find(bucket, "a/b")
            assert found is not None
            assert (found.md5, found.updated_by) == (None, "usr2")
            assert store.find(bucket, "a") is None
            assert [store.delete(bucket, "a/b"), store.delete(bucket, "a/b")] == [1, 0]
            assert store.find(bucket, "a/b") is None

    def test_a_key_is_kept_exactly(self, storage: Storage) -> None:
        with self.opened(storage) as (store, bucket):
            store.put(bucket, [put_of(key) for key in ODD_KEYS], actor="usr1")
            assert [one.key for one in store.list(bucket, PageRequest()).items] == sorted(ODD_KEYS, key=str.encode)
            for key in ODD_KEYS:
                found = store.find(bucket, key)
                assert found is not None
                assert found.key == key

    def test_contents_that_were_not_uploaded_are_told_and_nothing_is_put(self, storage: Storage) -> None:
        absent = ObjectPut(key="b", digest=digest_of(b"absent"), size=6)
        with self.opened(storage) as (store, bucket):
            with pytest.raises(InvalidRequestError, match="'b'") as caught:
                store.put(bucket, [put_of("a"), absent], actor="usr1")
            assert caught.value.details["missing"] == [absent.digest]
            with pytest.raises(InvalidRequestError, match="twice"):
                store.put(bucket, [put_of("a"), put_of("c"), put_of("a")], actor="usr1")
            assert store.list(bucket, PageRequest()) == ObjectListing()

    def test_contents_are_young_once_they_are_named(self, storage: Storage) -> None:
        content = b"old"
        with self.opened(storage, content=content) as (_, bucket):
            pass
        old = moment() + timedelta(days=1)
        with storage.write() as session:
            session.blobs.add(bucket.project_id, digest_of(content), 3, moment(-100_000))
        with storage.write() as session:
            self.store(session).put(bucket, [ObjectPut(key="a", digest=digest_of(content), size=3)], actor="usr1")
        with storage.read() as session:
            assert digest_of(content) not in dict(session.blobs.idle(moment(-50_000), after="", limit=1000))
            assert digest_of(content) in dict(session.blobs.idle(old, after="", limit=1000))

    def test_folding_by_a_delimiter(self, storage: Storage) -> None:
        keys = ["a", "a/1", "a/2/3", "b/", "b/x", "c", "d//e", "/f"]
        with self.opened(storage) as (store, bucket):
            store.put(bucket, [put_of(key) for key in keys], actor="usr1")

            def folded(prefix: str, delimiter: str = "/") -> tuple[list[str], list[str]]:
                found = store.list(bucket, PageRequest(), prefix=prefix, delimiter=delimiter)
                return [one.key for one in found.items], list(found.prefixes)

            assert folded("") == (["a", "c"], ["/", "a/", "b/", "d/"])
            assert folded("a") == (["a"], ["a/"])
            assert folded("a/") == (["a/1"], ["a/2/"])
            assert folded("b/") == (["b/", "b/x"], [])
            assert folded("d/") == ([], ["d//"])
            assert folded("", "/x") == (["/f", "a", "a/1", "a/2/3", "b/", "c", "d//e"], ["b/x"])
            assert folded("z") == ([], [])

    def test_what_was_not_given_out_is_no_cursor(self, storage: Storage) -> None:
        with self.opened(storage) as (store, bucket):
            for cursor in ("%", "é", "_w", "a"):
                with pytest.raises(InvalidRequestError, match="cursor"):
                    store.list(bucket, PageRequest(cursor=cursor))

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        keys=st.sets(st.text("ab/é\U0010ffff", min_size=1, max_size=5), max_size=40),
        prefix=st.text("ab/", max_size=2),
        delimiter=st.sampled_from(["", "/", "a", "b/", "\U0010ffff"]),
        limit=st.integers(1, 7),
    )
    def test_pages_together_are_the_whole_list(
        self, storage: Storage, keys: set[str], prefix: str, delimiter: str, limit: int
    ) -> None:
        with self.opened(storage) as (store, bucket):
            store.put(bucket, [put_of(key) for key in keys], actor="usr1")
            pages = list(_pages(store, bucket, limit, prefix, delimiter))
        found = [one.key for page in pages for one in page.items]
        folded = [one for page in pages for one in page.prefixes]
        whole, prefixes = _fold(keys, prefix, delimiter)
        assert (found, folded) == (whole, prefixes)
        assert all(len(page.items) + len(page.prefixes) == limit for page in pages[:-1])
        assert len(pages) == 1 or pages[-1].items or pages[-1].prefixes

    def test_a_page_goes_on_when_what_it_began_with_was_deleted(self, storage: Storage) -> None:
        with self.opened(storage) as (store, bucket):
            store.put(bucket, [put_of(key) for key in "abcdef"], actor="usr1")
            first = store.list(bucket, PageRequest(limit=2))
            store.delete(bucket, "b")
            store.delete(bucket, "c")
            store.put(bucket, [put_of("a0"), put_of("e0")], actor="usr1")
            rest = store.list(bucket, PageRequest(cursor=first.next_cursor))
            assert [one.key for one in rest.items] == ["d", "e", "e0", "f"]

    def test_a_prefix_is_deleted_and_nothing_beside_it(self, storage: Storage) -> None:
        with self.opened(storage) as (store, bucket):
            store.put(bucket, [put_of(key) for key in ("a", "a%", "a%b", "a/b", "b")], actor="usr1")
            assert store.delete_prefix(bucket, "a%") == 2
            assert [one.key for one in store.list(bucket, PageRequest()).items] == ["a", "a/b", "b"]
            assert store.delete_prefix(bucket, "") == 3
            assert store.list(bucket, PageRequest()) == ObjectListing()


def put_of(key: str) -> ObjectPut:
    return ObjectPut(key=key, digest=digest_of(CONTENT), size=len(CONTENT))


def _pages(store: ObjectStore, bucket: Bucket, limit: int, prefix: str, delimiter: str) -> Iterator[ObjectListing]:
    cursor: str | None = None
    while True:
        page = store.list(bucket, PageRequest(limit=limit, cursor=cursor), prefix=prefix, delimiter=delimiter)
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


def _fold(keys: set[str], prefix: str, delimiter: str) -> tuple[Sequence[str], Sequence[str]]:
    """What a listing comes to, told in the plainest way."""
    whole: list[str] = []
    prefixes: set[str] = set()
    for key in keys:
        if not key.startswith(prefix):
            continue
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        if found:
            prefixes.add(prefix + head + delimiter)
        else:
            whole.append(key)
    return sorted(whole, key=str.encode), sorted(prefixes, key=str.encode)
