"""Leases: one holder at a time, and a late one is told."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import pytest

from headway.errors import LeaseLostError
from headway.storage.base import Storage
from headway.testing.factories import moment
from headway.testing.storage.fixtures import StorageFixtures, in_threads

START = moment()


class LeaseContract(StorageFixtures):
    def test_a_held_subject_cannot_be_acquired(self, storage: Storage, peer: Storage) -> None:
        with storage.write() as session:
            assert session.leases.acquire("job1", 10, START) is not None
            assert session.leases.acquire("job1", 10, START) is None
            assert session.leases.acquire("job2", 10, START) is not None
        with peer.write() as session:
            assert session.leases.acquire("job1", 10, START + timedelta(seconds=9.999)) is None

    def test_a_lease_that_ran_out_can_be_acquired_and_its_holder_is_told(self, storage: Storage) -> None:
        end = START + timedelta(seconds=10)
        with storage.write() as session:
            old = session.leases.acquire("job1", 10, START)
            assert old is not None
            session.leases.check("job1", old, START + timedelta(seconds=9.999))
            with pytest.raises(LeaseLostError, match="job1"):
                session.leases.check("job1", old, end)
            new = session.leases.acquire("job1", 10, end)
            assert new is not None
            assert new != old
            assert not session.leases.renew("job1", old, 10, end)
            session.leases.release("job1", old)
            session.leases.check("job1", new, end)

    def test_renewing_lengthens_a_lease_that_is_held(self, storage: Storage) -> None:
        with storage.write() as session:
            token = session.leases.acquire("job1", 10, START)
            assert token is not None
            assert session.leases.renew("job1", token, 10, START + timedelta(seconds=9))
            session.leases.check("job1", token, START + timedelta(seconds=18))
            assert session.leases.acquire("job1", 10, START + timedelta(seconds=18)) is None
            assert not session.leases.renew("job1", token, 10, START + timedelta(seconds=19))
            assert not session.leases.renew("absent", token, 10, START)

    def test_releasing_lets_others_in_and_may_be_repeated(self, storage: Storage) -> None:
        with storage.write() as session:
            token = session.leases.acquire("job1", 10, START)
            assert token is not None
            session.leases.release("job1", token)
            session.leases.release("job1", token)
            with pytest.raises(LeaseLostError):
                session.leases.check("job1", token, START)
            assert session.leases.acquire("job1", 10, START) is not None

    def test_nobody_holds_what_was_never_acquired(self, storage: Storage) -> None:
        with storage.write() as session, pytest.raises(LeaseLostError):
            session.leases.check("job1", "token", START)

    def test_a_result_that_comes_too_late_does_not_apply(self, storage: Storage) -> None:
        with storage.write() as session:
            token = session.leases.acquire("job1", 1, START)
            assert token is not None
        with pytest.raises(LeaseLostError), storage.write() as session:
            session.settings.put("result", "late")
            session.leases.check("job1", token, START + timedelta(seconds=2))
        with storage.read() as session:
            assert session.settings.find("result") is None

    def test_of_many_who_ask_at_once_one_gets_the_lease(self, storage: Storage, peer: Storage) -> None:
        for start in (START, START + timedelta(seconds=10)):
            tokens: list[str | None] = []

            def ask(door: Storage, start: datetime = start, tokens: list[str | None] = tokens) -> None:
                with door.write() as session:
                    tokens.append(session.leases.acquire("job1", 10, start))

            in_threads(*[partial(ask, door) for door in (storage, peer) * 3])
            assert len([token for token in tokens if token is not None]) == 1
