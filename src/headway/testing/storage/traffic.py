"""Traffic: cells that replace what was sent before, and what waits. What is said every second wakes nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headway.domain.base import new_id
from headway.domain.deployments import Deployment
from headway.domain.traffic import TrafficCell
from headway.errors import InvalidRequestError
from headway.storage.base import Storage
from headway.testing.factories import make_deployment, moment
from headway.testing.storage.fixtures import DEADLINE_SECONDS, StorageFixtures, in_threads

START = 1_800_000_000
"""A window's first second."""


def make_cell(deployment: str, **fields: Any) -> TrafficCell:
    return TrafficCell(**{"deployment_id": deployment, "version": "v1", "replica_id": "rep1", "start": START, **fields})


def added(storage: Storage, number: int = 1) -> list[str]:
    """The ids of new deployments."""
    found: list[Deployment] = [make_deployment() for _ in range(number)]
    with storage.write() as session:
        for deployment in found:
            session.deployments.add(deployment)
    return [deployment.id for deployment in found]


@contextmanager
def listening(storage: Storage) -> Iterator[threading.Event]:
    """An event that is set by wakes alone that are due to what the block does."""
    woken = threading.Event()
    end = storage.subscribe(woken.set)
    with storage.write() as session:
        session.settings.put("a", new_id("value"))
    assert woken.wait(DEADLINE_SECONDS)
    while woken.wait(0.2):  # until the wakes that are due have come
        woken.clear()
    yield woken
    end()


