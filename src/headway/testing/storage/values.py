"""What is kept by key: blobs of projects, secrets, answers of creates, settings."""

from __future__ import annotations

import pytest

from headway.errors import ConflictError
from headway.storage.base import Storage
from headway.testing.factories import digest_of, moment
from headway.testing.storage.fixtures import StorageFixtures


class ValueContract(StorageFixtures):
    def test_a_project_holds_only_the_blobs_that_were_recorded_for_it(self, storage: Storage) -> None:
        digest = digest_of(b"x")
        for _ in range(2):
            with storage.write() as session:
                session.blobs.add("p1", digest, 1, moment())
        with storage.read() as session:
            assert session.blobs.has("p1", digest)
            assert not session.blobs.has("p2", digest)
            assert not session.blobs.has("p1", digest_of(b"y"))

    def test_missing_blobs_are_named_in_the_order_of_the_question(self, storage: Storage) -> None:
        digests = [digest_of(b"%d" % number) for number in range(2000)]
        with storage.write() as session:
            for digest in digests[::2]:
                session.blobs.add("p1", digest, 1, moment())
        with storage.read() as session:
            assert list(session.blobs.missing("p1", digests)) == digests[1::2]
            assert list(session.blobs.missing("p1", list(reversed(digests)))) == list(reversed(digests[1::2]))
            assert list(session.blobs.missing("p2", digests[:3])) == digests[:3]
            assert list(session.blobs.missing("p1", [])) == []

    def test_secrets_are_kept_by_owner(self, storage: Storage) -> None:
        values = {"PASSWORD": "pä'\"ss\nword", "EMPTY": "", "NUL": "a\0b"}
        with storage.write() as session:
            session.secrets.put("j1", {"OLD": "x"})
            session.secrets.put("j1", values)
            session.secrets.put("j2", {"OTHER": "y"})
        with storage.read() as session:
            assert session.secrets.get("j1") == values
            assert session.secrets.get("absent") == {}
        for _ in range(2):
            with storage.write() as session:
                session.secrets.delete("j1")
        with storage.read() as session:
            assert session.secrets.get("j1") == {}
            assert session.secrets.get("j2") == {"OTHER": "y"}

    def test_an_answer_is_found_by_token_and_key(self, storage: Storage) -> None:
        body = bytes(range(256))
        with storage.write() as session:
            assert session.idempotency.find("t1", "k") is None
            session.idempotency.add("t1", "k", "fingerprint", 201, body, moment())
        with storage.read() as session:
            assert session.idempotency.find("t1", "k") == ("fingerprint", 201, body)
            assert session.idempotency.find("t2", "k") is None
            assert session.idempotency.find("t1", "other") is None

    def test_a_key_is_answered_once(self, storage: Storage) -> None:
        with storage.write() as session:
            session.idempotency.add("t1", "k", "f", 201, b"first", moment())
            with pytest.raises(ConflictError, match="'k'"):
                session.idempotency.add("t1", "k", "f", 201, b"second", moment())
            session.idempotency.add("t2", "k", "f", 201, b"other", moment())
        with storage.read() as session:
            assert session.idempotency.find("t1", "k") == ("f", 201, b"first")

    def test_old_answers_are_forgotten(self, storage: Storage) -> None:
        with storage.write() as session:
            session.idempotency.add("t1", "old", "f", 201, b"", moment(-100))
            session.idempotency.add("t1", "new", "f", 201, b"", moment(0))
            session.idempotency.delete_before(moment(-50))
        with storage.read() as session:
            assert session.idempotency.find("t1", "old") is None
            assert session.idempotency.find("t1", "new") is not None

    def test_settings_are_kept_by_key(self, storage: Storage) -> None:
        with storage.write() as session:
            assert session.settings.find("port") is None
            session.settings.put("port", "1")
            session.settings.put("port", "2")
        with storage.read() as session:
            assert session.settings.find("port") == "2"
