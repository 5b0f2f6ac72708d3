"""client.deployments: what is sent for updates, weights, shadows and rollbacks, what is refused, what is waited for."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from headway import Client
from headway.domain.deployments import Guard, RevisionState, Scaling
from headway.errors import ConflictError, InvalidRequestError, PlatformError, WaitTimeoutError

TIME = "2026-01-02T03:04:05.678Z"
AT = "/api/v1/deployments/dep1"


@pytest.fixture
def known(mock: Any, records: Any) -> Any:
    """A mock that knows the deployment ``digits`` and answers every verb on it with its record."""
    record = records.deployment(revision=2, pending=3, last_revision=3)
    for route in (f"GET {AT}", "GET /api/v1/deployments/digits", f"PATCH {AT}", f"POST {AT}/rollback"):
        mock.routes[route] = record
    mock.routes["POST /api/v1/deployments"] = record
    return mock


def revision(number: int, state: str = "live", **more: Any) -> dict[str, Any]:
    base = {"deployment_id": "dep1", "number": number, "spec": {"versions": []}, "state": state}
    return {**base, "created_at": TIME, "created_by": "usr1", **more}


def test_only_what_is_given_is_changed(known: Any) -> None:
    client = known.client()
    changed = client.deployments.update("digits", traffic={"v2": 90, "v3": 10}, replicas={"v3": 2}, reason="canary")
    assert (changed.revision, changed.pending, changed.last_revision) == (2, 3, 3)
    assert known.requests[-1].method == "PATCH"
    assert known.body() == {"traffic": {"v2": 90, "v3": 10}, "replicas": {"v3": 2}, "reason": "canary"}
    client.deployments.update("digits", unset=["guard", "sticky"], expected_revision=3)
    assert {**known.body(), "unset": sorted(known.body()["unset"])} == {
        "unset": ["guard", "sticky"],
        "expected_revision": 3,
    }
    client.deployments.update(
        "digits", scaling=Scaling(minimum=0, maximum=3), guard=Guard(max_p95_ratio=2), public=False
    )
    assert known.body() == {
        "scaling": {"minimum": 0, "maximum": 3},
        "guard": {"max_p95_ratio": 2},
        "public": False,
    }


def test_each_verb_says_what_it_means(known: Any) -> None:
    deployments = known.client().deployments
    deployments.traffic("digits", {"v2": 1})
    assert known.body() == {"traffic": {"v2": 1}}
    deployments.shadow("digits", "v4")
    assert known.body() == {"shadow": "v4"}
    deployments.shadow("digits", None)
    assert known.body() == {"shadow": "none"}
    deployments.rollback("digits")
    assert (known.requests[-1].url.rpartition("/")[2], known.body()) == ("rollback", {})
    deployments.rollback("digits", 1, reason="slow")
    assert known.body() == {"revision": 1, "reason": "slow"}


def test_a_deployment_may_be_created_with_everything(known: Any) -> None:
    deployments = known.client().deployments
    deployments.create(
        "d", "m", scaling={"minimum": 0, "maximum": 4}, sticky="X-User", deadline_seconds=5, max_waiting=9
    )
    assert known.body() == {
        "project": "digits",
        "name": "d",
        "model": "m",
        "scaling": {"minimum": 0, "maximum": 4},
        "sticky": "X-User",
        "deadline_seconds": 5,
        "max_waiting": 9,
    }
    deployments.create("d", "m", replicas=2, batching={"max_rows": 8}, guard={"max_error_rate": None})
    assert (known.body()["replicas"], known.body()["batching"]) == (2, {"max_rows": 8})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "changes nothing"),
        ({"reason": "only words"}, "changes nothing"),
        ({"model": "m:v2", "traffic": {"v2": 1}}, "both model= and traffic="),
        ({"traffic": {"v2": 0}}, "no version any traffic"),
        ({"traffic": {}}, "no version any traffic"),
        ({"traffic": {"v2": -1}}, "traffic.v2"),
        ({"traffic": {"v2": "many"}}, "traffic.v2"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": {"two": 2}}, "replicas"),
        ({"scaling": {"minimum": 3, "maximum": 1}}, "below minimum"),
        ({"scaling": {"minimun": 3}}, "Did you mean 'minimum'"),
        ({"scaling": {"v3": {"maximun": 3}}}, "Did you mean 'maximum'"),
        ({"guard": {"max_eror_rate": 0.1}}, "Did you mean 'max_error_rate'"),
        ({"sticky": "no header"}, "sticky"),
        ({"guard": {"max_error_rate": 2}}, "max_error_rate"),
        ({"batching": {"max_rows": 0}}, "max_rows"),
        ({"deadline_seconds": -1}, "deadline_seconds"),
        ({"max_waiting": 0}, "max_waiting"),
        ({"unset": ["gaurd"]}, "unset"),
        ({"environment": {"A=B": "1"}}, "A=B"),
    ],
)
def test_a_wrong_update_is_refused_before_anything_is_sent(mock: Any, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named.replace(".", r"\.")):
        mock.client().deployments.update("digits", **fields)
    assert mock.requests == []


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda d: d.create("d", "m", replicas=1, scaling={"maximum": 2}), "either replicas= or scaling="),
        (lambda d: d.create("d", "m", replica=1), "Did you mean 'replicas'"),
        (lambda d: d.create("d", "m", stickky="X-User"), "Did you mean 'sticky'"),
        (lambda d: d.rollback("d", 0), "revision"),
        (lambda d: d.revision("d", 0), "numbered from 1"),
        (lambda d: d.revision("d", "2"), "numbered from 1"),
        (lambda d: d.metrics("d", since=-5), "since"),
        (lambda d: d.metrics("d", since="1h"), "since"),
        (lambda d: d.predict("d", [1], timeout=float("nan")), "timeout"),
        (lambda d: d.predict("d", [1], timeout=-1), "timeout"),
        (lambda d: d.bench("d", rate=0, seconds=1), "rate"),
        (lambda d: d.bench("d", rate=1, seconds=1, data="{"), "not JSON"),
        (lambda d: d.bench("d", rate=1, seconds=1, data="absent.json"), "absent"),
    ],
)
def test_other_wrong_calls_send_nothing_either(mock: Any, call: Any, named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        call(mock.client().deployments)
    assert mock.requests == []


def test_the_history_is_read_page_by_page(known: Any) -> None:
    pages = {
        None: {"items": [revision(3, "pending"), revision(2)], "next_cursor": "c"},
        "c": {"items": [revision(1, "superseded")], "next_cursor": None},
    }
    known.routes[f"GET {AT}/revisions"] = lambda request: pages["c" if "cursor=c" in request.url else None]
    known.routes[f"GET {AT}/revisions/2"] = revision(2)
    deployments = known.client().deployments
    assert [each.number for each in deployments.revisions("digits")] == [3, 2, 1]
    assert [each.number for each in deployments.revisions("digits", limit=1)] == [3]
    assert deployments.revision("digits", 2).state is RevisionState.LIVE


def test_metrics_are_asked_for_a_span(known: Any) -> None:
    total = {"version": "", "requests": 5, "requests_per_second": 0.5}
    known.routes[f"GET {AT}/traffic"] = {"deployment_id": "dep1", "since": TIME, "until": TIME, "total": total}
    deployments = known.client().deployments
    assert deployments.metrics("digits").total.requests == 5
    assert "since" not in known.requests[-1].url
    deployments.metrics("digits", since=datetime(2026, 1, 1, tzinfo=timezone.utc), windows=3)
    assert known.requests[-1].url.endswith("?since=2026-01-01T00%3A00%3A00.000Z&windows=3")
    before = datetime.now(timezone.utc)
    deployments.metrics("digits", since=timedelta(minutes=5))
    asked = known.requests[-1].url.partition("since=")[2].replace("%3A", ":").replace("Z", "+00:00")
    assert abs(before - timedelta(minutes=5) - datetime.fromisoformat(asked)) < timedelta(minutes=1)


# Waiting for a revision


def test_waiting_for_a_revision_that_is_live(known: Any, records: Any) -> None:
    known.routes[f"GET {AT}"] = known.routes["GET /api/v1/deployments/digits"] = records.deployment(state="running")
    known.routes[f"GET {AT}/revisions/3"] = revision(3)
    assert known.client().deployments.wait("digits", revision=3, timeout=20).state == "running"


@pytest.mark.parametrize(
    ("state", "reason", "expected", "named"),
    [
        ("failed", "predict.py raised ImportError", PlatformError, "failed: predict.py raised ImportError"),
        ("rolled_back", "errors 12% above 5%", PlatformError, "rolled back: errors 12% above 5%"),
        ("superseded", "", ConflictError, "replaced by a newer one"),
    ],
)
def test_waiting_for_a_revision_that_will_not_come(
    known: Any, state: str, reason: str, expected: type[Exception], named: str
) -> None:
    known.routes[f"GET {AT}/revisions/3"] = revision(3, state, reason=reason)
    with pytest.raises(expected, match=named):
        known.client().deployments.wait("digits", revision=3, timeout=20)


def event(sequence: int, kind: str) -> str:
    data = {"sequence": sequence, "time": TIME, "type": kind, "subject_id": "dep1", "data": {"revision": 3}}
    return f"id: {sequence}\nevent: event\ndata: {json.dumps(data)}\n\n"


def test_waiting_for_a_revision_is_told_by_the_server(
    scripted: Any, scripted_client: Client, script: Any, records: Any
) -> None:
    pending = records.deployment(revision=2, pending=3, last_revision=3, state="running")
    live = records.deployment(revision=3, last_revision=3, state="running")
    scripted.script = [
        script.answer(200, pending),
        script.answer(200, pending),
        script.answer(200, revision(3, "pending")),
        script.events(event(1, "deployment.created"), event(2, "deployment.revision_live")),
        script.answer(200, live),
        script.answer(200, live),
        script.answer(200, revision(3)),
        script.answer(200, live),
    ]
    assert scripted_client.deployments.wait("dep1", revision=3, timeout=30).revision == 3


def test_waiting_for_a_revision_ends_in_time(scripted: Any, scripted_client: Client, script: Any, records: Any) -> None:
    hold = threading.Event()
    pending = records.deployment(revision=2, pending=3, state="running", reason="1 of 2 replicas answer")
    scripted.script = [
        script.answer(200, pending),
        script.answer(200, pending),
        script.answer(200, revision(3, "pending")),
        script.events(": hi\n\n", hold=hold),
        script.answer(200, pending),
        script.answer(200, pending),
        script.answer(200, revision(3, "pending")),
    ]
    try:
        with pytest.raises(WaitTimeoutError, match=r"still pending\. 1 of 2 replicas"):
            scripted_client.deployments.wait("dep1", revision=3, timeout=0.4)
    finally:
        hold.set()
