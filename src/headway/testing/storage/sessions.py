"""Sessions: all or nothing, one consistent state, no update lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from headway.domain.base import PageRequest
from headway.errors import ConflictError, NotFoundError, UnavailableError
from headway.storage.base import Session, Storage
from headway.testing.factories import make_event, make_job, make_member, make_project, make_stream, moment
from headway.testing.storage.fixtures import DEADLINE_SECONDS, StorageFixtures, in_threads

INCREMENTS = 15


class SessionContract(StorageFixtures):
    def test_a_write_session_that_ends_is_seen_by_everybody(self, storage: Storage, peer: Storage) -> None:
        project = make_project()
        with storage.write() as session:
            session.projects.add(project)
        for door in (storage, peer):
            with door.read() as session:
                assert session.projects.get(project.id) == project

    def test_a_write_session_that_raises_leaves_nothing(self, storage: Storage) -> None:
        kept, dropped = make_project(), make_project()
        with storage.write() as session:
            session.projects.add(kept)
        with pytest.raises(ZeroDivisionError), storage.write() as session:
            session.projects.add(dropped)
            session.projects.put(kept.evolve(description="changed"))
            session.events.append(make_event())
            raise ZeroDivisionError
        with storage.read() as session:
            assert session.projects.list(PageRequest()).items == (kept,)
            assert session.events.last_sequence() == 0

    def test_a_session_sees_its_own_changes(self, storage: Storage) -> None:
        project = make_project()
        with storage.write() as session:
            session.projects.add(project)
            assert session.projects.list(PageRequest()).items == (project,)
            session.projects.delete(project.id)
            assert session.projects.find(project.id) is None

    def test_nobody_sees_a_write_session_before_it_ends(self, storage: Storage, peer: Storage) -> None:
        project = make_project()
        seen: list[object] = []

        def look() -> None:
            with peer.read() as session:
                seen.append(session.projects.find(project.id))

        with storage.write() as session:
            session.projects.add(project)
            in_threads(look)
        assert seen == [None]

    def test_a_read_session_sees_one_state_while_others_write(self, storage: Storage, peer: Storage) -> None:
        first, second = make_project(), make_project()
        with storage.write() as session:
            session.projects.add(first)

        def change() -> None:
            with peer.write() as session:
                session.projects.put(first.evolve(description="changed"))
                session.projects.add(second)

        with storage.read() as session:
            assert session.projects.get(first.id) == first
            in_threads(change)
            assert session.projects.get(first.id) == first
            assert session.projects.find(second.id) is None
        with storage.read() as session:
            assert session.projects.get(first.id).description == "changed"

    def test_a_read_session_changes_nothing(self, storage: Storage) -> None:
        project = make_project()
        with pytest.raises(RuntimeError, match="read session"), storage.read() as session:
            session.projects.add(project)
        with storage.read() as session:
            assert session.projects.find(project.id) is None

    def test_sessions_are_never_nested_in_one_thread(self, storage: Storage) -> None:
        with storage.read():
            with pytest.raises(RuntimeError, match="nested"), storage.read():
                pass
            with pytest.raises(RuntimeError, match="nested"), storage.write():
                pass
        with storage.write() as session:
            session.settings.put("still", "usable")

    def test_a_conflict_leaves_the_rest_of_the_session_as_it_was(self, storage: Storage) -> None:
        taken, other, last = make_project(name="taken"), make_project(), make_project()
        with storage.write() as session:
            session.projects.add(taken)
            session.projects.add(other)
            with pytest.raises(ConflictError):
                session.projects.add(make_project(name="taken"))
            with pytest.raises(ConflictError):
                session.projects.put(other.evolve(name="taken"))
            session.projects.add(last)
        with storage.read() as session:
            assert {item.id for item in session.projects.list(PageRequest()).items} == {taken.id, other.id, last.id}
            assert session.projects.get(other.id) == other

    def test_not_finding_something_leaves_the_session_usable(self, storage: Storage) -> None:
        project = make_project()
        with storage.write() as session:
            with pytest.raises(NotFoundError):
                session.projects.get("absent")
            session.projects.add(project)
        with storage.read() as session:
            assert session.projects.get(project.id) == project

    def test_a_closed_storage_says_so_and_may_be_closed_again(self, storage: Storage) -> None:
        storage.close()
        storage.close()
        with pytest.raises(UnavailableError, match="closed"), storage.read():
            pass
        with pytest.raises(UnavailableError, match="closed"), storage.write():
            pass

    def test_no_update_of_a_record_is_lost(self, storage: Storage, peer: Storage) -> None:
        job = make_job()
        with storage.write() as session:
            session.jobs.add(job)

        def step(session: Session) -> None:
            present = session.jobs.get(job.id)
            session.jobs.put(present.evolve(attempt=present.attempt + 1))

        in_threads(*_steps(step, storage, peer))
        with storage.read() as session:
            assert session.jobs.get(job.id).attempt == 4 * INCREMENTS

    def test_no_update_of_a_record_found_by_name_is_lost(self, storage: Storage, peer: Storage) -> None:
        project = make_project(description="0")
        with storage.write() as session:
            session.projects.add(project)

        def step(session: Session) -> None:
            present = session.projects.by_name(project.name)
            assert present is not None
            session.projects.put(present.evolve(description=str(int(present.description) + 1)))

        in_threads(*_steps(step, storage, peer))
        with storage.read() as session:
            assert session.projects.get(project.id).description == str(4 * INCREMENTS)

    def test_no_update_of_a_stream_is_lost(self, storage: Storage, peer: Storage) -> None:
        stream = make_stream()
        with storage.write() as session:
            session.streams.put(stream)

        def step(session: Session) -> None:
            present = session.streams.find(stream.run_id, stream.name)
            assert present is not None
            session.streams.put(present.evolve(committed=present.committed + 1))

        in_threads(*_steps(step, storage, peer))
        with storage.read() as session:
            found = session.streams.find(stream.run_id, stream.name)
            assert found is not None
            assert found.committed == 4 * INCREMENTS

    def test_of_many_who_add_the_same_name_one_succeeds(self, storage: Storage, peer: Storage) -> None:
        outcomes: list[str] = []

        def add(door: Storage) -> Callable[[], None]:
            def run() -> None:
                try:
                    with door.write() as session:
                        session.projects.add(make_project(name="wanted"))
                    outcomes.append("added")
                except ConflictError:
                    outcomes.append("conflict")

            return run

        in_threads(*[add(door) for door in (storage, peer, storage, peer)])
        assert sorted(outcomes) == ["added", "conflict", "conflict", "conflict"]

    def test_subscribers_of_every_server_wake_after_a_commit(self, storage: Storage, peer: Storage) -> None:
        woken = [threading.Event(), threading.Event()]
        ends = [door.subscribe(event.set) for door, event in zip((storage, peer), woken, strict=True)]
        for writer in (storage, peer):
            # A first wake may come for having connected: write until one comes after that, as a user's next write would.
            for event in woken:
                event.clear()
            with writer.write() as session:
                session.members.put(make_member())
            assert all(event.wait(DEADLINE_SECONDS) for event in woken)
        for end in ends:
            end()

    def test_a_subscriber_finds_what_woke_it(self, storage: Storage, peer: Storage) -> None:
        project, found = make_project(), threading.Event()

        def look() -> None:
            with peer.read() as session:
                if session.projects.find(project.id) is not None:
                    found.set()

        end = peer.subscribe(look)
        with storage.write() as session:
            session.projects.add(project)
        assert found.wait(DEADLINE_SECONDS)
        end()

    def test_who_ended_a_subscription_is_not_woken(self, storage: Storage) -> None:
        gone, here = threading.Event(), threading.Event()
        storage.subscribe(gone.set)()
        end_here = storage.subscribe(here.set)
        gone.clear()
        with storage.write() as session:
            session.settings.put("a", "b")
        assert here.wait(DEADLINE_SECONDS)
        assert not gone.is_set()
        end_here()

    def test_a_subscriber_that_raises_keeps_nobody_else_from_waking(self, storage: Storage) -> None:
        def broken() -> None:
            raise ValueError("the fault of a subscriber")

        here = threading.Event()
        ends = [storage.subscribe(broken), storage.subscribe(here.set)]
        for _ in range(2):
            here.clear()
            with storage.write() as session:
                session.settings.put("a", "b")
            assert here.wait(DEADLINE_SECONDS)
        for end in ends:
            end()

    def test_taking_leases_and_changing_nothing_wake_nobody(self, storage: Storage) -> None:
        woken = threading.Event()
        end = storage.subscribe(woken.set)
        with storage.write() as session:
            session.settings.put("a", "b")
        assert woken.wait(DEADLINE_SECONDS)
        while woken.wait(0.2):  # until the wakes that are due have come
            woken.clear()
        with storage.write() as session:
            token = session.leases.acquire("subject", 10, moment())
            assert token is not None
            session.leases.release("subject", token)
            session.projects.delete("absent")
        assert not woken.wait(0.2)
        end()


def _steps(step: Callable[[Session], None], *doors: Storage) -> list[Callable[[], None]]:
    """Two threads for each of ``doors``; each takes its steps, every one in a write session of its own."""

    def walk(door: Storage) -> Callable[[], None]:
        def run() -> None:
            for _ in range(INCREMENTS):
                with door.write() as session:
                    step(session)

        return run

    return [walk(door) for door in doors for _ in range(2)]
