"""client.monitors: what is refused before anything is sent, and what is sent."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from headway import Client
from headway.errors import InvalidRequestError
from headway.sdk.transport import MockTransport, Request, Response

MONITOR = {
    "id": "mon1",
    "project_id": "prj1",
    "run_id": "run1",
    "name": "train/loss",
    "regex": "x",
    "created_at": "2026-01-01T00:00:00.000Z",
    "created_by": "usr1",
    "updated_at": "2026-01-01T00:00:00.000Z",
}


def client_of(handler: Callable[[Request], Response]) -> Client:
    return Client("http://127.0.0.1:1", "hw_x", project="p", transport=MockTransport(handler))


def nothing_is_sent(request: Request) -> Response:
    raise AssertionError(f"{request.method} {request.url} was sent")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.monitors.create("loss", "(?=x)", run="run1"), "around the number"),
        (lambda c: c.monitors.create("loss", "x (.*)", run="run1", sample="y"), "does not match the sample 'y'"),
        (lambda c: c.monitors.create("loss", "x", run="run1", job="job1"), "Name one run"),
        (lambda c: c.monitors.create("loss", "x"), "Name one run"),
        (lambda c: c.monitors.create("", "x", run="run1"), "name"),
        (lambda c: c.monitors.list(), "Name one run"),
        (lambda c: c.monitors.update("loss", run="run1"), "changes nothing"),
        (lambda c: c.monitors.update("loss", run="run1", regex="(a)(b)(c)"), "3 groups"),
        (lambda c: c.monitors.test("(a", run="run1"), "a ( is not closed"),
        (lambda c: c.monitors.test("a", run="run1", limit=0), "limit"),
        (lambda c: c.jobs.create("j", "true", monitors=[{"name": "a", "regex": "(?=a)"}]), "around the number"),
        (lambda c: c.jobs.create("j", "true", monitors=[{"name": "a", "rgex": "a"}]), "Did you mean 'regex'?"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_sent(call: Callable[[Client], object], words: str) -> None:
    with client_of(nothing_is_sent) as client, pytest.raises(InvalidRequestError) as caught:
        call(client)
    assert words in str(caught.value)


def test_a_name_with_a_slash_is_found_by_its_list_and_changed_by_its_id() -> None:
    sent: list[tuple[str, str, object]] = []

    def handler(request: Request) -> Response:
        path = request.url.partition("/api/v1")[2]
        sent.append((request.method, path, json.loads(request.content) if isinstance(request.content, bytes) else None))
        if request.method == "GET":
            body: object = {"id": "job1"} if path == "/jobs/job1" else {"items": [MONITOR]}
        else:
            body = MONITOR
        return Response(200, {"content-type": "application/json"}, json.dumps(body).encode())

    with client_of(handler) as client:
        assert client.monitors.get("train/loss", run="run1").id == "mon1"
        client.monitors.update("train/loss", run="run1", sample=None)
    assert sent[-1] == ("PATCH", "/runs/run1/monitors/mon1", {"sample": None})
