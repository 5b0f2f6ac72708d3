"""What each series of a run comes to, over all ranks, in the default view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from headway.domain.metrics import SeriesSummary, normal_stage
from headway.storage.series.arrays import Bits
from headway.storage.series.axes import Axes
from headway.storage.series.base import Block, Column, Parts, SeriesSnapshot, StreamKey
from headway.storage.series.lines import Tails
from headway.storage.series.rows import Rows
from headway.storage.series.statistics import FINE, Bins, ColumnStatistics, describe


class _Latest(NamedTuple):
    """Which of several points is the last: the greatest step, then the latest logged."""

    has_step: bool
    step: int
    attempt: int
    time: int
    sequence: int
    value: int | float


@dataclass
class _Sum:
    """What some stretches of a series come to."""

    count: int = 0
    nan: int = 0
    finite: int = 0
    mean: float = 0.0
    least: int | float | None = None
    greatest: int | float | None = None
    latest: _Latest | None = None

    def add(self, total: Bins, *, floats: bool, attempt: int) -> None:
        """One more stretch: one item of :data:`headway.storage.series.statistics.TOTAL`."""
        (item,) = total.tolist()
        (_, _, least, greatest, _, _), latest, count, nan, finite, mean = item
        self.count += count
        self.nan += nan
        if finite:
            self.finite += finite
            self.mean += (mean - self.mean) * (finite / self.finite) if self.finite > finite else mean
        if count > nan:
            low, high = _number(least[5], floats), _number(greatest[5], floats)
            self.least = low if self.least is None or low < self.least else self.least
            self.greatest = high if self.greatest is None or high > self.greatest else self.greatest
        _, sequence, step, time, _, value, given = latest
        found = _Latest(bool(given & 1), step, attempt, time, sequence, _number(value, floats))
        if self.latest is None or found[:5] >= self.latest[:5]:
            self.latest = found

    def summary(self, stage: str, name: str) -> SeriesSummary:
        last = self.latest
        return SeriesSummary(
            name=name,
            stage=stage,
            count=self.count,
            last=None if last is None else plain(last.value),
            last_step=last.step if last is not None and last.has_step else None,
            min=None if self.least is None else plain(self.least),
            max=None if self.greatest is None else plain(self.greatest),
            mean=plain(self.mean) if self.finite else None,
            nan_count=self.nan,
        )


@dataclass(frozen=True, eq=False)
class _Piece:
    """What one schema of one stream holds of a series: stored, not yet folded, or both."""

    stream: StreamKey
    position: int
    floats: bool
    column: Column | None
    tail: Rows | None
    blocks: Sequence[Block] = ()
    """Only where attempts hide each other."""


def plain(value: int | float) -> int | float | str:
    """A number as JSON takes it: what JSON has no number for is text.

    >>> plain(float("-inf")), plain(float("nan")), plain(3)
    ('-Infinity', 'NaN', 3)
    """
    if isinstance(value, int) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def summarise(
    snapshot: SeriesSnapshot,
    run_id: str,
    streams: Sequence[StreamKey],
    tails: Tails,
    *,
    system: bool = False,
    prefix: str = "",
) -> list[SeriesSummary]:
    """The summaries of a run's series, by stage and name.

    Args:
        snapshot: What is stored.
        run_id: Whose series.
        streams: Those of the run, as the server's records know them.
        tails: What is not folded yet.
        system: The system metrics instead.
        prefix: Only series whose key (``val.loss``) begins so.
    """
    known = {stream.name: stream for stream in streams if stream.system == system}
    pieces: dict[tuple[str, str], list[_Piece]] = {}
    for piece, stage, name in _pieces(snapshot, run_id, known, tails, system):
        if not prefix or (f"{stage}.{name}" if stage else name).startswith(prefix):
            pieces.setdefault((stage, name), []).append(piece)
    found = []
    tail_totals = _TailTotals()
    for (stage, name), held in sorted(pieces.items()):
        total = _total(snapshot, held, tail_totals)
        if total.count:
            found.append(total.summary(stage, name))
    return found


def _pieces(
    snapshot: SeriesSnapshot, run_id: str, known: dict[str, StreamKey], tails: Tails, system: bool
) -> list[tuple[_Piece, str, str]]:
    found: list[tuple[_Piece, str, str]] = []
    fresh = {
        (name, rows.schema.number): rows for name, decoded in tails.items() if name in known for rows in decoded.rows
    }
    stored: set[tuple[str, int]] = set()
    for column in snapshot.columns(run_id, system=system, totals=True):
        stream = known.get(column.stream.name)
        if stream is None or stream.created != column.stream.created:
            continue
        place = (stream.name, column.number)
        stored.add(place)
        piece = _Piece(stream, column.position, column.floats, column, fresh.get(place))
        found.append((piece, normal_stage(column.raw_stage), column.name))
    for (name, number), rows in fresh.items():
        if (name, number) in stored:
            continue
        for position, (title, kind) in enumerate(rows.schema.columns):
            piece = _Piece(known[name], position, kind == "f", None, rows)
            found.append((piece, normal_stage(rows.schema.stage), title))
    return found


class _TailTotals:
    """The statistics of rows that are not folded yet, all columns of a schema at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], tuple[list[int], ColumnStatistics]] = {}

    def of(self, rows: Rows, position: int, *, floats: bool) -> Bins:
        found = self._known.get((id(rows), floats))
        if found is None:
            positions = np.flatnonzero(rows.schema.floats == floats).tolist()
            found = positions, describe(rows.bits(positions), rows.axes, 0, floats=floats)
            self._known[id(rows), floats] = found
        place = found[0].index(position) if len(found[0]) < len(rows.schema.columns) else position
        return found[1].total[place : place + 1]


