"""What gateways report, and what people are told of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.domain.base import format_time, now
from headway.domain.deployments import Deployment
from headway.domain.latency import bucket_of
from headway.domain.tally import over_time, window_length
from headway.domain.traffic import WINDOW_SECONDS, DeploymentTraffic, TrafficCell
from headway.domain.users import TokenKind
from headway.server.actions import traffic
from headway.server.app import PREFIX
from headway.testing.storage.traffic import listening, make_cell

quick = settings(deadline=None, database=None)

NEAR = 1.091
"""What a quantile may be too large by."""


def window(back: float = 0) -> int:
    """The first second of the window ``back`` seconds ago."""
    return int(now().timestamp() - back) // WINDOW_SECONDS * WINDOW_SECONDS


class Desk:
    """A deployment that was made an hour ago, a gateway that reports, and a reader."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.project = world.project()
        self.deployment = self.add()
        secret = world.token(world.admin.user, kind=TokenKind.GATEWAY)
        self._gateway, self._reader = world.headers(secret), world.headers(world.admin_token)

    def add(self, age: float = 3600) -> Deployment:
        made: Deployment = self.world.deployment(self.project)
        made = made.evolve(created_at=now() - timedelta(seconds=age))
        with self.world.platform.storage.write() as session:
            session.deployments.put(made)
        return made

    def cell(self, **fields: Any) -> dict[str, Any]:
        return make_cell(self.deployment.id, **{"start": window(30), **fields}).model_dump(mode="json")

    def post(self, body: dict[str, Any]) -> Any:
        return self.world.client.post(f"{PREFIX}/gateway/traffic", json=body, headers=self._gateway)

    def report(self, *cells: dict[str, Any], gateway: str = "g1", **fields: Any) -> dict[str, int]:
        answer = self.post({"gateway": gateway, "cells": list(cells), **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def get(self, deployment: Deployment | None = None, **query: Any) -> Any:
        address = f"{PREFIX}/deployments/{(deployment or self.deployment).id}/traffic"
        return self.world.client.get(address, params=query, headers=self._reader)

    def read(self, deployment: Deployment | None = None, **query: Any) -> DeploymentTraffic:
        answer = self.get(deployment, **query)
        assert answer.status_code == 200, answer.text
        return DeploymentTraffic.model_validate_json(answer.content)


@pytest.fixture
def desk(world: Any) -> Desk:
    return Desk(world)


def times(seconds: float, count: int) -> dict[str, Any]:
    return {"codes": {200: count}, "latency": {bucket_of(seconds): count}, "seconds": seconds * count}


class TestReading:
    def test_total_versions_and_replicas_are_sums_over_gateways_and_windows(self, desk: Desk) -> None:
        for gateway in ("g1", "g2"):
            desk.report(
                desk.cell(**times(0.010, 90), busy_seconds=3.0),
                desk.cell(start=window(60), replica_id="rep2", **times(0.020, 10)),
                desk.cell(version="v10", replica_id="rep3", codes={200: 3, 500: 1, 499: 1}),
                desk.cell(version="v2", replica_id="", codes={503: 5}),
                gateway=gateway,
            )
        found = desk.read()
        span = (found.until - found.since).total_seconds()
        assert 300 <= span < 311
        assert (found.total.version, found.total.requests) == ("", 220)
        assert found.total.codes == {200: 206, 499: 2, 500: 2, 503: 10}
        assert found.total.error_rate == pytest.approx(12 / 220)
        assert found.total.requests_per_second == pytest.approx(220 / span)
        assert found.total.in_flight == pytest.approx(6 / span)
        assert [version.version for version in found.versions] == ["v1", "v2", "v10"]
        first, second, tenth = found.versions
        assert (first.requests, first.error_rate) == (200, 0.0)
        assert first.p50 is not None and 0.010 <= first.p50 <= 0.010 * NEAR
        assert first.p95 is not None and 0.020 <= first.p95 <= 0.020 * NEAR
        assert first.mean == pytest.approx((180 * 0.010 + 20 * 0.020) / 200)
        assert (second.error_rate, second.p50, second.mean) == (1.0, None, None)
        assert tenth.error_rate == pytest.approx(0.2)
        assert [(r.version, r.replica_id, r.requests) for r in found.replicas] == [
            ("v1", "rep1", 180),
            ("v1", "rep2", 20),
            ("v10", "rep3", 10),
        ]

    def test_without_requests_there_are_no_rates_to_tell(self, desk: Desk) -> None:
        found = desk.read()
        assert (found.total.requests, found.total.requests_per_second, found.total.in_flight) == (0, 0, 0)
        assert (found.total.error_rate, found.total.p50, found.total.mean) == (None, None, None)
        assert (found.versions, found.replicas, found.windows, found.waiting) == ((), (), (), 0)

    def test_rates_of_a_young_deployment_are_over_its_life(self, desk: Desk) -> None:
        young = desk.add(age=20)
        desk.report(desk.cell(deployment_id=young.id, start=window(5), codes={200: 40}))
        found = desk.read(young)
        assert found.since == young.created_at
        assert found.total.requests_per_second == pytest.approx(40 / (found.until - found.since).total_seconds())
        assert 1.0 <= found.total.requests_per_second <= 2.0

    def test_a_shadows_copies_are_shown_and_not_counted(self, desk: Desk) -> None:
        compared = {"shadow_equal": 7, "shadow_different": 2, "shadow_failed": 1}
        desk.report(desk.cell(codes={200: 10}), desk.cell(version="v2", codes={200: 9, 500: 1}, **compared))
        found = desk.read()
        assert (found.total.requests, found.total.error_rate) == (10, 0.0)
        shadow = found.versions[1]
        assert (shadow.requests, shadow.shadow_equal, shadow.shadow_different, shadow.shadow_failed) == (10, 7, 2, 1)

    def test_a_span_in_the_past_shows_that_span(self, desk: Desk) -> None:
        desk.report(desk.cell(start=window(1000), codes={200: 1}), desk.cell(start=window(500), codes={200: 2}))
        moment = now()
        asked: dict[str, Any] = {
            "since": format_time(moment - timedelta(seconds=1050)),
            "until": format_time(moment - timedelta(seconds=900)),
        }
        assert desk.read(**asked).total.requests == 1
        assert desk.read(since=asked["since"]).total.requests == 3
        assert desk.read().total.requests == 0
        assert desk.read(until=format_time(moment - timedelta(seconds=400))).total.requests == 2

    def test_windows_come_oldest_first_by_version(self, desk: Desk) -> None:
        base = window()
        cells = [desk.cell(start=base - back, codes={200: back}) for back in (200, 100, 50)]
        desk.report(*cells, desk.cell(start=base - 50, version="v2", codes={500: 5}))
        found = desk.read().windows
        assert [entry.start.timestamp() for entry in found] == [base - 200, base - 100, base - 50]
        assert [[(v.version, v.requests) for v in entry.versions] for entry in found] == [
            [("v1", 200)],
            [("v1", 100)],
            [("v1", 50), ("v2", 5)],
        ]
        assert {entry.seconds for entry in found} == {10.0}

    def test_a_day_is_shown_in_as_many_windows_as_were_asked_for(self, desk: Desk) -> None:
        old = desk.add(age=100_000)
        base = window()
        cells = [desk.cell(deployment_id=old.id, start=base - 10 * n, codes={200: 1}) for n in range(8000)]
        desk.report(*cells[:4000])
        desk.report(*cells[4000:])
        since = format_time(now() - timedelta(days=2))
        found = desk.read(old, since=since, windows=50)
        assert found.total.requests == 8000
        assert now() - found.since <= timedelta(seconds=86_420)
        assert len(found.windows) <= 50
        assert sum(version.requests for entry in found.windows for version in entry.versions) == 8000
        assert desk.read(old, since=since, windows=0).windows == ()

    @pytest.mark.parametrize(
        "query",
        [
            {"since": "2999-01-01T00:00:00Z"},
            {"since": "2020-01-02T00:00:00Z", "until": "2020-01-01T00:00:00Z"},
            {"since": "yesterday"},
            {"windows": 1001},
            {"windows": -1},
        ],
    )
    def test_a_span_that_is_none_is_refused_with_the_reason(self, desk: Desk, query: dict[str, Any]) -> None:
        answer = desk.get(**query)
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] == "invalid_request"
        assert any(name in answer.text for name in query)

    def test_a_span_before_the_deployment_was_made_is_empty(self, desk: Desk) -> None:
        long_ago = now() - timedelta(hours=3)
        found = desk.read(since=format_time(long_ago - timedelta(minutes=1)), until=format_time(long_ago))
        assert (found.total.requests, found.total.requests_per_second) == (0, 0.0)


class TestReporting:
    def test_a_report_that_is_sent_again_changes_nothing(self, desk: Desk) -> None:
        cell = desk.cell(codes={200: 7})
        for _ in range(3):
            assert desk.report(cell) == {"kept": 1, "dropped": 0}
        desk.report({**cell, "codes": {200: 9}})
        assert desk.read().total.requests == 9

    @pytest.mark.parametrize(
        ("name", "fields"),
        [
            ("of an unknown deployment", lambda: {"deployment_id": "dep0000000000000"}),
            ("over for a day", lambda: {"start": window(86_400 + 20)}),
            ("in the future", lambda: {"start": window(-40)}),
            ("at no window's start", lambda: {"start": window(30) + 1}),
            ("of a version that is none", lambda: {"version": "latest"}),
        ],
    )
    def test_a_cell_that_says_nothing_is_dropped_and_the_others_are_kept(
        self, desk: Desk, name: str, fields: Callable[[], dict[str, Any]]
    ) -> None:
        answer = desk.report(desk.cell(codes={200: 1}), desk.cell(codes={200: 5}, replica_id="other", **fields()))
        assert answer == {"kept": 1, "dropped": 1}, name
        assert desk.read().total.requests == 1

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"gateway": ""},
            {"gateway": "g" * 65},
            {"gateway": "g1", "cells": [{"deployment_id": "d"}]},
            {"gateway": "g1", "waiting": {"dep": -1}},
            {"gateway": "g1", "more": 1},
        ],
    )
    def test_a_report_that_is_none_is_refused(self, desk: Desk, body: dict[str, Any]) -> None:
        assert desk.post(body).status_code == 422

    @pytest.mark.parametrize(
        "fields",
        [{"codes": {"99": 1}}, {"codes": {"200": -1}}, {"latency": {"257": 1}}, {"busy_seconds": -0.1}, {"start": -10}],
    )
    def test_numbers_that_cannot_be_are_refused(self, desk: Desk, fields: dict[str, Any]) -> None:
        answer = desk.post({"gateway": "g1", "cells": [{**desk.cell(), **fields}]})
        assert answer.status_code == 422
        assert desk.read().total.requests == 0

    def test_what_waits_is_shown_until_the_gateway_says_otherwise(self, desk: Desk) -> None:
        desk.report(waiting={desk.deployment.id: 3})
        desk.report(waiting={desk.deployment.id: 2}, gateway="g2")
        assert desk.read().waiting == 5
        desk.report()
        assert desk.read().waiting == 2
        desk.report(gateway="g2")
        assert desk.read().waiting == 0

    def test_a_request_that_waits_wakes_at_once_and_a_count_wakes_nobody(self, desk: Desk) -> None:
        platform = desk.world.platform
        with listening(platform.storage) as woken:
            seen = platform.wakeups.generation
            desk.report(desk.cell(codes={200: 1}))
            assert not woken.wait(0.2)
            assert platform.wakeups.generation == seen
            desk.report(waiting={desk.deployment.id: 1})
            assert platform.wakeups.wait_blocking(seen, 30.0) > seen
        desk.report()

    def test_what_is_over_for_a_day_is_forgotten(self, desk: Desk) -> None:
        kept, old = window(60), window(86_400 + 60)
        with desk.world.platform.storage.write() as session:
            cells = [make_cell(desk.deployment.id, start=start) for start in (kept, old)]
            session.traffic.put("g1", cells)
        traffic.prune(desk.world.platform)
        with desk.world.platform.storage.read() as session:
            assert [cell.start for cell in session.traffic.windows(desk.deployment.id, 0, 2**40)] == [kept]


