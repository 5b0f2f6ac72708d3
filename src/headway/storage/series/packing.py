"""Points as ``application/vnd.headway.columns``: exact, compact, and at constant memory however many there are.

docs/internals/tracking.md, section 3, is the format. Columns stand one after the other, so long lines are gone through once
a column; what that costs is unpacking, and no answer has to be kept anywhere.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from headway.domain.metrics import Axis
from headway.storage.series.charts import Window
from headway.storage.series.points import Points

MEDIA_TYPE = "application/vnd.headway.columns"
MAGIC = b"HWC1"
PIECE = 1 << 20
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class PackedLine:
    """A line to be sent. ``batches`` gives its points, some at a time, and may be called again."""

    replica: str | None
    attempt: int | None
    exact: bool
    total: int | None
    """None: as many as there are."""
    batches: Callable[[], Iterable[Points]]
    streams: tuple[tuple[str, int], ...] = ()
    """Which streams the points are of, one after the other, and how many of each; empty where that is not told."""


@dataclass
class _Counts:
    """What a line holds, which decides its columns."""

    points: int = 0
    steps: int = 0
    epochs: int = 0
    integers: int = 0

    def add(self, points: Points) -> None:
        self.points += len(points)
        self.steps += int(np.count_nonzero(points.has_step))
        self.epochs += int(np.count_nonzero(points.has_epoch))
        self.integers += int(np.count_nonzero(points.is_integer))

    def columns(self) -> list[tuple[str, str]]:
        """Names and types: what no point has is left out, and so is a mask that says the same of all."""
        found = []
        if self.steps:
            found.append(("step", "i8"))
        if 0 < self.steps < self.points:
            found.append(("has_step", "u1"))
        found.append(("value", "i8" if 0 < self.integers == self.points else "f8"))
        if 0 < self.integers < self.points:
            found.append(("is_integer", "u1"))
        found.append(("time", "i8"))
        if self.epochs:
            found.append(("epoch", "f8"))
        if 0 < self.epochs < self.points:
            found.append(("has_epoch", "u1"))
        return found


def windowed(batches: Iterable[Points], window: Window) -> Iterator[Points]:
    """Those points that lie in the window, in the order logged."""
    if window.start is None and window.end is None:
        yield from batches
        return
    number = 0
    for points in batches:
        if window.axis is Axis.INDEX:
            inside = window.holds(np.arange(number, number + len(points)))
        elif window.axis is Axis.STEP:
            inside = points.has_step & window.holds(points.step)
        else:
            inside = window.holds(points.along(window.axis))
        number += len(points)
        yield points.take(inside)


def packed(lines: Iterable[PackedLine]) -> Iterator[bytes]:
    """The body, in pieces."""
    held = list(lines)
    counted = [_counted(line) for line in held]
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    for raw in _raw(held, counted):
        for start in range(0, len(raw), PIECE):
            if piece := compressor.compress(raw[start : start + PIECE]):
                yield piece
    yield compressor.flush()


def _counted(line: PackedLine) -> _Counts:
    counts = _Counts()
    for points in line.batches():
        counts.add(points)
    return counts


def _raw(lines: list[PackedLine], counted: list[_Counts]) -> Iterator[bytes]:
    header = []
    for line, counts in zip(lines, counted, strict=True):
        columns = [[name, kind, counts.points] for name, kind in counts.columns()]
        total = counts.points if line.total is None else line.total
        about = {"replica": line.replica, "attempt": line.attempt, "exact": line.exact, "total": total}
        header.append({**about, "streams": line.streams, "columns": columns})
    text = json.dumps({"lines": header}).encode()
    yield MAGIC + _LENGTH.pack(len(text)) + text
    for line, counts in zip(lines, counted, strict=True):
        for name, _ in counts.columns():
            for points in line.batches():
                yield _column(points, name).tobytes()


def _column(points: Points, name: str) -> NDArray[Any]:
    if name == "value":
        return points.bits.astype("<u8", copy=False)
    found: NDArray[Any] = getattr(points, name)
    if found.dtype == np.bool_:
        return found.astype("u1")
    return found.astype("<f8" if name == "epoch" else "<i8", copy=False)
