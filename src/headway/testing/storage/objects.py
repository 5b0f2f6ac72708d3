"""Buckets and objects."""

from __future__ import annotations

from functools import partial

import pytest

from headway.domain.base import PageRequest
from headway.domain.objects import StoredObject
from headway.errors import ConflictError, InvalidRequestError
from headway.storage.base import Storage
from headway.testing import factories as make
from headway.testing.factories import digest_of
from headway.testing.storage.fixtures import StorageFixtures, in_threads

KEYS = [
    "/",
    "/a",
    "A",
    "a",
    "a b",
    "a%2fb",
    "a/",
    "a/../b",
    "a/b",
    "a//b",
    "aa",
    "b",
    "é",
    "e\u0301",
    "\uffff",
    "\U00010000",
]
"""Keys that an order by language, a folded case, a normalised text or a cleaned path would mistake."""


class ObjectContract(StorageFixtures):
    def put(self, storage: Storage, *keys: str, bucket: str = "b1") -> list[StoredObject]:
        """Objects of these keys, each put by itself."""
        made = [make.make_object(key=key) for key in keys]
        for stored in made:
            with storage.write() as session:
                session.objects.put(bucket, [stored])
        return made

    def keys(
        self, storage: Storage, *, bucket: str = "b1", prefix: str = "", start: str = "", limit: int = 100
    ) -> list[str]:
        with storage.read() as session:
            found = session.objects.page(bucket, prefix=prefix, start=start, limit=limit)
        return [stored.key for stored in found]

    def test_buckets_are_found_by_name_and_listed(self, storage: Storage) -> None:
        made = [
            make.make_bucket(project_id=project, name=name) for project, name in [("p", "a"), ("p", "b"), ("q", "a")]
        ]
        with storage.write() as session:
            for bucket in made:
                session.buckets.add(bucket)
        with storage.read() as session:
            assert session.buckets.by_name("p", "b") == made[1]
            assert session.buckets.by_name("q", "b") is None
            assert {found.id for found in session.buckets.list(PageRequest(), project_ids=["p"]).items} == {
                made[0].id,
                made[1].id,
            }
            assert len(session.buckets.list(PageRequest()).items) == 3

    def test_an_object_is_put_found_replaced_and_deleted(self, storage: Storage) -> None:
        (first,) = self.put(storage, "a/b")
        later = first.evolve(digest=digest_of(b"later"), size=5, md5="0" * 32, executable=True)
        with storage.read() as session:
            assert session.objects.find("b1", "a/b") == first
            assert session.objects.find("b2", "a/b") is None
        with storage.write() as session:
            session.objects.put("b1", [later, make.make_object(key="a")])
            session.objects.put("b1", [])
        with storage.read() as session:
            assert session.objects.find("b1", "a/b") == later
        assert self.keys(storage) == ["a", "a/b"]
        with storage.write() as session:
            assert session.objects.delete("b1", "a/b") == 1
            assert session.objects.delete("b1", "a/b") == 0
        assert self.keys(storage) == ["a"]

    def test_keys_differ_where_their_bytes_do_and_come_in_the_order_of_these(self, storage: Storage) -> None:
        self.put(storage, *reversed(KEYS))
        self.put(storage, "elsewhere", bucket="b2")
        assert self.keys(storage) == sorted(KEYS, key=str.encode)
        with storage.read() as session:
            for key in KEYS:
                found = session.objects.find("b1", key)
                assert found is not None
                assert found.key == key

    def test_pages_begin_where_they_are_told_to(self, storage: Storage) -> None:
        self.put(storage, "a", "b", "c", "d")
        assert self.keys(storage, start="b", limit=2) == ["b", "c"]
        assert self.keys(storage, start="bb") == ["c", "d"]
        assert self.keys(storage, start="e") == []

    @pytest.mark.parametrize(
        ("prefix", "wanted"),
        [
            ("a", ["a", "a b", "a%2fb", "a/", "a/../b", "a//b", "a/b", "aa"]),
            ("a/", ["a/", "a/../b", "a//b", "a/b"]),
            ("a%", ["a%2fb"]),
            ("_", []),
            ("/", ["/", "/a"]),
            ("e", ["e\u0301"]),
            ("\uffff", ["\uffff"]),
            ("\U00010000", ["\U00010000"]),
        ],
    )
    def test_a_prefix_is_plain_text(self, storage: Storage, prefix: str, wanted: list[str]) -> None:
        with storage.write() as session:
            session.objects.put("b1", [make.make_object(key=key) for key in KEYS])
            session.objects.put("b2", [make.make_object(key=key) for key in KEYS])
        assert self.keys(storage, prefix=prefix) == wanted
        assert self.keys(storage, prefix=prefix, start=prefix + "!") == [key for key in wanted if key >= prefix + "!"]
        with storage.write() as session:
            assert session.objects.delete_prefix("b1", prefix) == len(wanted)
        assert self.keys(storage) == [key for key in sorted(KEYS, key=str.encode) if key not in wanted]
        assert len(self.keys(storage, bucket="b2")) == len(KEYS)

    def test_without_a_prefix_a_bucket_is_emptied(self, storage: Storage) -> None:
        self.put(storage, "a", "\U0010ffff", "\U0010ffff\U0010ffff/x")
        assert self.keys(storage, prefix="\U0010ffff") == ["\U0010ffff", "\U0010ffff\U0010ffff/x"]
        with storage.write() as session:
            assert session.objects.delete_prefix("b1", "") == 3
        assert self.keys(storage) == []

    def test_text_that_a_database_cannot_keep_is_refused(self, storage: Storage) -> None:
        for key in ("a\0b", "a\ud800"):
            with pytest.raises(InvalidRequestError), storage.write() as session:
                session.objects.find("b1", key)

    def test_objects_name_their_blobs(self, storage: Storage) -> None:
        made = [make.make_object(key=f"{number}", digest=digest_of(b"%d" % number)) for number in range(120)]
        with storage.write() as session:
            session.objects.put("b1", made)
        with storage.read() as session:
            found = {digest for noun in session.holders_of_blobs() for digest in noun.referenced_digests()}
        assert {stored.digest for stored in made} <= found

    def test_many_at_once_make_one_bucket_and_one_object_of_a_key(self, storage: Storage, peer: Storage) -> None:
        outcomes: list[str] = []
        keys = [f"{number:02}" for number in range(20)]

        def put(store: Storage, number: int) -> None:
            bucket = make.make_bucket(project_id="p", name="same")
            try:
                with store.write() as session:
                    session.buckets.add(bucket)
                outcomes.append("made")
            except ConflictError:
                outcomes.append("there")
            ordered = keys if number % 2 else list(reversed(keys))
            digest = digest_of(b"%d" % number)
            with store.write() as session:
                session.objects.put("b1", [make.make_object(key=key, digest=digest) for key in ordered])

        in_threads(*(partial(put, (storage, peer)[number % 2], number) for number in range(8)))
        assert sorted(outcomes) == ["made", *["there"] * 7]
        with storage.read() as session:
            found = session.objects.page("b1", limit=100)
        assert [stored.key for stored in found] == keys
        assert len({stored.digest for stored in found}) == 1
