"""A client's request anew for the replica, and the replica's answer anew for the client."""

from __future__ import annotations

import itertools
import re
import secrets

from headway.serving.gateway.upstream import Reply
from headway.serving.http.messages import Headers, Request, Response

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
_PLAIN_CONNECTION = (b"keep-alive", b"close")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_SECONDS = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?")

_process = secrets.token_hex(6)
_numbers = itertools.count(1)


def request_id(request: Request) -> str:
    """The client's id, if it is one and fit to be written into a log; else a new one, unlike all others."""
    given = request.values(b"x-request-id")
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0].decode("ascii")
    return f"{_process}-{next(_numbers):x}"


def wanted_seconds(request: Request) -> float | None:
    """``X-Request-Timeout``; None when there is none.

    Raises:
        ValueError: It is no number of seconds above 0.
    """
    given = request.values(b"x-request-timeout")
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
    head = f"{method} {target} HTTP/1.1\r\nhost: ".encode("latin-1")
    left = max(left, 0.001)
    own = f"x-request-id: {number}\r\nx-request-timeout: {left:.3f}\r\ncontent-length: {len(request.body)}\r\n\r\n"
    parts = [head, host, b"\r\n", *_forwarded(request), own.encode("ascii"), request.body]
    return b"".join(parts)


def _forwarded(request: Request) -> list[bytes]:
    lines, named = [], None
    for name, value in request.headers:
        if name in _NOT_FORWARDED:
            if name == b"connection" and value.lower() not in _PLAIN_CONNECTION:
                named = True
        elif b"_" not in name or name.replace(b"_", b"-") not in _NOT_FORWARDED:
            lines.append(b"%b: %b\r\n" % (name, value))
    return _unnamed(request, lines) if named else lines


def _unnamed(request: Request, lines: list[bytes]) -> list[bytes]:
    """Without the headers that ``Connection`` says are for this hop."""
    named = {word.strip().lower() for value in request.values(b"connection") for word in value.split(b",")}
    return [line for line in lines if line.partition(b":")[0] not in named]


def build_response(reply: Reply, own: Headers, number: str) -> Response:
    """The replica's answer for the client, with who gave it."""
    content_type = "application/octet-stream"
    headers = []
    for name, value in reply.headers:
        if name == b"content-type":
            content_type = value.decode("latin-1")
        elif name not in _NOT_RETURNED:
            headers.append((name.decode("latin-1"), value.decode("latin-1")))
    return Response(
        reply.status, reply.body, content_type=content_type, headers=(*headers, *own, ("X-Request-Id", number))
    )
