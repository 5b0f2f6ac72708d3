"""How many replicas: every decision as a row, and that no load makes them come and go."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.domain.deployments import Scaling
from headway.domain.scaling import FEWEST_SECONDS, SLACK, Load, decide, mean_in_flight
from headway.testing.storage.traffic import make_cell

quick = settings(deadline=None, database=None)

NOW = 1_800_000_000.0
TO_EIGHT = Scaling(minimum=1, maximum=8, target_in_flight=10, idle_seconds=60)
TO_ZERO = Scaling(minimum=0, maximum=4, target_in_flight=10, idle_seconds=60)


@pytest.mark.parametrize(
    ("scaling", "have", "load", "idle", "want", "words"),
    [
        pytest.param(TO_EIGHT, 1, Load(10.0, active=True), None, 1, "", id="full is not too full"),
        pytest.param(TO_EIGHT, 1, Load(10.1, active=True), None, 2, "10.1 requests in flight", id="up at once"),
        pytest.param(TO_EIGHT, 1, Load(55.0, active=True), None, 6, "more than 10", id="up by many steps"),
        pytest.param(TO_EIGHT, 1, Load(1e6, active=True), None, 8, "", id="never above the maximum"),
        pytest.param(TO_EIGHT, 8, Load(1e6, active=True), 1e9, 8, "", id="at the maximum nothing is left to do"),
        pytest.param(TO_EIGHT, 0, Load(), None, 1, "at least 1", id="up to the minimum"),
        pytest.param(
            TO_EIGHT, 12, Load(1e6, active=True), None, 8, "at most 8", id="down to a maximum that was lowered"
        ),
        pytest.param(TO_EIGHT, 3, Load(5.0, active=True), None, 3, "", id="fewer would do, from now on"),
        pytest.param(TO_EIGHT, 3, Load(5.0, active=True), 59.9, 3, "", id="fewer would do, not for long enough"),
        pytest.param(TO_EIGHT, 3, Load(5.0, active=True), 60, 2, "2 would have been enough", id="down by one"),
        pytest.param(TO_EIGHT, 3, Load(), 1e9, 2, "for 60 s", id="down by one only, however long"),
        pytest.param(TO_EIGHT, 3, Load(18.0, active=True), 60, 2, "", id="the others have room"),
        pytest.param(TO_EIGHT, 3, Load(18.1, active=True), 60, 3, "", id="the others would be nearly full"),
        pytest.param(TO_EIGHT, 1, Load(), 1e9, 1, "", id="never below the minimum"),
        pytest.param(TO_ZERO, 1, Load(0.1, active=True), 60, 1, "", id="a request is seen"),
        pytest.param(TO_ZERO, 1, Load(0.1), 59, 1, "", id="no request, not for long enough"),
        pytest.param(TO_ZERO, 1, Load(0.1), 60, 0, "no request for 60 s", id="to zero, though the mean remembers some"),
        pytest.param(TO_ZERO, 0, Load(), 1e9, 0, "", id="zero stays zero"),
        pytest.param(TO_ZERO, 0, Load(waiting=1), None, 1, "a request waits", id="up from zero"),
        pytest.param(TO_ZERO, 0, Load(waiting=25), None, 3, "25 requests wait", id="up from zero by what waits"),
        pytest.param(TO_ZERO, 0, Load(9.0, active=True), None, 0, "", id="what the mean remembers needs nothing"),
        pytest.param(TO_ZERO, 1, Load(waiting=1), 1e9, 1, "", id="what waits keeps the last one"),
        pytest.param(
            TO_ZERO,
            1,
            Load(5.0, 25),
            None,
            3,
            "5 requests in flight on average and 25 requests wait",
            id="what waits is added",
        ),
        pytest.param(TO_ZERO, 1, Load(9.0, 1), None, 1, "", id="a full one takes one that waits"),
        pytest.param(TO_ZERO, 1, Load(10.0, 1), None, 2, "and a request waits", id="one that waits is one too many"),
    ],
)
def test_a_version_gets_what_its_requests_need(
    scaling: Scaling, have: int, load: Load, idle: float | None, want: int, words: str
) -> None:
    since = None if idle is None else NOW - idle
    decision = decide(scaling, have, load, since, NOW)
    assert decision.replicas == want
    assert words in decision.reason
    assert bool(decision.reason) == (want != have)


def test_each_step_down_takes_its_own_time() -> None:
    have, since, taken = 4, None, []
    for second in range(0, 400, 10):
        decision = decide(TO_ZERO, have, Load(), since, NOW + second)
        if decision.replicas != have:
            taken.append((second, decision.replicas))
        have, since = decision.replicas, decision.enough_since
    assert taken == [(60, 3), (120, 2), (180, 1), (240, 0)]


def test_one_look_that_needs_all_of_them_starts_the_wait_anew() -> None:
    busy = decide(TO_EIGHT, 2, Load(15.0, active=True), NOW - 50, NOW)
    assert (busy.replicas, busy.enough_since) == (2, None)
    again = decide(TO_EIGHT, 2, Load(1.0, active=True), busy.enough_since, NOW + 20)
    assert (again.replicas, again.enough_since) == (2, NOW + 20)


@quick
@given(
    st.just(0.0) | st.floats(0.001, 1000),
    st.integers(0, 8),
    st.builds(
        Scaling,
        minimum=st.integers(0, 3),
        maximum=st.integers(3, 9),
        target_in_flight=st.floats(0.5, 50),
        idle_seconds=st.floats(1, 100),
    ),
)
def test_a_load_that_stays_the_same_comes_to_rest(in_flight: float, have: int, scaling: Scaling) -> None:
    since: float | None = None
    counts = []
    for look in range(40):
        load = Load(in_flight if have else 0, int(in_flight > 0 and not have), active=in_flight > 0)
        decision = decide(scaling, have, load, since, NOW + look * scaling.idle_seconds)
        have, since = decision.replicas, decision.enough_since
        counts.append(have)
    assert len(set(counts[20:])) == 1
    assert scaling.minimum <= have <= scaling.maximum
    assert have == scaling.maximum or in_flight <= have * scaling.target_in_flight * (1 + 1e-6)
    rises = [after > before for before, after in pairwise(counts) if after != before]
    assert True not in rises[rises.index(False) :] if False in rises else True


@quick
@given(st.floats(1, 79), st.integers(1, 8))
def test_what_was_taken_away_is_not_asked_for_by_the_same_load(in_flight: float, have: int) -> None:
    down = decide(TO_EIGHT, have, Load(in_flight, active=True), NOW - 60, NOW)
    if down.replicas < have:
        again = decide(TO_EIGHT, down.replicas, Load(in_flight / SLACK * 0.999, active=True), None, NOW)
        assert again.replicas == down.replicas


class TestTheMean:
    START = 1_800_000_000

    def test_it_is_over_the_last_thirty_seconds(self) -> None:
        cells = [make_cell("d", start=self.START + n * 10, busy_seconds=10.0 * n) for n in range(4)]
        assert mean_in_flight(cells, self.START + 40) == pytest.approx((1 + 2 + 3) / 3)

    def test_a_window_that_lies_partly_before_counts_for_its_part(self) -> None:
        cells = [make_cell("d", start=self.START + n * 10, busy_seconds=20.0) for n in range(3)]
        assert mean_in_flight(cells, self.START + 30) == pytest.approx(2.0)
        # Seconds 35 to 5 before now: the oldest window has 5 of its 10 left, and nothing is known of the last 5.
        assert mean_in_flight(cells, self.START + 35) == pytest.approx((5 * 2 + 20 + 20) / 30)

    def test_a_window_that_is_going_on_counts_for_what_there_was_of_it(self) -> None:
        assert mean_in_flight([make_cell("d", start=self.START, busy_seconds=36.0)], self.START + 6) == pytest.approx(6)

    def test_replicas_and_gateways_add_up(self) -> None:
        cells = [make_cell("d", start=self.START, replica_id=str(n), busy_seconds=10.0) for n in range(4)]
        assert mean_in_flight(cells, self.START + 10) == pytest.approx(4.0)

    def test_a_blink_is_no_load(self) -> None:
        burst = [make_cell("d", start=self.START, busy_seconds=5.0)]
        assert mean_in_flight(burst, self.START + 0.1) == pytest.approx(5.0 / FEWEST_SECONDS)

    def test_nothing_is_nothing(self) -> None:
        assert mean_in_flight([], self.START) == 0
        assert mean_in_flight([make_cell("d", start=self.START, busy_seconds=9.0)], self.START + 1000) == 0
        ahead = [make_cell("d", start=self.START + 10, busy_seconds=9.0)]
        assert mean_in_flight(ahead, self.START) == 0
