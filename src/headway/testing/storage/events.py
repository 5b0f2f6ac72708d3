"""Events: one sequence that a follower can trust."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from headway.domain.events import Event
from headway.storage.base import Storage
from headway.testing.factories import make_event, make_project
from headway.testing.storage.fixtures import DEADLINE_SECONDS, StorageFixtures, in_threads

EVENTS_PER_WRITER = 20


class EventContract(StorageFixtures):
    def test_events_come_back_in_the_order_in_which_they_were_appended(self, storage: Storage) -> None:
        events = [make_event(message=str(number), data={"n": [number, None, "é"]}) for number in range(5)]
        with storage.write() as session:
            assert session.events.last_sequence() == 0
            stored = [session.events.append(event) for event in events]
        with storage.read() as session:
            assert list(session.events.after(0)) == stored
            assert session.events.last_sequence() == stored[-1].sequence
        assert [event.evolve(sequence=0) for event in stored] == events
        assert [event.sequence for event in stored] == sorted({event.sequence for event in stored})

    def test_a_reader_goes_on_after_what_it_has_seen(self, storage: Storage) -> None:
        with storage.write() as session:
            stored = [session.events.append(make_event()) for _ in range(5)]
        with storage.read() as session:
            assert list(session.events.after(stored[1].sequence)) == stored[2:]
            assert list(session.events.after(0, limit=2)) == stored[:2]
            assert list(session.events.after(stored[-1].sequence)) == []

    def test_events_are_filtered_by_project_subject_and_type(self, storage: Storage) -> None:
        with storage.write() as session:
            a = session.events.append(make_event(project_id="p1", subject_id="j1", type="job.created"))
            b = session.events.append(make_event(project_id="p1", subject_id="j2", type="job.state_changed"))
            c = session.events.append(make_event(project_id="p2", subject_id="j3", type="job.created"))
            d = session.events.append(make_event(project_id=None, subject_id="u1", type="user.created"))
        with storage.read() as session:
            after = session.events.after
            assert list(after(0, project_ids=["p1"])) == [a, b]
            assert list(after(0, project_ids=["p1", "p2"], types=["job.created"])) == [a, c]
            assert list(after(0, subject_id="j2")) == [b]
            assert list(after(0, types=["user.created", "absent"])) == [d]
            assert list(after(a.sequence, project_ids=["p1"], limit=1)) == [b]
            assert list(after(0, project_ids=[])) == []

    def test_an_event_of_a_session_that_raised_never_happened(self, storage: Storage) -> None:
        try:
            with storage.write() as session:
                session.events.append(make_event(message="never"))
                raise KeyError
        except KeyError:
            pass
        with storage.write() as session:
            kept = session.events.append(make_event())
        with storage.read() as session:
            assert list(session.events.after(0)) == [kept]

    def test_a_number_is_never_given_twice(self, storage: Storage) -> None:
        numbers = []
        for _ in range(3):
            with storage.write() as session:
                numbers.append(session.events.append(make_event()).sequence)
        assert numbers == sorted(set(numbers))

    def test_a_follower_misses_nothing_while_many_append(self, storage: Storage, peer: Storage) -> None:
        writers, finished = 4, threading.Event()
        followed: list[Event] = []

        def write(door: Storage) -> Callable[[], None]:
            def run() -> None:
                for _ in range(EVENTS_PER_WRITER):
                    with door.write() as session:
                        # Sessions of different length: without order, a short one would overtake a long one.
                        session.events.append(make_event())
                        session.projects.add(make_project())
                        session.events.append(make_event())

            return run

        def follow() -> None:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while len(followed) < writers * EVENTS_PER_WRITER * 2 and time.monotonic() < deadline:
                last = followed[-1].sequence if followed else 0
                with peer.read() as session:
                    followed.extend(session.events.after(last))
                finished.wait(0.001)

        in_threads(follow, *[write(door) for door in (storage, peer, storage, peer)])
        with storage.read() as session:
            assert followed == list(session.events.after(0, limit=10_000))
        assert len(followed) == writers * EVENTS_PER_WRITER * 2
