"""Which version and which replica get a request: shares, stickiness, pins, and what happens when they change."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from dataclasses import dataclass

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from headway.serving.gateway.balancer import Shares, less_loaded, stick
from headway.serving.gateway.concurrency import LARGEST_LIMIT, SMALLEST_LIMIT, AdaptiveLimit, Pace


@dataclass(frozen=True)
class Version:
    key: str
    weight: int


@dataclass(eq=False)
class Loaded:
    outstanding: int


weights = st.lists(st.integers(1, 1000), min_size=1, max_size=6)


@given(weights)
def test_shares_are_within_two_percent_over_ten_thousand(numbers):
    shares, versions = Shares(), [Version(f"v{n}", weight) for n, weight in enumerate(numbers)]
    seen = Counter(shares.choose(versions).key for _ in range(10_000))
    for version in versions:
        assert abs(seen[version.key] / 10_000 - version.weight / sum(numbers)) < 0.02


@pytest.mark.parametrize("period", [2, 3, 5, 7, 10, 16])
def test_a_client_that_repeats_a_pattern_gets_the_same_shares_for_each_part_of_it(period):
    shares, versions = Shares(), [Version("v1", 90), Version("v2", 10)]
    chosen = [shares.choose(versions).key for _ in range(10_000)]
    for part in range(period):
        mine = chosen[part::period]
        assert abs(mine.count("v2") / len(mine) - 0.1) < 0.02


@given(weights, st.integers(0, 5), st.integers(1, 1000))
def test_a_change_of_one_weight_moves_keys_to_or_from_that_version_alone(numbers, place, weight):
    place %= len(numbers)
    before = [Version(f"v{n}", each) for n, each in enumerate(numbers)]
    after = [Version(each.key, weight) if n == place else each for n, each in enumerate(before)]
    for number in range(100):
        key = b"user-%d" % number
        one, two = stick(before, "dep1", key).key, stick(after, "dep1", key).key
        if one != two:
            assert before[place].key == (two if weight > numbers[place] else one)


def test_sticky_shares_follow_the_weights():
    versions = [Version("v1", 90), Version("v2", 10)]
    seen = Counter(stick(versions, "dep1", b"user-%d" % number).key for number in range(10_000))
    assert abs(seen["v2"] / 10_000 - 0.1) < 0.02


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_the_busiest_replica_is_never_chosen_while_another_has_less_to_do(outstanding):
    backends = [Loaded(count) for count in outstanding]
    most = max(backends, key=lambda backend: backend.outstanding)
    if outstanding.count(most.outstanding) == 1 and len(backends) > 1:
        assert all(less_loaded(backends) is not most for _ in range(50))


def test_equals_share():
    backends = [Loaded(0), Loaded(0), Loaded(0)]
    seen = Counter(backends.index(less_loaded(backends)) for _ in range(3000))
    assert min(seen.values()) > 800


def test_a_limit_shrinks_while_answers_come_late_and_recovers():
    limit = AdaptiveLimit()
    first = limit.value
    limit.observe(0.1, 1.0, 1)
    for _ in range(2000):
        limit.observe(0.9, 1.0, int(limit.value))
    assert limit.value == SMALLEST_LIMIT
    for _ in range(5000):
        limit.observe(0.1, 1.0, int(limit.value) + 1)
    assert first < limit.value <= LARGEST_LIMIT
    for number in range(2000):  # a few whose time was too short move nothing
        limit.observe(0.1, 0.1 if number % 50 == 0 else 1.0, int(limit.value) + 1)
    assert limit.value > first


def test_a_model_that_is_slow_by_itself_keeps_its_room():
    limit = AdaptiveLimit()
    first = limit.value
    for number in range(2000):
        limit.observe(0.7 + number % 7 / 10, 1.0, 3)
    assert limit.value == first


def test_a_pace_is_learnt_while_requests_wait_and_doubts_itself():
    pace = Pace()
    assert pace.wait(1000) == 0.0 and not pace.is_too_late(0.001)
    for number in range(200):
        pace.answered(0.5, number * 0.1, crowded=True)
    assert pace.wait(10) == pytest.approx(1.5)  # ten places of 0.1 s, and its own half second
    assert not pace.is_too_late(1.0)
    refused = 0
    while pace.is_too_late(0.01):
        refused += 1
    assert 5 < refused < 100
    pace.answered(0.5, 30.0, crowded=False)
    assert pace.wait(10) == 0.0


# Over the wire.


def ask(port, count=1, path="/model-serving/dep1:predict", headers=None):
    """``count`` requests on one connection; how often each version answered, by ``X-Headway-Version`` or status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    seen = Counter()
    try:
        for _ in range(count):
            connection.request("POST", path, b"{}", {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            answer.read()
            seen[answer.headers["X-Headway-Version"] if answer.status == 200 else answer.status] += 1
    finally:
        connection.close()
    return seen


def started(home, tools, *routes):
    home.feed.publish(*routes)
    gateway = home.start()
    tools.wait_until(lambda: seen_version(gateway) == home.feed.version)
    return gateway


def seen_version(gateway):
    return requests.get(gateway.url + "/health", timeout=60).json()["routes_version"]


def test_weights_change_live_and_no_request_is_lost(home, tools, scripted):
    one, two = scripted(), scripted()

    def route(first, second):
        return tools.route("dep1", (1, first, {"a": one.address}), (2, second, {"b": two.address}))

    gateway = started(home, tools, route(90, 10))
    seen = ask(gateway.port, 1000)
    assert seen["v1"] + seen["v2"] == 1000 and abs(seen["v2"] - 100) <= 20
    halves, stop = Counter(), threading.Event()

    def load():
        while not stop.is_set():
            halves.update(ask(gateway.port, 50))

    clients = [threading.Thread(target=load) for _ in range(3)]
    for client in clients:
        client.start()
    for number in range(10):
        home.feed.publish(route(*((50, 50) if number % 2 else (0, 100))))
        tools.wait_until(lambda: seen_version(gateway) == home.feed.version)
    stop.set()
    for client in clients:
        client.join(60)
    assert set(halves) <= {"v1", "v2"}
    seen = ask(gateway.port, 1000)
    assert abs(seen["v2"] - 500) <= 20


def test_the_share_of_a_version_without_replicas_goes_to_the_others_and_comes_back(home, tools, scripted):
    one, two = scripted(), scripted()
    gateway = started(home, tools, tools.route("dep1", (1, 90, {"a": one.address}), (2, 10, {"b": two.address})))
    one.healthy = False
    one.script = lambda request: None
    tools.wait_until(lambda: ask(gateway.port, 20) == {"v2": 20}, 20)
    one.script, one.healthy = (lambda request: one.json(200, {})), True
    tools.wait_until(lambda: ask(gateway.port, 10)["v1"] >= 8, 20)


def test_the_same_sticky_value_goes_to_the_same_version_through_any_gateway(home, tools, scripted):
    replicas = {n: {f"r{n}": scripted().address} for n in (1, 2, 3)}
    versions = [(n, 10, replicas[n]) for n in (1, 2, 3)]
    gateway = started(home, tools, tools.route("dep1", *versions, sticky="X-User"))
    other = home.start("--id", "second")
    tools.wait_until(lambda: seen_version(other) == home.feed.version)
    homes = {}
    for user in range(60):
        headers = {"x-user": f"user {user}"}
        seen = ask(gateway.port, 3, headers=headers) + ask(other.port, 2, headers=headers)
        assert len(seen) == 1 and sum(seen.values()) == 5
        homes[user] = next(iter(seen))
    assert set(homes.values()) == {"v1", "v2", "v3"}
    assert len(ask(gateway.port, 30)) == 3  # without the header by weight
    home.feed.publish(tools.route("dep1", *versions[:2], (3, 0, replicas[3]), sticky="X-User"))
    tools.wait_until(lambda: seen_version(gateway) == home.feed.version)
    for user in range(60):
        now = next(iter(ask(gateway.port, headers={"X-User": f"user {user}"})))
        assert now == homes[user] or homes[user] == "v3"


def test_paths_choose_versions_and_labels_that_take_traffic(home, tools, scripted):
    replicas = {n: scripted() for n in (1, 2, 3)}
    versions = [(n, weight, {f"r{n}": replicas[n].address}) for n, weight in ((1, 90), (2, 10), (3, 0))]
    gateway = started(home, tools, tools.route("dep1", *versions, labels={2: ("champion",), 3: ("old",)}))
    for path in ("/v1/models/dep1/versions/2:predict", "/v2/models/digits/versions/2/infer"):
        assert ask(gateway.port, 5, path) == {"v2": 5}
    assert ask(gateway.port, 5, "/model-serving/dep1/v1/models/any/labels/champion:predict") == {"v2": 5}
    assert replicas[2].seen[-1].startswith(b"POST /model-serving/dep1/v1/models/any/versions/2:predict HTTP/1.1\r\n")
    for path in ("versions/3", "versions/4", "labels/old", "labels/none"):
        assert ask(gateway.port, 1, f"/v1/models/dep1/{path}:predict") == {404: 1}
    assert replicas[3].seen == []


def test_states_are_told_without_asking_a_replica(home, tools, scripted):
    replica = scripted()
    routes = [tools.route("dep1", (1, 1, {"a": replica.address})), tools.route("dep2", (1, 1, {}), name="none")]
    gateway = started(home, tools, *routes)

    def get(path):
        return requests.get(gateway.url + path, timeout=60)

    for path in ("/v1/models/digits", "/model-serving/dep1", "/v1/models/dep1/versions/1"):
        assert get(path).json()["model_version_status"][0]["state"] == "AVAILABLE"
    assert get("/v1/models/dep1/versions/9").status_code == 404
    assert get("/v2/models/dep1/ready").status_code == get("/model-serving/dep1/ping").status_code == 200
    assert get("/v2/models/none/ready").status_code == 503
    assert get("/v2/health/live").status_code == get("/v2").status_code == 200
    assert replica.seen == []


def test_who_answered_is_said_and_a_replica_gets_the_request_id(home, tools, scripted):
    replica = scripted()
    gateway = started(home, tools, tools.route("dep1", (4, 1, {"r-1": replica.address})))
    url = gateway.url + "/model-serving/dep1:predict"
    answer = requests.post(url, json={}, headers={"X-Request-Id": "mine"}, timeout=60)
    assert {name: answer.headers[name] for name in ("X-Headway-Model", "X-Headway-Version", "X-Headway-Replica")} == {
        "X-Headway-Model": "m/4",
        "X-Headway-Version": "v4",
        "X-Headway-Replica": "r-1",
    }
    assert answer.headers["X-Request-Id"] == "mine" and b"\r\nx-request-id: mine\r\n" in replica.seen[0]
    made = [requests.post(url, json={}, timeout=60).headers["X-Request-Id"] for _ in range(2)]
    assert made[0] != made[1] and f"\r\nx-request-id: {made[1]}\r\n".encode() in replica.seen[2]


def test_a_kept_connection_that_the_replica_closed_costs_no_request(home, tools, scripted):
    replica = scripted()
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})))
    for _ in range(50):
        assert ask(gateway.port) == {"v1": 1}
        replica.call(lambda: [writer.transport.abort() for writer in list(replica.connections)])
        tools.wait_until(lambda: not replica.connections)
    assert len(replica.seen) == 50


