"""Time and room: deadlines that are kept and passed on, clients that leave, lines that are bounded, replicas that hang."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time

import pytest
import requests

from headway.domain.deployments import DeploymentState

STARTING = DeploymentState.STARTING


def started(home, tools, *routes):
    home.feed.publish(*routes)
    gateway = home.start()
    tools.wait_until(lambda: routes_version(gateway) == home.feed.version)
    return gateway


def routes_version(gateway):
    return requests.get(gateway.url + "/health", timeout=60).json()["routes_version"]


def metrics(gateway):
    return requests.get(gateway.url + "/metrics", timeout=60).text


def predict(gateway, name="dep1", session=requests, **headers):
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return session.post(f"{gateway.url}/model-serving/{name}:predict", json={}, headers=named, timeout=60)


class Asking:
    """A request in a thread of its own."""

    def __init__(self, gateway, **kwargs):
        self.answer = None
        self.took = 0.0
        self._thread = threading.Thread(target=self._run, args=(gateway,), kwargs=kwargs)
        self._thread.start()

    def _run(self, gateway, **kwargs):
        begun = time.monotonic()
        self.answer = predict(gateway, **kwargs)
        self.took = time.monotonic() - begun

    def done(self):
        self._thread.join(60)
        return self.answer


def holding(scripted):
    """A replica that answers once it is told to."""
    released = threading.Event()

    async def hold(request):
        while not released.is_set():
            await asyncio.sleep(0.005)
        return replica.json(200, {})

    replica = scripted(hold)
    return replica, released


def test_a_late_answer_is_504_in_time_and_the_replica_is_told(home, tools, scripted):
    replica, _ = holding(scripted)
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address}), deadline_seconds=30))
    begun = time.monotonic()
    answer = predict(gateway, X_Request_Timeout="0.3")
    took = time.monotonic() - begun
    assert answer.status_code == 504 and "in time" in answer.json()["error"]
    assert answer.headers["X-Headway-Replica"] == "a"
    assert 0.3 <= took < 10
    tools.wait_until(lambda: replica.broken == 1)
    assert 0 < float(replica.seen[0].lower().partition(b"x-request-timeout: ")[2].split(b"\r\n")[0]) <= 0.3


def test_the_deployments_own_deadline_bounds_what_is_asked_for(home, tools, scripted):
    replica, _ = holding(scripted)
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address}), deadline_seconds=0.2))
    for headers in ({}, {"X_Request_Timeout": "50"}):
        assert predict(gateway, **headers).status_code == 504
    tools.wait_until(lambda: replica.broken == 2)


@pytest.mark.parametrize("wanted", ["0", "-1", "soon", "nan", "1e3"])
def test_a_time_that_is_none_is_refused(home, tools, scripted, wanted):
    replica = scripted()
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})))
    assert predict(gateway, X_Request_Timeout=wanted).status_code == 400
    assert replica.seen == []


def test_waiting_counts_and_what_is_left_is_passed_on(home, tools, scripted):
    gateway = started(home, tools, tools.route("dep1", state=STARTING))
    asking = Asking(gateway, X_Request_Timeout="30")
    tools.wait_until(lambda: 'requests_waiting{deployment="dep1"} 1' in metrics(gateway))
    replica = scripted()
    home.feed.publish(tools.route("dep1", (1, 1, {"a": replica.address}), state=STARTING))
    assert asking.done().status_code == 200
    left = float(replica.seen[0].lower().partition(b"x-request-timeout: ")[2].split(b"\r\n")[0])
    assert 0 < left < 30


def test_nothing_that_comes_up_in_time_is_503_with_the_reason(home, tools):
    gateway = started(home, tools, tools.route("dep1", state=STARTING, reason="It is slow."))
    answer = predict(gateway, X_Request_Timeout="0.2")
    assert answer.status_code == 503 and "It is slow." in answer.json()["error"]
    assert int(answer.headers["Retry-After"]) > 0


def test_those_who_wait_are_sent_in_the_order_they_came(home, tools, scripted):
    gateway = started(home, tools, tools.route("dep1", state=STARTING))
    asking = []
    for number in range(8):
        asking.append(Asking(gateway, X_Request_Id=f"n{number}"))
        waiting = f'requests_waiting{{deployment="dep1"}} {number + 1}'
        tools.wait_until(lambda waiting=waiting: waiting in metrics(gateway))
    order = []

    def script(request):
        order.append(int(request.lower().partition(b"x-request-id: n")[2].split(b"\r\n")[0]))
        return replica.json(200, {})

    replica = scripted(script)
    replica.healthy = True
    home.feed.publish(tools.route("dep1", (1, 1, {"a": replica.address}), state=STARTING))
    assert [each.done().status_code for each in asking] == [200] * 8
    assert sorted(order) == list(range(8))


def test_more_than_may_wait_is_429_at_once_and_others_are_not_affected(home, tools, scripted):
    replica, released = holding(scripted)
    other = scripted()
    gateway = started(
        home,
        tools,
        tools.route("dep1", (1, 1, {"a": replica.address}), max_waiting=5),
        tools.route("dep2", (1, 1, {"b": other.address}), name="other"),
    )
    asking = [Asking(gateway) for _ in range(5)]
    tools.wait_until(lambda: len(replica.seen) == 5)
    for _ in range(20):
        answer = predict(gateway)
        assert answer.status_code == 429 and int(answer.headers["Retry-After"]) > 0
        assert answer.elapsed.total_seconds() < 5
        assert predict(gateway, "dep2").status_code == 200
    released.set()
    assert [each.done().status_code for each in asking] == [200] * 5
    assert predict(gateway).status_code == 200


def test_a_client_that_leaves_is_counted_and_its_request_broken_off(home, tools, scripted):
    replica, _ = holding(scripted)
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})))
    for number in range(1, 4):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
            client.sendall(tools.post("/model-serving/dep1:predict", b"{}"))
            tools.wait_until(lambda number=number: len(replica.seen) == number)
        tools.wait_until(lambda number=number: replica.broken == number)
        counted = f'headway_gateway_requests_total{{deployment="dep1",version="v1",code="499"}} {number}\n'
        tools.wait_until(lambda counted=counted: counted in metrics(gateway))
    assert 'requests_in_flight{deployment="dep1"} 0' in metrics(gateway)


def test_a_client_that_leaves_while_it_waits_leaves_its_place(home, tools):
    gateway = started(home, tools, tools.route("dep1", state=STARTING, max_waiting=1))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        client.sendall(tools.post("/model-serving/dep1:predict", b"{}"))
        tools.wait_until(lambda: 'requests_waiting{deployment="dep1"} 1' in metrics(gateway))
        assert predict(gateway).status_code == 429
    tools.wait_until(lambda: 'requests_waiting{deployment="dep1"} 0' in metrics(gateway))
    assert predict(gateway, X_Request_Timeout="0.1").status_code == 503


def test_a_replica_that_is_stopped_is_out_within_seconds_and_back_when_it_goes_on(
    home, tools, start_replica, predictor_dir
):
    one, two = start_replica(predictor_dir), start_replica(predictor_dir)
    route = tools.route("dep1", (1, 1, {"a": one.address, "b": two.address}), deadline_seconds=20)
    gateway = started(home, tools, route)
    assert predict(gateway).status_code < 500
    tools.pause(one)
    asking = []
    try:
        # Requests are sent until one is stuck with the paused replica; nothing else asks how it is.
        while 'replica_available{deployment="dep1",version="v1",replica="a"} 0' not in metrics(gateway):
            if sum(each.answer is None for each in asking) < 3:
                asking.append(Asking(gateway))
            time.sleep(0.02)
            assert len(asking) < 2000
        seen = [predict(gateway) for _ in range(30)]
        assert {answer.headers["X-Headway-Replica"] for answer in seen} == {"b"}
        assert all(answer.status_code < 500 for answer in seen)
    finally:
        tools.resume(one)
    tools.wait_until(lambda: {predict(gateway).headers["X-Headway-Replica"] for _ in range(20)} == {"a", "b"}, 30)
    # What the paused replica had been given it finished.
    assert all(each.done().status_code < 500 for each in asking)


def test_a_slow_replica_that_answers_its_health_path_stays(home, tools, scripted):
    replica, released = holding(scripted)
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})))
    asking = Asking(gateway)
    tools.wait_until(lambda: replica.seen)
    probed = replica.probed
    tools.wait_until(lambda: replica.probed >= probed + 2, what="two probes, so that the first one's answer is known")
    assert 'replica_available{deployment="dep1",version="v1",replica="a"} 1' in metrics(gateway)
    released.set()
    assert asking.done().status_code == 200


def test_overload_is_refused_and_what_is_taken_on_is_answered_in_time(home, tools, scripted):
    """A replica that does 100 requests a second one after the other is asked by 60 clients who wait half a second each:
    without lines here it would work for clients who have left."""
    turn = asyncio.Lock()
    done = []

    async def work(request):
        async with turn:
            await asyncio.sleep(0.01)
        done.append(request)
        return replica.json(200, {})

    replica = scripted(work)
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address}), max_waiting=200))
    stop, statuses = threading.Event(), []

    def load():
        with requests.Session() as session:
            while not stop.is_set():
                statuses.append(predict(gateway, session=session, X_Request_Timeout="0.5").status_code)
                if statuses[-1] == 429:
                    stop.wait(0.1)  # the replica's thread is one of this process

    def answered():
        found = re.search(r'requests_total{deployment="dep1",version="v1",code="200"} (\d+)', metrics(gateway))
        return int(found[1]) if found else 0

    clients = [threading.Thread(target=load) for _ in range(60)]
    for client in clients:
        client.start()
    tools.wait_until(lambda: answered() >= 200, 90)  # it has learnt what the replica can do
    before, worked = answered(), len(done)
    tools.wait_until(lambda: answered() >= before + 300, 90)
    useful = (answered() - before) / (len(done) - worked)
    stop.set()
    for client in clients:
        client.join(60)
    assert set(statuses) == {200, 429, 504} or set(statuses) == {200, 429}
    assert useful >= 0.8


def test_nobody_waits_in_vain_for_a_deployment_whose_replicas_keep_failing(home, tools):
    route = tools.route("dep1", state=DeploymentState.ERROR, reason="The weights are missing.")
    gateway = started(home, tools, route)
    answer = predict(gateway)  # it would wait for a minute
    assert answer.status_code == 503 and "The weights are missing." in answer.text
    assert answer.elapsed.total_seconds() < 30
    assert answer.headers["Retry-After"]
