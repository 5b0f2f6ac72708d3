"""Server-sent events: the parser on any cut of the bytes, and following across lost connections."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import Client
from headway.errors import ConflictError, NotFoundError, PayloadTooLargeError, WaitTimeoutError
from headway.sdk.sse import Parser, ServerEvent


def parse(*chunks: bytes) -> list[ServerEvent]:
    parser = Parser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_fields_comments_and_lines_of_every_kind() -> None:
    found = parse(b"\xef\xbb\xbf: hello\r\nid: 1\rdata: a\r\ndata:b\ndata\nevent: x\nfoo: y\n\nretry: 20\nid: 2\n\n")
    assert found == [ServerEvent("x", "a\nb\n", "1")]


def test_an_event_that_is_cut_off_does_not_happen() -> None:
    assert parse(b"id: 1\ndata: a\n\nid: 2\ndata: b\n") == [ServerEvent("message", "a", "1")]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20), max_size=5),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.data(),
)
def test_the_cut_of_the_bytes_does_not_matter(values: list[str], newline: str, data: st.DataObject) -> None:
    text = "".join(f"id: {n}{newline}data: {value}{newline}{newline}" for n, value in enumerate(values)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert [event.data for event in parse(*pieces)] == values


def test_a_line_that_never_ends_is_refused_within_its_limit() -> None:
    parser = Parser(max_line=1000)
    with pytest.raises(PayloadTooLargeError):
        for _ in range(20):
            list(parser.feed(b"x" * 100))


def test_an_event_of_endless_lines_is_refused() -> None:
    parser = Parser(max_event=1000)
    with pytest.raises(PayloadTooLargeError):
        for _ in range(200):
            list(parser.feed(b"data: 0123456789\n"))


def test_a_follower_reconnects_without_gap_or_repeat(
    scripted: Any, scripted_client: Client, script: Any, records: Any
) -> None:
    scripted.script = [
        script.events(records.rows("c1", 1, 2), records.rows("c2", 3), "id: c3\nevent: rows\ndata: [{"),
        script.answer(503, {"code": "unavailable", "detail": "starting"}),
        script.drop,
        script.events(": hi\n\n", records.rows("c3", 4)),
        script.events(records.rows("c4", 5), records.END, records.rows("c5", 6)),
    ]
    assert [row.line for row in scripted_client.jobs.logs("job1", follow=True)] == [1, 2, 3, 4, 5]
    asked = [request.headers.get("last-event-id") for request in scripted.requests]
    assert asked == [None, "c2", "c2", "c2", "c3"]


def test_an_event_sent_again_after_a_reconnection_is_given_once(
    scripted: Any, scripted_client: Client, script: Any, records: Any
) -> None:
    scripted.script = [
        script.answer(200, records.job()),
        script.events(records.event(1, "queued"), records.event(2, "running")),
        script.events(records.event(2, "running"), records.event(3, "succeeded"), records.END),
    ]
    moves = [event.data["to"] for event in scripted_client.jobs.watch("job1")]
    assert moves == ["queued", "running", "succeeded"]


def test_following_stops_at_the_timeout_even_when_comments_keep_coming(
    scripted: Any, scripted_client: Client, script: Any, records: Any
) -> None:
    hold = threading.Event()
    scripted.script = [script.events(": hi\n\n", records.rows("c1", 1), hold=hold)]
    rows = scripted_client.jobs.logs("job1", follow=True, timeout=0.5)
    started = time.monotonic()
    try:
        assert next(rows).line == 1
        with pytest.raises(WaitTimeoutError):
            next(rows)
    finally:
        hold.set()
    assert time.monotonic() - started < 10


def test_a_refusal_ends_following(scripted: Any, scripted_client: Client, script: Any) -> None:
    scripted.script = [script.answer(404, {"code": "not_found", "detail": "No such job."})]
    with pytest.raises(NotFoundError, match="No such job"):
        list(scripted_client.jobs.logs("job1", follow=True))
    scripted.script = [script.answer(409, {"code": "conflict", "detail": "no"})]
    with pytest.raises(ConflictError):
        list(scripted_client.jobs.logs("job1", follow=True))


def test_tail_and_follow_go_on_from_the_page(scripted: Any, scripted_client: Client, script: Any, records: Any) -> None:
    row = {"line": 9, "message": "m", "timestamp": "2026-01-02T03:04:05Z", "replica": "worker-0"}
    scripted.script = [
        script.answer(200, {"rows": [row], "cursor": "c9", "ended": False}),
        script.events(records.rows("c10", 10), records.END),
    ]
    assert [row.line for row in scripted_client.jobs.logs("job1", follow=True, tail=1)] == [9, 10]
    assert scripted.requests[1].headers["last-event-id"] == "c9"
