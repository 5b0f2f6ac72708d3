"""Bytes to requests, strictly: whatever two parsers could read differently is refused.

httptools (llhttp) is strict by default about framing: both Content-Length and Transfer-Encoding, two lengths, bare line
feeds, folded headers and bad chunk sizes are errors there. What it leaves open is decided here.
Sources: RFC 9112 sections 2, 3, 6, 7 and 11.2.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

import httptools

from headway.serving.http.heads import END, LONGEST, VOLATILE, KnownHeads
from headway.serving.http.limits import MIB, BodyBudget, Limits
from headway.serving.http.messages import Request, Response, error_response

Screen = Callable[[Request], "Response | None"]
"""Looks at a head before its body is read; a response refuses the request."""

LARGE_REFUSED_BODY = 1 * MIB
"""A refused request with a larger body is answered at once, and its connection closed."""

CHUNK_OVERHEAD = 64 * 1024
"""Bytes of chunk sizes and trailers beyond eight times the body, after which a chunked body is an attack."""


class Refusal(Exception):
    """The request cannot be read on; ``response`` says why and the connection ends."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def refuse(status: int, text: str) -> Refusal:
    return Refusal(error_response(status, text))


class Sink(Protocol):
    """Who gets what was read."""

    def request_read(self, request: Request) -> None: ...

    def continue_wanted(self) -> None: ...


class Phase(Enum):
    """What the next byte belongs to."""

    IDLE = "between requests"
    HEAD = "in a head"
    BODY = "in a body"


