"""The gateway as a process: where requests go, who may send them, and what a dying replica costs."""

from __future__ import annotations

import re
import signal
import socket
import stat
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from headway.domain.deployments import DeploymentState, RouteTable
from headway.serving.gateway.record import read_record

STOPPED, STARTING = DeploymentState.STOPPED, DeploymentState.STARTING
SECRET = "hw_" + "a" * 43


@pytest.fixture(scope="module")
def replicas(start_replica, predictor_dir):
    """Two replicas that no test ends."""
    return [start_replica(predictor_dir) for _ in range(2)]


@pytest.fixture
def both(replicas):
    return {f"r{n}": replica.address for n, replica in enumerate(replicas)}


def predict(gateway, body, name="dep1", token=None, session=requests, **kwargs):
    headers = {**kwargs.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
    return session.post(f"{gateway.url}/model-serving/{name}:predict", json=body, headers=headers, timeout=30, **kwargs)


def version_seen(gateway):
    return requests.get(gateway.url + "/health", timeout=5).json()["routes_version"]


class Load:
    """Clients that post one after the other until they are stopped; each keeps what it was answered."""

    def __init__(self, gateway, clients=4):
        self.gateway = gateway
        self.statuses = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        with requests.Session() as session:
            while not self._stop.is_set():
                self.statuses.append(predict(self.gateway, {"inputs": {"echo": 1}}, session=session).status_code)

    def more(self, tools, count=100):
        """Wait for ``count`` more answers."""
        seen = len(self.statuses)
        tools.wait_until(lambda: len(self.statuses) >= seen + count, 60)
        return self.statuses[seen:]

    def end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return Counter(self.statuses)


def test_both_forms_reach_the_replicas_by_id_and_by_name(home, tools, both, replicas):
    home.feed.publish(tools.route("dep1", (7, 100, both), name="my digits"))
    gateway = home.start()
    answers = [predict(gateway, {"inputs": {"echo": 1}}) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["outputs"]["pid"] for answer in answers} == {replica.pid for replica in replicas}
    assert answers[0].headers["X-Headway-Model"] == "m/7"
    assert predict(gateway, {"instances": ["a"]}, name="my%20digits").json() == {"predictions": [{"size": 1}]}
    wrong = predict(gateway, {"inputs": 1, "instances": [1]})
    assert wrong.status_code == 400 and "only one of" in wrong.json()["error"]
    status = requests.get(gateway.url + "/model-serving/dep1", timeout=5).json()
    assert status["model_version_status"][0]["version"] == "7"
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    metadata = requests.get(gateway.url + "/model-serving/dep1/metadata", timeout=5).json()
    assert metadata["metadata"]["class"] == "Predictor"
    head = requests.head(gateway.url + "/model-serving/dep1/metadata", timeout=5)
    assert (head.status_code, head.content) == (200, b"") and int(head.headers["Content-Length"]) > 0


def test_a_name_that_two_projects_use_is_refused_and_the_id_works(home, tools, both):
    home.feed.publish(tools.route("dep1", (1, 1, both), name="x"), tools.route("dep2", (1, 1, both), name="x"))
    gateway = home.start()
    answer = predict(gateway, {"inputs": {}}, name="x")
    assert answer.status_code == 404 and "use the id" in answer.json()["error"]
    assert predict(gateway, {"inputs": {}}, name="dep2").status_code == 200


def test_unknown_is_404_with_and_without_a_key_and_asks_the_server_at_most_once_a_second(home, tools, both):
    home.feed.publish(tools.route("dep1", (1, 1, both)))
    gateway = home.start()
    tools.wait_until(lambda: version_seen(gateway) == 1)
    for token in (None, SECRET):
        answer = predict(gateway, {"inputs": {}}, name="nothing", token=token)
        assert answer.status_code == 404 and "nothing" in answer.json()["error"]
    before, began = len(home.feed.asked), time.monotonic()
    with ThreadPoolExecutor(25) as pool:
        asked = [pool.submit(predict, gateway, {"inputs": {}}, name="nothing") for _ in range(100)]
        assert {each.result().status_code for each in asked} == {404}
    # A question that is not waited for, and the long poll that follows it, for each second begun.
    assert len(home.feed.asked) - before <= 2 * (time.monotonic() - began + 2)


def test_a_deployment_made_a_moment_ago_is_found_although_the_feed_is_late(home, tools, both):
    home.feed.publish()
    gateway = home.start()
    tools.wait_until(lambda: any(asked["wait"] != "0" for asked in home.feed.asked))
    home.feed.publish(tools.route("dep1", (1, 1, both)), quietly=True)
    assert predict(gateway, {"inputs": {"echo": 1}}).status_code == 200


def test_weights_share_the_traffic(home, tools, replicas):
    one, two = (replica.address for replica in replicas)
    home.feed.publish(tools.route("dep1", (1, 75, {"a": one}), (2, 25, {"b": two}), (3, 0, {"c": one})))
    gateway = home.start()
    tools.wait_until(lambda: version_seen(gateway) == 1)
    request = tools.post("/model-serving/dep1:predict", b'{"inputs":{"echo":1}}')
    last = tools.post("/model-serving/dep1:predict", b'{"inputs":{"echo":1}}', "Connection: close")
    answers = tools.raw(gateway.port, request * 1999 + last, 60)
    seen = Counter(line.split(b"/")[1] for line in answers.split(b"\r\n") if line.startswith(b"X-Headway-Model"))
    assert answers.count(b"HTTP/1.1 200 OK") == 2000
    assert seen[b"3"] == 0
    assert seen[b"1"] + seen[b"2"] == 2000
    assert 1350 < seen[b"1"] < 1650  # seven standard deviations


def test_a_replica_that_is_killed_costs_the_requests_in_flight_and_no_more(
    home, tools, start_replica, predictor_dir, replicas
):
    victim = start_replica(predictor_dir)
    home.feed.publish(tools.route("dep1", (1, 1, {"a": victim.address, "b": replicas[0].address})))
    gateway = home.start()
    load = Load(gateway)
    assert set(load.more(tools)) == {200}
    victim.signal(signal.SIGKILL)
    victim.wait()
    load.more(tools, 20)
    assert set(load.more(tools, 200)) == {200}
    seen = load.end()
    assert set(seen) <= {200, 502}
    assert seen[502] <= 4


def test_a_replica_that_leaves_the_feed_and_ends_costs_nothing(home, tools, start_replica, predictor_dir, replicas):
    leaving = start_replica(predictor_dir)
    both = {"a": leaving.address, "b": replicas[0].address}
    home.feed.publish(tools.route("dep1", (1, 1, both)))
    gateway = home.start()
    load = Load(gateway)
    load.more(tools)
    home.feed.publish(tools.route("dep1", (1, 1, {"b": replicas[0].address})))
    tools.wait_until(lambda: version_seen(gateway) == 2)
    leaving.signal(signal.SIGTERM)
    assert leaving.wait() == 0
    load.more(tools)
    assert set(load.end()) == {200}


def test_a_replica_that_ends_without_a_word_but_in_order_costs_nothing(
    home, tools, start_replica, predictor_dir, replicas
):
    leaving = start_replica(predictor_dir)
    home.feed.publish(tools.route("dep1", (1, 1, {"a": leaving.address, "b": replicas[0].address})))
    gateway = home.start()
    load = Load(gateway)
    load.more(tools)
    leaving.signal(signal.SIGTERM)
    assert leaving.wait() == 0
    load.more(tools)
    assert set(load.end()) == {200}


def test_a_replica_that_comes_back_is_used_again_and_requests_wait_for_it(home, tools, start_replica, predictor_dir):
    first = start_replica(predictor_dir)
    home.feed.publish(tools.route("dep1", (1, 1, {"a": first.address})))
    gateway = home.start()
    assert predict(gateway, {"inputs": {"echo": 1}}).status_code == 200
    first.signal(signal.SIGKILL)
    first.wait()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(predict(gateway, {"inputs": {"echo": 2}})))
    waiting.start()
    tools.wait_until(lambda: "is out" in gateway.log.read_text())
    start_replica(predictor_dir, "--port", str(first.port))
    waiting.join(30)
    assert answers[0].status_code == 200
    assert "is back" in gateway.log.read_text()


