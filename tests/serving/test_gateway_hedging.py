"""A second copy of a slow prediction: only where the deployment wants it, for few, and the first good answer counts."""

from __future__ import annotations

import asyncio
import re
import threading

import requests
from hypothesis import given
from hypothesis import strategies as st

from headway.serving.gateway.budget import MOST_SAVED, SHARE, Budget

AFTER = 0.05
BEFORE_THE_FIRST = round(1 / SHARE)
"""Requests after which a copy may be sent."""
PATIENCE = 60


class Pair:
    """Two replicas behind a gateway. While ``steps`` are left, each request that comes to either takes the next of them."""

    def __init__(self, home, tools, scripted, **settings):
        self.tools, self.steps, self.lock = tools, [], threading.Lock()
        self.one, self.two = scripted(self.script("a")), scripted(self.script("b"))
        self.order = []
        """Which replica took which step."""
        replicas = {"a": self.one.address, "b": self.two.address}
        home.feed.publish(tools.route("dep1", (1, 100, replicas), **{"hedge_after_seconds": AFTER, **settings}))
        self.gateway = home.start()
        tools.wait_until(
            lambda: requests.get(self.gateway.url + "/health", timeout=PATIENCE).json()["routes_version"] == 1
        )

    def script(self, name):
        def answer(_request):
            with self.lock:
                if not self.steps:
                    return self.one.json(200, {"outputs": name})
                self.order.append(name)
                step = self.steps.pop(0)
            return step(name)

        return answer

    def predict(self, path="/model-serving/dep1:predict", **headers):
        return requests.post(self.gateway.url + path, json={"inputs": 1}, headers=headers, timeout=PATIENCE)

    def warm_up(self):
        """Earn what one copy costs."""
        for _ in range(BEFORE_THE_FIRST):
            assert self.predict().status_code == 200

    @property
    def hedged(self):
        text = requests.get(self.gateway.url + "/metrics", timeout=PATIENCE).text
        return sum(int(count) for count in re.findall(r"replica_hedged_total{[^}]*} (\d+)", text))

    @property
    def in_flight(self):
        text = requests.get(self.gateway.url + "/metrics", timeout=PATIENCE).text
        return [int(count) for count in re.findall(r"replica_requests_in_flight{[^}]*} (\d+)", text)]


async def never(_name):
    await asyncio.Event().wait()


def answers(replica, status, value):
    return lambda name: replica.json(status, {**value, "outputs": name})


def test_the_second_copy_answers_and_the_first_is_withdrawn(home, tools, scripted):
    pair = Pair(home, tools, scripted)
    pair.warm_up()
    pair.steps = [never, answers(pair.one, 200, {})]
    answer = pair.predict()
    first, second = pair.order
    assert first != second
    assert (answer.status_code, answer.json(), answer.headers["X-Headway-Replica"]) == (
        200,
        {"outputs": second},
        second,
    )
    tools.wait_until(lambda: pair.one.broken + pair.two.broken == 1, what="the first copy's end")
    assert {"a": pair.one, "b": pair.two}[first].broken == 1
    assert (pair.hedged, pair.in_flight) == (1, [0, 0])
    held = {"a": pair.one, "b": pair.two}
    sent = [held[name].seen[-1] for name in (first, second)]
    ids = [re.search(rb"(?i)x-request-id: (\S+)", message)[1] for message in sent]
    assert ids[0] == ids[1] == answer.headers["X-Request-Id"].encode()
    tools.wait_until(
        lambda: (
            sum(cell.hedged for report in home.feed.reports for cell in report.cells if cell.replica_id == second) >= 1
        )
    )
    assert pair.predict().status_code == 200


def test_the_first_copy_answers_and_the_second_is_withdrawn(home, tools, scripted):
    pair = Pair(home, tools, scripted)
    pair.warm_up()
    copied = threading.Event()

    async def wait_for_the_copy(name):
        while not copied.is_set():
            await asyncio.sleep(0.005)
        return pair.one.json(200, {"outputs": name})

    def note(name):
        copied.set()
        return never(name)

    pair.steps = [wait_for_the_copy, note]
    answer = pair.predict()
    assert answer.json() == {"outputs": pair.order[0]}
    tools.wait_until(lambda: pair.one.broken + pair.two.broken == 1, what="the second copy's end")
    assert pair.in_flight == [0, 0]


