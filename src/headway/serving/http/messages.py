"""Requests and responses as plain objects, and a response as bytes."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

import orjson

JSON = "application/json"
MANY_STARTS = 64
"""Kinds of heads that are kept: a gateway passes on content types that it did not choose."""

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode("ascii") for s in HTTPStatus}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Headers = tuple[tuple[str, str], ...]


class Response:
    """What a handler answers. Content-Length, Connection and Date are added when it is written.

    Args:
        lines: More headers, as :func:`header_lines` writes them.
    """

    __slots__ = ("body", "content_type", "headers", "lines", "status")

    def __init__(
        self, status: int, body: bytes = b"", *, content_type: str = JSON, headers: Headers = (), lines: bytes = b""
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.lines = lines


class Request:
    """One request, its body read whole. Header names are lower case; ``target`` is as it was sent."""

    __slots__ = (
        "answer",
        "body",
        "close",
        "context",
        "headers",
        "method",
        "path",
        "peer",
        "query",
        "target",
        "version",
        "volatile",
    )

    def __init__(self, method: str, target: str, version: str, headers: list[tuple[bytes, bytes]], peer: str) -> None:
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition("?")
        self.version = version
        self.headers = headers
        self.peer = peer
        self.body = b""
        self.close = False
        self.answer: Response | None = None
        """Set when the request was answered from its head alone; the handler is not asked."""
        self.context: Any = None
        """For the application: what its screen found out about the head."""
        self.volatile: dict[bytes, bytes] | None = None
        """Those of its headers that :data:`headway.serving.http.heads.VOLATILE` names; None where there are none. A screen
        that is stable looks at none of them."""

    def blank(self) -> Request:
        """The same head again, without a body; headers and context are shared."""
        other = Request.__new__(Request)
        other.method, other.target, other.path, other.query = self.method, self.target, self.path, self.query
        other.version, other.headers, other.peer = self.version, self.headers, self.peer
        other.body, other.close, other.answer, other.context = b"", self.close, self.answer, self.context
        other.volatile = self.volatile
        return other

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order."""
        return [value for found, value in self.headers if found == name]

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header."""
        for found, value in self.headers:
            if found == name:
                return value
        return None

    @property
    def is_json(self) -> bool:
        """Whether the body is said to be JSON, or nothing is said about it."""
        kinds = self.values(b"content-type")
        if not kinds:
            return True
        media, _, parameters = kinds[0].partition(b";")
        charset = parameters.strip().lower().replace(b'"', b"")
        return len(kinds) == 1 and media.strip().lower() == b"application/json" and charset in (b"", b"charset=utf-8")


def json_response(status: int, value: Any, *, headers: Headers = ()) -> Response:
    """``value`` as a JSON answer."""
    return Response(status, orjson.dumps(value), headers=headers)


def error_response(status: int, text: str, *, headers: Headers = ()) -> Response:
    """An error as TensorFlow Serving writes it: ``{"error": text}``."""
    return json_response(status, {"error": text.encode("utf-8", "replace").decode()}, headers=headers)


class ResponseEncoder:
    """Responses as bytes. What most heads have in common is kept, Date included, until :meth:`tick`."""

    def __init__(self) -> None:
        self._starts: dict[tuple[int, str], bytes] = {}
        self._date = b""
        self.tick()

    def tick(self) -> None:
        """Look at the clock; called about once a second."""
        self._starts.clear()
        self._date = http_date(int(time.time()))

    def encode(self, response: Response, *, close: bool, without_body: bool) -> bytes:
        """The bytes on the wire. A HEAD request gets the length of the body and not the body."""
        start = self._starts.get((response.status, response.content_type)) or self._start(response)
        body = response.body
        lines = response.lines
        if not response.headers and not close and not without_body:
            return b"%b%d\r\n%b\r\n%b" % (start, len(body), lines, body)
        parts = [start, b"%d\r\n" % len(body), lines, header_lines(response.headers)]
        parts.append(b"connection: close\r\n\r\n" if close else b"\r\n")
        if not without_body:
            parts.append(body)
        return b"".join(parts)

    def _start(self, response: Response) -> bytes:
        """Everything up to the value of Content-Length."""
        content_type = response.content_type.encode("latin-1", "replace")
        start = b"%bdate: %b\r\ncontent-type: %b\r\nx-content-type-options: nosniff\r\ncontent-length: " % (
            _STATUS_LINES[response.status],
            self._date,
            content_type,
        )
        if len(self._starts) < MANY_STARTS:
            self._starts[response.status, response.content_type] = start
        return start


def header_lines(headers: Headers) -> bytes:
    """Headers as they stand in a message.

    >>> header_lines((("Allow", "GET"), ("Retry-After", "1")))
    b'Allow: GET\\r\\nRetry-After: 1\\r\\n'
    """
    return b"".join([f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in headers])


def http_date(seconds: int) -> bytes:
    """A moment as RFC 9110 section 5.6.7 writes it, whatever the locale.

    >>> http_date(784111777)
    b'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    t = time.gmtime(seconds)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    return f"{day}, {t.tm_mday:02} {month} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT".encode("ascii")
