"""What a terminal would show in the end: several progress bars below each other become one line each."""

from __future__ import annotations

import re

from headway.journal.codec import LogBatch
from headway.journal.lines import LINE_LIMIT, LineSplitter

MAX_ROWS = 100
"""Rows that are drawn over at a time; a program that moves further up draws a screen, which no log can show."""

_MOVE = re.compile(rb"\n|\x1b\[(\d{0,4})A|\x1b\[2K")
_UP = re.compile(rb"\x1b\[\d{0,4}A")


class DrawnLines:
    """Lines of one output, with rows that are drawn over kept back until they are final.

    ``\\r`` alone is the splitter's work. A program that draws several bars (tqdm, rich) writes newlines to get to the lower
    ones and moves up again with ``ESC [ n A``; each such newline would be a line of its own in the log. From the first
    move up on, rows are held here, each with what was drawn on it last; they become lines once the cursor goes below
    the lowest of them.
    """

    def __init__(self, splitter: LineSplitter) -> None:
        self._splitter = splitter
        self._rows: list[bytearray] = []
        """Empty: nothing is held back. Otherwise the lowest row is the last."""
        self._row = 0
        self._final = bytearray()

    def feed(self, data: bytes, time_ms: int) -> list[LogBatch]:
        """The lines that ``data`` completes."""
        batches: list[LogBatch] = []
        position = 0
        while position < len(data):
            if not self._rows:
                move = _UP.search(data, position)
                if move is None:
                    return batches + self._splitter.feed(data[position:], time_ms)
                batches += self._splitter.feed(data[position : move.start()], time_ms)
                position = move.start()
                self._rows, self._row = [bytearray(self._splitter.take_unfinished())], 0
            position = self._draw(data, position)
            if not self._rows:
                batches += self._splitter.feed(bytes(self._final), time_ms)
        return batches

    def flush(self, time_ms: int) -> list[LogBatch]:
        """What is left when the output ends."""
        batches: list[LogBatch] = []
        if self._rows:
            self._release()
            batches = self._splitter.feed(bytes(self._final), time_ms)
        return batches + self._splitter.flush(time_ms)

    def _draw(self, data: bytes, position: int) -> int:
        """Draw until the data ends or the cursor goes below the lowest row, which makes all of them final."""
        for move in _MOVE.finditer(data, position):
            self._write(data[position : move.start()])
            position = move.end()
            if move[0] == b"\x1b[2K":
                self._rows[self._row].clear()
            elif move[0] != b"\n":
                self._up(int(move[1] or 1))
            elif self._row < len(self._rows) - 1:
                self._row += 1
            else:
                self._release()
                self._final += b"\n"
                return position
        self._write(data[position:])
        return len(data)

    def _release(self) -> None:
        *above, lowest = self._rows
        self._rows = []
        self._final = bytearray(b"".join(bytes(row) + b"\n" for row in above if row) + bytes(lowest))

    def _up(self, count: int) -> None:
        row = self._row - min(count, MAX_ROWS)
        if row < 0:
            missing = min(-row, MAX_ROWS - len(self._rows))
            self._rows[:0] = [bytearray() for _ in range(missing)]
            row = 0
        self._row = row

    def _write(self, text: bytes) -> None:
        row = self._rows[self._row]
        row += text
        if b"\r" in text:
            self._overwrite(row)
        del row[LINE_LIMIT:]

    @staticmethod
    def _overwrite(row: bytearray) -> None:
        """Keep what follows the last ``\\r`` that text follows; one at the end waits for its text."""
        end = len(row.rstrip(b"\r"))
        start = row.rfind(b"\r", 0, end) + 1
        del row[:start]