def _total(snapshot: SeriesSnapshot, pieces: Sequence[_Piece], tails: _TailTotals) -> _Sum:
    found = _Sum()
    if len({(piece.stream.replica, piece.stream.attempt) for piece in pieces}) > len(
        {piece.stream.replica for piece in pieces}
    ):
        _add_visible(snapshot, pieces, found)
        return found
    for piece in pieces:
        attempt = piece.stream.attempt
        if piece.column is not None and piece.column.total is not None:
            found.add(piece.column.total, floats=piece.floats, attempt=attempt)
        if piece.tail is not None:
            total = tails.of(piece.tail, piece.position, floats=piece.floats)
            found.add(total, floats=piece.floats, attempt=attempt)
    return found


def _add_visible(snapshot: SeriesSnapshot, pieces: Sequence[_Piece], found: _Sum) -> None:
    """The same where later attempts hide what earlier ones logged: unpacks only what a cut goes through."""
    pieces = [_with_blocks(snapshot, piece) for piece in pieces]
    first = _first_steps(pieces)
    for piece in pieces:
        stream = piece.stream
        later = [step for (replica, n), step in first.items() if replica == stream.replica and n > stream.attempt]
        cutoff = min(later, default=None)
        for block in piece.blocks:
            _add_block(snapshot, piece, block, cutoff, found)
        if piece.tail is not None:
            _add_rows(piece, piece.tail.axes, piece.tail.bits([piece.position])[0], cutoff, found)


def _add_block(snapshot: SeriesSnapshot, piece: _Piece, block: Block, cutoff: int | None, found: _Sum) -> None:
    extent, column = block.extent, piece.column
    assert column is not None
    cut = cutoff is not None and extent.steps > 0 and extent.high_step >= cutoff
    if cut and cutoff is not None and extent.low_step >= cutoff and extent.steps == block.rows:
        return
    whole = not cut and block.rows > FINE
    parts = Parts(total=True) if whole else Parts(axes=True, values=True)
    for chunk in snapshot.chunks(column.schema_id, column.position, parts, block.first_row, block.end):
        if chunk.total is not None:
            found.add(chunk.total, floats=piece.floats, attempt=piece.stream.attempt)
        elif chunk.axes is not None and chunk.bits is not None:
            _add_rows(piece, chunk.axes.whole(), chunk.bits, cutoff, found)


def _add_rows(piece: _Piece, axes: Axes, bits: Bits, cutoff: int | None, found: _Sum) -> None:
    shown = np.ones(len(axes), np.bool_) if cutoff is None else ~axes.has_step | (axes.step < cutoff)
    if shown.any():
        total = describe(bits[shown][None], axes.take(shown), 0, floats=piece.floats).total
        found.add(total, floats=piece.floats, attempt=piece.stream.attempt)


def _with_blocks(snapshot: SeriesSnapshot, piece: _Piece) -> _Piece:
    if piece.column is None or not piece.column.rows:
        return piece
    return replace(piece, blocks=snapshot.blocks(piece.column.schema_id))


def _first_steps(pieces: Sequence[_Piece]) -> dict[tuple[str, int], int]:
    """The smallest step of each replica and attempt."""
    first: dict[tuple[str, int], int] = {}
    for piece in pieces:
        steps = [block.extent.low_step for block in piece.blocks if block.extent.steps]
        if piece.tail is not None and piece.tail.axes.has_step.any():
            steps.append(int(piece.tail.axes.step[piece.tail.axes.has_step].min()))
        if steps:
            place = (piece.stream.replica, piece.stream.attempt)
            first[place] = min(*steps, first.get(place, steps[0]))
    return first


def _number(bits: int, floats: bool) -> int | float:
    if floats:
        return float(np.uint64(bits).view(np.float64))
    return bits - (1 << 64) if bits >= 1 << 63 else bits
