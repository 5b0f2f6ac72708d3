"""Finding the frames in a journal's bytes, also in damaged ones.

Decoding never raises on damage. It goes on at the next frame whose checksum holds, and reports the stretch between.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from headway.journal.frames import (
    COVERED,
    FRAME_LIMIT,
    FRAME_OVERHEAD,
    KIND_HEADER,
    MAGIC,
    PREFIX,
    Frame,
    FrameState,
    candidates,
    look,
)

_EFFORT, _EFFORT_PER_BYTE = 64 << 20, 32
"""How many bytes a search may checksum: text made to look like frames must not cost quadratic time."""


class Damage(NamedTuple):
    """A stretch of bytes that hold no readable frame, with readable ones after it."""

    offset: int
    length: int


class FrameDecoder:
    """Finds the frames in bytes that arrive piece by piece; the result does not depend on how they were cut.

    Args:
        offset: Where in the stream the first byte given lies: 0, or the beginning of a frame.

    A frame that may still become whole is waited for, so up to two frames are held in memory. ``finish`` says that
    nothing follows.
    """

    def __init__(self, offset: int = 0) -> None:
        self.damage: list[Damage] = []
        self.torn = 0
        """After ``finish``: bytes behind the last frame that are none."""
        self._buffer = b""
        self._base = offset
        self._magic = offset == 0
        self._lost: int | None = None
        """Where the stretch begins that is being searched."""
        self._spent = self._repairs = 0

    @property
    def offset(self) -> int:
        """Where the next frame is expected, or begins incompletely."""
        return self._base if self._lost is None else self._lost

    @property
    def wanted(self) -> int:
        """How many more bytes the incomplete frame needs at least; 0 when that is not known."""
        state, end = look(self._buffer, 0)
        return end - len(self._buffer) if state is FrameState.PARTIAL and end else 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data``, which follows what was given before, completes."""
        self._buffer += data
        return self._drain(final=False)

    def finish(self) -> list[Frame]:
        """The frames that are sure only now that nothing follows."""
        frames = self._drain(final=True)
        self.torn = self._base + len(self._buffer) - self.offset
        return frames

    def _drain(self, *, final: bool) -> list[Frame]:
        frames: list[Frame] = []
        position = self._skip_magic(final)
        while True:
            if self._lost is not None:
                position, found = self._search(position, final)
                if not found:
                    break
                self._close_damage(position)
            state, end = look(self._buffer, position)
            if state is FrameState.WHOLE:
                frames.append(self._frame(position, end))
                position = end
            elif (following := self._after_bad(position, state, end, final)) is None:
                break
            else:
                position = following
        self._buffer = self._buffer[position:]
        self._base += position
        return frames

    def _skip_magic(self, final: bool) -> int:
        if not self._magic or (len(self._buffer) < len(MAGIC) and not final):
            return 0
        self._magic = False
        if self._buffer[: len(MAGIC)] == MAGIC:
            return len(MAGIC)
        self._lose(0)
        return 0

    def _frame(self, position: int, end: int) -> Frame:
        start = position + FRAME_OVERHEAD
        return Frame(self._base + position, self._buffer[position + COVERED], self._buffer[start:end])

    def _after_bad(self, position: int, state: FrameState, end: int, final: bool) -> int | None:
        """Where to go on from something that is no frame; None to wait (or, at the end, to stop)."""
        if position == len(self._buffer) or (state is FrameState.PARTIAL and not final):
            return None
        if state is FrameState.BAD and end:
            following, _ = look(self._buffer, end)
            if following is FrameState.PARTIAL and not final:
                return None
            if following is FrameState.WHOLE or end == len(self._buffer):
                return self._skip_to(position, self._filling(position + 1, end))
        return self._after_unknown_end(position, state, final)

    def _skip_to(self, position: int, following: int) -> int:
        self._lose(position)
        self._close_damage(following)
        return following

    def _filling(self, position: int, stop: int) -> int:
        """Where frames begin that fill the stretch up to ``stop``; ``stop`` when there are none.

        For a frame whose length grew by damage it is the frames that it seems to cover. Other frames within a frame are
        no frames: lines may contain the bytes of another journal.
        """
        self._spent = 0
        failed: set[int] = set()
        for inner in candidates(self._buffer, position, stop):
            if inner in failed or not self._affordable(inner, position):
                continue
            starts, end = self._walk(inner, stop)
            if starts and not all(map(self._credible, starts)):
                break
            if end == stop:
                return inner
            failed.update(starts)
        return stop

    def _walk(self, position: int, stop: int) -> tuple[list[int], int]:
        """Where the frames begin that follow each other from ``position`` on, and where the last one ends."""
        starts: list[int] = []
        while position < stop:
            state, end = look(self._buffer, position)
            if state is not FrameState.WHOLE:
                break
            starts.append(position)
            position = end
        return starts, position

    def _after_unknown_end(self, position: int, state: FrameState, final: bool) -> int | None:
        """On from a frame whose length cannot be right; or, at the end, whose rest was never written."""
        end = self._true_end(position, final)
        if end is None:
            return None
        if end:
            return self._skip_to(position, end)
        if state is FrameState.PARTIAL:
            following = self._filling(position + 1, len(self._buffer))
            return self._skip_to(position, following) if following < len(self._buffer) else None
        self._lose(position)
        return position + 1

    def _true_end(self, position: int, final: bool) -> int | None:
        """The boundary up to which the checksum holds; 0 when there is none, None when more bytes are needed."""
        start, furthest = position + COVERED, position + FRAME_LIMIT
        here = self._base + position
        if len(self._buffer) <= start or self._repairs > _EFFORT + _EFFORT_PER_BYTE * here:
            return 0
        boundaries = list(candidates(self._buffer, start + 1, min(len(self._buffer), furthest + FRAME_OVERHEAD)))
        if final:
            boundaries.append(len(self._buffer))
        running, at = 0, start
        for boundary in boundaries:
            running = zlib.crc32(memoryview(self._buffer)[at:boundary], running)
            at = boundary
            if running == PREFIX.unpack_from(self._buffer, position)[1]:
                self._repairs += at - start
                return boundary
        if not final and len(self._buffer) < furthest + FRAME_OVERHEAD:
            return None
        self._repairs += at - start
        return 0

    def _lose(self, position: int) -> None:
        self._lost = self._base + position
        self._spent = 0

    def _close_damage(self, position: int) -> None:
        if self._lost is None:
            return
        start, end = self._lost, self._base + position
        self._lost = None
        if self.damage and sum(self.damage[-1]) == start:
            start = self.damage.pop().offset
        self.damage.append(Damage(start, end - start))

    def _search(self, position: int, final: bool) -> tuple[int, bool]:
        """The first whole frame from ``position`` on; else where to go on searching, and False."""
        stop = len(self._buffer)
        for found in candidates(self._buffer, position, stop):
            state, _ = look(self._buffer, found) if self._affordable(found, position) else (FrameState.BAD, 0)
            if state is FrameState.WHOLE and self._credible(found):
                return found, True
            if state is FrameState.PARTIAL and not final:
                return found, False
        return max(position, stop if final else stop - FRAME_OVERHEAD + 1), False

    def _affordable(self, position: int, begun: int) -> bool:
        length = PREFIX.unpack_from(self._buffer, position)[0]
        if position + COVERED + length > len(self._buffer) or length > FRAME_LIMIT:
            return True
        since = self._base + begun if self._lost is None else self._lost
        self._spent += length
        return bool(self._spent <= _EFFORT + _EFFORT_PER_BYTE * (self._base + position - since))

    def _credible(self, position: int) -> bool:
        """A header further in belongs to a journal that somebody printed."""
        return self._buffer[position + COVERED] != KIND_HEADER or self._base + position <= len(MAGIC)


class Scan(NamedTuple):
    """All that is readable in some bytes."""

    frames: list[Frame]
    damage: list[Damage]
    torn: int


def scan(data: bytes) -> Scan:
    """Every intact frame of a whole journal, and what was damaged or torn off.

    >>> from headway.journal.frames import KIND_END, encode_frame
    >>> scan(MAGIC + encode_frame(KIND_END, b"") + b"xx").torn
    2
    """
    decoder = FrameDecoder()
    frames = decoder.feed(data) + decoder.finish()
    return Scan(frames, decoder.damage, decoder.torn)
