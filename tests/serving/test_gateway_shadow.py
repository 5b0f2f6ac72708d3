"""Copies for a version that is tried out: after the answer, compared, never returned, never in anybody's way."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from headway.serving.gateway.comparing import same_answer, same_value
from headway.serving.gateway.replies import Reply, ReplyHead

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(json_values)
def test_a_value_is_the_same_as_itself_and_not_as_one_with_more_in_it(value):
    assert same_value(value, value)
    assert not same_value([value], [value, value])
    assert not same_value({"a": value}, {"b": value})


@given(st.floats(1e-6, 1e12), st.floats(-5e-7, 5e-7))
def test_the_last_digits_of_a_number_do_not_count(number, part):
    assert same_value([number], [number * (1 + part)])
    assert not same_value([number], [number * 1.01])


def test_kinds_of_values_are_told_apart():
    assert same_value(1, 1.0)
    for one, two in ((1, True), (0, False), (0, None), ("1", 1), ([], {}), (10**17, 10**17 + 1)):
        assert not same_value(one, two)


def reply(status, body):
    return Reply(ReplyHead(status), body)


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ((200, b'{"x": [0.1, 2]}'), (200, b'{"x":[0.10000000001,2.0]}'), True),
        ((200, b'{"model_version": "1", "outputs": []}'), (200, b'{"model_version": "2", "outputs": []}'), True),
        ((200, b"{}"), (500, b"{}"), False),
        ((200, b"\x00\x01"), (200, b"\x00\x01"), True),
        ((200, b"\x00\x01"), (200, b"\x00\x02"), False),
        ((200, b"[" * 2000), (200, b"[" * 2001), False),
    ],
)
def test_answers_are_compared_by_what_they_say(one, two, same):
    assert same_answer(reply(*one), reply(*two)) is same


def counts(gateway):
    text = requests.get(gateway.url + "/metrics", timeout=60).text
    return {name: int(n) for name, n in re.findall(r'shadow_total{[^}]*version="v2",result="(\w+)"} (\d+)', text)}


def started(home, tools, live, shadow, **settings):
    route = tools.route("dep1", (1, 100, {"a": live}), (2, 0, {"b": shadow}), shadow=2, **settings)
    home.feed.publish(route)
    gateway = home.start()
    tools.wait_until(lambda: requests.get(gateway.url + "/health", timeout=60).json()["routes_version"] == 1)
    return gateway


def predict(gateway, session=requests):
    return session.post(gateway.url + "/model-serving/dep1:predict", json={"x": 1}, timeout=30)


def test_a_shadow_gets_every_request_and_its_answers_are_counted_and_never_returned(home, tools, scripted):
    live = scripted()
    live.script = lambda request: live.json(200, {"outputs": [0.5]})
    answers = iter([{"outputs": [0.5]}, {"outputs": [0.5 + 1e-9]}, {"outputs": [0.6]}])
    shadow = scripted(lambda request: live.json(200, next(answers)))
    gateway = started(home, tools, live.address, shadow.address)
    for number in range(1, 4):
        answer = predict(gateway)
        assert answer.json() == {"outputs": [0.5]} and answer.headers["X-Headway-Version"] == "v1"
        tools.wait_until(lambda number=number: sum(counts(gateway).values()) == number)
    assert counts(gateway) == {"equal": 2, "different": 1, "failed": 0, "dropped": 0}
    assert shadow.seen[0].partition(b"\r\n\r\n")[2] == live.seen[0].partition(b"\r\n\r\n")[2]
    shadow.script = lambda request: None
    predict(gateway)
    tools.wait_until(lambda: counts(gateway)["failed"] == 1)


def test_a_shadow_that_hangs_delays_nobody_and_what_it_cannot_take_is_dropped(home, tools, scripted):
    released = threading.Event()

    async def hang(request):
        while not released.is_set():
            await asyncio.sleep(0.01)
        return live.json(200, {"outputs": 1})

    live, shadow = scripted(), scripted(hang)
    gateway = started(home, tools, live.address, shadow.address)
    with requests.Session() as session:
        assert {predict(gateway, session).status_code for _ in range(300)} == {200}
    assert counts(gateway).get("equal", 0) == 0
    released.set()
    tools.wait_until(lambda: counts(gateway).get("equal", 0) >= 16, 20)
    tools.wait_until(lambda: sum(counts(gateway).values()) == 300, 20)
    assert counts(gateway)["dropped"] > 0


def test_a_shadow_takes_no_traffic_of_its_own(home, tools, scripted):
    live, shadow = scripted(), scripted()
    gateway = started(home, tools, live.address, shadow.address)
    answer = requests.post(gateway.url + "/v1/models/dep1/versions/2:predict", json={}, timeout=60)
    assert answer.status_code == 404
    assert shadow.seen == []


def test_reports_hold_what_shadows_answered(home, tools, scripted):
    live, shadow = scripted(), scripted()
    gateway = started(home, tools, live.address, shadow.address)
    for _ in range(5):
        assert predict(gateway).status_code == 200

    def told():
        cells = {(c.version, c.replica_id, c.start): c for report in home.feed.reports for c in report.cells}
        return {
            "v1": sum(sum(c.codes.values()) for key, c in cells.items() if key[0] == "v1"),
            "equal": sum(c.shadow_equal for c in cells.values() if c.version == "v2" and c.replica_id == "b"),
        }

    tools.wait_until(lambda: told() == {"v1": 5, "equal": 5}, 20)
