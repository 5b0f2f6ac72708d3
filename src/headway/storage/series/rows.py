"""Rows of metrics out of a stream's bytes, many at a time.

The frames are those of docs/internals/tracking.md, section 2. Runs of equal frames are found and taken apart with NumPy;
whatever is not as expected goes through :class:`headway.journal.decoding.FrameDecoder`, so damage is seen here exactly as
everywhere else. The tests hold this against a decoder that takes one row at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.errors import CorruptDataError
from headway.journal.decoding import FrameDecoder
from headway.journal.frames import (
    FRAME_LIMIT,
    FRAME_OVERHEAD,
    KIND_ENTRY,
    KIND_ROW,
    KIND_SCHEMA,
    LAST_KIND,
    MAGIC,
    PREFIX,
)
from headway.storage.series.arrays import Bits
from headway.storage.series.axes import Axes
from headway.storage.series.checksums import holds
from headway.storage.series.payloads import HEAD, LARGEST_SEQUENCE, ROW_HEAD, Schema, read_entry, read_schema

NANOSECONDS = 1_000_000
"""In a millisecond, which is what is kept."""
_HAS_STEP, _HAS_EPOCH = 1, 2
_TOGETHER = 256
"""Rows whose checksums are verified together; of fewer each by itself."""
_LEAST_RUN, _FIRST_WINDOW, _PATIENCE = 16, 64, 64
"""Rows that make a run; where looking for one begins; how many single rows follow a failed look."""
LONGEST_SEARCH = 16 << 20
"""Bytes without any frame after which a stretch counts as damage although its end was not seen."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one schema, in the order logged."""

    schema: Schema
    axes: Axes
    frames: NDArray[np.uint8]
    """Rows × bytes: the frames as they came."""

    def __len__(self) -> int:
        return len(self.frames)

    def bits(self, columns: Sequence[int] | slice = slice(None)) -> Bits:
        """columns × rows. A NaN is the canonical one."""
        values = self.frames[:, HEAD:].view("<u8")[:, columns]
        found: Bits = np.array(values.T, np.uint64, order="C")
        for place in np.flatnonzero(self.schema.floats[columns]):
            numbers = found[place].view(np.float64)
            undefined = np.isnan(numbers)
            if undefined.any():
                numbers[undefined] = np.nan
        return found


@dataclass
class Report:
    """What was wrong with a stream so far. It never stops folding."""

    damaged: int = 0
    """Bytes that hold no readable frame."""
    stretches: int = 0
    repeated: int = 0
    """Rows and entries that were there before."""
    unreadable: int = 0
    """Whole frames that are no row, schema or entry that can be used."""
    lost: int = 0
    """Bytes that were given back before they were folded: the store is older than the streams."""

    def add(self, other: Report) -> None:
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)


@dataclass
class Decoded:
    """What some bytes of a stream hold."""

    rows: list[Rows] = field(default_factory=list)
    """One item a schema."""
    schemas: dict[int, Schema] = field(default_factory=dict)
    """Those that were not known before."""
    entries: list[dict[str, Any]] = field(default_factory=list)
    end: int = 0
    """Where in the stream to go on."""
    sequence: int = 0
    """Of the last row or entry."""
    report: Report = field(default_factory=Report)

    @property
    def points(self) -> int:
        return sum(len(rows) * len(rows.schema.columns) for rows in self.rows)


def decode(
    data: bytes, offset: int, schemas: Mapping[int, Schema], sequence: int = 0, *, final: bool = False
) -> Decoded:
    """The rows, schemas and entries in ``data``, which lies at ``offset`` of its stream.

    Args:
        data: Bytes from the beginning of a frame (or of the stream) on.
        offset: Where they lie.
        schemas: Those that came before, by number.
        sequence: The number of the last row or entry that came before.
        final: Whether nothing follows: what is incomplete at the end is then damage, and not waited for.
    """
    walk = _Walk(data, offset, schemas)
    walk.run(final)
    return walk.finish(sequence)