def test_a_request_waits_for_the_first_replica(home, tools, both):
    home.feed.publish(tools.route("dep1", state=STARTING))
    gateway = home.start()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(predict(gateway, {"inputs": {"echo": 1}})))
    waiting.start()
    tools.wait_until(lambda: 'requests_in_flight{deployment="dep1"} 1' in metrics(gateway))
    assert answers == []
    home.feed.publish(tools.route("dep1", (1, 1, both), state=STARTING))
    waiting.join(20)
    assert answers[0].status_code == 200


def metrics(gateway):
    return requests.get(gateway.url + "/metrics", timeout=5).text


@pytest.mark.parametrize("ending", ["stopped", "removed"])
def test_a_request_that_waits_is_told_when_nothing_will_come(home, tools, ending):
    home.feed.publish(tools.route("dep1", state=STARTING))
    gateway = home.start()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(predict(gateway, {"inputs": {}})))
    waiting.start()
    tools.wait_until(lambda: 'requests_in_flight{deployment="dep1"} 1' in metrics(gateway))
    home.feed.publish(*([tools.route("dep1", state=STOPPED, desired=STOPPED)] if ending == "stopped" else []))
    waiting.join(20)
    assert answers[0].status_code == (503 if ending == "stopped" else 404)


def test_stopped_is_503_in_json_with_a_time(home, tools):
    home.feed.publish(tools.route("dep1", (1, 1, {}), state=STOPPED, desired=STOPPED))
    gateway = home.start()
    answer = predict(gateway, {"inputs": {}})
    assert answer.status_code == 503
    assert "stopped" in answer.json()["error"] and int(answer.headers["Retry-After"]) > 0
    status = requests.get(gateway.url + "/model-serving/dep1", timeout=5).json()
    assert status["model_version_status"][0]["state"] == "END"


