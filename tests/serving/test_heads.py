"""A head that was read before is never understood in another way than the parser understands it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.serving.http.heads import MANY, KnownHeads, without_volatile
from headway.serving.http.limits import BodyBudget, Limits
from headway.serving.http.messages import Request, json_response
from headway.serving.http.reader import Refusal, RequestReader

LIMITS = Limits(body=5000)


@dataclass
class Read:
    """What came out of one connection."""

    requests: list[tuple[object, ...]] = field(default_factory=list)
    refused: int | None = None
    continues: int = 0

    def request_read(self, request: Request) -> None:
        answer = None if request.answer is None else request.answer.status
        found = (
            request.method,
            request.target,
            request.path,
            request.query,
            request.version,
            request.close,
            request.peer,
        )
        self.requests.append((*found, sorted(request.headers), request.volatile, request.body, answer, request.context))

    def continue_wanted(self) -> None:
        self.continues += 1


def screen(request: Request):
    request.context = ("seen", request.path)
    return json_response(401, {}) if request.path == "/refused" else None


def read(pieces: list[bytes], heads: KnownHeads, budget: BodyBudget | None = None) -> Read:
    found = Read()
    reader = RequestReader(found, screen, heads, LIMITS, budget or BodyBudget(10**6), "peer")
    try:
        for piece in pieces:
            reader.feed(piece)
    except Refusal as refusal:
        found.refused = refusal.response.status
    reader.abandon()
    return found


class Unknowing(KnownHeads):
    """Knows no head: everything goes to the parser."""

    def keep(self, data: bytes, start: int, request: Request) -> None:
        pass


LINES = st.sampled_from(
    [
        b"host: a",
        b"Host: b",
        b"accept: */*",
        b"content-type: application/json",
        b"connection: keep-alive",
        b"Connection: close",
        b"x-request-id: 7f-3",
        b"X-Request-Id: other",
        b"x-request-id:  two blanks",
        b"x-request-id: a\tb",
        b"X-Request-Timeout: 1.5",
        b"expect: 100-continue",
        b"transfer-encoding: chunked",
        b"content-length: 3",
        b"Content-Length: 0",
        b"content-length: 9000",
        b"upgrade: h2c",
        b"x: a\n",
        b" folded",
        b"x: a\r",
        b"",
    ]
)
MESSAGES = st.builds(
    lambda start, lines, end, body: start + b"\r\n" + b"\r\n".join([*lines, b"", b""]) + end + body,
    st.sampled_from(
        [
            b"POST /a HTTP/1.1",
            b"GET /b?c=1 HTTP/1.1",
            b"POST /refused HTTP/1.1",
            b"POST /a HTTP/1.0",
            b"\r\nPOST /a HTTP/1.1",
        ]
    ),
    st.lists(LINES, max_size=5).map(lambda lines: [b"host: h", *lines]),
    st.sampled_from([b"", b"", b"", b"\r\n"]),
    st.sampled_from([b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"abcd"]),
)


@settings(max_examples=400, deadline=None)
@given(
    messages=st.lists(MESSAGES, min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 300), max_size=6),
    stable=st.booleans(),
)
def test_known_heads_change_nothing_of_what_is_read(messages, cuts, stable):
    heads = KnownHeads(LIMITS.body, stable=stable)
    for message in messages:  # each on a connection of its own, twice: whatever can be known is known
        read([message], heads)
        read([message], heads)
    stream = b"".join(messages)
    ends = sorted({end for end in cuts if end < len(stream)})
    pieces = [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]
    for data in (pieces, [stream], messages):
        assert read(data, heads) == read(data, Unknowing(LIMITS.body, stable=False))


def test_what_smuggles_is_refused_among_known_heads(smuggled):
    heads = KnownHeads(LIMITS.body, stable=True)
    good = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
    assert len(read([good * 3], heads).requests) == 3
    for _ in range(2):
        found = read([good + smuggled + good], heads)
        assert len(found.requests) <= 2 and found.refused in (400, 505)
        assert found == read([good + smuggled + good], Unknowing(LIMITS.body, stable=False))


def test_what_differs_in_every_request_does_not_make_a_head_unknown_and_is_handed_on():
    heads, asked = KnownHeads(LIMITS.body, stable=True), []

    def counting(request: Request) -> None:
        asked.append(request.path)

    found = Read()
    reader = RequestReader(found, counting, heads, LIMITS, BodyBudget(10**6), "peer")
    for n in range(5):
        reader.feed(b"POST /a HTTP/1.1\r\nhost: h\r\nX-Request-Id: id-%d\r\nx-request-timeout: %d.5\r\n\r\n" % (n, n))
    assert [request[8] for request in found.requests] == [
        {b"x-request-id": b"id-%d" % n, b"x-request-timeout": b"%d.5" % n} for n in range(5)
    ]
    assert asked == ["/a"]


@pytest.mark.parametrize("value", [b"a b", b"a\x7fb", b"\x80", b"", b"a\nb", b"a\rb"])
def test_a_line_that_a_parser_might_take_for_something_else_is_left_in_its_head(value):
    head = b"GET / HTTP/1.1\r\nhost: h\r\nx-request-id: " + value + b"\r\n\r\n"
    assert without_volatile(head) == (head, {})


def test_bodies_of_known_heads_are_counted_and_refused_over_the_limits():
    heads, budget = KnownHeads(LIMITS.body, stable=True), BodyBudget(1000)
    message = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 900\r\n\r\n" + b"x" * 900
    assert len(read([message], heads, budget).requests) == 1
    assert budget.used == 900  # given back by whoever answers
    assert read([message], heads, budget).refused == 503
    large = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5001\r\n\r\n" + b"x" * 5001
    for _ in range(2):
        assert read([large], heads).refused == 413


def test_heads_that_are_kept_are_bounded():
    heads = KnownHeads(LIMITS.body, stable=True)
    for n in range(3 * MANY):
        read([b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n" % n], heads)
        assert len(heads) <= MANY
