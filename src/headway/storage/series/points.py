"""Points as columns: what reading gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from headway.domain.metrics import Axis
from headway.storage.series.arrays import Bits, Floats, Integers, Mask
from headway.storage.series.axes import Axes


@dataclass(frozen=True, eq=False)
class Points:
    """Columns of equal length. ``step`` and ``epoch`` are 0 where they are not given.

    ``row`` is the point's number among those of its schema; ``sequence`` its row's number in the stream. An aggregate has
    neither: both are 0 there.
    """

    row: Integers
    sequence: Integers
    time: Integers
    """Milliseconds since 1970."""
    step: Integers
    has_step: Mask
    epoch: Floats
    has_epoch: Mask
    bits: Bits
    """The 8 bytes of each value."""
    is_integer: Mask
    """Whether they are an int64 (or a float64)."""

    def __len__(self) -> int:
        return len(self.bits)

    @classmethod
    def of(cls, axes: Axes, bits: Bits, first_row: int, *, floats: bool) -> Self:
        """Consecutive rows of one column."""
        row = np.arange(first_row, first_row + len(bits))
        whole = np.full(len(bits), not floats)
        return cls(row, axes.sequence, axes.time, axes.step, axes.has_step, axes.epoch, axes.has_epoch, bits, whole)

    @classmethod
    def none(cls) -> Self:
        i, f, m = np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.bool_)
        return cls(i, i, i, i, m, f, m, np.empty(0, np.uint64), m)

    @classmethod
    def of_marks(cls, marks: Mapping[str, NDArray[Any]], *, floats: bool) -> Self:
        """Points that statistics kept, as the columns of :data:`headway.storage.series.statistics.MARK`."""
        given = marks["given"]
        return cls(
            marks["row"],
            marks["sequence"],
            marks["time"],
            marks["step"],
            (given & 1) != 0,
            marks["epoch"],
            (given & 2) != 0,
            marks["value"],
            np.full(len(given), not floats),
        )

    @classmethod
    def joined(cls, parts: Sequence[Points]) -> Self:
        """One after the other."""
        if not parts:
            return cls.none()
        if len(parts) == 1 and isinstance(parts[0], cls):
            return parts[0]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Points)))

    def take(self, which: Any) -> Self:
        """Those that an index, a mask or a slice chooses."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(Points)))

    def numbers(self) -> Floats:
        """The values as float64: for comparing and drawing, where the last digit of a huge integer does not matter."""
        if not self.is_integer.any():
            return self.bits.view(np.float64)
        whole = self.bits.view(np.int64).astype(np.float64)
        return np.where(self.is_integer, whole, self.bits.view(np.float64))

    def along(self, axis: Axis) -> NDArray[Any]:
        """The places along an axis (not :attr:`Axis.INDEX`). Without a step that is 0, without an epoch it is NaN."""
        if axis is Axis.STEP:
            return self.step
        return self.time if axis is Axis.TIME else np.where(self.has_epoch, self.epoch, np.nan)

    def values(self) -> list[int | float]:
        """The values as Python numbers."""
        if not self.is_integer.any():
            numbers: list[int | float] = self.bits.view(np.float64).tolist()
            return numbers
        whole, real = self.bits.view(np.int64).tolist(), self.bits.view(np.float64).tolist()
        return [i if chosen else f for i, f, chosen in zip(whole, real, self.is_integer.tolist(), strict=True)]


def merged_by_sequence(parts: Iterable[Points]) -> Points:
    """Points of one stream in the order logged."""
    found = [part for part in parts if len(part)]
    if len(found) == 1:
        return found[0]
    joined = Points.joined(found)
    return joined.take(np.argsort(joined.sequence, kind="stable"))