class TrafficContract(StorageFixtures):
    def test_cells_come_back_as_they_were_put_by_start(self, storage: Storage) -> None:
        (mine,) = added(storage)
        full = make_cell(
            mine,
            codes={200: 3, 503: 2**40},
            latency={0: 1, 256: 7},
            seconds=1.5,
            busy_seconds=0.1 + 0.2,
            shadow_equal=1,
            shadow_different=2,
            shadow_failed=3,
        )
        later = make_cell(mine, start=START + 10, replica_id="", version="")
        with storage.write() as session:
            assert session.traffic.put("g1", [later, full]) == 2
        with storage.read() as session:
            assert list(session.traffic.windows(mine, START, START + 20)) == [full, later]
            assert list(session.traffic.windows(mine, START, START + 10)) == [full]
            assert list(session.traffic.windows(mine, START + 1, START + 20)) == [later]
            assert list(session.traffic.windows("absent", START, START + 20)) == []

    def test_a_cell_that_is_sent_again_replaces_the_one_before(self, storage: Storage) -> None:
        (mine,) = added(storage)
        for count in (5, 5, 9):
            with storage.write() as session:
                session.traffic.put("g1", [make_cell(mine, codes={200: count})])
        with storage.read() as session:
            assert [cell.codes for cell in session.traffic.windows(mine, START, START + 1)] == [{200: 9}]

    def test_within_one_report_the_last_of_equal_cells_counts(self, storage: Storage) -> None:
        (mine,) = added(storage)
        with storage.write() as session:
            assert session.traffic.put("g1", [make_cell(mine, codes={200: n}) for n in (1, 2, 3)]) == 1
        with storage.read() as session:
            assert [cell.codes for cell in session.traffic.windows(mine, START, START + 1)] == [{200: 3}]

    def test_version_replica_window_and_gateway_tell_cells_apart(self, storage: Storage) -> None:
        mine, other = added(storage, 2)
        cells = [
            make_cell(mine),
            make_cell(mine, version="v2"),
            make_cell(mine, replica_id="rep2"),
            make_cell(mine, start=START + 10),
            make_cell(other),
        ]
        with storage.write() as session:
            assert session.traffic.put("g1", cells) == 5
            assert session.traffic.put("g2", cells) == 5
        with storage.read() as session:
            assert len(session.traffic.windows(mine, START, START + 20)) == 8
            assert len(session.traffic.windows(other, START, START + 20)) == 2
            assert len(session.traffic.recent(START)) == 10
            assert {cell.start for cell in session.traffic.recent(START + 1)} == {START + 10}

    def test_cells_of_a_deployment_that_does_not_exist_are_dropped(self, storage: Storage) -> None:
        (mine,) = added(storage)
        with storage.write() as session:
            assert session.traffic.put("g1", [make_cell("dep-gone"), make_cell(mine), make_cell("dep-never")]) == 1
            assert session.traffic.put("g1", []) == 0
        with storage.read() as session:
            assert [cell.deployment_id for cell in session.traffic.recent(0)] == [mine]

    def test_thousands_of_cells_of_hundreds_of_deployments_fit_into_one_report(self, storage: Storage) -> None:
        ids = added(storage, 600)
        cells = [make_cell(id, replica_id=f"rep{n}", codes={200: n}) for id in ids for n in range(5)]
        for _ in range(2):
            with storage.write() as session:
                assert session.traffic.put("g1", cells) == len(cells)
                session.traffic.set_waiting("g1", dict.fromkeys(ids, 2), moment())
        with storage.read() as session:
            assert len(session.traffic.recent(START)) == len(cells)
            assert session.traffic.all_waiting(moment(-5)) == dict.fromkeys(ids, 2)

    def test_reports_of_one_gateway_at_the_same_time_do_not_block_each_other(
        self, storage: Storage, peer: Storage
    ) -> None:
        ids = added(storage, 20)
        cells = [make_cell(id, codes={200: 1}) for id in ids]

        def report(door: Storage, order: list[TrafficCell]) -> None:
            for _ in range(10):
                with door.write() as session:
                    session.traffic.put("g1", order)

        in_threads(lambda: report(storage, cells), lambda: report(peer, cells[::-1]))
        with storage.read() as session:
            assert len(session.traffic.recent(START)) == 20

    def test_old_windows_are_forgotten_and_newer_ones_kept(self, storage: Storage) -> None:
        (mine,) = added(storage)
        with storage.write() as session:
            session.traffic.put("g1", [make_cell(mine, start=START + 10 * n) for n in range(4)])
            session.traffic.prune(START + 20)
        with storage.read() as session:
            assert [cell.start for cell in session.traffic.recent(0)] == [START + 20, START + 30]

    def test_a_deployment_that_goes_takes_its_traffic_with_it(self, storage: Storage) -> None:
        mine, other = added(storage, 2)
        with storage.write() as session:
            session.traffic.put("g1", [make_cell(mine), make_cell(other)])
            session.traffic.set_waiting("g1", {mine: 1, other: 1}, moment())
            session.traffic.delete_deployment(mine)
        with storage.read() as session:
            assert [cell.deployment_id for cell in session.traffic.recent(0)] == [other]
            assert session.traffic.all_waiting(moment(-5)) == {other: 1}

    def test_what_waits_is_the_sum_over_gateways_that_said_so_lately(self, storage: Storage) -> None:
        mine, other = added(storage, 2)
        with storage.write() as session:
            session.traffic.set_waiting("g1", {mine: 2, other: 0, "dep-gone": 4}, moment(-60))
            session.traffic.set_waiting("g2", {mine: 3, other: 1}, moment())
        with storage.read() as session:
            assert session.traffic.waiting(mine, moment(-90)) == 5
            assert session.traffic.waiting(mine, moment(-30)) == 3
            assert session.traffic.waiting(other, moment(-90)) == 1
            assert session.traffic.waiting("dep-gone", moment(-90)) == 0
            assert session.traffic.all_waiting(moment(-90)) == {mine: 5, other: 1}
            assert session.traffic.all_waiting(moment(30)) == {}

    def test_a_gateway_that_says_again_what_waits_says_all_of_it(self, storage: Storage) -> None:
        mine, other = added(storage, 2)
        for counts in ({mine: 2, other: 1}, {other: 4}):
            with storage.write() as session:
                session.traffic.set_waiting("g1", counts, moment())
        with storage.read() as session:
            assert session.traffic.all_waiting(moment(-5)) == {other: 4}
        with storage.write() as session:
            session.traffic.set_waiting("g1", {}, moment())
        with storage.read() as session:
            assert session.traffic.all_waiting(moment(-5)) == {}

    def test_what_waited_with_a_gateway_that_is_gone_is_forgotten(self, storage: Storage) -> None:
        (mine,) = added(storage)
        with storage.write() as session:
            session.traffic.set_waiting("g1", {mine: 2}, moment(-100))
            session.traffic.prune(int(moment(-50).timestamp()))
        with storage.read() as session:
            assert session.traffic.waiting(mine, moment(-200)) == 0

    def test_traffic_wakes_nobody_and_a_request_that_begins_to_wait_wakes_the_workers(self, storage: Storage) -> None:
        (mine,) = added(storage)
        with listening(storage) as woken:
            with storage.write() as session:
                session.traffic.put("g1", [make_cell(mine, codes={200: 1})])
                session.traffic.set_waiting("g1", {"dep-gone": 1}, moment())
                session.traffic.prune(START - 100)
            assert not woken.wait(0.2)
            with storage.write() as session:
                session.traffic.set_waiting("g1", {mine: 1}, moment())
            assert woken.wait(DEADLINE_SECONDS)
        with listening(storage) as woken:
            with storage.write() as session:
                session.traffic.set_waiting("g1", {mine: 3}, moment())
            with storage.write() as session:
                session.traffic.set_waiting("g1", {}, moment())
            assert not woken.wait(0.2)

    @pytest.mark.parametrize("fields", [{"replica_id": "a\0b"}, {"start": 2**63}])
    def test_a_cell_that_no_database_could_keep_is_refused(self, storage: Storage, fields: dict[str, Any]) -> None:
        (mine,) = added(storage)
        with pytest.raises(InvalidRequestError), storage.write() as session:
            session.traffic.put("g1", [make_cell(mine, **fields)])
        with storage.read() as session:
            assert list(session.traffic.recent(0)) == []
