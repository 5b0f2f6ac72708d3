"""R39: more than can be done is refused at once, slow and leaving clients cost the others nothing."""

from __future__ import annotations

import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headway import Client
from headway.domain.deployments import Deployment
from headway.testing.faults import FULL, repetitions, until
from headway.testing.faulty import save_model
from headway.testing.load import ClosedLoad, OpenLoad, doubling
from headway.testing.server import ServerProcess
from headway.testing.serving import deploy_faulty, patient_client

CALL_SECONDS = 0.02
"""Of one call of the model, which takes one request at a time."""
MAX_WAITING = 16
SECONDS = 10.0 if FULL else 4.0


@pytest.fixture(scope="module")
def client(running_server: ServerProcess) -> Iterator[Client]:
    with patient_client(running_server) as found:
        yield found


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, client: Client) -> Path:
    directory = tmp_path_factory.mktemp("control")
    client.models.register("double", save_model(directory / "model"))
    return directory


@pytest.fixture
def deployment(client: Client, control: Path) -> Iterator[Deployment]:
    """One replica whose model sleeps, so that its capacity is the same on a busy machine."""
    found = deploy_faulty(client, "double", control, seconds=CALL_SECONDS, max_waiting=MAX_WAITING)
    yield found
    client.deployments.delete(found.id)


def goodput(load: ClosedLoad | OpenLoad, began: float, ended: float) -> float:
    """Right answers a second."""
    return sum(answer.right and began <= answer.ended <= ended for answer in load.answers) / (ended - began)


def while_applied(load: ClosedLoad | OpenLoad, seconds: float) -> tuple[float, float]:
    """Its first and last moment, without the time in which it comes up and ends."""
    with load.applied():
        began = time.monotonic()
        until(lambda: time.monotonic() - began > seconds, seconds + 10)
        return began, time.monotonic()


@pytest.mark.parametrize("times", [3, 10])
def test_the_excess_is_refused_at_once_and_the_rest_is_answered_as_before(
    deployment: Deployment, control: Path, times: int
) -> None:
    calm = ClosedLoad(deployment.endpoint, 4)
    capacity = goodput(calm, *while_applied(calm, SECONDS))
    assert calm.failed() == []
    flood, count = OpenLoad(deployment.endpoint, times * capacity), control / "count"
    count.write_bytes(b"")
    span = while_applied(flood, SECONDS)
    calls = count.stat().st_size
    count.unlink()
    seen = Counter(answer.status for answer in flood.answers)
    refused = [answer for answer in flood.between(*span) if answer.status in (429, 503)]
    served = [answer.seconds for answer in flood.between(*span) if answer.right]
    assert len(refused) > 0.5 * len(flood.between(*span)), seen
    slow = statistics.quantiles([answer.seconds for answer in refused], n=20)
    print(
        f"capacity {capacity:.0f}/s, asked {times} times as much: {dict(seen)}, {goodput(flood, *span):.0f}/s answered; "
        f"refusals p50 {slow[9] * 1000:.1f} ms, p95 {slow[18] * 1000:.1f} ms; answers p50 {statistics.median(served):.3f} s"
    )
    assert set(seen) <= {200, 429, 503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    # Goodput is kept because the model works for nobody who is refused.
    assert calls == seen[200]
    if FULL:
        assert goodput(flood, *span) >= 0.8 * capacity
        assert slow[9] < 0.05
        assert statistics.median(served) < 3 * MAX_WAITING / capacity
    again = ClosedLoad(deployment.endpoint, 4, 40).run()
    assert again.failed() == []


def test_clients_that_send_slowly_cost_the_others_nothing(deployment: Deployment) -> None:
    host, _, port = deployment.endpoint.split("/")[2].rpartition(":")
    path = "/" + deployment.endpoint.split("/", 3)[3]
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    parts = [head.encode()[:20], head.encode(), f"{head}Content-Length: 1000\r\n\r\n{{".encode()]
    load = ClosedLoad(deployment.endpoint, 4)
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((host, int(port)), 30)) for _ in range(200)]
        for number, connection in enumerate(slow):
            connection.sendall(parts[number % len(parts)])
        with load.applied(100):
            for connection in slow:
                connection.sendall(b"x")
    assert load.failed() == []


def test_clients_that_leave_take_their_work_with_them(deployment: Deployment, control: Path) -> None:
    """A storm of requests that are given up at once: most never reach the model, and the deployment is free soon."""
    host, _, port = deployment.endpoint.split("/")[2].rpartition(":")
    path = "/" + deployment.endpoint.split("/", 3)[3]
    request = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    body = doubling(1)
    message = f"{request}Content-Length: {len(body)}\r\n\r\n".encode() + body
    count, calls = control / "count", 0
    storms, at_once = repetitions(5, 50), MAX_WAITING
    for _ in range(storms):
        count.write_bytes(b"")
        with ExitStack() as stack:
            leaving = [stack.enter_context(socket.create_connection((host, int(port)), 30)) for _ in range(at_once)]
            for connection in leaving:
                connection.sendall(message)
            until(lambda: count.stat().st_size > 0, 30, "a call of the model")
        after = ClosedLoad(deployment.endpoint, 1, 3).run()
        assert after.failed() == []
        calls += count.stat().st_size - 3
        count.unlink()
    print(f"{storms * at_once} requests were given up, {calls} of them reached the model")
    assert calls < 0.5 * storms * at_once
