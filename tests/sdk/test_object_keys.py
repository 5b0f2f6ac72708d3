"""Keys as they travel: whatever a key looks like, it is that key and no other, with the SDK and with raw requests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway import Client
from headway.domain.base import new_id
from headway.domain.objects import check_key
from headway.errors import InvalidRequestError
from headway.testing.server import ServerProcess

ODD_KEYS = [
    "..", ".", "/", "//", "/etc/passwd", "../../canary", "a/../b", "a//b", "a/./b", "%2e%2e/%2f", "a%00b", "%", "%ff",
    "a b", "a+b", "a&key=b", "a?b#c", "a=b", "a;b", "C:\\x", "\\\\host\\x", "é", "e\u0301", "\u202e", "\ufffd",
    "\U0001f600", "'\"<>", "$HOME", "-rf", "x" * 1024, "é" * 512,
]  # fmt: skip


@pytest.fixture(scope="module")
def shared(running_server: ServerProcess) -> Iterator[Client]:
    name = new_id("project")
    with Client(running_server.url, running_server.token, project=name) as found:
        found.projects.create(name)
        yield found


def keys(client: Client, address: str) -> list[str]:
    return [stored.key for stored in client.objects.list(address)]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_key_is_kept_exactly(shared: Client, key: str, tmp_path: Path) -> None:
    bucket, outside = new_id("b"), tmp_path / "canary"
    outside.write_text("canary")
    content = key.encode()
    stored = shared.objects.put(f"s3://{bucket}/{key}", content)
    assert stored.key == key
    assert keys(shared, f"s3://{bucket}") == [key]
    assert shared.objects.read(f"s3://{bucket}/{key}") == content
    target = tmp_path / "a" / "b"
    try:
        found = shared.objects.download(f"s3://{bucket}/{key}", f"{target}/")
    except InvalidRequestError:
        assert not target.exists()
    else:
        assert [path.resolve().is_relative_to(target) for path in found] == [True]
        assert found[0].read_bytes() == content
    assert outside.read_text() == "canary"
    assert shared.objects.delete(f"s3://{bucket}/{key}") == 1
    assert keys(shared, f"s3://{bucket}") == []


ANY_KEY = st.text(min_size=1, max_size=60).filter(lambda key: _can_be_key(key))


def _can_be_key(key: str) -> bool:
    try:
        return bool(check_key(key))
    except ValueError:
        return False


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=ANY_KEY, other=ANY_KEY)
def test_any_key_travels_with_the_sdk(shared: Client, key: str, other: str) -> None:
    bucket = new_id("b")
    shared.objects.put(f"s3://{bucket}/{key}", key.encode())
    shared.objects.put(f"s3://{bucket}/{other}", other.encode())
    assert keys(shared, f"s3://{bucket}") == sorted({key, other}, key=str.encode)
    assert shared.objects.read(f"s3://{bucket}/{key}") == key.encode()
    assert shared.objects.get(f"s3://{bucket}/{other}").key == other
    assert shared.objects.delete(f"s3://{bucket}/{key}") == 1
    assert keys(shared, f"s3://{bucket}") == [one for one in [other] if one != key]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.binary(min_size=1, max_size=40), path=st.sampled_from(["object", "object/info", "objects"]))
def test_any_bytes_as_a_key_find_nothing_but_what_they_spell(
    shared: Client, running_server: ServerProcess, query: bytes, path: str
) -> None:
    """Raw requests: whatever stands after ``key=``, no object of another key is answered or deleted."""
    shared.objects.put("s3://fixed/\ufffd", b"kept")
    verb = "DELETE" if path == "objects" else "GET"
    status, body = raw(running_server, verb, f"/buckets/fixed/{path}?key=".encode() + _printed(query), shared)
    meant = _spelt(query)
    if meant == "\ufffd":
        assert status == 200, body
        return
    assert status in (400, 404, 422) or (verb, status) == ("DELETE", 200), (status, body)
    assert keys(shared, "s3://fixed") == ["\ufffd"]


def _printed(query: bytes) -> bytes:
    """As part of a request line: bytes that would end it are escaped, others are sent as they are."""
    return b"".join(bytes([byte]) if 33 <= byte < 127 else b"%%%02X" % byte for byte in query)


def _spelt(query: bytes) -> str | None:
    try:
        return unquote_to_bytes(_printed(query).replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        return None


def raw(server: ServerProcess, verb: str, target: bytes, client: Client) -> tuple[int, bytes]:
    """A request line as it is: no library tidies it up."""
    host, port = server.url.removeprefix("http://").split(":")
    place = f"/api/v1/projects/{client.project}".encode() + target
    head = f" HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {server.token}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(verb.encode() + b" " + place + head.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "query",
    [
        b"", b"key=", b"key=a&key=b", b"key=a&%6bey=b",
        b"key=%00", b"key=%ff", b"key=%c0%ae%c0%ae", b"key=%ed%a0%80", b"key=a%0ab", b"KEY=a",
        b"key=" + b"x" * 1025, b"prefix=a&key=a",
    ],
)  # fmt: skip
def test_a_query_that_could_mean_another_key_is_refused(
    shared: Client, running_server: ServerProcess, query: bytes
) -> None:
    shared.objects.put("s3://strict/a", b"kept")
    status, body = raw(running_server, "DELETE", b"/buckets/strict/objects?" + query, shared)
    assert status == 422, body
    if not query.startswith(b"prefix"):
        assert raw(running_server, "GET", b"/buckets/strict/object?" + query, shared)[0] == 422
    assert keys(shared, "s3://strict") == ["a"]


def test_keys_in_paths_of_urls_lead_nowhere(shared: Client, running_server: ServerProcess) -> None:
    shared.objects.put("s3://paths/a", b"kept")
    for path in ("object/a", "object/../object", "objects/..%2f..%2fa", "../paths/object/a", "object%2f..?key=a"):
        status, body = raw(running_server, "GET", f"/buckets/paths/{path}".encode(), shared)
        assert status in (404, 422), (path, status, body)
