"""Heads that were read before: clients send the same one over and over, and the parser would say the same of it.

A head is looked up by all of its bytes, so that what is found is what the strict parser made of these very bytes at the same
place: the beginning of a message. Only the simplest framing is kept (HTTP/1.1, no or one plain length, nothing after it).
"""

from __future__ import annotations

from headway.serving.http.messages import Request

LONGEST = 1024
"""Bytes of a head that is kept."""
MANY = 1024
"""Heads that are kept; then all are forgotten, so that nobody can fill them for good."""
LARGEST_BODY = 1024 * 1024
END = b"\r\n\r\n"

VOLATILE = (b"x-request-id", b"x-request-timeout")
"""Headers whose values differ in every request of one client: a head is known without them."""

_UNFIT = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_MARKS = tuple((name, (b"\r\n%b: " % name, b"\r\n%b: " % name.title())) for name in VOLATILE)
_COMMON = b"equest-"
_VISIBLE = bytes(range(0x21, 0x7F))

Volatile = dict[bytes, bytes]
"""Name to value of those headers."""


class KnownHeads:
    """What was made of heads, for all connections of a server."""

    def __init__(self, largest_body: int, *, stable: bool) -> None:
        self.stable = stable
        """Whether the screen's verdict is kept too."""
        self._largest_body = min(largest_body, LARGEST_BODY)
        self._known: dict[bytes, tuple[Request, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, head: bytes) -> tuple[Request, int] | None:
        """A request with these bytes for a head, and the length of its body."""
        stable, volatile = without_volatile(head)
        found = self._known.get(stable)
        if found is None:
            return None
        known, length = found
        request = known.blank()
        if volatile:
            request.volatile = volatile
            request.headers = [*known.headers, *volatile.items()]
        return request, length

    def keep(self, data: bytes, start: int, request: Request) -> None:
        """Keep what the parser made of the message at ``start``, if it is simple enough."""
        end = data.find(END, start, start + LONGEST)
        if end < 0 or request.version != "1.1" or request.close or not b"A" <= data[start : start + 1] <= b"Z":
            return
        head = data[start : end + len(END)]
        length = int(request.header(b"content-length") or 0)
        if length > self._largest_body or not (_is_line_by_line(head, request) and _is_simple(request)):
            return
        stable, volatile = without_volatile(head)
        known = request.blank()
        known.headers = [pair for pair in request.headers if pair[0] not in VOLATILE]
        known.volatile = None
        if len(known.headers) + len(volatile) != len(request.headers):
            return
        if len(self._known) >= MANY:
            self._known.clear()
        self._known[stable] = (known, length)


def without_volatile(head: bytes) -> tuple[bytes, Volatile]:
    """A head without the lines of :data:`VOLATILE`, and those.

    Only a line that no parser could take for anything else is taken out: a plain name, a blank, visible ASCII.

    >>> without_volatile(b"GET / HTTP/1.1\\r\\nhost: a\\r\\nx-request-id: 7f\\r\\n\\r\\n")
    (b'GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n', {b'x-request-id': b'7f'})
    """
    volatile: Volatile = {}
    if _COMMON not in head:
        return head, volatile
    for name, spellings in _MARKS:
        for mark in spellings:
            start = head.find(mark)
            if start < 0:
                continue
            end = head.find(b"\r\n", start + len(mark))
            value = head[start + len(mark) : end]
            if value and not value.translate(None, _VISIBLE):
                volatile[name] = value
                head = head[:start] + head[end:]
            break
    return head, volatile


def _is_line_by_line(head: bytes, request: Request) -> bool:
    """Whether the head has a line for each header and no other: then it ends where it seems to end."""
    return head.count(b"\n") == head.count(b"\r\n") == len(request.headers) + 2


def _is_simple(request: Request) -> bool:
    for name, value in request.headers:
        if name in _UNFIT or (name == b"connection" and value.lower() != b"keep-alive"):
            return False
    return True
