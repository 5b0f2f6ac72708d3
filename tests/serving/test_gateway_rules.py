"""Rules of the gateway that need no process: what paths mean, what a feed changes, what is written of whom."""

from __future__ import annotations

import asyncio
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.domain.deployments import RouteReplica, RouteTable
from headway.serving.gateway.deadlines import Deadlines
from headway.serving.gateway.exposition import exposition
from headway.serving.gateway.feed import TableReader
from headway.serving.gateway.messages import build_message, build_response, request_id, wanted_seconds
from headway.serving.gateway.replies import MANY_HEADS, KnownHeads, Reply, ReplyHead
from headway.serving.gateway.routes import Backend, Entry, Table
from headway.serving.gateway.signals import Signal
from headway.serving.gateway.targets import destination
from headway.serving.gateway.traffic import Ledger
from headway.serving.http.heads import VOLATILE
from headway.serving.http.messages import Request


def request(*headers: tuple[bytes, bytes], target: str = "/model-serving/dep1:predict") -> Request:
    made = Request("POST", target, "1.1", list(headers), "127.0.0.1")
    made.volatile = {name: value for name, value in headers if name in VOLATILE} or None
    return made


def table_of(*routes, changed=None):
    table = Table(Ledger(), changed or (lambda entry: entry.refresh()))
    table.apply(RouteTable(version=1, routes=routes))
    return table


@pytest.mark.parametrize(
    ("path", "deployment", "verb", "sent"),
    [
        ("/model-serving/my%20digits:predict", "my digits", "predict", "/model-serving/dep1:predict"),
        ("/model-serving/d%3Apredict", "d", "predict", "/model-serving/dep1%3Apredict"),
        ("/model-serving/d:classify", "d", "classify", "/model-serving/dep1:classify"),
        ("/model-serving/d", "d", "status", "/model-serving/dep1"),
        ("/model-serving/d/metadata", "d", "metadata", "/model-serving/dep1/metadata"),
        ("/model-serving/d/invocations", "d", "predict", "/model-serving/dep1/invocations"),
        ("/model-serving/d/ping", "d", "ready", "/model-serving/dep1/ping"),
        ("/model-serving/d/v2/models/x/infer", "d", "predict", "/model-serving/dep1/v2/models/x/infer"),
        ("/model-serving/d/v1/models/x:regress", "d", "regress", "/model-serving/dep1/v1/models/x:regress"),
        ("/model-serving/d/generate", "d", "other", "/model-serving/dep1/generate"),
        ("/v1/models/d:predict", "d", "predict", "/model-serving/dep1/v1/models/d:predict"),
        ("/v1/models/d/labels/x:predict", "d", "predict", "/model-serving/dep1/v1/models/d/versions/3:predict"),
        ("/v2/models/d/versions/3/infer", "d", "predict", "/model-serving/dep1/v2/models/d/versions/3/infer"),
        ("/v2/models/d/ready", "d", "ready", "/model-serving/dep1/v2/models/d/ready"),
    ],
)
def test_a_path_names_a_deployment_and_what_is_asked_of_its_replica(path, deployment, verb, sent):
    found = destination(path)
    assert (found.deployment, found.verb, found.path("dep1", 3)) == (deployment, verb, sent)


@pytest.mark.parametrize(
    "path", ["/", "/health", "/v2", "/ping", "/predict", "/invocations", "/model-serving/", "/x/y"]
)
def test_a_path_that_names_no_deployment(path):
    assert destination(path) is None


@given(st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=60))
def test_no_path_is_a_fault(rest):
    for start in ("/model-serving/", "/v1/models/", "/v2/models/", "/"):
        found = destination(start + rest)
        assert found is None or found.deployment or found.rest


def test_a_new_feed_keeps_what_is_known_of_replicas_that_stay_and_retires_the_others(tools):
    table = table_of(tools.route("dep1", (1, 1, {"a": "127.0.0.1:1", "b": "127.0.0.1:2"})))
    first = table.find("dep1")
    kept, gone = first.groups[0].backends
    route = tools.route(
        "dep1", (1, 1, {"a": "127.0.0.1:1"}), (2, 1, {"c": "[::1]:3", "bad": "nowhere", "no": "h:70000"})
    )
    table.apply(RouteTable(version=2, routes=(route,)))
    assert table.find("digits") is first
    assert [backend.id for backend in first.backends()] == ["a", "c"]
    assert next(first.backends()) is kept
    assert gone.retired and not kept.retired
    table.apply(RouteTable(version=3))
    assert first.gone and kept.retired and table.find("dep1") is None


