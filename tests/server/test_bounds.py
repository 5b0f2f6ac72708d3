"""Input at and beyond its bounds: one clear error, never a failure inside the server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from headway.domain.base import new_id
from headway.errors import UnavailableError
from headway.server.app import PREFIX
from headway.testing.server import ServerProcess

HUGE = 10**30


def submission(project: str, **fields: Any) -> dict[str, Any]:
    return {"name": "j", "project": project, "command": "true", "start": False, **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"secrets": {"A=B": "canary-value"}},
        {"secrets": {"": "canary-value"}},
        {"secrets": {"A": "canary-value\x00"}},
        {"roles": {"a": {"count": 1024}, "b": {"count": 1}}},
        {"labels": {f"label{n}": "x" for n in range(1000)}},
        {"labels": {"a": "x" * 100_000}},
        {"environment": {"A": "x" * 200_000}},
        {"environment": {f"A{n}": "x" * 100_000 for n in range(20)}},
        {"workspace": {"kind": "git", "url": "https://canary-value@example.org/repository"}},
        {"workspace": {"kind": "git", "url": "http://[canary-value/repository"}},
        {"max_runtime": 1e300 * 1e300},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_submission_beyond_its_bounds_is_one_clear_error(world: Any, fields: dict[str, Any]) -> None:
    body = json.dumps(submission(world.project().id, **fields)).replace("Infinity", "1e999")
    headers = {**world.headers(world.admin_token), "Content-Type": "application/json"}
    answer = world.client.post(f"{PREFIX}/jobs", headers=headers, content=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "canary-value" not in answer.text


def test_an_ssh_user_in_a_git_url_is_no_secret(world: Any) -> None:
    workspace = {"kind": "git", "url": "ssh://git@example.org/repository"}
    body = submission(world.project().id, workspace=workspace)
    assert world.client.post(f"{PREFIX}/jobs", headers=world.headers(world.admin_token), json=body).status_code == 201


@pytest.mark.parametrize(
    ("verb", "path", "keywords"),
    [
        ("GET", "/events", {"params": {"after": HUGE}}),
        ("POST", "/tokens", {"json": {"expires_in": HUGE}}),
        ("POST", "/tokens", {"json": {"expires_in": 10**12}}),
        ("POST", "/tokens", {"json": {"expires_in": 0}}),
        ("PUT", "/models/m/aliases/a", {"json": {"version": HUGE}}),
        ("GET", "/jobs", {"params": {"cursor": "e30"}}),
        ("GET", "/jobs", {"params": {"name": "\x00"}}),
        ("GET", "/jobs/x/logs", {"params": {"attempt": HUGE}}),
        ("PUT", "/instance-types/big", {"json": {"memory_mb": HUGE}}),
    ],
)
def test_numbers_that_fit_nowhere_are_refused(world: Any, verb: str, path: str, keywords: dict[str, Any]) -> None:
    answer = world.client.request(verb, PREFIX + path, headers=world.headers(world.admin_token), **keywords)
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "evil.example/path"},
        {"host": "a\r\nX: y"},
        {"ports": [0]},
        {"ports": [70000]},
        {"ports": list(range(1, 100))},
        {"finished_at": "0001-01-01T00:00:00+14:00"},
        {"last_lines": ["x" * 100_000]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_report_beyond_its_bounds_is_refused(world: Any, fields: dict[str, Any]) -> None:
    replica, secret = world.attempt(world.job(world.project()))
    with world.platform.storage.read() as session:
        attempt = session.attempts.get(replica.attempt_id)
    body = {"attempt_token": attempt.token, "phase": "prepared", **fields}
    url = f"{PREFIX}/replicas/{replica.id}/report"
    answer = world.client.post(url, headers=world.headers(secret), json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_time_without_a_zone_is_utc_and_spoils_no_comparison(world: Any) -> None:
    replica, secret = world.attempt(world.job(world.project()))
    with world.platform.storage.read() as session:
        attempt = session.attempts.get(replica.attempt_id)
    body = {"attempt_token": attempt.token, "phase": "exited", "exit_code": 1, "finished_at": "2026-01-02T03:04:05"}
    url = f"{PREFIX}/replicas/{replica.id}/report"
    assert world.client.post(url, headers=world.headers(secret), json=body).status_code == 200
    with world.platform.storage.read() as session:
        found = session.replicas.get(replica.id).finished_at
    assert found is not None
    assert found.utcoffset() is not None


def test_a_gateway_that_does_not_come_up_leaves_neither_deployment_nor_remembered_answer(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = world.project()
    version = world.version(project)
    body = {"project": project.id, "name": "d", "model": version.id, "start": False}
    headers = {**world.headers(world.admin_token), "Idempotency-Key": new_id("key")}
    keeper = world.server.api.state.gateway

    def fail() -> str:
        raise UnavailableError("The gateway does not answer.")

    monkeypatch.setattr(keeper, "ensure", fail, raising=False)
    assert world.client.post(f"{PREFIX}/deployments", headers=headers, json=body).status_code == 503
    monkeypatch.undo()
    answer = world.client.post(f"{PREFIX}/deployments", headers=headers, json=body)
    assert answer.status_code == 201
    found = world.client.get(f"{PREFIX}/deployments/{answer.json()['id']}", headers=world.headers(world.admin_token))
    assert found.status_code == 200


@pytest.fixture
def stalled_uploads(running_server: ServerProcess) -> Iterator[None]:
    """Many uploads that have begun and send nothing."""
    headers = {"Authorization": f"Bearer {running_server.token}"}
    with httpx.Client(base_url=running_server.url + PREFIX, headers=headers, trust_env=False) as api:
        project = api.post("/projects", json={"name": new_id("p")}).json()["id"]
    parts = urlsplit(running_server.url)
    start = f"PUT {PREFIX}/projects/{project}/blobs/{'0' * 64} HTTP/1.1\r\nHost: 127.0.0.1:{running_server.port}\r\n"
    start += f"Authorization: Bearer {running_server.token}\r\nContent-Type: application/octet-stream\r\n"
    start += "Content-Length: 1000\r\n\r\nabc"
    with ExitStack() as stack:
        for _ in range(60):
            connection = stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 0)))
            connection.sendall(start.encode())
        yield


def test_uploads_that_stall_keep_nobody_else_waiting(running_server: ServerProcess, stalled_uploads: None) -> None:
    headers = {"Authorization": f"Bearer {running_server.token}"}
    with httpx.Client(base_url=running_server.url + PREFIX, headers=headers, trust_env=False, timeout=20) as api:
        for _ in range(20):
            assert api.get("/me").status_code == 200