def test_gateways_report_to_several_servers_at_once(postgres_world: Any) -> None:
    desk = Desk(postgres_world)
    told = [
        TrafficCell.model_validate(desk.cell(replica_id=f"rep{number}", codes={200: number})) for number in range(50)
    ]

    def report(gateway: str) -> Callable[[], None]:
        def run() -> None:
            for _ in range(5):
                with postgres_world.platform.storage.write() as session:
                    session.traffic.put(gateway, told)
                    session.traffic.set_waiting(gateway, {desk.deployment.id: 1}, now())

        return run

    threads = [threading.Thread(target=report(gateway)) for gateway in ("g1", "g2", "g1")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = desk.read()
    assert found.total.requests == 2 * sum(range(50))
    assert found.waiting == 2


@quick
@given(st.floats(1, 86_400), st.integers(1, 1000))
def test_any_span_fits_into_as_many_windows_as_were_asked_for(span: float, at_most: int) -> None:
    length = window_length(span, at_most)
    assert length % WINDOW_SECONDS == 0
    assert length * at_most >= span
    assert length == WINDOW_SECONDS or (length - WINDOW_SECONDS) * at_most < span


@quick
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 9)), max_size=40), st.integers(1, 60))
def test_joined_windows_hold_every_request_once(found: list[tuple[int, int]], at_most: int) -> None:
    since = 1_800_000_000
    cells = [make_cell("d", start=since + 10 * place, codes={200: count}) for place, count in found]
    until = since + 5_010
    shown = over_time(cells, since, until, at_most)
    assert len(shown) <= at_most
    assert sum(version.requests for entry in shown for version in entry.versions) == sum(count for _, count in found)
    starts = [entry.start for entry in shown]
    assert starts == sorted(starts)
    assert all(datetime.timestamp(entry.start) + entry.seconds <= until for entry in shown)
