"""The gate: hosts, origins, body kinds and sizes, tokens. Raw sockets where a client library would tidy up."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from headway.domain.base import new_id
from headway.server.app import PREFIX
from headway.testing.server import ServerProcess


def exchange(server: ServerProcess, text: bytes) -> tuple[int, bytes]:
    """Send raw bytes, read the whole answer."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as connection:
        connection.sendall(text)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    status = int(answer.split(b" ", 2)[1]) if answer else 0
    return status, answer


def ask(server: ServerProcess, *lines: str, path: str = f"{PREFIX}/projects", token: bool = True) -> tuple[int, bytes]:
    headers = [f"Authorization: Bearer {server.token}"] if token else []
    text = "\r\n".join([f"GET {path} HTTP/1.1", *lines, *headers, "Connection: close", "", ""])
    return exchange(server, text.encode("latin-1"))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.nip.io:{port}",
        "localhost.:{port}",
        "localhost.evil:{port}",
        "[::ffff:127.0.0.1]:{port}",
        "0.0.0.0:{port}",
        "127.1:{port}",
        "2130706433:{port}",
        "x/?",
        "x/#",
        "a@127.0.0.1:{port}",
        "127.0.0.1:{port}@evil",
        "127.0.0.1:port",
        "[::1",
        "",
    ],
)
def test_a_foreign_host_is_refused_with_and_without_a_token(running_server: ServerProcess, host: str) -> None:
    name = host.replace("{port}", str(running_server.port))
    for path in (f"{PREFIX}/projects", "/health"):
        for token in (True, False):
            status, answer = ask(running_server, f"Host: {name}", path=path, token=token)
            assert status in (400, 421), answer
            assert b"items" not in answer


def test_two_hosts_are_refused(running_server: ServerProcess) -> None:
    status, _ = ask(running_server, f"Host: 127.0.0.1:{running_server.port}", "Host: evil.example")
    assert status in (400, 421)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}", "localhost"]
)
def test_this_machines_names_are_accepted(running_server: ServerProcess, host: str) -> None:
    status, answer = ask(running_server, f"Host: {host.replace('{port}', str(running_server.port))}")
    assert status == 200, answer


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil",
        "http://127.0.0.1:1",
        "file://",
        "http://127.0.0.1",
        "http://[",
        "",
    ],
)
def test_a_foreign_origin_is_refused_and_no_cors_header_is_sent(running_server: ServerProcess, origin: str) -> None:
    status, answer = ask(running_server, f"Host: 127.0.0.1:{running_server.port}", f"Origin: {origin}")
    assert status == 421
    assert b"access-control" not in answer.lower()


def test_the_own_origin_is_accepted(running_server: ServerProcess) -> None:
    host = f"127.0.0.1:{running_server.port}"
    status, answer = ask(running_server, f"Host: {host}", f"Origin: http://{host}", "Sec-Fetch-Site: same-origin")
    assert status == 200
    assert b"access-control" not in answer.lower()


def test_a_cross_site_request_is_refused(running_server: ServerProcess) -> None:
    status, _ = ask(running_server, f"Host: 127.0.0.1:{running_server.port}", "Sec-Fetch-Site: cross-site")
    assert status == 421


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/pickle", ""],
)
def test_a_body_that_is_not_json_is_refused(world: Any, kind: str) -> None:
    headers = {**world.headers(world.admin_token), "Content-Type": kind}
    response = world.client.post(f"{PREFIX}/projects", headers=headers, content=b'{"name": "x"}')
    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_media_type"


def test_a_body_over_the_limit_is_refused_also_without_a_length(running_server: ServerProcess) -> None:
    host = f"Host: 127.0.0.1:{running_server.port}"
    start = f"POST {PREFIX}/projects HTTP/1.1\r\n{host}\r\nAuthorization: Bearer {running_server.token}\r\n"
    start += "Content-Type: application/json\r\nConnection: close\r\n"
    status, _ = exchange(running_server, (start + "Content-Length: 99999999999\r\n\r\n").encode())
    assert status == 413
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    body = chunk * 9 + b"0\r\n\r\n"
    try:
        status, _ = exchange(running_server, (start + "Transfer-Encoding: chunked\r\n\r\n").encode() + body)
    except (BrokenPipeError, ConnectionResetError):
        return
    assert status == 413


@pytest.mark.parametrize(
    "path",
    [
        "/models/blobs/aliases/champion",
        "/projects/blobs/members/somebody",
        "/instance-types/blobs",
        "/runs/blobs/x/y/z",
    ],
)
def test_only_blobs_themselves_may_have_any_size(running_server: ServerProcess, path: str) -> None:
    start = f"PUT {PREFIX}{path} HTTP/1.1\r\nHost: 127.0.0.1:{running_server.port}\r\n"
    start += f"Authorization: Bearer {running_server.token}\r\nConnection: close\r\n"
    start += "Content-Type: application/octet-stream\r\nContent-Length: 99999999999\r\n\r\n"
    status, _ = exchange(running_server, start.encode())
    assert status in (413, 415)


def test_a_project_called_as_a_kind_of_bytes_takes_json_all_the_same(world: Any) -> None:
    user = world.user(new_id("u"))
    for name in ("blobs", "streams"):
        world.project(name)
        answer = world.client.request(
            "PUT",
            f"{PREFIX}/projects/{name}/members/{user.name}",
            headers=world.headers(world.admin_token),
            json={"role": "viewer"},
        )
        assert answer.status_code == 200, answer.text


def test_a_verb_that_an_address_does_not_have_is_answered_with_those_it_has(world: Any) -> None:
    answer = world.client.request("PATCH", f"{PREFIX}/projects", headers=world.headers(world.admin_token), json={})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"]


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_can_be_asked_without_a_body(world: Any, path: str) -> None:
    answer = world.client.request("HEAD", path)
    assert answer.status_code == 200


def test_a_websocket_is_closed_before_it_opens(running_server: ServerProcess) -> None:
    status, answer = ask(
        running_server,
        f"Host: 127.0.0.1:{running_server.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
    )
    assert status != 101, answer


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Basic YTpi", "bearer ' OR pg_sleep(8)--", "Bearer " + "x" * 20000, "Bearer \x01"]
)
def test_a_token_that_is_none_is_refused(running_server: ServerProcess, value: str) -> None:
    status, answer = ask(
        running_server, f"Host: 127.0.0.1:{running_server.port}", f"Authorization: {value}", token=False
    )
    assert status in (400, 401), answer


def test_an_error_is_problem_json_with_code_and_request_id(world: Any) -> None:
    response = world.client.get(f"{PREFIX}/jobs/<script>alert(1)</script>", headers=world.headers(world.admin_token))
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    problem = response.json()
    assert (problem["code"], problem["status"]) == ("not_found", 404)
    assert problem["request_id"] == response.headers["x-request-id"]


def test_deep_json_is_one_clear_error(world: Any) -> None:
    headers = {**world.headers(world.admin_token), "Content-Type": "application/json"}
    response = world.client.post(f"{PREFIX}/projects", headers=headers, content=b"[" * 100_000)
    assert response.status_code == 422
    assert json.loads(response.content)["code"] == "invalid_request"
