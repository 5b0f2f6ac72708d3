"""client.runs and client.folders against a real server."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.domain.runs import Run, RunOutcome, RunState
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.journal.codec import KIND_END, KIND_LOG, MAGIC, encode_frame, encode_lines
from headway.journal.compression import compress
from headway.journal.facts import encode_fact
from headway.journal.frames import KIND_FACT
from headway.testing.server import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that gives up runs soon."""
    with ServerProcess(tmp_path_factory.mktemp("server") / "data", arguments=("--run-lost-seconds", "1")) as server:
        yield server


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.url, server.token) as admin:
        project = admin.projects.create(new_id("project"))
    with Client(server.url, server.token, project.name) as client:
        yield client


def send(client: Client, run: str, stream: str, data: bytes, *, offset: int = 0, close: bool = False) -> None:
    """As a tracker ships."""
    query = {"offset": offset, "writer": stream.replace("/", "-"), "close": close, "replica": "rank0"}
    path = f"/api/v1/runs/{run}/streams/{stream}"
    headers = {"Content-Type": "application/zstd"}
    with client._session.open("PUT", path, query=query, headers=headers, content=compress(data)) as answer:
        answer.read(1 << 20)


def facts(*said: dict[str, Any]) -> bytes:
    return MAGIC + b"".join(encode_frame(KIND_FACT, encode_fact(fact)) for fact in said)


def await_event(client: Client, run: str, type: str, timeout: float = 30.0) -> None:
    """Wait for an event about a run."""
    for event in client.events.stream(subject=run, timeout=timeout):
        if event.type == type:
            return


def test_a_run_from_its_making_to_its_end(client: Client) -> None:
    made = client.runs.create("digits", config={"lr": 0.1, "nan": math.nan}, labels=["a"], folder="f", make_folder=True)
    assert (made.outcome, made.config) == (RunOutcome.CREATED, {"lr": 0.1, "nan": "NaN"})
    assert client.runs.create(id=made.id).outcome is RunOutcome.FOUND
    rows: list[str] = []
    follower = threading.Thread(
        target=lambda: rows.extend(row.message for row in client.runs.follow(made.id, timeout=30)), daemon=True
    )
    follower.start()
    lines = MAGIC + encode_frame(KIND_LOG, encode_lines(1, 1_767_312_000_000, b"one\ntwo"))
    send(client, made.id, "logs/rank0-a", lines)
    end = {"type": "state", "state": "complete"}
    about = {"type": "environment", "values": {"python": "3.12"}}
    send(client, made.id, "facts/rank0-a", facts({"type": "config", "set": {"epochs": 3}}, about, end), close=True)
    send(client, made.id, "logs/rank0-a", encode_frame(KIND_END, b""), offset=len(lines), close=True)
    follower.join(timeout=30)
    assert rows == ["one", "two"]
    found = client.runs.get(made.id)
    assert (found.state, found.config["epochs"]) == (RunState.COMPLETE, 3)
    assert client.runs.environment(made.id) == {"python": "3.12"}
    assert [row.line for row in client.runs.logs(made.id, tail=1)] == [2]
    assert {stream.kind for stream in client.runs.streams(made.id)} == {"logs", "facts"}
    assert client.runs.summary(made.id) == []


def test_a_run_that_falls_silent_is_lost_until_it_speaks(client: Client) -> None:
    run = client.runs.create().id
    await_event(client, run, "run.lost")
    assert client.runs.get(run).state is RunState.LOST
    assert client.runs.heartbeat(run, writer="w", attempt=1, health={"dropped": 2}).state is RunState.RUNNING
    await_event(client, run, "run.revived")
    found = client.runs.get(run)
    assert (found.attempts, found.health) == (2, {"dropped": 2})


def test_runs_are_found(client: Client) -> None:
    made = [client.runs.create(config={"lr": number / 10}).id for number in range(5)]
    found = list(client.runs.query("params.lr >= 0.1 and params.lr != 0.3", order_by="-params.lr", limit=2))
    assert [run.id for run in found] == [made[4], made[2]]
    assert [run.id for run in client.runs.list()] == made[::-1]
    rows = list(client.runs.query(f"id = '{made[0]}'", include_summary=True))
    assert [(row.id, dict(row.summary)) for row in rows] == [(made[0], {})]
    assert isinstance(rows[0], Run)


def test_runs_are_changed_and_deleted(client: Client) -> None:
    run = client.runs.create("a").id
    changed = client.runs.update(run, name="b", labels=["x"], description="d", folder="default")
    assert (changed.name, changed.labels, changed.description, changed.folder) == ("b", ("x",), "d", "default")
    client.runs.delete(run)
    with pytest.raises(NotFoundError):
        client.runs.get(run)


def test_names_that_are_taken(client: Client) -> None:
    first = client.runs.create("a", conflict_strategy="error")
    with pytest.raises(ConflictError):
        client.runs.create("a", conflict_strategy="error")
    assert client.runs.create("a", conflict_strategy="skip").id == first.id
    assert client.runs.create("a", conflict_strategy="new").outcome is RunOutcome.RENAMED
    assert client.runs.create("a", conflict_strategy="replace").outcome is RunOutcome.REPLACED


def test_folders(client: Client) -> None:
    with pytest.raises(NotFoundError, match="'a'"):
        client.folders.create("a/b")
    assert client.folders.create("a/b", parents=True).path == "a/b"
    client.runs.create(folder="a/b")
    with pytest.raises(ConflictError):
        client.folders.delete("a/b")
    client.folders.create("c")
    client.folders.delete("/c/")
    assert [folder.path for folder in client.folders.list()] == ["a", "a/b"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda client: client.runs.query("nmae = 'a'"), "Did you mean 'name'"),
        (lambda client: client.runs.query(orderby="name"), "Did you mean 'order_by'"),
        (lambda client: client.runs.query(order_by="labels"), "order_by"),
        (lambda client: client.runs.create(labls=[]), "Did you mean 'labels'"),
        (lambda client: client.runs.create(conflict_strategy="never"), "conflict_strategy"),
        (lambda client: client.runs.create(config={"a": object()}), "config.a"),
        (lambda client: client.runs.create(folder="../x"), "folder"),
        (lambda client: client.runs.update("run1", name=""), "name"),
        (lambda client: client.runs.heartbeat("run1", writer="a b"), "writer"),
        (lambda client: client.runs.heartbeat("run1", writer="a", health={"x": -1}), "health"),
        (lambda client: client.folders.create(""), "path"),
        (lambda client: client.folders.delete("/"), "no name"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(call: Callable[[Client], object], says: str) -> None:
    with (
        Client("http://127.0.0.1:9", "token", "digits", retry_for=0) as client,
        pytest.raises(InvalidRequestError) as caught,
    ):
        call(client)
    assert says in str(caught.value)
