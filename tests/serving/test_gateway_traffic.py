"""What a gateway tells of the requests that went through it: reports to the server, the access log."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import stat
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from headway.domain.deployments import DeploymentState
from headway.domain.traffic import WINDOW_SECONDS, TrafficCell
from headway.serving.gateway import accesslog
from headway.serving.gateway.accesslog import AccessLog
from headway.serving.gateway.traffic import KEPT_SECONDS, Ledger, Meter, Totals

SECRET = "hw_" + "b" * 43


# Counting.


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 40)), min_size=1, max_size=20))
def test_busy_seconds_are_the_integral_of_what_is_in_flight(spans):
    ledger = Ledger()
    meter = Meter(ledger, ("d", "v1", "r"))
    events = sorted([(begin, 1) for begin, _ in spans] + [(begin + length, -1) for begin, length in spans])
    for moment, change in sorted(events, key=lambda event: (event[0], -event[1])):
        (meter.begin if change > 0 else meter.end)(moment)
    cells = ledger.take(1000)
    total = sum(cell.busy_seconds for cell in cells)
    assert abs(total - sum(length for _, length in spans)) < 1e-6
    assert meter.in_flight == 0
    for cell in cells:
        assert cell.start % WINDOW_SECONDS == 0 and cell.busy_seconds <= len(spans) * WINDOW_SECONDS + 1e-6
    assert len({cell.start for cell in cells}) == len(cells)


def test_a_window_is_over_and_its_cell_stays_while_the_next_one_grows():
    ledger, parent = Ledger(), Totals()
    meter = Meter(ledger, ("d", "v1", "r"), parent)
    meter.observe(200, 0.01, 0.0)
    told = ledger.take(10)
    meter.observe(200, 0.01, 0.1)
    again = ledger.take(10)
    assert told == again and again[0].codes == {200: 2}  # absolute: told again it replaces
    meter.observe(500, 0.02, 25.0)
    assert [cell.codes for cell in ledger.take(10)] == [{500: 1}]
    assert meter.totals().codes == {200: 2, 500: 1}
    assert parent.codes == {200: 2} and meter.unfolded().codes == {500: 1}
    TrafficCell.model_validate(again[0].as_json())


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=6))
def test_a_replica_that_leaves_the_routes_and_comes_back_is_told_of_as_one(stays):
    ledger, told, moment = Ledger(), {}, 1.0
    for count, tell in stays:
        meter = Meter(ledger, ("d", "v1", "r"))
        for _ in range(count):
            meter.begin(moment)
            moment += 0.01
            meter.end(moment)
            meter.observe(200, 0.01, moment)
        meter.retire()
        if tell:
            told.update({cell.start: cell.as_json() for cell in ledger.take(10)})
    told.update({cell.start: cell.as_json() for cell in ledger.take(10)})
    total = sum(count for count, _ in stays)
    assert sum(cell["codes"]["200"] for cell in told.values()) == total
    assert sum(cell["busy_seconds"] for cell in told.values()) == pytest.approx(total * 0.01)


def test_cells_that_could_not_be_told_are_kept_for_ten_minutes():
    ledger = Ledger()
    meter = Meter(ledger, ("d", "v1", "r"))
    meter.observe(200, 0.01, 0.0)
    ledger.put_back(ledger.take(10))
    meter.observe(200, 0.01, KEPT_SECONDS / 2)
    ledger.forget_old(KEPT_SECONDS - 2 * WINDOW_SECONDS)
    assert len(ledger.changed) == 2
    ledger.forget_old(KEPT_SECONDS + 2 * WINDOW_SECONDS)
    assert len(ledger.changed) == 1


# Telling.


def cells(home):
    """The newest of each cell that was told."""
    return {
        (cell.deployment_id, cell.version, cell.replica_id, cell.start, report.gateway): cell
        for report in list(home.feed.reports)
        for cell in report.cells
    }.values()


def codes(home, deployment="dep1"):
    total = Counter()
    for cell in cells(home):
        if cell.deployment_id == deployment:
            total.update(cell.codes)
    return total


def started(home, tools, *routes, options=()):
    home.feed.publish(*routes)
    gateway = home.start(*options)
    tools.wait_until(
        lambda: requests.get(gateway.url + "/health", timeout=60).json()["routes_version"] == home.feed.version
    )
    return gateway


def predict(gateway, name="dep1", **headers):
    return requests.post(
        f"{gateway.url}/model-serving/{name}:predict", json={"secret": "body"}, headers=headers, timeout=30
    )


def test_every_request_is_told_of_once(home, tools, scripted):
    one, two = scripted(), scripted()
    two.script = lambda request: two.json(500, {})
    route = tools.route("dep1", (1, 1, {"a": one.address}), (2, 1, {"b": two.address}))
    gateway = started(home, tools, route, options=("--id", "edge-1"))
    answers = Counter(predict(gateway).status_code for _ in range(60))
    tools.wait_until(lambda: codes(home) == answers, 20)
    told = {(cell.version, cell.replica_id): cell for cell in cells(home)}
    assert set(told) == {("v1", "a"), ("v2", "b")}
    assert all(cell.seconds > 0 and cell.busy_seconds > 0 for cell in told.values())
    assert all(sum(cell.latency.values()) == sum(cell.codes.values()) for cell in cells(home))
    assert {re.fullmatch(r"edge-1-[0-9a-f]{8}", report.gateway) is not None for report in home.feed.reports} == {True}
    quiet = len(home.feed.reports)
    time.sleep(2.5)  # two seconds in which nothing changes
    assert len(home.feed.reports) == quiet


def test_who_looks_at_the_metadata_makes_no_traffic(home, tools, scripted):
    replica = scripted()
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})))
    assert requests.get(f"{gateway.url}/model-serving/dep1/metadata", timeout=30).status_code == 200
    assert requests.get(f"{gateway.url}/v2/models/dep1", timeout=30).status_code == 200
    assert predict(gateway).status_code == 200
    tools.wait_until(lambda: codes(home), 20)
    assert codes(home) == {200: 1}


def test_what_waits_for_a_deployment_without_replicas_is_told_at_once_and_taken_back(home, tools):
    gateway = started(home, tools, tools.route("dep1", state=DeploymentState.STARTING))
    waiting = threading.Thread(target=predict, args=(gateway,), kwargs={"X-Request-Timeout": "3"})
    waiting.start()
    tools.wait_until(lambda: any(report.waiting == {"dep1": 1} for report in home.feed.reports))
    waiting.join(30)
    tools.wait_until(lambda: home.feed.reports[-1].waiting == {})
    tools.wait_until(lambda: codes(home) == {503: 1})
    assert {(cell.version, cell.replica_id) for cell in cells(home)} == {("", "")}


def test_a_server_that_is_away_or_refuses_disturbs_nobody_and_is_told_later(home, tools, scripted):
    replica = scripted()
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})))
    home.feed.report_status = 503
    assert {predict(gateway).status_code for _ in range(20)} == {200}
    tools.wait_until(lambda: "cannot be told" in gateway.log.read_text(), 20)
    home.feed.stop()
    assert {predict(gateway).status_code for _ in range(20)} == {200}
    home.feed.report_status = 200
    home.feed.start()
    tools.wait_until(lambda: codes(home) == {200: 40}, 30)


def test_what_is_left_is_told_at_the_end(home, tools, scripted):
    replica = scripted()
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})))
    for _ in range(10):
        predict(gateway)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert codes(home) == {200: 10}


def test_a_gateway_that_is_started_anew_replaces_nothing(home, tools, scripted):
    replica = scripted()
    route = tools.route("dep1", (1, 1, {"a": replica.address}))
    for _ in range(2):
        gateway = started(home, tools, route)
        for _ in range(5):
            predict(gateway)
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
    assert codes(home) == {200: 10}


def test_many_deployments_of_which_few_are_busy_are_told_of_alone(home, tools, scripted):
    replica = scripted()
    routes = [tools.route(f"dep{n}", (1, 1, {"a": replica.address}), name=f"d{n}") for n in range(300)]
    gateway = started(home, tools, *routes)
    for n in (3, 7):
        assert predict(gateway, f"dep{n}").status_code == 200
    tools.wait_until(lambda: codes(home, "dep3") + codes(home, "dep7") == {200: 2}, 20)
    assert {cell.deployment_id for cell in cells(home)} == {"dep3", "dep7"}
    text = requests.get(gateway.url + "/metrics", timeout=60).text
    assert 'deployment="dep3"' in text and 'deployment="dep4"' not in text


# The access log.


def lines(home):
    path = home.directory / "access.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_access_log_has_a_line_for_each_request_and_no_secret(home, tools, scripted):
    replica = scripted()
    route = tools.route("dep1", (1, 1, {"a": replica.address}), public=False, secrets={SECRET: None})
    gateway = started(home, tools, route)
    url = gateway.url + "/model-serving/dep1:predict"
    bearer = {"Authorization": f"Bearer {SECRET}", "X-Request-Id": "mine"}
    assert requests.post(url + "?token=query", json={"secret": "body"}, headers=bearer, timeout=60).status_code == 200
    assert requests.post(url, json={}, headers={"Authorization": "Bearer hw_wrong"}, timeout=60).status_code == 401
    assert predict(gateway, "unknown").status_code == 404
    tools.wait_until(lambda: len(lines(home)) == 3)
    first, second, third = lines(home)
    assert (first["status"], first["deployment"], first["version"], first["replica"]) == (200, "dep1", "v1", "a")
    assert (first["request_id"], first["method"], first["path"]) == ("mine", "POST", "/model-serving/dep1:predict")
    assert first["seconds"] > 0 and first["received"] > 0 and first["sent"] > 0
    assert (second["status"], third["status"], third["deployment"]) == (401, 404, "unknown")
    text = (home.directory / "access.log").read_text()
    for secret in (SECRET, "hw_wrong", "body", "query"):
        assert secret not in text
    assert stat.S_IMODE((home.directory / "access.log").stat().st_mode) == 0o600


def test_the_access_log_can_be_left_out(home, tools, scripted):
    replica = scripted()
    gateway = started(home, tools, tools.route("dep1", (1, 1, {"a": replica.address})), options=("--no-access-log",))
    assert predict(gateway).status_code == 200
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert lines(home) == []


def line(number):
    """What the log wants to know of a request."""
    return SimpleNamespace(
        exchange=SimpleNamespace(request=SimpleNamespace(peer="::1", method="POST", path="/x" * 400, body=b"")),
        backend=None,
        number=str(number),
        entry=SimpleNamespace(id="dep1"),
    )


def test_the_access_log_is_rotated_and_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(accesslog, "FLUSH_SECONDS", 0.0)

    async def run():
        log = AccessLog(tmp_path / "access.log", largest=2000)
        for number in range(200):
            log.write(line(number), 200, 0, 0.1)
            if number % 5 == 0:
                await log.close()
        await log.close()

    asyncio.run(run())
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["access.log", "access.log.1", "access.log.2", "access.log.3"]
    last = (tmp_path / "access.log").read_text().splitlines()
    assert json.loads(last[-1])["request_id"] == "199"
    assert all(len(json.loads(each)["path"]) <= 256 for each in last)


def test_a_disk_that_does_not_take_the_log_is_said_once_and_costs_lines_not_requests(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(accesslog, "LARGEST_BUFFER", 1000)

    async def run():
        log = AccessLog(tmp_path / "nowhere" / "access.log")
        for number in range(50):
            log.write(line(number), 200, 0, 0.1)
        await log.close()
        log.write(line(1), 200, 0, 0.1)
        await log.close()
        (tmp_path / "nowhere").mkdir()
        for number in range(50):
            log.write(line(number), 200, 0, 0.1)
        await log.close()

    asyncio.run(run())
    assert caplog.text.count("cannot be written") == 1
    written = [json.loads(each) for each in (tmp_path / "nowhere" / "access.log").read_text().splitlines()]
    assert written[-1]["dropped"] == 50 - (len(written) - 1) > 0