def test_a_private_deployment_needs_a_token_that_is_known_and_not_expired(home, tools, both):
    secrets = {SECRET: None, "hw_short-lived": 3600, "hw_expired": -1}
    home.feed.publish(tools.route("dep1", (1, 1, both), public=False, secrets=secrets))
    gateway = home.start()
    body = {"inputs": {"echo": 1}}
    for token in (SECRET, "hw_short-lived"):
        assert predict(gateway, body, token=token).status_code == 200
    for token in (None, "hw_expired", "hw_other", SECRET[:-1], SECRET + "a", "' OR 1=1 --"):
        answer = predict(gateway, body, token=token)
        assert answer.status_code == 401 and list(answer.json()) == ["error"]
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for scheme in (f"Basic {SECRET}", SECRET, "Bearer", f"Bearer {'x' * 10_000}"):
        assert predict(gateway, body, headers={"Authorization": scheme}).status_code == 401
    twice = tools.post(
        "/model-serving/dep1:predict", b"{}", f"Authorization: Bearer {SECRET}", "Authorization: Bearer hw_other"
    )
    assert b" 401 " in tools.raw(gateway.port, twice + b"", 1)
    assert requests.get(gateway.url + "/model-serving/dep1", timeout=5).status_code == 401
    assert requests.get(gateway.url + "/model-serving/dep1/metadata", timeout=5).status_code == 401
    assert predict(gateway, body, token=SECRET, headers={"Origin": "https://evil.example"}).status_code == 421
    assert SECRET not in gateway.log.read_text()


def test_a_token_that_is_revoked_is_refused_from_the_next_feed_on(home, tools, both):
    home.feed.publish(tools.route("dep1", (1, 1, both), public=False, secrets={SECRET: None}))
    gateway = home.start()
    assert predict(gateway, {"inputs": {}}, token=SECRET).status_code == 200
    home.feed.publish(tools.route("dep1", (1, 1, both), public=False))
    tools.wait_until(lambda: version_seen(gateway) == 2)
    assert predict(gateway, {"inputs": {}}, token=SECRET).status_code == 401


