"""Blocks out of rows: the columns packed, with their statistics."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from headway.storage.series.arrays import Bits, pack_floats, pack_integers
from headway.storage.series.axes import Axes, Extent, extent_of, pack_axes
from headway.storage.series.base import block_limit
from headway.storage.series.payloads import Schema
from headway.storage.series.statistics import FINE, TOTAL, Bins, ColumnStatistics, describe

_EXTENT = struct.Struct("<qqq?qq?qdd?")
SLAB_CELLS = 1 << 20
"""Values that are described at once: more would only fill memory."""


class BuiltChunk(NamedTuple):
    """One column of a block, as bytes; statistics only where the rows are enough for them."""

    total: bytes | None
    middle: bytes | None
    fine: bytes | None
    data: bytes


class BuiltBlock(NamedTuple):
    """A block as bytes."""

    first_row: int
    rows: int
    first_sequence: int
    last_sequence: int
    extent: bytes
    axes: bytes
    chunks: list[BuiltChunk]
    totals: Bins


class Stretch(NamedTuple):
    """Consecutive rows of one schema: their axes, and columns × rows."""

    axes: Axes
    bits: Bits


def joined(parts: Sequence[Stretch]) -> Stretch:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    axes = Axes.joined([part.axes for part in parts])
    return Stretch(axes, np.concatenate([part.bits for part in parts], axis=1))


def build(schema: Schema, stretch: Stretch, first_row: int) -> Iterator[BuiltBlock]:
    """The blocks that hold ``stretch``: full ones, and one with what is left."""
    limit = block_limit(len(schema.columns))
    for start in range(0, len(stretch.axes), limit):
        chosen = slice(start, start + limit)
        axes, bits = stretch.axes.take(chosen), stretch.bits[:, chosen]
        yield _block(schema, Stretch(axes, bits), first_row + start)


def describe_all(schema: Schema, stretch: Stretch, first_row: int) -> Iterator[tuple[slice, ColumnStatistics, bool]]:
    """The statistics of neighbouring columns of one type: which columns, what they come to, whether they are float64."""
    for columns, floats in _runs(schema, len(stretch.axes)):
        bits = np.ascontiguousarray(stretch.bits[columns])
        yield columns, describe(bits, stretch.axes, first_row, floats=floats), floats


def pack_extent(extent: Extent) -> bytes:
    return _EXTENT.pack(*extent)


def unpack_extent(data: bytes) -> Extent:
    return Extent(*_EXTENT.unpack(data))


def _block(schema: Schema, stretch: Stretch, first_row: int) -> BuiltBlock:
    axes, rows = stretch.axes, len(stretch.axes)
    totals = np.empty(len(schema.columns), TOTAL)
    chunks: list[BuiltChunk] = []
    for columns, found, floats in describe_all(schema, stretch, first_row):
        totals[columns] = found.total
        for place, bits in enumerate(stretch.bits[columns]):
            bits = np.ascontiguousarray(bits)
            chunks.append(
                BuiltChunk(
                    found.total[place].tobytes() if rows > FINE else None,
                    None if found.middle is None else found.middle[place].tobytes(),
                    None if found.fine is None else found.fine[place].tobytes(),
                    pack_floats(bits) if floats else pack_integers(bits.view(np.int64)),
                )
            )
    extent = pack_extent(extent_of(axes))
    first, last = int(axes.sequence[0]), int(axes.sequence[-1])
    return BuiltBlock(first_row, rows, first, last, extent, pack_axes(axes), chunks, totals)


def _runs(schema: Schema, rows: int) -> Iterator[tuple[slice, bool]]:
    """Neighbouring columns of one type, few enough to be described at once."""
    most = max(1, SLAB_CELLS // max(1, rows))
    start, floats = 0, schema.floats
    for place in range(1, len(floats) + 1):
        if place == len(floats) or floats[place] != floats[start] or place - start == most:
            yield slice(start, place), bool(floats[start])
            start = place