def test_a_request_that_was_sent_is_not_sent_again(home, tools, scripted):
    one = scripted(lambda request: None)
    two = scripted(lambda request: None)
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": one.address, "b": two.address})))
    answer = requests.post(gateway.url + "/model-serving/dep1:predict", json={}, timeout=60)
    assert answer.status_code == 502 and "ended while it worked" in answer.json()["error"]
    assert len(one.seen) + len(two.seen) == 1


def test_a_replica_that_does_not_connect_costs_no_request(home, tools, scripted):
    one, two = scripted(), scripted()
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": one.address, "b": two.address})))
    one.end()
    assert ask(gateway.port, 50) == {"v1": 50}
    assert one.seen == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"\x00\x01\x02\x03" * 100,
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_garbage_is_502_with_the_reason_and_the_replica_stays(home, tools, scripted, garbage):
    replica = scripted(lambda request: garbage if b"bad" in request else replica.json(200, {}))
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})))
    for _ in range(3):
        answer = requests.post(gateway.url + "/model-serving/dep1:predict", json={"bad": 1}, timeout=60)
        assert answer.status_code == 502 and "malformed" in answer.json()["error"]
        assert ask(gateway.port) == {"v1": 1}


def test_a_second_answer_to_one_request_is_nobodys(home, tools, scripted):
    def script(request):
        number = json.loads(request.partition(b"\r\n\r\n")[2])["n"]
        return replica.json(200, {"n": number}) + (replica.json(200, {"n": "smuggled"}) if number % 2 else b"")

    replica = scripted(script)
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})))
    with requests.Session() as session:
        for number in range(20):
            answer = session.post(gateway.url + "/model-serving/dep1:predict", json={"n": number}, timeout=60)
            assert (answer.status_code, answer.json()) == (200, {"n": number})
