"""Lines: the points of one series, rank by rank, over the attempts that are to be seen.

A line is made of *chains*: what one schema of one stream holds of the series, stored and not yet folded. A stream's chains
are put together by the rows' numbers; streams follow each other by attempt and by when they began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

import numpy as np

from headway.domain.metrics import MetricQuery, View, normal_stage
from headway.storage.series.arrays import Mask
from headway.storage.series.base import BLOCK_ROWS, Block, Column, Parts, SeriesSnapshot, StreamKey
from headway.storage.series.points import Points, merged_by_sequence
from headway.storage.series.rows import Decoded, Rows

Snapshots: TypeAlias = Callable[[], AbstractContextManager[SeriesSnapshot]]
Tails: TypeAlias = Mapping[str, Decoded]
"""By stream name: what is not folded yet."""
_LEAST_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Chain:
    """What one schema of one stream holds of a series."""

    stream: StreamKey
    schema_id: int
    """0 where nothing is stored yet."""
    position: int
    floats: bool
    stored: int
    """Rows in the store; the tail's rows are numbered on from there."""
    blocks: tuple[Block, ...]
    tail: Points
    cutoff: int | None = None
    """Points at this step and above are hidden by a later attempt."""

    @property
    def count(self) -> int:
        """Points, hidden ones among them."""
        return self.stored + len(self.tail)

    @property
    def first_step(self) -> int | None:
        """The smallest step."""
        steps = [block.extent.low_step for block in self.blocks if block.extent.steps]
        if self.tail.has_step.any():
            steps.append(int(self.tail.step[self.tail.has_step].min()))
        return min(steps, default=None)

    @property
    def has_steps(self) -> bool:
        return any(block.extent.steps for block in self.blocks) or bool(self.tail.has_step.any())

    def shows(self, points: Points) -> Mask:
        """Which of its points are not hidden."""
        if self.cutoff is None:
            return np.ones(len(points), np.bool_)
        return ~points.has_step | (points.step < self.cutoff)


@dataclass(frozen=True, eq=False)
class Line:
    """What is drawn as one line."""

    replica: str
    attempt: int | None
    """None where attempts are seen as one."""
    chains: tuple[Chain, ...]
    """Stream after stream."""

    @property
    def count(self) -> int:
        return sum(chain.count for chain in self.chains)

    def streams(self) -> Iterator[list[Chain]]:
        """The chains of one stream after the other."""
        for _, chains in groupby(self.chains, key=lambda chain: chain.stream.name):
            yield list(chains)


def find_lines(
    snapshot: SeriesSnapshot, run_id: str, streams: Sequence[StreamKey], tails: Tails, query: MetricQuery
) -> list[Line]:
    """The lines that ``query`` asks for, by replica and attempt.

    Args:
        snapshot: What is stored.
        run_id: Whose series.
        streams: Those of the run, as the server's records know them; others in the store are remains.
        tails: What is not folded yet.
        query: Which series, ranks and attempts.
    """
    stage = normal_stage(query.stage)
    known = {stream.name: stream for stream in streams if stream.system == query.system}
    columns: dict[str, list[Column]] = {}
    for column in snapshot.columns(run_id, system=query.system, stage=stage, name=query.name):
        if query.word not in (None, column.raw_stage or ""):
            continue
        if known.get(column.stream.name, column.stream).created == column.stream.created:
            columns.setdefault(column.stream.name, []).append(column)
    chains: list[Chain] = []
    for stream in sorted(known.values(), key=_order):
        if query.replica not in (None, stream.replica) or query.attempt not in (None, stream.attempt):
            continue
        chains += _chains(snapshot, stream, columns.get(stream.name, ()), tails.get(stream.name), query)
    if query.view is View.DEFAULT and query.attempt is None:
        chains = shadowed(chains)
    return _lines(chains, apart=query.view is View.ALL)


def _order(stream: StreamKey) -> tuple[str, int, int, str]:
    return stream.replica, stream.attempt, stream.created, stream.name


def _chains(
    snapshot: SeriesSnapshot,
    stream: StreamKey,
    columns: Sequence[Column],
    tail: Decoded | None,
    query: MetricQuery,
) -> list[Chain]:
    """What one stream holds of the series."""
    fresh = {rows.schema.number: rows for rows in tail.rows} if tail else {}
    found = [_stored(snapshot, stream, column, fresh.get(column.number)) for column in columns]
    stored = {column.number for column in columns}
    for number, rows in fresh.items():
        word = rows.schema.stage or ""
        if number in stored or normal_stage(word) != normal_stage(query.stage) or query.word not in (None, word):
            continue
        for position, (title, kind) in enumerate(rows.schema.columns):
            if title == query.name:
                points = tail_points(rows, position, 0)
                found.append(Chain(stream, 0, position, kind == "f", 0, (), points))
    return [chain for chain in found if chain.count]