def test_it_starts_and_serves_while_the_server_is_away_and_follows_it_when_it_returns_elsewhere(home, tools, both):
    home.feed.publish(tools.route("dep1", (1, 1, both), public=False, secrets={SECRET: None}))
    first = home.start()
    saved = home.directory / "routes.json"
    tools.wait_until(saved.exists)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    home.feed.stop()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    second = home.start()
    assert predict(second, {"inputs": {"echo": 1}}, token=SECRET).status_code == 200
    assert predict(second, {"inputs": {"echo": 1}}, token="hw_wrong").status_code == 401
    assert predict(second, {"inputs": {"echo": 1}}, name="nothing").status_code == 404
    home.feed.publish(tools.route("dep9", (1, 1, both)))
    home.feed.start()
    tools.wait_until(lambda: version_seen(second) == 2)
    assert predict(second, {"inputs": {"echo": 1}}, name="dep9").status_code == 200


def test_without_any_routes_it_says_that_it_has_none(home, tools):
    home.feed.stop()
    gateway = home.start()
    answer = predict(gateway, {"inputs": {}})
    assert answer.status_code == 503 and "no routes" in answer.json()["error"]


def test_damaged_saved_routes_are_reported_and_fetched_anew(home, tools, both):
    (home.directory / "routes.json").write_text('{"version": 3, "routes": [{')
    home.feed.publish(tools.route("dep1", (1, 1, both)))
    gateway = home.start()
    assert predict(gateway, {"inputs": {"echo": 1}}).status_code == 200
    assert "cannot be used" in gateway.log.read_text()


def test_it_says_where_it_is_and_takes_that_back_at_its_end(home, tools):
    gateway = home.start()
    record = read_record(home.directory)
    assert record is not None
    assert (record.identity.pid, record.url) == (gateway.pid, gateway.url)
    again = home._spawn("headway.serving.gateway", "--directory", str(home.directory), "--port", str(gateway.port))
    assert again.wait() == 1 and "cannot listen" in again.log.read_text()
    assert read_record(home.directory) == record
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert read_record(home.directory) is None


def test_sigterm_finishes_what_was_begun(home, tools, both, tmp_path):
    home.feed.publish(tools.route("dep1", (1, 1, both)))
    gateway = home.start()
    started, go = tmp_path / "started", tmp_path / "go"
    answers = []
    body = {"inputs": {"wait_for": str(go), "started": str(started)}}
    work = threading.Thread(target=lambda: answers.append(predict(gateway, body)))
    work.start()
    tools.wait_until(started.exists)
    gateway.signal(signal.SIGTERM)
    go.touch()
    work.join(20)
    assert answers[0].status_code == 200
    assert gateway.wait() == 0


def test_the_request_is_rebuilt(home, tools, echo):
    server = echo()
    home.feed.publish(
        tools.route("dep1", (1, 1, {"a": f"127.0.0.1:{server.port}"}), public=False, secrets={SECRET: None})
    )
    gateway = home.start()
    tools.wait_until(lambda: version_seen(gateway) == 1)
    headers = {
        "Authorization": f"Bearer {SECRET}",
        "Cookie": "session=1",
        "Connection": "close, X-Secret",
        "X-Secret": "for this hop",
        "TE": "trailers",
        "Keep-Alive": "timeout=5",
        "Proxy-Authorization": "Basic x",
        "Content_Length": "7",
        "X-Request-Timeout": "5",
        "X-Kept": "yes",
        "X-Request-Id": "abc",
    }
    lines = [f"{name}: {value}" for name, value in headers.items()]
    answer = tools.raw(gateway.port, tools.post("/model-serving/dep1:predict?x=1", b"{}", *lines))
    assert b" 200 " in answer
    seen = server.seen[0]
    assert (seen.method, seen.target, seen.body) == ("POST", "/model-serving/dep1:predict?x=1", b"{}")
    forwarded = {name.decode(): value.decode() for name, value in seen.headers}
    assert 0 < float(forwarded.pop("x-request-timeout")) <= 5
    assert forwarded == {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/json",
        "content-length": "2",
        "x-kept": "yes",
        "x-request-id": "abc",
    }


