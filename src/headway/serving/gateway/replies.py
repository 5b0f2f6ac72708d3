"""What a replica answers: read strictly, and known again."""

from __future__ import annotations

import httptools

MAX_ANSWER = 256 * 1024 * 1024
MANY_HEADS = 64
LONGEST_HEAD = 1024
_FRAMING = frozenset((b"transfer-encoding", b"connection", b"trailer", b"upgrade"))
_END = b"\r\n\r\n"
_REQUEST_ID = b"\r\nX-Request-Id: "
_VISIBLE = bytes(range(0x21, 0x7F))


class UpstreamError(Exception):
    """There is no answer; the text says why."""


class ConnectError(UpstreamError):
    """No connection could be made; nothing was sent."""


class BrokenError(UpstreamError):
    """The connection ended before the answer was whole. The replica may have worked on the request."""


class GarbageError(UpstreamError):
    """What came is no answer. The replica lives."""


class ReplyHead:
    """Everything of an answer but its body; header names are lower case."""

    __slots__ = ("content_type", "headers", "returned", "status")

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = []
        self.content_type = ""
        self.returned: bytes | None = None
        """Header lines that every client of its replica gets with it, once somebody found out."""

    @property
    def is_simple(self) -> bool:
        """Whether its framing is one plain length."""
        lengths = [value for name, value in self.headers if name == b"content-length"]
        return self.status >= 200 and len(lengths) == 1 and not any(name in _FRAMING for name, _ in self.headers)


class Reply:
    """A replica's answer."""

    __slots__ = ("body", "head")

    def __init__(self, head: ReplyHead, body: bytes = b"") -> None:
        self.head = head
        self.body = body

    @property
    def status(self) -> int:
        return self.head.status


class KnownHeads:
    """Heads of answers that were read before: a replica sends the same one over and over, until a second is over.

    A head is looked up by all of its bytes, at the beginning of an answer, so that what is found is what the strict
    parser made of these very bytes at that very place.

    Args:
        ids: Whether the line that repeats the request's id counts. It differs each time, so where nobody wants to know it
            heads are known without it.
    """

    def __init__(self, *, ids: bool = True) -> None:
        self._ids = ids
        self._known: dict[bytes, tuple[ReplyHead, int]] = {}

    def find(self, data: bytes) -> Reply | None:
        """The answer, if ``data`` is a whole one with a known head, and nothing else."""
        end = data.find(_END, 0, LONGEST_HEAD) + 4
        found = self._known.get(self._key(data[:end]))
        if found is None or len(data) - end != found[1]:
            return None
        return Reply(found[0], data[end:])

    def keep(self, data: bytes, head: ReplyHead) -> None:
        """Keep what the parser made of ``data``, a whole answer, if it is simple enough."""
        end = data.find(_END, 0, LONGEST_HEAD) + 4
        if end < 4 or not head.is_simple or data.count(b"\n", 0, end) != len(head.headers) + 2:
            return
        if len(self._known) >= MANY_HEADS:
            self._known.clear()
        if not self._ids:
            head.headers = [pair for pair in head.headers if pair[0] != b"x-request-id"]
        self._known[self._key(data[:end])] = (head, len(data) - end)

    def _key(self, head: bytes) -> bytes:
        return head if self._ids else without_id(head)


def without_id(head: bytes) -> bytes:
    """A head without the line of the request's id, as replicas write it; only if no parser could take it for anything else.

    >>> without_id(b"HTTP/1.1 200 OK\\r\\nX-Request-Id: 7f\\r\\nX: y\\r\\n\\r\\n")
    b'HTTP/1.1 200 OK\\r\\nX: y\\r\\n\\r\\n'
    """
    start = head.find(_REQUEST_ID)
    if start < 0:
        return head
    begin = start + len(_REQUEST_ID)
    end = head.find(b"\r\n", begin)
    if end == begin or head[begin:end].translate(None, _VISIBLE):
        return head
    return head[:start] + head[end:]


class ReplyReader:
    """Bytes of one connection to answers, one after the other.

    Args:
        heads: Of the replica that sends them.
    """

    def __init__(self, heads: KnownHeads) -> None:
        self.reusable = True
        """Whether another answer may follow on the same connection."""
        self.excess = False
        """Whether more than an answer came."""
        self._heads = heads
        self._parser = httptools.HttpResponseParser(self)
        self._head = ReplyHead()
        self._begun = self._whole = False
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Reply | None:
        """Read on; the answer once it is whole.

        Raises:
            GarbageError: It is none. Nothing may be fed after that.
        """
        first = not self._begun
        if first:
            known = self._heads.find(data)
            if known is not None:
                return known
            self._begun = True
        self._parse(data)
        if not self._whole:
            return None
        if first and self.reusable:
            self._heads.keep(data, self._head)
        reply = Reply(self._head, self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks))
        self._head, self._chunks = ReplyHead(), []
        self._begun, self._whole, self._size = False, False, 0
        return reply

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            self.excess = True
            if not self._whole:
                raise GarbageError(f"The replica's answer is malformed: {error.__context__ or error}.") from None

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self._whole:
            raise UpstreamError("more than one answer came")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head.headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise UpstreamError(f"it is over {MAX_ANSWER} bytes")
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._head.headers.clear()
            return
        self._head.status = status
        self._whole = True
        self.reusable = self.reusable and self._parser.should_keep_alive()
