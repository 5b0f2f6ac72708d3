"""Reading a journal file: all that is intact, and a report of what is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headway.errors import CorruptDataError, NotFoundError
from headway.journal.codec import (
    FRAME_LIMIT,
    KIND_END,
    KIND_HEADER,
    KIND_LOG,
    MAGIC,
    Damage,
    Frame,
    FrameDecoder,
    JournalHeader,
    decode_header,
    decode_lines,
)
from headway.journal.frames import KIND_ENTRY, KIND_FACT, KIND_ROW
from headway.journal.rows import sequence_of

_CHUNK = 1 << 20


@dataclass
class JournalReport:
    """What reading a journal found. Complete once the frames were read to the end."""

    frames: int = 0
    batches: int = 0
    """Log batches among them."""
    rows: int = 0
    entries: int = 0
    facts: int = 0
    repeated: int = 0
    """Log batches, rows and entries that were there before: a block of the file was doubled. They are left out."""
    damage: tuple[Damage, ...] = ()
    torn: int = 0
    """Bytes at the end that were written in part; they were never acknowledged."""
    closed: bool = False
    """Whether the writer closed the stream properly."""

    @property
    def damaged_bytes(self) -> int:
        return sum(piece.length for piece in self.damage)

    @property
    def intact(self) -> bool:
        """Whether nothing that was acknowledged is missing or doubled. A torn tail does no harm."""
        return not self.damage and not self.repeated


class FrameReader:
    """Iterates over a journal's frames, a MiB at a time, and reports afterwards. Each iteration begins anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.report = JournalReport()
        self._next_line = 1
        self._sequence = 0

    def __iter__(self) -> Iterator[Frame]:
        self.report = JournalReport()
        self._next_line, self._sequence = 1, 0
        decoder = FrameDecoder()
        for frames in _decoded(self.path, decoder):
            for frame in frames:
                if self._admit(frame):
                    yield frame
        self.report.damage = tuple(decoder.damage)
        self.report.torn = decoder.torn

    def _admit(self, frame: Frame) -> bool:
        if not self._is_new(frame):
            self.report.repeated += 1
            return False
        report = self.report
        report.frames += 1
        report.batches += frame.kind == KIND_LOG
        report.rows += frame.kind == KIND_ROW
        report.entries += frame.kind == KIND_ENTRY
        report.facts += frame.kind == KIND_FACT
        report.closed = frame.kind == KIND_END
        return True

    def _is_new(self, frame: Frame) -> bool:
        """Whether lines or rows with these numbers were not there before; other frames may be there twice."""
        if frame.kind == KIND_LOG:
            return self._has_new_lines(frame.payload)
        sequence = sequence_of(frame)
        if sequence is None:
            return True
        newer = sequence > self._sequence
        self._sequence = max(self._sequence, sequence)
        return newer

    def _has_new_lines(self, payload: bytes) -> bool:
        try:
            batch = decode_lines(payload)
        except CorruptDataError:
            return True
        following = batch.first_line + batch.line_count
        if following <= self._next_line:
            return False
        self._next_line = following
        return True


def _decoded(path: Path, decoder: FrameDecoder) -> Iterator[list[Frame]]:
    try:
        with path.open("rb", buffering=0) as file:
            while data := file.read(_CHUNK):
                yield decoder.feed(data)
    except FileNotFoundError:
        raise NotFoundError(f"There is no journal {str(path)!r}.") from None
    yield decoder.finish()


def read_frames(path: Path) -> FrameReader:
    """The readable frames of ``path``: iterate, then look at ``report``. Damage is never raised, only a missing file.

    Raises:
        NotFoundError: There is no such file (when the iteration begins).
    """
    return FrameReader(path)


def read_header(path: Path) -> JournalHeader:
    """Whose stream ``path`` is.

    Raises:
        NotFoundError: There is no such file.
        CorruptDataError: The file is no journal, or its first frame is damaged.
    """
    try:
        with path.open("rb") as file:
            decoder = FrameDecoder()
            frames = decoder.feed(file.read(FRAME_LIMIT))
    except FileNotFoundError:
        raise NotFoundError(f"There is no journal {str(path)!r}.") from None
    if not frames or frames[0].kind != KIND_HEADER or frames[0].offset != len(MAGIC):
        raise CorruptDataError(f"{str(path)!r} does not begin with a journal's header.")
    return decode_header(frames[0].payload)