class RequestReader:
    """Parses one connection. ``feed`` raises :class:`Refusal` once; nothing may be fed after that."""

    def __init__(
        self, sink: Sink, screen: Screen, heads: KnownHeads, limits: Limits, budget: BodyBudget, peer: str
    ) -> None:
        self.sink, self.screen, self.heads, self.peer = sink, screen, heads, peer
        self.limits, self.budget = limits, budget
        self.phase = Phase.IDLE
        self.held = 0
        """Bytes of the budget that the unfinished request holds."""
        self._parser = httptools.HttpRequestParser(self)
        self._closing = False
        self._begun = 0
        self._first: Request | None = None
        """The first request whose head was parsed in this turn."""
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._volatile: dict[bytes, bytes] = {}
        self._request: Request | None = None
        self._chunks: list[bytes] = []
        self._size = self._head_size = self._told = self._raw = 0

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            Refusal: The request is malformed, too large, or not wanted.
        """
        if self._closing:
            raise refuse(400, "Data follows a request that asked to close the connection.")
        if self.phase is not Phase.IDLE:
            self._parse(data)
            return
        start = self._read_known(data)
        if start < len(data):
            self._first = None
            self._parse(data[start:] if start else data)
            if self._first is not None:
                self.heads.keep(data, start, self._first)

    def _read_known(self, data: bytes) -> int:
        """Read whole requests whose heads are known; answers where the first one begins that is not."""
        start, size = 0, len(data)
        while start < size:
            end = data.find(END, start, start + LONGEST) + len(END)
            found = self.heads.find(data[start:end]) if end >= len(END) else None
            if found is None or end + found[1] > size:
                break
            request, length = found
            request.peer = self.peer
            if not self.heads.stable:
                request.answer, request.context = None, None
                request.answer = self.screen(request)
            start = end + length
            if length and request.answer is None:
                self._take(length)
                request.body = data[end:start]
            self.sink.request_read(request)
        return start

    def _parse(self, data: bytes) -> None:
        begun = self._begun
        self._count_framing(len(data))
        try:
            self._parser.feed_data(data)
            if self._begun == begun:
                self._count_head(len(data))
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            raise _refusal_in(error) from None
        except httptools.HttpParserError as error:
            raise refuse(400, f"Malformed request: {error}.") from None

    def _count_head(self, count: int) -> None:
        """Bound a header that never ends, of which no callback tells: these bytes were all of one head."""
        if self.phase is Phase.HEAD:
            self._head_size += count
            self._check_head()

    def _count_framing(self, count: int) -> None:
        """Bound chunk extensions and trailers, of which no callback tells either."""
        if self.phase is Phase.BODY:
            self._raw += count
            if self._raw > self.limits.head + CHUNK_OVERHEAD + 8 * (self._size + count):
                raise refuse(400, "The chunked body is mostly framing.")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read a request that offers another protocol as if it had not: the parser would skip its body."""
        request = self._request
        assert request is not None
        if request.method == "CONNECT":
            raise refuse(501, "CONNECT is not offered.")
        head = [f"{request.method} {request.target} HTTP/{request.version}\r\n".encode("latin-1")]
        head += [b"%b: %b\r\n" % pair for pair in self._headers if pair[0] not in (b"upgrade", b"connection")]
        self._parser = httptools.HttpRequestParser(self)
        self._give_back()
        self._parse(b"".join([*head, b"connection: close\r\n\r\n", rest]))

    # What httptools calls, in this order.

    def on_message_begin(self) -> None:
        if self._closing:
            raise refuse(400, "Data follows a request that asked to close the connection.")
        self._begin()
        self._begun += 1
        self.phase = Phase.HEAD

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._told += len(url)
        self._head_size = max(self._head_size, self._told)
        self._check_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is not Phase.HEAD:
            return  # a trailer: never merged into the headers
        name, value = name.lower(), value.rstrip()
        self._headers.append((name, value))
        if name in VOLATILE:
            self._volatile.setdefault(name, value)
        self._told += len(name) + len(value) + 4
        if self._told > self._head_size:
            self._head_size = self._told
        self._check_head()

    def _check_head(self) -> None:
        if self._head_size > self.limits.head or len(self._headers) > self.limits.headers:
            raise refuse(431, f"The head of the request is over {self.limits.head} bytes.")

    def on_headers_complete(self) -> None:
        self.phase = Phase.BODY
        request = self._new_request()
        self._check_framing(request)
        self._request = request
        if self._parser.should_upgrade():
            return
        request.answer = self.screen(request)
        self._expect(request)
        if self._first is None:
            self._first = request

    def _new_request(self) -> Request:
        method = self._parser.get_method().decode("ascii")
        version = self._parser.get_http_version()
        request = Request(method, self._url.decode("latin-1"), version, self._headers, self.peer)
        request.close = not self._parser.should_keep_alive()
        request.volatile = self._volatile or None
        return request

    def _check_framing(self, request: Request) -> None:
        if request.version not in ("1.0", "1.1"):
            raise refuse(505, f"HTTP {request.version} is not spoken here.")
        hosts = request.values(b"host")
        if len(hosts) > 1 or (not hosts and request.version == "1.1"):
            raise refuse(400, "A request has exactly one Host header.")
        if not request.target.startswith("/") and request.method not in ("OPTIONS", "CONNECT"):
            raise refuse(400, "The request target must be a path.")
        coding = [value.lower() for value in request.values(b"transfer-encoding")]
        if coding and (request.version == "1.0" or coding != [b"chunked"] or request.header(b"content-length")):
            raise refuse(400, "The only transfer coding taken is 'chunked', without a Content-Length, in HTTP/1.1.")
        length = request.header(b"content-length")
        if length is not None and not length.isdigit():
            raise refuse(400, "The Content-Length is not a number.")

    def _expect(self, request: Request) -> None:
        length = int(request.header(b"content-length") or 0)
        wanted = request.header(b"expect")
        refused = request.answer
        if refused is None and length > self.limits.body:
            refused = too_large(self.limits.body)
        if refused is not None:
            chunked = request.header(b"transfer-encoding") is not None
            if wanted is not None or chunked or length > LARGE_REFUSED_BODY:
                raise Refusal(refused)
        elif wanted is not None:
            if wanted.lower() != b"100-continue":
                raise refuse(417, "The only expectation met is '100-continue'.")
            if request.version == "1.1":
                self.sink.continue_wanted()

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self.limits.body:
            raise Refusal(too_large(self.limits.body))
        assert self._request is not None
        if self._request.answer is not None:
            return
        self._take(len(data))
        self.held += len(data)
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        request = self._request
        assert request is not None
        if self._parser.should_upgrade():
            return
        request.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._closing = request.close
        self.held, self._chunks = 0, []
        self.phase = Phase.IDLE
        self.sink.request_read(request)

    def _take(self, count: int) -> None:
        if not self.budget.take(count):
            raise Refusal(error_response(503, "Too much is being sent at once.", headers=(("Retry-After", "1"),)))

    def _give_back(self) -> None:
        self.budget.give(self.held)
        self.held = 0

    def abandon(self) -> None:
        """Forget the unfinished request."""
        self._give_back()
        self._chunks = []


def too_large(limit: int) -> Response:
    return error_response(413, f"The body is over the limit of {limit} bytes.")


def _refusal_in(error: BaseException) -> Refusal:
    """The refusal that a callback raised; anything else it raised is a fault of ours."""
    cause = error.__context__
    if isinstance(cause, Refusal):
        return cause
    raise cause or error
