"""What a program prints, as log batches: lines counted, overwriting resolved, memory and disk bounded."""

from __future__ import annotations

import re

from headway.domain.logs import CUT_MARK
from headway.journal.codec import KIND_LOG, LogBatch, encode_lines
from headway.journal.writer import JournalWriter

LINE_LIMIT = 1 << 20
"""Bytes of a line that are kept."""
LIMIT_MARK = "[headway: {limit} bytes of log are kept; from here on lines are counted, not kept]"
"""The one row that a log ends with when it is over its limit."""

_READ = 256 << 10

_OVERWRITTEN = re.compile(rb"(?m)^[^\n]*\r(?=[^\r\n])")
"""The part of a line that later text on the same line covers. Anchored, so that a line is gone through once."""


class LineNumbers:
    """Numbers lines from 1; shared by the outputs of one program."""

    def __init__(self) -> None:
        self.counted = 0

    def take(self, count: int) -> int:
        """The first of the next ``count`` numbers."""
        first = self.counted + 1
        self.counted += count
        return first


class LineSplitter:
    """Turns the bytes of one output into batches of complete lines.

    The bytes of a line are what a terminal would still show: the text after the last carriage return that text follows
    (``\\r\\n`` is a plain line end). A line over ``line_limit`` bytes is cut and ends with
    :data:`headway.domain.logs.CUT_MARK`. At most one such line is held in memory, however long it gets.

    Args:
        numbers: Where line numbers come from.
        stderr: Whether this output is stderr; None when it carries both.
        line_limit: Bytes that are kept of a line.
    """

    def __init__(
        self, numbers: LineNumbers | None = None, *, stderr: bool | None = None, line_limit: int = LINE_LIMIT
    ) -> None:
        self.numbers = numbers or LineNumbers()
        self._stderr = stderr
        self._limit = line_limit
        self._text = bytearray()
        self._dropped = 0
        self._returned = False
        """Whether the unfinished line ends with a carriage return, so that text would begin it anew."""

    def feed(self, data: bytes, time_ms: int) -> list[LogBatch]:
        """The lines that ``data`` completes, in batches of about 256 KiB (one line more at most)."""
        return [
            batch
            for start in range(0, len(data), _READ)
            if (batch := self._feed_piece(data[start : start + _READ], time_ms))
        ]

    def flush(self, time_ms: int) -> list[LogBatch]:
        """The last line, if the output ended without a newline."""
        if not (self._text or self._returned or self._dropped):
            return []
        return [self._batch(self._finish_line(), time_ms)]

    def take_unfinished(self) -> bytes:
        """The unfinished line as far as it is kept; it begins anew, empty."""
        returned = b"\r" if self._returned else b""
        return self._finish_line() + returned

    def _feed_piece(self, piece: bytes, time_ms: int) -> LogBatch | None:
        last = piece.rfind(b"\n")
        if last < 0:
            self._extend(piece)
            return None
        start, lines = 0, []
        if self._text or self._returned or self._dropped:
            start = piece.index(b"\n") + 1
            self._extend(piece[: start - 1])
            lines.append(self._finish_line())
        if start <= last:
            lines.append(self._whole_lines(piece[start:last]))
        self._extend(piece[last + 1 :])
        return self._batch(b"\n".join(lines), time_ms)

    def _whole_lines(self, lines: bytes) -> bytes:
        if b"\r" in lines:
            lines = _OVERWRITTEN.sub(b"", lines).replace(b"\r", b"")
        if len(lines) > self._limit:
            lines = b"\n".join(map(self._cut, lines.split(b"\n")))
        return lines

    def _cut(self, line: bytes) -> bytes:
        return line if len(line) <= self._limit else _marked(line[: self._limit], len(line) - self._limit)

    def _extend(self, part: bytes) -> None:
        """Add to the unfinished line; ``part`` has no newline."""
        text = part.rstrip(b"\r")
        if text:
            start = text.rfind(b"\r") + 1
            if start or self._returned:
                self._text.clear()
                self._dropped = 0
            kept = text[start : start + self._limit - len(self._text)]
            self._text += kept
            self._dropped += len(text) - start - len(kept)
        self._returned = len(text) < len(part) or (self._returned and not part)

    def _finish_line(self) -> bytes:
        line = bytes(self._text)
        if self._dropped:
            line = _marked(line, self._dropped)
        self._text.clear()
        self._dropped = 0
        self._returned = False
        return line

    def _batch(self, lines: bytes, time_ms: int) -> LogBatch:
        first = self.numbers.take(lines.count(b"\n") + 1)
        return LogBatch(first, time_ms, self._stderr, lines)


def _marked(kept: bytes, dropped: int) -> bytes:
    """A cut line with its mark; a character that the cut went through is left out whole."""
    clean = kept
    for back in range(1, min(4, len(kept)) + 1):
        byte = kept[-back]
        if byte < 0x80 or byte >= 0xF8:
            break
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            clean = kept[:-back] if length > back else kept
            break
    return clean + CUT_MARK.format(count=dropped + len(kept) - len(clean)).encode()


class LineKeeper:
    """Puts batches into a journal until a limit is reached; lines after that are counted only.

    Args:
        writer: Where batches go.
        limit: Bytes of lines to keep; one row says where it was reached.
        split: Whether the two outputs are told apart.
    """

    def __init__(self, writer: JournalWriter, *, limit: int, split: bool) -> None:
        self._writer = writer
        self._limit = self._left = limit
        self._split = split
        self._marked = False
        self.unkept = 0
        """Lines over the limit, or lost to a full disk."""

    def store(self, batch: LogBatch) -> None:
        if not (self._within_limit(batch) and self._append(batch)):
            self.unkept += batch.line_count

    def _within_limit(self, batch: LogBatch) -> bool:
        if self._left > 0:
            self._left -= len(batch.lines) + 1
            return True
        if not self._marked:
            self._marked = True
            self._append(batch._replace(lines=LIMIT_MARK.format(limit=self._limit).encode()))
        return False

    def _append(self, batch: LogBatch) -> bool:
        payload = encode_lines(
            batch.first_line, batch.time_ms, batch.lines, stderr=bool(batch.stderr), split=self._split
        )
        return self._writer.append(KIND_LOG, payload)