def test_only_what_changed_is_told_and_read(tools):
    told = []
    routes = [tools.route(f"dep{n}", (1, 1, {"a": "127.0.0.1:1"}), name=f"d{n}") for n in range(50)]
    reader = TableReader()
    table = Table(Ledger(), lambda entry: told.append(entry.id))
    first = reader.read(RouteTable(version=1, routes=routes).model_dump_json().encode())
    table.apply(first)
    told.clear()
    routes[7] = tools.route("dep7", (1, 1, {"a": "127.0.0.1:1", "b": "127.0.0.1:2"}), name="d7")
    second = reader.read(RouteTable(version=2, routes=routes[:49]).model_dump_json().encode())
    assert [one is two for one, two in zip(first.routes, second.routes, strict=False)].count(False) == 1
    table.apply(second)
    assert sorted(told) == ["dep49", "dep7"]
    assert second == RouteTable(version=2, routes=routes[:49])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"version": 1}', b'{"version": 1, "routes": [{}]}', b"\xff"])
def test_a_feed_that_is_none_is_a_value_error(content):
    with pytest.raises(ValueError, match=r".+"):
        TableReader().read(content)


def test_a_signal_wakes_all_who_wait_and_has_a_limit():
    async def run():
        signal = Signal()
        waiting = [asyncio.ensure_future(signal.wait(30)) for _ in range(3)]
        await asyncio.sleep(0)
        signal.fire()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await signal.wait(0.01) is False

    asyncio.run(run())


def test_deadlines_expire_in_their_time_and_cost_no_timer_when_nothing_is_there():
    expired = []

    class Dated:
        def __init__(self, name):
            self.name = name

        def expire(self):
            expired.append((self.name, asyncio.get_running_loop().time()))

    async def run():
        loop, deadlines = asyncio.get_running_loop(), Deadlines()
        begun = loop.time()
        soon, later, never = Dated("soon"), Dated("later"), Dated("never")
        deadlines.add(later, begun + 0.2)
        deadlines.add(soon, begun + 0.05)
        deadlines.remove(never, deadlines.add(never, begun + 0.1))
        while len(expired) < 2:
            await asyncio.sleep(0.01)
        assert [name for name, _ in expired] == ["soon", "later"]
        assert expired[0][1] - begun >= 0.05 and expired[1][1] - begun >= 0.2
        assert deadlines._timer is None
        deadlines.add(soon, begun)  # in the past: with the next tick
        while len(expired) < 3:
            await asyncio.sleep(0.01)

    asyncio.run(run())


def test_the_clients_id_is_kept_if_it_is_fit_for_a_log():
    assert request_id(request((b"x-request-id", b"abc-1"))) == "abc-1"
    seen = set()
    for bad in (b"", b"with space", b"\xff", b"x" * 129, b'"\t"'):
        seen.add(request_id(request((b"x-request-id", bad))))
    seen.add(request_id(request((b"x-request-id", b"a"), (b"x-request-id", b"b"))))
    seen.add(request_id(request()))
    assert len(seen) == 7 and all(each.isascii() and each.isprintable() and " " not in each for each in seen)


def test_a_wanted_time_is_a_number_above_zero():
    assert wanted_seconds(request()) is None
    assert wanted_seconds(request((b"x-request-timeout", b"1.5"))) == 1.5
    for bad in (b"0", b"-1", b"nan", b"inf", b"1e9", b"", b"1,2", b"0x1", b" 1"):
        with pytest.raises(ValueError, match="X-Request-Timeout"):
            wanted_seconds(request((b"x-request-timeout", bad)))


def test_binary_requests_keep_the_headers_that_say_how_to_read_them():
    head = request((b"content-type", b"application/octet-stream"), (b"inference-header-content-length", b"12"))
    head.body = b"\x00" * 20
    sent = build_message(head, b"h:1", "/x", "id", 3.0)
    assert b"\r\ncontent-type: application/octet-stream\r\n" in sent
    assert b"\r\ninference-header-content-length: 12\r\n" in sent
    assert b"\r\nx-request-timeout: 3.000\r\n" in sent and sent.endswith(b"\r\n\r\n" + b"\x00" * 20)