@pytest.fixture(scope="module")
def behind(echo):
    """What stands behind the gateway of the smuggling attempts, and remembers what reached it."""
    return echo()


@pytest.fixture(scope="module")
def smuggling_gateway(spawn, behind, tools, tmp_path_factory):
    """One gateway for all attempts, with its route from the file."""
    directory = tmp_path_factory.mktemp("server") / "gateway"
    directory.mkdir(mode=0o700)
    route = tools.route("dep1", (1, 1, {"a": f"127.0.0.1:{behind.port}"}))
    (directory / "routes.json").write_text(RouteTable(version=1, routes=(route,)).model_dump_json())
    return spawn("headway.serving.gateway", "--directory", str(directory))


def test_what_two_parsers_could_read_differently_never_reaches_a_replica(smuggling_gateway, behind, tools, smuggled):
    attempt = smuggled.replace(b" / HTTP", b" /model-serving/dep1:predict HTTP")
    hidden = tools.post("/model-serving/dep1:predict", b"{}")
    answer = tools.raw(smuggling_gateway.port, attempt + hidden)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert int(answer.split(b" ", 2)[1]) in (400, 505)
    assert behind.seen == []


def test_the_replica_is_told_when_the_client_leaves(home, tools, echo):
    server = echo()
    server.holding = True
    home.feed.publish(tools.route("dep1", (1, 1, {"a": f"127.0.0.1:{server.port}"})))
    gateway = home.start()
    tools.wait_until(lambda: version_seen(gateway) == 1)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        client.sendall(tools.post("/model-serving/dep1:predict", b"{}"))
        tools.wait_until(lambda: server.seen)
    assert server.cancelled.wait(5)
    tools.wait_until(lambda: 'requests_total{deployment="dep1",version="v1",code="499"} 1' in metrics(gateway))


@pytest.mark.parametrize(
    ("path", "kwargs", "status"),
    [
        ("/model-serving/dep1", {"json": {}}, 405),
        (
            "/model-serving/dep1:predict",
            {"data": b"\x80\x04.", "headers": {"Content-Type": "application/x-pickle"}},
            415,
        ),
        ("/model-serving/dep1:predict", {"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ("/v1/models/m:predict", {"json": {}}, 404),
        ("/model-serving/dep1/more:predict", {"json": {}}, 404),
        ("/nothing", {"json": {}}, 404),
    ],
)
def test_what_is_not_offered_is_refused(home, tools, both, path, kwargs, status):
    home.feed.publish(tools.route("dep1", (1, 1, both)))
    gateway = home.start()
    tools.wait_until(lambda: version_seen(gateway) == 1)
    answer = requests.post(gateway.url + path, timeout=5, **kwargs)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_metrics_count_each_deployment_and_are_for_this_machine(home, tools, both):
    home.feed.publish(tools.route("dep1", (1, 1, both)), tools.route("dep2", (1, 1, both), name="other"))
    gateway = home.start()
    for _ in range(3):
        predict(gateway, {"inputs": {"echo": 1}})
    predict(gateway, {"inputs": {"raise": "value"}}, name="dep2")
    text = metrics(gateway)
    assert 'headway_gateway_requests_total{deployment="dep1",version="v1",code="200"} 3\n' in text
    assert 'headway_gateway_requests_total{deployment="dep2",version="v1",code="400"} 1\n' in text
    assert 'headway_gateway_request_seconds_count{deployment="dep1",version="v1"} 3\n' in text
    assert 'headway_gateway_request_seconds_bucket{deployment="dep1",version="v1",le="+Inf"} 3\n' in text
    assert text.count("# TYPE headway_gateway_request_seconds histogram") == 1
    by_replica = re.findall(
        r'replica_requests_total{deployment="dep1",version="v1",replica="r[01]",code="200"} (\d)', text
    )
    assert sum(map(int, by_replica)) == 3
    assert 'headway_gateway_replica_available{deployment="dep1",version="v1",replica="r0"} 1\n' in text
    rebound = requests.get(gateway.url + "/metrics", headers={"Host": "evil.example"}, timeout=5)
    assert rebound.status_code == 404
