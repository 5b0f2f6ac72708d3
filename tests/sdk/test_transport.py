"""What is repeated and what is not, how failures are named, and what a hostile server can do."""

from __future__ import annotations

import gzip
import json
import socket
from typing import Any

import pytest

from headway import Client
from headway.errors import (
    AuthenticationError,
    ConnectionFailedError,
    InvalidRequestError,
    NotFoundError,
    PlatformError,
    RateLimitedError,
    RequestError,
    UnavailableError,
)
from headway.sdk import session
from headway.sdk.transport import HttpTransport, Request

UNAVAILABLE = {"code": "unavailable", "detail": "starting"}


def test_a_get_is_repeated_until_the_server_answers(scripted: Any, scripted_client: Client, script: Any) -> None:
    scripted.script = [
        script.drop,
        script.answer(503, UNAVAILABLE),
        script.answer(502, b"<html>"),
        script.answer(200, {"a": 1}),
    ]
    assert scripted_client.status() == {"a": 1}
    assert len(scripted.requests) == 4


def test_a_create_is_repeated_under_one_key(scripted: Any, scripted_client: Client, script: Any, records: Any) -> None:
    scripted.script = [script.drop, script.answer(503, UNAVAILABLE), script.answer(201, records.job())]
    assert scripted_client.jobs.create("digits", "true").id == "job1"
    keys = {request.headers["idempotency-key"] for request in scripted.requests}
    assert len(scripted.requests) == 3
    assert len(keys) == 1
    scripted_client.jobs.create("digits", "true")
    assert scripted.requests[-1].headers["idempotency-key"] not in keys


def test_what_is_not_safe_is_sent_once(scripted: Any, scripted_client: Client, script: Any) -> None:
    scripted.script = [script.answer(503, UNAVAILABLE)]
    with pytest.raises(UnavailableError):
        scripted_client.jobs.stop("job1")
    assert len(scripted.requests) == 1


def test_the_pause_that_the_server_asks_for_is_kept_within_the_deadline(scripted: Any, script: Any) -> None:
    limited = {"code": "rate_limited", "detail": "slow down"}
    scripted.script = [script.answer(429, limited, Retry_After="0"), script.answer(200, {})]
    with Client(scripted.url, "hw_x", retry_for=5) as client:
        client.status()
        assert len(scripted.requests) == 2
        scripted.script = [script.answer(429, limited, Retry_After="60")]
        with pytest.raises(RateLimitedError) as caught:
            client.status()
    assert caught.value.retry_after == 60
    assert len(scripted.requests) == 3


def test_a_server_that_is_away_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers here
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(url, "hw_x", retry_for=0) as client, pytest.raises(ConnectionFailedError) as caught:
            client.status()
    assert url in str(caught.value)
    assert "headway up" in str(caught.value)


def test_problems_come_back_as_the_class_that_was_raised(scripted: Any, scripted_client: Client, script: Any) -> None:
    problem = {"code": "not_found", "detail": "There is no job 'x'.", "hint": "List them.", "details": {"a": 1}}
    scripted.script = [script.answer(404, problem, X_Request_Id="req-7")]
    with pytest.raises(NotFoundError, match=r"There is no job 'x'\. List them\.") as caught:
        scripted_client.jobs.get("x")
    assert caught.value.request_id == "req-7"
    assert caught.value.details == {"a": 1}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (418, {"code": "brand_new", "detail": "d"}, RequestError),
        (500, {"code": "brand_new", "detail": "d"}, PlatformError),
        (404, b"<html>nginx</html>", RequestError),
        (401, {"code": "unauthenticated"}, AuthenticationError),
        (200, b"<html>", PlatformError),
        (200, b"[" * 100_000, PlatformError),
        (200, {"items": 5}, PlatformError),
    ],
)
def test_any_answer_is_a_value_or_one_clear_error(
    scripted: Any, scripted_client: Client, script: Any, status: int, body: Any, expected: type[Exception]
) -> None:
    scripted.script = [script.answer(status, body)]
    with pytest.raises(expected):
        list(scripted_client.jobs.list())