class _Walk:
    """One pass over some bytes: first where the frames lie, then what they hold."""

    def __init__(self, data: bytes, offset: int, schemas: Mapping[int, Schema]) -> None:
        self._data, self._offset = data, offset
        self._view = memoryview(data)
        self._known = dict(schemas)
        self._position = 0
        self._patience = 0
        self._runs: list[NDArray[np.int64]] = []
        """Places of rows, in order."""
        self._singles: list[int] = []
        self._entries: list[tuple[int, dict[str, Any]]] = []
        """Each with the number of rows before it."""
        self._count = 0
        self.found = Decoded()

    def run(self, final: bool) -> None:
        """Find the frames. What the fast way cannot take is left to the journal's own decoder."""
        whole = self._skip_magic() and self._fast()
        if not whole or (final and self._position < len(self._data)):
            self._careful(final)
        self.found.end = self._offset + self._position

    def _skip_magic(self) -> bool:
        if self._offset == 0 and self._data[: len(MAGIC)] == MAGIC:
            self._position = len(MAGIC)
        return self._offset > 0 or self._position > 0

    def _fast(self) -> bool:
        """Take frames as long as all is well; whether the rest, if any, is the beginning of a frame."""
        data, view, size = self._data, self._view, len(self._data)
        crc32, unpack = zlib.crc32, PREFIX.unpack_from
        position = self._position
        while position + FRAME_OVERHEAD <= size:
            length, crc, kind = unpack(data, position)
            end = position + 8 + length
            if not (1 <= length <= FRAME_LIMIT - 8 and 1 <= kind <= LAST_KIND):
                break
            if end > size:
                self._position = position
                return True
            if kind == KIND_ROW and (run := self._row_run(position, length)):
                position = run
                continue
            if crc32(view[position + 8 : end]) != crc:
                break
            self._take(kind, position, end)
            position = end
        self._position = position
        return position + FRAME_OVERHEAD > size

    def _row_run(self, position: int, length: int) -> int:
        """The end of a run of rows like the one at ``position`` whose checksums hold; 0 when there is none."""
        if self._patience:
            self._patience -= 1
            return 0
        size, window, start = length + 8, _FIRST_WINDOW, position
        schema = self._data[position + 9 : position + 13]
        known = self._known.get(int.from_bytes(schema, "little"))
        if known is None or known.frame_size != size:
            return 0
        while (available := (len(self._data) - position) // size) > 0:
            taken = self._alike(position, size, min(window, available))
            position += taken * size
            if taken < min(window, available):
                break
            window *= 8
        count = (position - start) // size
        if count < _LEAST_RUN:
            self._patience = _PATIENCE
            return 0
        self._flush()
        self._runs.append(np.arange(start, position, size))
        self._count += count
        return position

    def _alike(self, position: int, size: int, count: int) -> int:
        """How many of ``count`` frames of ``size`` bytes have the head of the first one, and a checksum that holds."""
        frames = np.ndarray((count,), ROW_HEAD, self._data, position, (size,))
        head = frames[0]
        fits = (
            (frames["length"] == head["length"]) & (frames["schema"] == head["schema"]) & (frames["kind"] == KIND_ROW)
        )
        fits &= frames["sequence"] <= LARGEST_SEQUENCE
        taken = count if fits.all() else int(fits.argmin())
        if taken >= _TOGETHER and holds(self._view[position : position + taken * size], frames["crc"][:taken], size):
            return taken
        crc32, view = zlib.crc32, self._view
        starts = range(position + 8, position + taken * size, size)
        rest = size - 8
        found = np.fromiter([crc32(view[at : at + rest]) for at in starts], np.uint32, taken)
        wrong = found != frames["crc"][:taken]
        return int(wrong.argmax()) if wrong.any() else taken

    def _careful(self, final: bool) -> None:
        """The rest by the journal's decoder."""
        base = self._offset + self._position
        decoder = FrameDecoder(base)
        rest = self._data[self._position :]
        frames = decoder.feed(rest)
        if final:
            frames += decoder.finish()
        for frame in frames:
            start = frame.offset - self._offset
            self._take(frame.kind, start, start + FRAME_OVERHEAD + len(frame.payload))
        report, end = self.found.report, decoder.offset - self._offset
        damage = [item.length for item in decoder.damage]
        if final:
            end = len(self._data)
            damage += [decoder.torn] if decoder.torn else []
        elif len(self._data) - end > LONGEST_SEARCH:
            # Searched in vain; a frame that begins near the end may still become whole.
            skipped = len(self._data) - 2 * FRAME_LIMIT - end
            damage.append(skipped)
            end += skipped
        report.damaged += sum(damage)
        report.stretches += len(damage)
        self._position = end

    def _take(self, kind: int, start: int, end: int) -> None:
        if kind == KIND_ROW:
            self._take_row(start, end)
        elif kind in (KIND_SCHEMA, KIND_ENTRY):
            payload = self._data[start + FRAME_OVERHEAD : end]
            try:
                if kind == KIND_SCHEMA:
                    self._take_schema(read_schema(payload))
                else:
                    self._entries.append((self._count, read_entry(payload)))
            except CorruptDataError:
                self.found.report.unreadable += 1

    def _take_schema(self, schema: Schema) -> None:
        known = self._known.setdefault(schema.number, schema)
        if known is schema:
            self.found.schemas[schema.number] = schema
        elif known != schema:
            self.found.report.unreadable += 1

    def _take_row(self, start: int, end: int) -> None:
        data = self._data
        known = self._known.get(int.from_bytes(data[start + 9 : start + 13], "little")) if end - start >= HEAD else None
        if known is None or known.frame_size != end - start or data[start + 20] & 0x80:
            self.found.report.unreadable += 1
            return
        self._singles.append(start)
        self._count += 1

    def _flush(self) -> None:
        if self._singles:
            self._runs.append(np.array(self._singles, np.int64))
            self._singles = []

    def finish(self, sequence: int) -> Decoded:
        """What the frames hold, without repetitions."""
        self._flush()
        found = self.found
        places = np.concatenate(self._runs) if self._runs else np.empty(0, np.int64)
        heads = self._heads(places)
        kept, kept_entries, found.sequence = self._fresh(heads["sequence"].astype(np.int64), sequence)
        found.report.repeated += int(len(places) - kept.sum()) + len(self._entries) - len(kept_entries)
        found.entries = kept_entries
        numbers = heads["schema"]
        if len(places) and kept.all() and not (numbers != numbers[0]).any():
            found.rows.append(self._rows(self._known[int(numbers[0])], places, heads))
            return found
        order, first = np.unique(numbers, return_index=True)
        for number in order[np.argsort(first)]:
            chosen = kept & (numbers == number)
            if chosen.any():
                found.rows.append(self._rows(self._known[int(number)], places[chosen], heads[chosen]))
        return found

    def _heads(self, places: NDArray[np.int64]) -> NDArray[np.void]:
        if not len(places):
            return np.empty(0, ROW_HEAD)
        heads: NDArray[np.void] = self._frames(places, HEAD).view(ROW_HEAD)[:, 0]
        return heads

    def _frames(self, places: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """``size`` bytes from each place on. Without a copy where the places lie equally far apart."""
        strides = np.diff(places)
        stride = int(strides[0]) if len(strides) else size
        found: NDArray[np.uint8]
        if not (strides != stride).any():
            found = np.ndarray((len(places), size), np.uint8, self._data, int(places[0]), (stride, 1))
            return found
        view = self._view
        joined = b"".join([view[at : at + size] for at in places.tolist()])
        found = np.frombuffer(joined, np.uint8).reshape(-1, size)
        return found

    def _fresh(self, numbers: NDArray[np.int64], last: int) -> tuple[NDArray[np.bool_], list[dict[str, Any]], int]:
        """Which rows and entries have a number above all before them, and the greatest number."""
        if not self._entries and (numbers[1:] > numbers[:-1]).all() and (not len(numbers) or numbers[0] > last):
            return np.ones(len(numbers), np.bool_), [], int(numbers[-1]) if len(numbers) else last
        places = [place for place, _ in self._entries]
        merged = np.insert(numbers, places, [entry["sequence"] for _, entry in self._entries])
        before = np.maximum.accumulate(np.concatenate([[last], merged]))
        kept = merged > before[:-1]
        mine = np.array(places, np.int64) + np.arange(len(places))
        entries = [entry for (_, entry), keep in zip(self._entries, kept[mine], strict=True) if keep]
        return np.delete(kept, mine), entries, int(before[-1])

    def _rows(self, schema: Schema, places: NDArray[np.int64], heads: NDArray[np.void]) -> Rows:
        has_step = (heads["flags"] & _HAS_STEP) != 0
        has_epoch = (heads["flags"] & _HAS_EPOCH) != 0
        epoch = np.where(has_epoch, heads["epoch"], 0.0)
        epoch[np.isnan(epoch)] = np.nan
        axes = Axes(
            heads["sequence"].astype(np.int64),
            heads["time"] // NANOSECONDS,
            np.where(has_step, heads["step"], 0),
            has_step,
            epoch,
            has_epoch,
        )
        return Rows(schema, axes, self._frames(places, schema.frame_size))
