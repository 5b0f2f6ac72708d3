"""What all metrics of a row have in common: its number in the stream, its time, its step and its epoch."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import Self

from headway.domain.metrics import Axis
from headway.errors import CorruptDataError
from headway.storage.series.arrays import Bits, Floats, Integers, Mask, pack_floats, pack_integers, unpack, unpack_at

_LENGTHS = struct.Struct("<6I")
_ALL, _NONE, _SOME = b"\x01", b"\x00", b"\x02"


@dataclass(frozen=True, eq=False)
class Axes:
    """Columns of equal length. ``step`` and ``epoch`` are 0 where they are not given."""

    sequence: Integers
    time: Integers
    """Milliseconds since 1970."""
    step: Integers
    has_step: Mask
    epoch: Floats
    has_epoch: Mask

    def __len__(self) -> int:
        return len(self.sequence)

    def take(self, which: Any) -> Self:
        """Those rows that an index, a mask or a slice chooses."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(Axes)))

    @classmethod
    def joined(cls, parts: Sequence[Axes]) -> Self:
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Axes)))


class Span(NamedTuple):
    """How far some rows reach along one axis."""

    rows: int
    """Rows that have a place on it."""
    low: float
    high: float
    ascending: bool
    """Whether no row lies before the one above it. Rows without a place do not count."""


class Extent(NamedTuple):
    """How far some rows reach along every axis. ``low_step`` and ``high_step`` are exact."""

    steps: int
    low_step: int
    high_step: int
    steps_ascend: bool
    low_time: int
    high_time: int
    times_ascend: bool
    epochs: int
    low_epoch: float
    high_epoch: float
    epochs_ascend: bool

    def span(self, axis: Axis, rows: int) -> Span:
        """Along one axis; for :attr:`Axis.INDEX` there is none."""
        if axis is Axis.STEP:
            return Span(self.steps, self.low_step, self.high_step, self.steps_ascend)
        if axis is Axis.TIME:
            return Span(rows, self.low_time, self.high_time, self.times_ascend)
        return Span(self.epochs, self.low_epoch, self.high_epoch, self.epochs_ascend)


def extent_of(axes: Axes) -> Extent:
    """How far ``axes`` reach."""
    step, time, epoch = axes.step[axes.has_step], axes.time, axes.epoch[axes.has_epoch]
    epoch = epoch[~np.isnan(epoch)]
    return Extent(
        len(step),
        int(step.min(initial=2**63 - 1)),
        int(step.max(initial=-(2**63))),
        _ascends(step),
        int(time.min(initial=2**63 - 1)),
        int(time.max(initial=-(2**63))),
        _ascends(time),
        len(epoch),
        float(epoch.min(initial=np.inf)),
        float(epoch.max(initial=-np.inf)),
        _ascends(epoch),
    )


def _ascends(numbers: Any) -> bool:
    return not (numbers[1:] < numbers[:-1]).any()


def pack_axes(axes: Axes) -> bytes:
    """Six packed arrays (sequence, time, and mask and numbers of step and epoch), after their lengths."""
    parts = (
        pack_integers(axes.sequence),
        pack_integers(axes.time),
        _pack_mask(axes.has_step),
        pack_integers(axes.step[axes.has_step]),
        _pack_mask(axes.has_epoch),
        pack_floats(np.ascontiguousarray(axes.epoch[axes.has_epoch]).view(np.uint64)),
    )
    return _LENGTHS.pack(*map(len, parts)) + b"".join(parts)


class PackedAxes:
    """Axes that unpack only what is asked for."""

    def __init__(self, data: bytes, rows: int) -> None:
        self._rows = rows
        self._parts = list(_split(data))

    @cached_property
    def sequence(self) -> Integers:
        return self._whole(0)

    @cached_property
    def time(self) -> Integers:
        return self._whole(1)

    @cached_property
    def has_step(self) -> Mask:
        return _unpack_mask(self._parts[2], self._rows)

    @cached_property
    def step(self) -> Integers:
        found: Integers = self._spread(unpack(self._parts[3]).view(np.int64), self.has_step)
        return found

    @cached_property
    def has_epoch(self) -> Mask:
        return _unpack_mask(self._parts[4], self._rows)

    @cached_property
    def epoch(self) -> Floats:
        found: Floats = self._spread(unpack(self._parts[5]).view(np.float64), self.has_epoch)
        return found

    def at(self, rows: Integers) -> Axes:
        """Those of some rows; what is regular is not unpacked for it."""
        step, has_step = self._given_at(2, rows)
        epoch, has_epoch = self._given_at(4, rows)
        sequence, time = (unpack_at(self._parts[part], rows).view(np.int64) for part in (0, 1))
        return Axes(sequence, time, step.view(np.int64), has_step, epoch.view(np.float64), has_epoch)

    def _given_at(self, part: int, rows: Integers) -> tuple[Bits, Mask]:
        """Numbers (as bits) and mask of some rows; the mask is this part, the numbers are the next."""
        mask = self._parts[part]
        if mask == _ALL:
            return unpack_at(self._parts[part + 1], rows), np.ones(len(rows), np.bool_)
        if mask == _NONE:
            return np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.bool_)
        numbers, given = (self.step, self.has_step) if part == 2 else (self.epoch, self.has_epoch)
        return numbers[rows].view(np.uint64), given[rows]

    def whole(self) -> Axes:
        """All of it."""
        return Axes(self.sequence, self.time, self.step, self.has_step, self.epoch, self.has_epoch)

    def _whole(self, part: int) -> Integers:
        found = unpack(self._parts[part]).view(np.int64)
        if len(found) != self._rows:
            raise CorruptDataError(f"A chunk of metrics has {len(found)} places for {self._rows} rows.")
        return found

    def _spread(self, numbers: Any, given: Mask) -> Any:
        """``numbers`` at the rows that have one, zero elsewhere."""
        if len(numbers) == self._rows:
            return numbers
        if len(numbers) != np.count_nonzero(given):
            raise CorruptDataError(f"A chunk of metrics has {len(numbers)} places for {self._rows} rows.")
        found = np.zeros(self._rows, numbers.dtype)
        found[given] = numbers
        return found


def _split(data: bytes) -> Iterable[bytes]:
    try:
        lengths = _LENGTHS.unpack_from(data)
    except struct.error as error:
        raise CorruptDataError(f"The axes of a chunk of metrics cannot be read: {error}.") from error
    at = _LENGTHS.size
    for length in lengths:
        yield data[at : at + length]
        at += length


def _pack_mask(mask: Mask) -> bytes:
    if mask.all():
        return _ALL
    if not mask.any():
        return _NONE
    return _SOME + pack_integers(np.packbits(mask).astype(np.int64))


def _unpack_mask(data: bytes, rows: int) -> Mask:
    if data in (_ALL, _NONE):
        return np.full(rows, data == _ALL)
    if data[:1] != _SOME:
        raise CorruptDataError("The axes of a chunk of metrics cannot be read.")
    octets = unpack(data[1:]).astype(np.uint8)
    if len(octets) != -(-rows // 8):
        raise CorruptDataError(f"A chunk of metrics has a mask of {len(octets)} bytes for {rows} rows.")
    return np.unpackbits(octets, count=rows).astype(np.bool_)
