"""PostgreSQL: the contract, with two servers on one database, and what is PostgreSQL's alone."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from functools import partial
from secrets import token_hex

import psycopg
import pytest

from headway.domain.base import PageRequest
from headway.errors import UnavailableError
from headway.storage import open_storage
from headway.storage.base import Storage
from headway.storage.sql import postgres
from headway.testing.factories import make_project
from headway.testing.storage import StorageContract
from headway.testing.storage.fixtures import in_threads


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


@pytest.fixture
def storage(postgres_url: str) -> Iterator[Storage]:
    storage = open_storage(postgres_url)
    yield storage
    storage.close()


def end_all_connections(url: str) -> None:
    """As a restart of the database would."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_after_the_connections_were_lost_the_next_session_works(storage: Storage, postgres_url: str) -> None:
    project = make_project()
    with storage.write() as session:
        session.projects.add(project)
    end_all_connections(postgres_url)
    with storage.read() as session:
        assert session.projects.get(project.id) == project


def test_a_session_whose_connection_is_lost_is_unavailable_and_leaves_nothing(
    storage: Storage, postgres_url: str
) -> None:
    project = make_project()
    with pytest.raises(UnavailableError), storage.write() as session:
        session.projects.add(project)
        end_all_connections(postgres_url)
        session.projects.find(project.id)
    with storage.read() as session:
        assert session.projects.find(project.id) is None


def test_a_failure_that_the_caller_swallows_still_fails_the_session(storage: Storage, postgres_url: str) -> None:
    with pytest.raises(UnavailableError), storage.write() as session:
        session.projects.add(make_project())
        end_all_connections(postgres_url)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                session.projects.find("x")
    with storage.read() as session:
        assert session.projects.list(PageRequest()).items == ()


def test_subscribers_wake_after_a_lost_connection_and_go_on_hearing_of_commits(
    storage: Storage, postgres_url: str
) -> None:
    woken = threading.Event()
    storage.subscribe(woken.set)
    assert woken.wait(30)
    woken.clear()
    end_all_connections(postgres_url)
    assert woken.wait(30)
    woken.clear()
    with storage.write() as session:
        session.settings.put("a", "b")
    assert woken.wait(30)


def test_of_two_sessions_that_wait_for_each_other_one_is_told_to_try_again(storage: Storage) -> None:
    first, second = make_project(), make_project()
    with storage.write() as session:
        session.projects.add(first)
        session.projects.add(second)
    both_hold_one = threading.Barrier(2, timeout=30)
    outcomes: list[str] = []

    def take(one: str, other: str) -> None:
        try:
            with storage.write() as session:
                session.projects.get(one)
                both_hold_one.wait()
                session.projects.get(other)
            outcomes.append("done")
        except UnavailableError as error:
            assert "waited for each other" in str(error)
            outcomes.append("told")

    in_threads(partial(take, first.id, second.id), partial(take, second.id, first.id))
    assert sorted(outcomes) == ["done", "told"]


def test_when_all_connections_are_busy_a_session_is_told_to_try_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "POOL_SIZE", 1)
    monkeypatch.setattr(postgres, "POOL_OVERFLOW", 0)
    monkeypatch.setattr(postgres, "WAIT_SECONDS", 0.05)
    storage = open_storage(postgres_url)

    def read() -> None:
        with storage.read():
            pass

    with storage.read(), pytest.raises(UnavailableError, match="busy"):
        in_threads(read)
    in_threads(read)
    storage.close()


def test_errors_never_show_the_values_of_a_statement(storage: Storage, postgres_url: str) -> None:
    secret = token_hex(8)
    with pytest.raises(UnavailableError) as caught, storage.write() as session:
        end_all_connections(postgres_url)
        session.secrets.put("job1", {"PASSWORD": secret})
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_closing_ends_the_listener_and_every_connection(postgres_url: str) -> None:
    storage = open_storage(postgres_url)
    storage.subscribe(lambda: None)
    with storage.write() as session:
        session.settings.put("a", "b")
    storage.close()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("headway-storage")] == []
