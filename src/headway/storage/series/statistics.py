"""Statistics of column chunks: for bins of 256 and 4,096 rows and for a whole chunk, the real points that show it.

A bin keeps its first, last, smallest, largest and first NaN point, so a picture made of bins shows only points that were
logged, and no extreme and no NaN is lost. docs/internals/series.md, section 4, describes the bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headway.storage.series.arrays import Bits
from headway.storage.series.axes import Axes

FINE, MIDDLE = 256, 4096
"""Rows in a bin of the two lower levels."""
LEVELS = (FINE, MIDDLE)
PER_MIDDLE = MIDDLE // FINE

MARK = np.dtype(
    [
        ("row", "<i8"),
        ("sequence", "<i8"),
        ("step", "<i8"),
        ("time", "<i8"),
        ("epoch", "<f8"),
        ("value", "<u8"),
        ("given", "u1"),
    ]
)
"""One logged point. ``row`` counts the rows of its schema; ``given`` bit 0: it has a step, bit 1: it has an epoch."""
BIN = np.dtype(
    [("first", MARK), ("last", MARK), ("least", MARK), ("greatest", MARK), ("undefined", MARK), ("nan", "<u4")]
)
"""``undefined`` is the first NaN; it means nothing where ``nan``, the number of NaN, is 0."""
TOTAL = np.dtype([("bin", BIN), ("latest", MARK), ("count", "<i8"), ("nan", "<i8"), ("finite", "<i8"), ("mean", "<f8")])
"""A whole column: its bin, the point at its greatest step, and the mean of its finite values."""
FINE_BIN = np.dtype(
    [
        ("first", "<u8"),
        ("last", "<u8"),
        ("least", "<u8"),
        ("greatest", "<u8"),
        ("at_least", "u1"),
        ("at_greatest", "u1"),
        ("at_undefined", "u1"),
        ("nan", "<u2"),
    ]
)
"""256 rows of one column: values, and where in the bin they lie. Steps and times are looked up in the chunk's axes."""
MARKS = ("first", "last", "least", "greatest", "undefined")

Matrix: TypeAlias = NDArray[Any]
"""Columns × rows, float64 or int64."""
Bins: TypeAlias = NDArray[np.void]


class ColumnStatistics(NamedTuple):
    """Of several columns of one chunk: columns × bins; None where the rows are too few for a level."""

    fine: Bins | None
    middle: Bins | None
    total: Bins
    """One a column."""


def describe(bits: Bits, axes: Axes, first_row: int, *, floats: bool) -> ColumnStatistics:
    """The statistics of columns of one type.

    Args:
        bits: columns × rows.
        axes: Of the rows.
        first_row: What number the first row has in its schema.
        floats: Whether the bits are float64, or int64.
    """
    values = bits.view(np.float64 if floats else np.int64)
    fine = _fine(values, bits)
    rows = values.shape[1]
    middle = None
    if rows > FINE:
        middle = _marked(_merged(fine, PER_MIDDLE, floats), bits, axes, first_row, MIDDLE)
    total = np.zeros(len(values), TOTAL)
    bins = _merged(fine, fine.shape[1], floats)
    total["bin"] = _marked(bins, bits, axes, first_row, rows)[:, 0]
    latest = _latest_row(axes)
    total["latest"] = _marks(np.full(len(values), latest), bits, axes, first_row)
    total["count"], total["nan"] = rows, total["bin"]["nan"]
    total["finite"], total["mean"] = _means(values, floats)
    return ColumnStatistics(fine if rows > FINE else None, middle if rows > MIDDLE else None, total)


def merge_totals(earlier: Bins, later: Bins, *, floats: NDArray[np.bool_]) -> Bins:
    """What two stretches of the same columns come to, the second logged after the first."""
    found: Bins = earlier.copy()
    found["bin"]["last"] = later["bin"]["last"]
    for name, smaller in (("least", True), ("greatest", False)):
        chosen = _chosen(earlier["bin"][name]["value"], later["bin"][name]["value"], floats, smaller=smaller)
        found["bin"][name][chosen] = later["bin"][name][chosen]
    fresh = (earlier["nan"] == 0) & (later["nan"] > 0)
    found["bin"]["undefined"][fresh] = later["bin"]["undefined"][fresh]
    has, had = later["latest"]["given"] & 1, earlier["latest"]["given"] & 1
    newer = (has > had) | ((has == had) & ((had == 0) | (later["latest"]["step"] >= earlier["latest"]["step"])))
    found["latest"][newer] = later["latest"][newer]
    for name in ("count", "nan", "finite"):
        found[name] = earlier[name] + later[name]
    found["bin"]["nan"] = np.minimum(found["nan"], 2**32 - 1)
    share = later["finite"] / np.maximum(found["finite"], 1)
    with np.errstate(invalid="ignore"):
        found["mean"] = np.where(
            later["finite"] > 0, earlier["mean"] * (1 - share) + later["mean"] * share, found["mean"]
        )
    return found


def _chosen(old: Bits, new: Bits, floats: NDArray[np.bool_], *, smaller: bool) -> NDArray[np.bool_]:
    """Where the later extreme goes beyond the earlier one, or the earlier one is NaN."""
    compare = np.less if smaller else np.greater
    old, new = np.ascontiguousarray(old), np.ascontiguousarray(new)
    with np.errstate(invalid="ignore"):
        real = compare(new.view(np.float64), old.view(np.float64)) | np.isnan(old.view(np.float64))
    chosen: NDArray[np.bool_] = np.where(floats, real, compare(new.view(np.int64), old.view(np.int64)))
    return chosen