def test_a_copy_saves_a_request_whose_replica_ends(home, tools, scripted):
    pair = Pair(home, tools, scripted)
    pair.warm_up()
    copied, ended = threading.Event(), threading.Event()

    async def end_once_copied(_name):
        while not copied.is_set():
            await asyncio.sleep(0.005)
        ended.set()

    async def answer_then(name):
        copied.set()
        while not (ended.is_set() and pair.gateway_knows_the_end()):
            await asyncio.sleep(0.005)
        return pair.one.json(200, {"outputs": name})

    def unavailable():
        replica = {"a": pair.one, "b": pair.two}[pair.order[0]]
        return replica.probed > 0

    pair.gateway_knows_the_end = unavailable
    pair.steps = [end_once_copied, answer_then]
    answer = pair.predict()
    assert (answer.status_code, answer.json()) == (200, {"outputs": pair.order[1]})


def test_an_error_of_the_second_copy_is_not_the_answer(home, tools, scripted):
    pair = Pair(home, tools, scripted)
    pair.warm_up()
    for step in (answers(pair.one, 500, {"error": "x"}), lambda _name: None):
        pair.warm_up()
        tools.wait_until(lambda: pair.predict().status_code == 200 and both_available(pair))
        failed = threading.Event()

        async def wait_for_the_failure(name, failed=failed):
            while not failed.is_set():
                await asyncio.sleep(0.005)
            return pair.one.json(200, {"outputs": name})

        def fail(name, step=step, failed=failed):
            threading.Timer(0.2, failed.set).start()
            return step(name)

        before = len(pair.order)
        pair.steps = [wait_for_the_failure, fail]
        answer = pair.predict()
        assert (answer.status_code, answer.json()) == (200, {"outputs": pair.order[before]})
        assert len(pair.order) == before + 2
    assert pair.in_flight == [0, 0]


def both_available(pair):
    text = requests.get(pair.gateway.url + "/metrics", timeout=PATIENCE).text
    return re.findall(r"replica_available{[^}]*} (\d+)", text) == ["1", "1"]


def test_the_deadline_holds_for_both_copies(home, tools, scripted):
    pair = Pair(home, tools, scripted)
    pair.warm_up()
    pair.steps = [never, never]
    answer = pair.predict(**{"X-Request-Timeout": "1"})
    assert answer.status_code == 504
    tools.wait_until(lambda: pair.one.broken + pair.two.broken == 2, what="the end of both copies")
    assert pair.in_flight == [0, 0]


def test_copies_are_few_and_only_of_predictions_that_are_slow_where_that_is_wanted(home, tools, scripted):
    pair = Pair(home, tools, scripted)
    pair.warm_up()
    total = 10
    for _ in range(total):
        pair.steps = [never] * 2
        assert pair.predict(**{"X-Request-Timeout": "0.3"}).status_code == 504
    assert 1 <= pair.hedged <= SHARE * (BEFORE_THE_FIRST + total)
    pair.steps = []
    before = pair.hedged
    for _ in range(30):
        pair.predict()
    pair.steps = [never] * 2
    assert pair.predict("/model-serving/dep1/mine", **{"X-Request-Timeout": "0.3"}).status_code == 504
    assert pair.hedged == before, "what is no prediction of a known protocol may not be asked for twice"


def test_without_the_setting_nothing_is_sent_twice(home, tools, scripted):
    pair = Pair(home, tools, scripted, hedge_after_seconds=None)
    pair.warm_up()
    pair.steps = [never] * 2
    assert pair.predict(**{"X-Request-Timeout": "0.5"}).status_code == 504
    assert len(pair.order) == 1


@given(st.lists(st.booleans(), max_size=500))
def test_a_budget_is_a_share_of_the_requests_and_saves_little(wants):
    budget, spent = Budget(), 0
    for number, want in enumerate(wants, 1):
        budget.earn()
        spent += want and budget.spend()
        assert spent <= number * SHARE + 1e-6
    burst = sum(budget.spend() for _ in range(100))
    assert burst <= MOST_SAVED