def test_the_token_goes_to_the_configured_server_and_redirects_are_not_followed(
    scripted: Any, scripted_client: Client, script: Any
) -> None:
    scripted.script = [script.answer(307, b"", Location="http://127.0.0.1:1/steal")]
    with pytest.raises(PlatformError, match="redirects are not followed"):
        scripted_client.status()
    assert scripted.requests[0].headers["authorization"] == "Bearer hw_secret"
    assert len(scripted.requests) == 1


def test_a_compressed_answer_is_refused_before_it_is_unpacked(
    scripted: Any, scripted_client: Client, script: Any
) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    scripted.script = [script.answer(200, bomb, Content_Encoding="gzip")]
    with pytest.raises(PlatformError, match="gzip"):
        scripted_client.status()
    assert scripted.requests[0].headers["accept-encoding"] == "identity"


def test_a_huge_answer_is_refused(
    scripted: Any, scripted_client: Client, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_JSON", 1000)
    scripted.script = [script.answer(200, {"a": "x" * 5000})]
    with pytest.raises(PlatformError, match="larger than 1000"):
        scripted_client.status()


def test_pages_that_lead_in_a_circle_end(mock: Any) -> None:
    mock.routes["GET /api/v1/jobs"] = {"items": [], "next_cursor": "same"}
    with pytest.raises(PlatformError, match="earlier"):
        list(mock.client().jobs.list())


def test_a_list_reads_all_pages_and_stops_at_its_limit(mock: Any, records: Any) -> None:
    def page(request: Request) -> dict[str, Any]:
        second = "cursor=next" in request.url
        ids = ("c",) if second else ("a", "b")
        return {"items": [records.job(id=i) for i in ids], "next_cursor": None if second else "next"}

    mock.routes["GET /api/v1/jobs"] = page
    client = mock.client()
    assert [job.id for job in client.jobs.list()] == ["a", "b", "c"]
    mock.requests.clear()
    assert [job.id for job in client.jobs.list(limit=2)] == ["a", "b"]
    assert len(mock.requests) == 1
    with pytest.raises(InvalidRequestError):
        client.jobs.list(limit=-1)


def test_a_proxy_is_not_asked_for_a_server_on_this_machine(
    scripted: Any, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    scripted.script = [script.answer(200, {})]
    with Client(scripted.url, "hw_x") as client:
        assert client.status() == {}


def test_a_proxy_is_asked_for_other_servers(scripted: Any, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", scripted.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    scripted.script = [script.answer(200, {"via": "proxy"})]
    with Client("http://headway.example", "hw_x") as client:
        assert client.status() == {"via": "proxy"}


def test_a_closed_client_says_so(scripted: Any) -> None:
    transport = HttpTransport(scripted.url)
    transport.close()
    transport.close()
    with pytest.raises(ConnectionFailedError, match="closed"):
        transport.send(Request("GET", scripted.url))


@pytest.mark.parametrize("name", ["", ".", "..", "a\n"])
def test_a_name_that_would_lead_elsewhere_sends_nothing(mock: Any, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        mock.client().jobs.get(name)
    assert mock.requests == []


def test_a_name_with_a_slash_is_looked_up(mock: Any) -> None:
    project = {"id": "prj9", "name": "a/b", "created_at": "2026-01-02T03:04:05Z", "created_by": "u"}
    mock.routes["GET /api/v1/projects"] = {"items": [project], "next_cursor": None}
    assert mock.client().projects.get("a/b").id == "prj9"
    with pytest.raises(NotFoundError):
        mock.client().projects.get("a/c")


def test_bodies_are_json_with_their_secrets_and_reprs_are_without(mock: Any, records: Any) -> None:
    mock.routes["POST /api/v1/jobs"] = (201, records.job())
    mock.client().jobs.create(
        "digits",
        "true",
        secrets={"KEY": "s3cret"},
        container={"image": "i", "registry": {"username": "u", "password": "p4ss"}},
    )
    body = mock.body()
    assert body["secrets"] == {"KEY": "s3cret"}
    assert body["roles"]["worker"]["container"]["registry"] == {"username": "u", "password": "p4ss"}
    assert "s3cret" not in repr(mock.requests[-1])
    assert "hw_secret" not in repr(mock.requests[-1])
    assert json.dumps(body)