def test_a_replica_cannot_say_who_it_is_nor_set_cookies():
    reply = Reply(ReplyHead(200))
    reply.head.headers = [
        (b"x-headway-replica", b"other"),
        (b"set-cookie", b"a=b"),
        (b"connection", b"x"),
        (b"x-own", b"1"),
    ]
    own = (("X-Headway-Replica", "r1"),)
    response = build_response(reply, own, "id")
    assert (response.lines, response.headers) == (b"x-own: 1\r\nX-Headway-Replica: r1\r\nX-Request-Id: id\r\n", ())
    assert build_response(reply, own, "next").lines.endswith(b"r1\r\nX-Request-Id: next\r\n")


def test_heads_are_known_without_the_id_they_repeat_unless_somebody_wants_to_know_it():
    def answer(line):
        return b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n%b\r\n\r\n{}" % line

    def keeping(**options):
        heads = KnownHeads(**options)
        head = ReplyHead(200)
        head.headers = [(b"content-length", b"2"), (b"x-request-id", b"a")]
        heads.keep(answer(b"X-Request-Id: a"), head)
        return heads

    exact, without = keeping(), keeping(ids=False)
    assert exact.find(answer(b"X-Request-Id: a")).head.headers[1] == (b"x-request-id", b"a")
    assert exact.find(answer(b"X-Request-Id: b")) is None
    found = without.find(answer(b"X-Request-Id: b"))
    assert found.head.headers == [(b"content-length", b"2")] and found.body == b"{}"
    for odd in (b"X-Request-Id: b\rX: y", b"X-Request-Id: b c", b"X-Request-Id: ", b"X-Request-Id: b\nX: y", b"X: y"):
        assert without.find(answer(odd)) is None


def test_metrics_text_escapes_labels_and_leaves_idle_deployments_out(tools):
    table = table_of(
        tools.route("dep1", (1, 1, {'a"b\\c\nd': "127.0.0.1:1"})), tools.route("dep2", (1, 1, {}), name="idle")
    )
    backend = table.find("dep1").groups[0].backends[0]
    backend.meter.observe(200, 0.001, 0.0)
    text = exposition(table, {400: 2}).decode()
    assert r'replica_requests_total{deployment="dep1",version="v1",replica="a\"b\\c\nd",code="200"} 1' in text
    assert 'headway_gateway_refused_total{code="400"} 2\n' in text
    assert "dep2" not in text


def test_only_a_plain_head_of_an_answer_is_known_again():
    plain = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    heads, head = KnownHeads(), ReplyHead(200)
    head.headers = [(b"content-length", b"2")]
    assert heads.find(plain + b"{}") is None
    heads.keep(plain + b"{}", head)
    found = heads.find(plain + b"[]")
    assert (found.status, found.body) == (200, b"[]")
    for other in (
        plain + b"[",
        plain + b"[]x",
        plain,
        b"x" + plain + b"[]",
        plain[:-2] + b"a: b\r\n\r\n[]",
        b"",
        b"\r\n\r\n",
    ):
        assert heads.find(other) is None
    for name in (b"transfer-encoding", b"connection"):
        odd = ReplyHead(200)
        odd.headers = [(b"content-length", b"2"), (name, b"close")]
        data = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n%b: close\r\n\r\n{}" % name
        heads.keep(data, odd)
        assert heads.find(data) is None
    head.headers.append((b"date", b"0"))
    for number in range(1000):
        heads.keep(b"HTTP/1.1 200 OK\r\ndate: %d\r\ncontent-length: 2\r\n\r\n{}" % number, head)
    assert len(heads._known) <= MANY_HEADS


@pytest.mark.parametrize("address", ["127.0.0.1:80", "http://127.0.0.1:80", "http://127.0.0.1:80/"])
def test_an_address_may_be_a_url(address, tools):
    entry = Entry(tools.route("dep1", (1, 1, {})), Ledger())
    entry.update(entry.route)
    backend = Backend(RouteReplica(id="a", address=address), entry.groups[0], Ledger())
    assert (backend.link.host, backend.link.port, backend.address) == ("127.0.0.1", 80, "127.0.0.1:80")


def test_saved_routes_are_the_servers_own_bytes(tools):
    content = RouteTable(version=3, routes=(tools.route("dep1"),)).model_dump_json().encode()
    assert json.loads(content) == orjson.loads(TableReader().read(content).model_dump_json())
