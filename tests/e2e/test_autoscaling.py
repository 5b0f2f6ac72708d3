"""Deployments that grow with their load, sleep without it, wake for one request, and take a bad version back by
themselves: on a real server, gateway and replicas."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import requests

from headway import Client
from headway.domain.deployments import Deployment, Guard, Scaling
from headway.domain.events import Event
from headway.testing import faults

T = TypeVar("T")

WAIT = 120.0
SLOW = """
import time

class Predictor:
    def predict(self, inputs):
        time.sleep(0.2)
        return [2 * value for value in inputs]
"""
DOUBLE = """
class Predictor:
    def predict(self, inputs):
        return [2 * value for value in inputs]
"""
FAILS_HALF_THE_TIME = """
class Predictor:
    calls = 0

    def predict(self, inputs):
        type(self).calls += 1
        if self.calls % 2:
            raise RuntimeError("not this time")
        return [2 * value for value in inputs]
"""


def register(client: Client, scratch: Path, name: str, predict: str) -> str:
    folder = scratch / f"{name}-{len(list(scratch.iterdir()))}"
    folder.mkdir()
    (folder / "predict.py").write_text(predict)
    return client.models.register(name, folder).id


def until(condition: Callable[[], T], what: str) -> T:
    """As :func:`headway.testing.faults.until`, at a pace that leaves the machine to the replicas."""
    return faults.until(condition, WAIT, what, pause=0.1)


class Load:
    """Clients that ask one request after the other; what they were answered, by version and status."""

    def __init__(self, deployment: Deployment, clients: int) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self._endpoint, self._over, self._lock = deployment.endpoint, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._over.is_set():
                answer = session.post(self._endpoint, json={"instances": [1]}, timeout=90)
                with self._lock:
                    self.answers[answer.headers.get("X-Headway-Version", ""), answer.status_code] += 1

    @contextmanager
    def going(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def statuses(self, version: str | None = None) -> set[int]:
        return {status for (key, status), count in self.answers.items() if count and version in (None, key)}

    def count(self) -> int:
        return sum(self.answers.values())


def events(client: Client, deployment: Deployment, type: str) -> list[Event]:
    return list(client.events.list(subject=deployment.id, type=type))


def test_replicas_come_with_the_load_go_without_it_and_one_comes_back_for_a_request(
    client: Client, tmp_path: Path
) -> None:
    register(client, tmp_path, "slow", SLOW)
    scaling = Scaling(minimum=0, maximum=2, target_in_flight=2, idle_seconds=1)
    made = client.deployments.create("growing", "slow", scaling=scaling, public=True)

    with Load(made, clients=8).going() as load:
        until(lambda: len(client.deployments.get(made.id).replicas) == 2, "a second replica")
        done = load.count()
        until(lambda: load.count() > done + 20, "requests while it grows")
    assert load.statuses() == {200}

    def asleep() -> bool:
        found = client.deployments.get(made.id)
        return found.replica_count == 0 and found.replicas == ()

    until(asleep, "all replicas to go")

    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(made.endpoint, json={"instances": [21]}, timeout=WAIT)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [42]})
    assert client.deployments.get(made.id).replica_count >= 1

    told = events(client, made, "deployment.scaled")
    assert max(event.data["to"] for event in told) == 2
    assert all(event.data["reason"] for event in told)
    woken = next(event for event in reversed(told) if event.data["from"] == 0)
    assert woken.data["reason"] == "a request waits for a replica"
    until(lambda: client.deployments.metrics(made.id).total.requests == load.count() + 1, "the last request to be told")
    asked = client.deployments.metrics(made.id)
    assert asked.total.error_rate == 0.0
    assert asked.total.p50 is not None and asked.total.p50 >= 0.2
    client.deployments.delete(made.id)


def test_a_canary_that_fails_half_the_time_is_taken_back_and_the_old_version_answers_all_along(
    client: Client, tmp_path: Path
) -> None:
    register(client, tmp_path, "judged", DOUBLE)
    guard = Guard(max_error_rate=0.1, minimum_requests=20)
    made = client.deployments.create("judged", "judged", guard=guard, public=True)
    client.deployments.wait(made.id, timeout=WAIT)
    register(client, tmp_path, "judged", FAILS_HALF_THE_TIME)

    with Load(made, clients=2).going() as load:
        until(lambda: load.count() > 20, "answers of the first version")
        client.deployments.update(made.id, traffic={"v1": 50, "v2": 50})
        until(lambda: events(client, made, "deployment.rolled_back"), "the canary to be taken back")
        until(lambda: client.deployments.get(made.id).pending is None, "the old revision to be live again")

        def only_the_old_one() -> bool:
            """No answer of the new version among the next fifty."""
            before = Counter(load.answers)
            until(lambda: load.count() >= before.total() + 50, "fifty answers")
            return not any(key == "v2" for key, _ in (load.answers - before))

        until(only_the_old_one, "the new version to get no more traffic")
    assert load.statuses("v1") == {200}
    assert load.statuses("v2") >= {200, 500}
    assert load.statuses() == {200, 500}

    (event,) = events(client, made, "deployment.rolled_back")
    assert "v2 answered" in event.message
    assert "with 5xx" in event.message
    found = client.deployments.get(made.id)
    assert [version.key for version in found.versions] == ["v1"]
    assert "v2 answered" in " ".join(revision.reason for revision in client.deployments.revisions(made.id))
    client.deployments.delete(made.id)


def test_a_first_version_that_fails_is_told_of_and_kept(client: Client, tmp_path: Path) -> None:
    register(client, tmp_path, "alone", FAILS_HALF_THE_TIME)
    made = client.deployments.create("alone", "alone", guard=Guard(minimum_requests=10), public=True)
    client.deployments.wait(made.id, timeout=WAIT)
    with Load(made, clients=1).going():
        until(lambda: events(client, made, "deployment.guard_alarm"), "the guard to say so")
    (event,) = events(client, made, "deployment.guard_alarm")
    assert "there is no earlier revision to go back to" in event.message
    assert client.deployments.get(made.id).revision == 1
    client.deployments.delete(made.id)