def _stored(snapshot: SeriesSnapshot, stream: StreamKey, column: Column, fresh: Rows | None) -> Chain:
    tail = tail_points(fresh, column.position, column.rows) if fresh else Points.none()
    blocks = tuple(snapshot.blocks(column.schema_id)) if column.rows else ()
    return Chain(stream, column.schema_id, column.position, column.floats, column.rows, blocks, tail)


def tail_points(rows: Rows, position: int, first_row: int) -> Points:
    """One column of rows that are not folded yet."""
    bits = rows.bits([position])[0]
    return Points.of(rows.axes, bits, first_row, floats=bool(rows.schema.floats[position]))


def shadowed(chains: Sequence[Chain]) -> list[Chain]:
    """The chains of one series with what later attempts of the same replica hide."""
    first: dict[tuple[str, int], int] = {}
    for chain in chains:
        step, place = chain.first_step, (chain.stream.replica, chain.stream.attempt)
        if step is not None:
            first[place] = min(step, first.get(place, step))
    found = []
    for chain in chains:
        replica, attempt = chain.stream.replica, chain.stream.attempt
        later = [step for (other, number), step in first.items() if other == replica and number > attempt]
        found.append(replace(chain, cutoff=min(later)) if later else chain)
    return found


def _lines(chains: Sequence[Chain], *, apart: bool) -> list[Line]:
    def place(chain: Chain) -> tuple[str, int | None]:
        return chain.stream.replica, chain.stream.attempt if apart else None

    return [Line(replica, attempt, tuple(held)) for (replica, attempt), held in groupby(chains, key=place)]


class ChainReader:
    """Reads rows of chains: within one snapshot, or in a short one each time, which nothing waits for."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    @classmethod
    def within(cls, snapshot: SeriesSnapshot) -> ChainReader:
        return cls(lambda: nullcontext(snapshot))

    def points(self, chain: Chain, first: int, end: int) -> Points:
        """The points of rows ``first`` to ``end`` (not included), hidden ones left out, in the order logged."""
        return Points.joined(list(self.pieces(chain, first, end)))

    def pieces(self, chain: Chain, first: int, end: int) -> Iterator[Points]:
        """The same, chunk by chunk."""
        for points in self._pieces(chain, first, end):
            yield points if chain.cutoff is None else points.take(chain.shows(points))

    def _pieces(self, chain: Chain, first: int, end: int) -> Iterator[Points]:
        if first < min(end, chain.stored):
            with self._snapshots() as snapshot:
                wanted = Parts(axes=True, values=True)
                last = min(end, chain.stored)
                for chunk in snapshot.chunks(chain.schema_id, chain.position, wanted, first, last):
                    assert chunk.axes is not None
                    assert chunk.bits is not None
                    points = Points.of(chunk.axes.whole(), chunk.bits, chunk.first_row, floats=chain.floats)
                    yield points.take(slice(max(0, first - chunk.first_row), last - chunk.first_row))
        if end > chain.stored:
            yield chain.tail.take(slice(max(0, first - chain.stored), end - chain.stored))

    def batches(self, line: Line) -> Iterator[Points]:
        """All points of a line in the order logged, some at a time, at bounded memory."""
        for chains in line.streams():
            yield from self._alone(chains[0]) if len(chains) == 1 else self._interleaved(chains)

    def _alone(self, chain: Chain) -> Iterator[Points]:
        for first in range(0, chain.count, BLOCK_ROWS):
            yield self.points(chain, first, min(first + BLOCK_ROWS, chain.count))

    def _interleaved(self, chains: Sequence[Chain]) -> Iterator[Points]:
        size = max(_LEAST_BATCH, BLOCK_ROWS // len(chains))
        feeds = [_Feed(self, chain, size) for chain in chains]
        while any(feed.holds for feed in feeds):
            # Up to here no feed can bring anything that belongs before.
            horizon = min((feed.reach for feed in feeds if feed.more), default=None)
            yield merged_by_sequence([feed.release(horizon) for feed in feeds])


class _Feed:
    """One chain, read ahead by some rows."""

    def __init__(self, reader: ChainReader, chain: Chain, size: int) -> None:
        self._reader, self._chain, self._size = reader, chain, size
        self._next = 0
        self._held = Points.none()
        self.reach = 0
        self._fill()

    @property
    def more(self) -> bool:
        """Whether something follows what is held."""
        return self._next < self._chain.count

    @property
    def holds(self) -> bool:
        return len(self._held) > 0 or self.more

    def release(self, horizon: int | None) -> Points:
        """What is held up to a row number; all without one."""
        count = len(self._held) if horizon is None else int(np.searchsorted(self._held.sequence, horizon, "right"))
        found, self._held = self._held.take(slice(0, count)), self._held.take(slice(count, None))
        if not len(self._held):
            self._fill()
        return found

    def _fill(self) -> None:
        while self.more and not len(self._held):
            end = min(self._next + self._size, self._chain.count)
            self._held = self._reader.points(self._chain, self._next, end)
            self._next = end
        if len(self._held):
            self.reach = int(self._held.sequence[-1])