class _Found(NamedTuple):
    """Rows that stand out in each bin: columns × bins each."""

    least: NDArray[np.int64]
    greatest: NDArray[np.int64]
    undefined: NDArray[np.int64]
    nan: NDArray[np.int64]


def _fine(values: Matrix, bits: Bits) -> Bins:
    rows = values.shape[1]
    whole = rows // FINE * FINE
    parts = [(start, stop) for start, stop in ((0, whole), (whole, rows)) if stop > start]
    return np.concatenate([_fine_part(values[:, a:b], bits[:, a:b], min(FINE, b - a)) for a, b in parts], axis=1)


def _fine_part(values: Matrix, bits: Bits, size: int) -> Bins:
    """Bins of exactly ``size`` rows."""
    columns, rows = values.shape
    found = _extremes(values.reshape(columns, -1, size))
    bits = bits.reshape(columns, -1, size)
    bins = np.empty((columns, rows // size), FINE_BIN)
    bins["first"], bins["last"] = bits[:, :, 0], bits[:, :, -1]
    for name, at in (("least", found.least), ("greatest", found.greatest)):
        bins[name] = np.take_along_axis(bits, at[:, :, None], 2)[:, :, 0]
        bins[f"at_{name}"] = at
    bins["at_undefined"], bins["nan"] = found.undefined, found.nan
    return bins


def _extremes(values: NDArray[Any]) -> _Found:
    """Along the last axis: where the first smallest and largest number lies that is not NaN, and the first NaN."""
    undefined = np.isnan(values) if values.dtype.kind == "f" else None
    if undefined is None or not undefined.any():
        none = np.zeros(values.shape[:-1], np.int64)
        return _Found(values.argmin(-1), values.argmax(-1), none, none)
    least = np.where(undefined, np.inf, values).argmin(-1)
    greatest = np.where(undefined, -np.inf, values).argmax(-1)
    # Where nothing but infinities of the wrong sign lies beside the NaN, the NaN was taken for one of them.
    number = (~undefined).argmax(-1)
    for at in (least, greatest):
        wrong = np.take_along_axis(undefined, at[..., None], -1)[..., 0]
        at[wrong] = number[wrong]
    return _Found(least, greatest, undefined.argmax(-1), undefined.sum(-1))


def _merged(fine: Bins, group: int, floats: bool) -> _Found:
    """What ``group`` fine bins each come to: rows within the larger bin."""
    columns, count = fine.shape
    # A repetition of the last bin changes no extreme, and the first of equals is taken.
    padded = np.concatenate([fine, np.repeat(fine[:, -1:], -count % group, axis=1)], axis=1)
    padded = padded.reshape(columns, -1, group)
    kind = np.float64 if floats else np.int64
    rows = []
    for name, which in (("least", 0), ("greatest", 1)):
        values = np.ascontiguousarray(padded[name]).view(kind)
        bins = _extremes(values)[which]
        rows.append(bins * FINE + _at(padded[f"at_{name}"], bins))
    nan = fine["nan"].astype(np.int64)
    nan = np.concatenate([nan, np.zeros((columns, -count % group), np.int64)], axis=1).reshape(columns, -1, group)
    first = (nan > 0).argmax(-1)
    return _Found(rows[0], rows[1], first * FINE + _at(padded["at_undefined"], first), nan.sum(-1))


def _at(values: NDArray[Any], where: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.take_along_axis(values, where[..., None], -1)[..., 0].astype(np.int64)


def _marked(found: _Found, bits: Bits, axes: Axes, first_row: int, size: int) -> Bins:
    """Bins of ``size`` rows (the last may have fewer) as points."""
    rows = bits.shape[1]
    starts = np.arange(0, rows, size)
    ends = np.minimum(starts + size, rows) - 1
    bins = np.zeros((len(bits), len(starts)), BIN)
    places = (starts, ends, found.least + starts, found.greatest + starts, found.undefined + starts)
    for name, place in zip(MARKS, places, strict=True):
        bins[name] = _marks(np.broadcast_to(place, bins.shape), bits, axes, first_row)
    bins["nan"] = found.nan
    return bins


def _marks(rows: NDArray[np.int64], bits: Bits, axes: Axes, first_row: int) -> Bins:
    """The points at ``rows`` (columns × any, or one a column)."""
    marks = np.empty(rows.shape, MARK)
    marks["row"] = rows + first_row
    for name in ("sequence", "step", "time", "epoch"):
        marks[name] = getattr(axes, name)[rows]
    marks["given"] = axes.has_step[rows] | (axes.has_epoch[rows].astype(np.uint8) << 1)
    flat = rows.reshape(len(bits), -1)
    marks["value"] = np.take_along_axis(bits, flat, 1).reshape(rows.shape)
    return marks


def _latest_row(axes: Axes) -> int:
    """The row at the greatest step, the last among equals; without steps the last one."""
    if not axes.has_step.any():
        return len(axes) - 1
    step = axes.step if axes.has_step.all() else np.where(axes.has_step, axes.step, -(2**63))
    last: int = len(axes) - 1 - int(step[::-1].argmax())
    if not axes.has_step[last]:
        last = int(np.flatnonzero(axes.has_step)[-1])
    return last


def _means(values: Matrix, floats: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many values of each column are finite, and their mean."""
    rows = values.shape[1]
    with np.errstate(all="ignore"):
        means = values.mean(1, dtype=np.float64)
        counts = np.full(len(values), rows)
        if floats:
            for column in np.flatnonzero(~np.isfinite(means)):
                finite = values[column][np.isfinite(values[column])]
                counts[column] = len(finite)
                # Divided first, so that the sum of the largest numbers does not overflow.
                means[column] = (finite / max(1, len(finite))).sum() if len(finite) else 0.0
    return counts, means
