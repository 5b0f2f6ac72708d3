"""One step of a monitor through a stored log stream: bounded in bytes, points and (but for one line) time."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from headway.monitors.expressions import Expression, Match, readable
from headway.monitors.numbers import Point
from headway.monitors.stored import LONGEST_SEARCH, Frame, Piece, gathered, pieces_of, read_frames

BATCH_BYTES = 8 << 20
"""Of a stream that are read for one step; more where damage hides the next frame."""
LONGEST_BATCH = 2 * LONGEST_SEARCH
STEP_SECONDS = 0.25
MOST_POINTS = 1 << 16
SHOWN = 1024
"""Characters of a line that are kept to be shown."""

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` gives at most ``length`` bytes of the stream, fewer only at its end."""


class Place(NamedTuple):
    """Where in a log stream to go on: a frame, and lines of it that were read."""

    offset: int = 0
    skip: int = 0


class MatchedLine(NamedTuple):
    """A line that matched."""

    line: int
    time_ms: int
    text: str
    """As readers see it, cut to some characters."""
    point: Point | None


class PointRow(NamedTuple):
    """A point, and when its line was printed."""

    time_ms: int
    point: Point


@dataclass
class Step:
    """What one step read and found."""

    place: Place
    lines: int = 0
    matches: int = 0
    rows: list[PointRow] = field(default_factory=list)
    shown: list[MatchedLine] = field(default_factory=list)
    """The first matches, as many as were asked for."""
    newest: MatchedLine | None = None
    done: bool = False
    """Whether all that was there is read."""


def step(
    expression: Expression,
    read: Read,
    length: int,
    place: Place,
    *,
    closed: bool,
    show: int = 0,
    most_points: int = MOST_POINTS,
    seconds: float = STEP_SECONDS,
    batch_bytes: int = BATCH_BYTES,
) -> Step:
    """Go on through a log stream from ``place``.

    Args:
        expression: What to look for.
        read: Gives bytes of the stream.
        length: How many bytes there are.
        place: Where to begin.
        closed: Whether nothing is ever added to the stream.
        show: How many matches to bring as lines.
        most_points: After so many it ends, if need be within a frame.
        seconds: After so long it ends.
        batch_bytes: How much to read.
    """
    found = Step(place)
    frames, end, done = _frames(read, length, place.offset, closed, batch_bytes)
    deadline = time.monotonic() + seconds
    for pieces in gathered(pieces_of(frames, place.skip)):
        group = _Group(pieces)
        if group.take(found, expression, show, most_points) or time.monotonic() > deadline:
            return found
    found.place, found.done = Place(end), done
    return found


def _frames(read: Read, length: int, offset: int, closed: bool, batch_bytes: int) -> tuple[list[Frame], int, bool]:
    """The next frames, where they end, and whether nothing more can be read now."""
    wanted = batch_bytes
    while True:
        asked = max(0, min(wanted, length - offset))
        data = read(offset, asked) if asked else b""
        whole = offset + len(data) >= length
        frames, end = read_frames(data, offset, final=closed and whole)
        # Fewer bytes than there should be: the store is older than the records (a backup that was put back).
        done = whole or len(data) < asked
        if frames or end > offset or done or wanted >= LONGEST_BATCH:
            return frames, end, done
        wanted *= 2


class _Group:
    """Pieces of lines as one text."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._texts = [readable(piece.lines) for piece in pieces]
        self._starts = [0, *accumulate(len(text) + 1 for text in self._texts)]
        self._lines = self._texts[0] if len(pieces) == 1 else b"\n".join(self._texts)

    def take(self, found: Step, expression: Expression, show: int, most_points: int) -> bool:
        """Add to ``found`` what is in it; whether the step ends within it."""
        newest, stopped = None, False
        rows, time_ms, end = found.rows, 0, 0
        for match in expression.scan(self._lines):
            newest = match
            found.matches += 1
            if match.start >= end:
                number = self._number(match)
                time_ms, end = self._pieces[number].time_ms, self._starts[number + 1]
            if match.point is not None:
                rows.append(PointRow(time_ms, match.point))
            if len(found.shown) < show:
                found.shown.append(self._line(match))
            if len(rows) >= most_points:
                stopped = True
                break
        if newest is not None:
            found.newest = self._line(newest)
        if newest is not None and stopped:
            number = self._number(newest)
            found.lines += self._lines.count(b"\n", 0, newest.start) + 1
            found.place = _behind(self._pieces[number], self._before(newest, number) + 1)
            return True
        found.lines += self._lines.count(b"\n") + 1
        found.place = _behind(self._pieces[-1], self._texts[-1].count(b"\n") + 1)
        return False

    def _number(self, match: Match) -> int:
        """In which piece it lies."""
        return bisect_right(self._starts, match.start) - 1

    def _before(self, match: Match, number: int) -> int:
        """Lines of its piece before it."""
        return self._texts[number].count(b"\n", 0, match.start - self._starts[number])

    def _line(self, match: Match) -> MatchedLine:
        number = self._number(match)
        piece = self._pieces[number]
        text = self._lines[match.start : min(match.end, match.start + 4 * SHOWN)].decode(errors="ignore")[:SHOWN]
        return MatchedLine(piece.first_line + self._before(match, number), piece.time_ms, text, match.point)


def _behind(piece: Piece, count: int) -> Place:
    """Behind the first ``count`` lines of ``piece``."""
    if piece.last and count > piece.lines.count(b"\n"):
        return Place(piece.end)
    return Place(piece.offset, piece.skip + count)
