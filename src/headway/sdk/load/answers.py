"""HTTP/1.1 answers from bytes (RFC 9112), as much of them as load needs: status, version, and where one ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEAD = 64 * 1024
KEPT = 4096
"""Bytes of a body that are kept, to tell what an error said."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
_VERSION = re.compile(rb"\r\nx-headway-version:[ \t]*([!-~]{1,16})[ \t]*\r\n", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")


class GarbageError(Exception):
    """The peer does not speak HTTP/1.1."""


@dataclass
class HttpAnswer:
    """One answer."""

    status: int
    version: str = ""
    """The header ``X-Headway-Version``."""
    keeps: bool = True
    """Whether the connection may be used again."""
    body: bytes = b""
    """Its beginning, of an answer that is not 2xx."""


class AnswerReader:
    """Fed with what arrives, it gives the answers that are whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: HttpAnswer | None = None
        self._left = 0
        self._chunked = False
        self._to_end = False

    def feed(self, data: bytes) -> list[HttpAnswer]:
        """The answers that ``data`` completes; GarbageError when it cannot be one."""
        self._buffer += data
        found: list[HttpAnswer] = []
        while True:
            answer = self._next()
            if answer is None:
                return found
            found.append(answer)

    def end(self) -> HttpAnswer | None:
        """The connection ended: the answer that only this ends, if there is one."""
        return self._finish() if self._answer is not None and self._to_end else None

    def _next(self) -> HttpAnswer | None:
        if self._answer is None and not self._read_head():
            return None
        if self._to_end:
            self._take(len(self._buffer))
            return None
        whole = self._read_chunks() if self._chunked else self._read_length()
        return self._finish() if whole else None

    def _finish(self) -> HttpAnswer | None:
        answer, self._answer = self._answer, None
        return answer

    def _read_head(self) -> bool:
        """Whether a whole head was there; interim answers (1xx) are passed over."""
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD:
                    raise GarbageError("The head of the answer has no end.")
                if not b"HTTP/1.".startswith(bytes(self._buffer[:7])):
                    raise GarbageError("The answer is not HTTP/1.1.")
                return False
            head = bytes(self._buffer[: end + 4])
            del self._buffer[: end + 4]
            status = _status(head)
            if status >= 200:
                self._begin(head, status)
                return True

    def _begin(self, head: bytes, status: int) -> None:
        version, length = _VERSION.search(head), _LENGTH.search(head)
        self._chunked = _CHUNKED.search(head) is not None
        empty = status in (204, 304)
        self._left = 0 if empty or length is None else int(length[1])
        self._to_end = not (empty or self._chunked or length is not None)
        keeps = not self._to_end and _CLOSES.search(head) is None
        self._answer = HttpAnswer(status, version[1].decode("ascii") if version else "", keeps)

    def _take(self, size: int) -> None:
        answer = self._answer
        if answer is not None and answer.status >= 300 and len(answer.body) < KEPT:
            answer.body += bytes(self._buffer[: min(size, KEPT - len(answer.body))])
        del self._buffer[:size]

    def _read_length(self) -> bool:
        size = min(self._left, len(self._buffer))
        self._take(size)
        self._left -= size
        return self._left == 0

    def _read_chunks(self) -> bool:
        """Whether the last chunk was there. ``_left`` counts what is missing of a chunk and the line end behind it."""
        while True:
            if self._left > 2:
                size = min(self._left - 2, len(self._buffer))
                self._take(size)
                self._left -= size
            if 0 < self._left <= 2:
                if len(self._buffer) < self._left:
                    return False
                del self._buffer[: self._left]
                self._left = 0
            if self._left:
                return False
            line = self._line()
            if line is None:
                return False
            size_text = _CHUNK.fullmatch(line)
            if size_text is None:
                raise GarbageError("A chunk has no size.")
            self._left = int(size_text[1], 16) + 2
            if self._left == 2:
                self._left = 0
                return self._read_trailers()

    def _read_trailers(self) -> bool:
        if self._buffer[:2] == b"\r\n":
            del self._buffer[:2]
            return True
        if b"\r\n\r\n" in self._buffer:
            del self._buffer[: self._buffer.index(b"\r\n\r\n") + 4]
            return True
        self._buffer[:0] = b"0\r\n"  # looked at again when more is there
        return False

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise GarbageError("A chunk has no size.")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _status(head: bytes) -> int:
    if not re.match(rb"HTTP/1\.[01] [1-5][0-9][0-9][ \r]", head):
        raise GarbageError("The answer is not HTTP/1.1.")
    return int(head[9:12])
