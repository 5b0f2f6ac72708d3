"""A client's request anew for the replica, and the replica's answer anew for the client."""

from __future__ import annotations

import itertools
import re
import secrets

from headway.serving.gateway.replies import Reply, ReplyHead
from headway.serving.http.messages import Headers, Request, Response, header_lines

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
_OWN = frozenset((b"x-request-id", b"x-request-timeout"))
_NOT_FORWARDED = HOP_BY_HOP | _OWN | {b"host", b"content-length", b"expect", b"authorization", b"cookie", b"origin"}
_NOT_RETURNED = HOP_BY_HOP | {
    b"content-length",
    b"content-type",
    b"date",
    b"set-cookie",
    b"x-content-type-options",
    b"x-headway-model",
    b"x-headway-version",
    b"x-headway-replica",
    b"x-request-id",
}
LONGEST_KEPT, MANY_KEPT = 1024, 1024
"""Bytes of the headers of one request whose translation is kept, and of how many."""
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_SECONDS = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?")

_process = secrets.token_hex(6)
_numbers = itertools.count(1)


def request_id(request: Request) -> str:
    """The client's id, if it is one and fit to be written into a log; else a new one, unlike all others."""
    if request.volatile is not None:
        given = request.values(b"x-request-id")
        if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
            return given[0].decode("ascii")
    return f"{_process}-{next(_numbers):x}"


def wanted_seconds(request: Request) -> float | None:
    """``X-Request-Timeout``; None when there is none.

    Raises:
        ValueError: It is no number of seconds above 0.
    """
    given = request.values(b"x-request-timeout") if request.volatile is not None else ()
    if not given:
        return None
    if len(given) != 1 or not _SECONDS.fullmatch(given[0]) or not float(given[0]) > 0:
        raise ValueError("X-Request-Timeout is a number of seconds above 0.")
    return float(given[0])


def build_message(request: Request, host: bytes, path: str, number: str, left: float) -> bytes:
    """The request anew: one path, one length, and of its headers only those that are meant for the end.

    Args:
        host: Of the replica.
        path: Of the replica; the query stays.
        number: The request's id.
        left: Seconds until nobody waits for the answer any more.
    """
    # A HEAD is asked for as a GET: the answer's body is left out when it is written to the client.
    method = "POST" if request.method == "POST" else "GET"
    target = f"{path}?{request.query}" if request.query else path
    body = request.body
    own = (
        f"{method} {target} HTTP/1.1\r\nx-request-id: {number}\r\nx-request-timeout: {max(left, 0.001):.3f}\r\n"
        f"content-length: {len(body)}\r\nhost: "
    )
    return b"%b%b\r\n%b\r\n%b" % (own.encode("latin-1"), host, forwarded(request), body)


_forwarded: dict[tuple[tuple[bytes, bytes], ...], bytes] = {}
"""What becomes of the headers of a request: a client sends the same ones over and over."""


def forwarded(request: Request) -> bytes:
    """The headers that are passed on, as lines."""
    headers = request.headers
    # What differs in every request stands at the end of them, and is not passed on as it is.
    known = tuple(headers if request.volatile is None else [pair for pair in headers if pair[0] not in _OWN])
    lines = _forwarded.get(known)
    if lines is None:
        lines = _lines(request)
        if len(lines) <= LONGEST_KEPT:
            if len(_forwarded) >= MANY_KEPT:
                _forwarded.clear()
            _forwarded[known] = lines
    return lines


def _lines(request: Request) -> bytes:
    named = _for_this_hop(request)
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, value in request.headers
        if name not in _NOT_FORWARDED and name not in named and name.replace(b"_", b"-") not in _NOT_FORWARDED
    )


def _for_this_hop(request: Request) -> set[bytes]:
    """The headers that ``Connection`` names."""
    return {word.strip().lower() for value in request.values(b"connection") for word in value.split(b",")}


def build_response(reply: Reply, own: Headers, number: str) -> Response:
    """The replica's answer for the client, with who gave it.

    Args:
        own: Of the replica, always the same for its answers.
        number: The request's id.
    """
    head = reply.head
    if head.returned is None:
        head.content_type, head.returned = _returned(head, own)
    lines = b"%bX-Request-Id: %b\r\n" % (head.returned, number.encode("ascii"))
    return Response(head.status, reply.body, content_type=head.content_type, lines=lines)


def _returned(head: ReplyHead, own: Headers) -> tuple[str, bytes]:
    """The content type, and the lines of the other headers that are passed on, and of our own."""
    content_type = "application/octet-stream"
    lines = []
    for name, value in head.headers:
        if name == b"content-type":
            content_type = value.decode("latin-1")
        elif name not in _NOT_RETURNED:
            lines.append(b"%b: %b\r\n" % (name, value))
    return content_type, b"".join(lines) + header_lines(own)
