"""Rules of the gateway that need no process: bounds, choices, what a feed changes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.domain.deployments import DeploymentState, RouteReplica, RouteTable
from headway.serving.gateway import proxy
from headway.serving.gateway.balancer import choose, least_outstanding
from headway.serving.gateway.health import HealthKeeper
from headway.serving.gateway.proxy import Proxy
from headway.serving.gateway.routes import Backend, Entry, Table
from headway.serving.gateway.signals import Signal
from headway.serving.http.messages import Request
from headway.serving.metrics import RequestMetrics, exposition


def request() -> Request:
    return Request("POST", "/model-serving/dep1:predict", "1.1", [], "127.0.0.1")


def entry(route) -> Entry:
    made = Entry(route)
    made.update(route)
    return made


def test_a_deployment_with_too_much_to_do_refuses_at_once(tools):
    async def run():
        full = entry(tools.route("dep1"))
        full.outstanding = proxy.MAX_OUTSTANDING
        return await Proxy(HealthKeeper()).forward(full, request(), "predict")

    response = asyncio.run(run())
    assert response.status == 429 and dict(response.headers)["Retry-After"] == "1"


def test_waiting_for_a_replica_has_an_end_and_says_why(tools, monkeypatch):
    monkeypatch.setattr(proxy, "WAIT_SECONDS", 0.1)

    async def run():
        route = tools.route("dep1", state=DeploymentState.ERROR).evolve(reason="It keeps dying.")
        return await Proxy(HealthKeeper()).forward(entry(route), request(), "predict")

    response = asyncio.run(run())
    assert response.status == 503
    assert b"It keeps dying." in response.body


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_the_replica_with_the_least_to_do_is_chosen(outstanding):
    backends = [Backend(RouteReplica(id=str(n), address="127.0.0.1:1")) for n in range(len(outstanding))]
    for backend, count in zip(backends, outstanding, strict=True):
        backend.outstanding = count
    assert least_outstanding(backends).outstanding == min(outstanding)


def test_equals_share(tools):
    random.seed(0)
    idle = entry(tools.route("dep1", (1, 1, {"a": "127.0.0.1:1", "b": "127.0.0.1:2"})))
    seen = Counter(choose(idle)[1].id for _ in range(1000))
    assert min(seen.values()) > 350 and len(seen) == 2


def test_a_version_without_an_available_replica_leaves_its_share_to_the_others(tools):
    both = entry(tools.route("dep1", (1, 90, {"a": "127.0.0.1:1"}), (2, 10, {"b": "127.0.0.1:2"})))
    both.groups[0].backends[0].available = False
    assert {choose(both)[0].version for _ in range(50)} == {2}
    both.groups[1].backends[0].available = False
    assert choose(both) is None


def test_a_new_feed_keeps_what_is_known_of_replicas_that_stay_and_retires_the_others(tools):
    table = Table()
    table.apply(RouteTable(version=1, routes=(tools.route("dep1", (1, 1, {"a": "127.0.0.1:1", "b": "127.0.0.1:2"})),)))
    first = table.find("dep1")
    kept, gone = first.groups[0].backends
    kept.outstanding = 3
    route = tools.route("dep1", (1, 1, {"a": "127.0.0.1:1"}), (2, 1, {"c": "[::1]:3", "bad": "nowhere"}))
    table.apply(RouteTable(version=2, routes=(route,)))
    assert table.find("digits") is first
    assert [backend.id for backend in first.backends()] == ["a", "c"]
    assert next(first.backends()) is kept and kept.outstanding == 3
    assert gone.retired and not kept.retired
    table.apply(RouteTable(version=3))
    assert first.gone and kept.retired and table.find("dep1") is None


def test_a_signal_wakes_all_who_wait_and_has_a_limit():
    async def run():
        signal = Signal()
        waiting = [asyncio.ensure_future(signal.wait(30)) for _ in range(3)]
        await asyncio.sleep(0)
        signal.fire()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await signal.wait(0.01) is False

    asyncio.run(run())


def test_metrics_text_escapes_labels_and_sums_up():
    metrics = RequestMetrics()
    for seconds in (0.0005, 0.001, 0.2, 100.0):
        metrics.observe(200, seconds)
    text = exposition("p", [(metrics, {"d": 'a"b\\c\nd'})], {400: 2}).decode()
    assert r'p_requests_total{d="a\"b\\c\nd",code="200"} 4' in text
    assert r'p_request_seconds_bucket{d="a\"b\\c\nd",le="0.001"} 2' in text
    assert r'le="+Inf"} 4' in text
    assert 'p_refused_total{code="400"} 2\n' in text
    assert text.count("# TYPE p_request_seconds histogram") == 1


@pytest.mark.parametrize("address", ["127.0.0.1:80", "http://127.0.0.1:80", "http://127.0.0.1:80/"])
def test_an_address_may_be_a_url(address):
    backend = Backend(RouteReplica(id="a", address=address))
    assert (backend.pool.host, backend.pool.port, backend.address) == ("127.0.0.1", 80, "127.0.0.1:80")
