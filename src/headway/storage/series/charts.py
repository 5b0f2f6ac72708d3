"""Pictures of lines: at most about four real points a pixel, taken from the coarsest statistics that are fine enough.

A picture holds, for each pixel, the first, last, smallest and largest value and, where there is any, a NaN. Where the window
or a later attempt cuts through a block, and where places go back within a block, its points are read exactly; only lines of
more than :data:`EXACT_MOST` points that go back are drawn from bins, whose points then may stand in a neighbouring pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headway.domain.metrics import Axis
from headway.storage.series.arrays import Bits, Floats, Mask
from headway.storage.series.axes import Span
from headway.storage.series.base import Block, Chunk, Parts, SeriesSnapshot
from headway.storage.series.lines import Chain, ChainReader, Line
from headway.storage.series.points import Points
from headway.storage.series.statistics import BIN, FINE, MARK, MARKS, MIDDLE, Bins

POINTS_A_PIXEL = 4
BINS_A_PIXEL = 2
"""Bins that are wanted for each pixel, so that those at its edges do not blur it."""
EXACT_MOST = 4 << 20
"""Points that are read exactly where bins will not do."""


class Window(NamedTuple):
    """Which part of an axis, both ends included."""

    axis: Axis
    start: float | None = None
    end: float | None = None

    def holds(self, places: NDArray[Any]) -> Mask:
        inside = np.ones(len(places), np.bool_)
        if self.start is not None:
            inside &= places >= self.start
        if self.end is not None:
            inside &= places <= self.end
        return inside


class Picture(NamedTuple):
    """What is drawn of a line."""

    points: Points
    exact: bool
    """Whether these are all points."""
    total: int
    """How many there are in the window."""


def draw(snapshot: SeriesSnapshot, line: Line, window: Window, pixels: int) -> Picture:
    """A picture of ``line`` that is ``pixels`` wide, its points in the order of the axis.

    A line none of whose points has a step is drawn along the index; otherwise points without a place are left out.
    """
    if window.axis is Axis.STEP and not any(chain.has_steps for chain in line.chains):
        window = window._replace(axis=Axis.INDEX)
    if window.axis is Axis.INDEX and line.count <= EXACT_MOST:
        points = Points.joined(list(ChainReader.within(snapshot).batches(line)))
        return _drawn([_Placed(points, np.arange(len(points)))], window, pixels)
    plan = _Plan(snapshot, line, window, pixels)
    return _drawn(list(plan.exact_points()), window, pixels, list(plan.bin_points()), plan.binned_count)


class _Placed(NamedTuple):
    """Points and where they lie on the axis (not a number where they have no place)."""

    points: Points
    places: NDArray[Any]

    def within(self, window: Window) -> _Placed:
        if window.axis is Axis.STEP:
            inside = self.points.has_step & window.holds(self.places)
        else:
            inside = window.holds(self.places) & ~np.isnan(self.places)
        return self if inside.all() else _Placed(self.points.take(inside), self.places[inside])


def _drawn(
    exact: Sequence[_Placed], window: Window, pixels: int, binned: Sequence[_Placed] = (), count: int = 0
) -> Picture:
    """The picture out of exact points and of bins that stand for ``count`` points."""
    exact = [placed.within(window) for placed in exact]
    binned = [placed.within(window) for placed in binned]
    every = [placed for placed in (*exact, *binned) if len(placed.points)]
    total = count + sum(len(placed.points) for placed in exact)
    if not every:
        return Picture(Points.none(), True, total)
    shown = _thinned([placed.points for placed in every], [placed.places for placed in every], pixels)
    count = sum(len(placed.points) for placed in every)
    return Picture(shown, not binned and len(shown) == count, total)


def thin(points: Points, places: NDArray[Any], pixels: int) -> Points:
    """At most about four of ``points`` for each pixel, sorted by place: extremes and NaN are among them."""
    return _thinned([points], [places], pixels)


def _thinned(parts: Sequence[Points], places_of: Sequence[NDArray[Any]], pixels: int) -> Points:
    """The same of several parts, of which only what is chosen is put together."""
    places = places_of[0] if len(parts) == 1 else np.concatenate(places_of)
    order = np.argsort(places, kind="stable") if (places[1:] < places[:-1]).any() else None
    if len(places) > POINTS_A_PIXEL * pixels:
        numbers = [part.numbers() for part in parts]
        values = numbers[0] if len(parts) == 1 else np.concatenate(numbers)
        if order is None:
            chosen = _chosen(places, values, pixels)
        else:
            chosen = order[_chosen(places[order], values[order], pixels)]
    else:
        chosen = np.arange(len(places)) if order is None else order
    return _gathered(parts, chosen)


def _gathered(parts: Sequence[Points], chosen: NDArray[np.int64]) -> Points:
    """The chosen ones of all parts, in that order."""
    if len(parts) == 1:
        return parts[0].take(chosen)
    ranks = np.argsort(chosen, kind="stable")
    ends = np.cumsum([len(part) for part in parts])
    cuts = np.searchsorted(chosen[ranks], ends)
    found, begin = [], 0
    for part, cut, end in zip(parts, cuts.tolist(), ends.tolist(), strict=True):
        found.append(part.take(chosen[ranks[begin:cut]] - (end - len(part))))
        begin = cut
    back = np.empty(len(chosen), np.int64)
    back[ranks] = np.arange(len(chosen))
    return Points.joined(found).take(back)


def _chosen(places: NDArray[Any], numbers: Floats, pixels: int) -> NDArray[np.int64]:
    """Of points in order the first, last, smallest and largest in each pixel, and the first NaN.

    tsdownsample does nearly this, and panics or leaves points out where places repeat or lie far apart.
    """
    starts = _pixel_starts(places, pixels)
    ends = np.append(starts[1:], len(places)) - 1
    undefined = np.isnan(numbers)
    found = [starts, ends]
    if undefined.any():
        gaps = np.flatnonzero(undefined)
        found.append(gaps[_firsts(gaps, starts)])
        low, high = np.where(undefined, np.inf, numbers), np.where(undefined, -np.inf, numbers)
    else:
        low = high = numbers
    for values, ufunc in ((low, np.minimum), (high, np.maximum)):
        extremes = ufunc.reduceat(values, starts)
        at = np.flatnonzero((values == np.repeat(extremes, ends - starts + 1)) & ~undefined)
        found.append(at[_firsts(at, starts)])
    return _distinct(np.sort(np.concatenate(found)))


def _distinct(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each number once."""
    return ascending[np.flatnonzero(np.diff(ascending, prepend=ascending[0] - 1))] if len(ascending) else ascending


def _pixel_starts(places: NDArray[Any], pixels: int) -> NDArray[np.int64]:
    """Where in sorted ``places`` each pixel begins that holds any."""
    low, high = float(places[0]), float(places[-1])
    # Halved, since the distance between two numbers may be larger than any number.
    edges = (low / 2 + (high / 2 - low / 2) * (np.arange(1, pixels) / pixels)) * 2
    found = _distinct(np.concatenate([[0], np.searchsorted(places, edges)]))
    return found[found < len(places)]


def _firsts(positions: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of ascending positions the indexes of those that are the first at or after a start."""
    found = _distinct(np.searchsorted(positions, starts))
    return found[found < len(positions)]


@dataclass(frozen=True, eq=False)
class _Section:
    """A block of a chain, as far as a window shows it."""

    chain: Chain
    block: Block
    base: int
    """Of its first visible point the number in the line, where that is the axis."""
    span: Span
    whole: bool
    """Whether all of it is seen."""


class _Plan:
    """How a line is read: which blocks as bins, and at which level; all others exactly."""

    def __init__(self, snapshot: SeriesSnapshot, line: Line, window: Window, pixels: int) -> None:
        self._snapshot, self._line, self._axis = snapshot, line, window.axis
        self._window = window
        self._reader = ChainReader.within(snapshot)
        self._tail_bases: dict[int, int] = {}
        sections = [section for section in self._sections() if _overlaps(section.span, window)]
        self._level, binned = _chosen_bins(sections, pixels)
        self._binned = [section for section in sections if id(section) in binned]
        self._exact = [section for section in sections if id(section) not in binned]
        self.binned_count = sum(section.span.rows for section in self._binned)

    def exact_points(self) -> Iterator[_Placed]:
        for run in _runs(self._exact, alone=self._axis is Axis.INDEX):
            first, last = run[0], run[-1]
            base = first.base
            for points in self._reader.pieces(first.chain, first.block.first_row, last.block.end):
                yield self._placed(points, base)
                base += len(points)
        for place, chain in enumerate(self._line.chains):
            if len(chain.tail):
                points = self._reader.points(chain, chain.stored, chain.count)
                yield self._placed(points, self._tail_bases.get(place, 0))

    def bin_points(self) -> Iterator[_Placed]:
        for run in _runs(self._binned):
            chain, bases = run[0].chain, {section.block.first_row: section.base for section in run}
            first, end = run[0].block.first_row, run[-1].block.end
            chunks = list(self._snapshot.chunks(chain.schema_id, chain.position, _parts(self._level), first, end))
            points = _bin_points(chunks, floats=chain.floats)
            if self._axis is not Axis.INDEX:
                yield self._placed(points, 0)
                continue
            starts = np.array(sorted(bases), np.int64)
            numbers = np.array([bases[start] for start in starts.tolist()], np.int64) - starts
            yield _Placed(points, points.row + numbers[np.searchsorted(starts, points.row, "right") - 1])

    def _placed(self, points: Points, base: int) -> _Placed:
        if self._axis is Axis.INDEX:
            return _Placed(points, np.arange(base, base + len(points)))
        return _Placed(points, points.along(self._axis))

    def _section(self, chain: Chain, block: Block, base: int, span: Span, *, cut: bool) -> _Section:
        return _Section(chain, block, base, span, not cut and _inside(span, self._window))

    def _sections(self) -> Iterator[_Section]:
        """Every block of which something is visible."""
        if self._axis is Axis.INDEX:
            yield from self._numbered_sections()
            return
        for chain in self._line.chains:
            for block in chain.blocks:
                cut = _cut(chain, block)
                if cut is not None:
                    yield self._section(chain, block, 0, block.extent.span(self._axis, block.rows), cut=cut)

    def _numbered_sections(self) -> Iterator[_Section]:
        """The same with the numbers that their points have in the line; where the blocks of several chains overlap, as
        though they followed each other.
        """
        base = 0
        places = {id(chain): place for place, chain in enumerate(self._line.chains)}
        for chains in self._line.streams():
            held = [
                (block.first_sequence, place, block) for place, chain in enumerate(chains) for block in chain.blocks
            ]
            for _, place, block in sorted(held, key=lambda item: item[:2]):
                chain, cut = chains[place], _cut(chains[place], block)
                if cut is None:
                    continue
                count = len(self._reader.points(chain, block.first_row, block.end)) if cut else block.rows
                yield self._section(chain, block, base, Span(count, base, base + count - 1, True), cut=cut)
                base += count
            for chain in chains:
                self._tail_bases[places[id(chain)]] = base
                base += int(chain.shows(chain.tail).sum())


def _cut(chain: Chain, block: Block) -> bool | None:
    """Whether a later attempt hides some of a block; None when it hides all of it."""
    extent = block.extent
    if chain.cutoff is None or not extent.steps or extent.high_step < chain.cutoff:
        return False
    return None if extent.low_step >= chain.cutoff and extent.steps == block.rows else True


def _overlaps(span: Span, window: Window) -> bool:
    low = -np.inf if window.start is None else window.start
    high = np.inf if window.end is None else window.end
    return span.rows > 0 and span.high >= low and span.low <= high


def _inside(span: Span, window: Window) -> bool:
    low = -np.inf if window.start is None else window.start
    high = np.inf if window.end is None else window.end
    return bool(low <= span.low and span.high <= high)


def _chosen_bins(sections: Sequence[_Section], pixels: int) -> tuple[int | None, set[int]]:
    """The level at which to read, and the ids of the sections that are read so."""
    whole = [section for section in sections if section.whole and section.block.rows > FINE]
    if sum(section.block.rows for section in whole) <= EXACT_MOST:
        whole = [section for section in whole if section.span.ascending]
    level = _level([section.block.rows for section in whole], pixels)
    return level, {id(section) for section in whole} if level is not None else set()


def _level(rows: Sequence[int], pixels: int) -> int | None:
    """The coarsest level of which there are bins enough; None is every point."""
    wanted = BINS_A_PIXEL * pixels
    for level in (0, MIDDLE, FINE):
        if sum(-(-count // level) if level else 1 for count in rows) >= wanted:
            return level
    return None


def _parts(level: int | None) -> Parts:
    if level == FINE:
        return Parts(axes=True, fine=True)
    return Parts(middle=True, total=True) if level == MIDDLE else Parts(total=True)


def _runs(sections: Sequence[_Section], *, alone: bool = False) -> Iterator[list[_Section]]:
    """Sections of one chain that follow each other without gap."""
    run: list[_Section] = []
    for section in sorted(sections, key=lambda item: (id(item.chain), item.block.first_row)):
        if run and (alone or section.chain is not run[-1].chain or section.block.first_row != run[-1].block.end):
            yield run
            run = []
        run.append(section)
    if run:
        yield run


def _bin_points(chunks: Sequence[Chunk], *, floats: bool) -> Points:
    """The points that chunks' bins keep, each once, in the order logged."""
    if any(chunk.fine is not None for chunk in chunks):
        return Points.joined([_fine_points(chunk, floats=floats) for chunk in chunks])
    bins: list[bytes] = []
    for chunk in chunks:
        assert chunk.total is not None
        bins.append((chunk.total["bin"] if chunk.middle is None else chunk.middle).tobytes())
    # As bytes: putting arrays of records together compares their fields one by one.
    return _mark_points(np.frombuffer(b"".join(bins), BIN), floats=floats)


def _mark_points(bins: Bins, *, floats: bool) -> Points:
    # The five points of a bin lie one behind the other.
    marks = np.ndarray((len(bins), len(MARKS)), MARK, bins.data, 0, (BIN.itemsize, MARK.itemsize))
    rows = marks["row"].copy()
    defined = bins["nan"] == 0
    rows[defined, -1] = rows[defined, 0]
    order, kept = _once(rows)
    which = np.nonzero(kept)[0], order[kept]
    return Points.of_marks({name: marks[name][which] for name in MARK.names or ()}, floats=floats)


def _fine_points(chunk: Chunk, *, floats: bool) -> Points:
    bins, axes = chunk.fine, chunk.axes
    assert bins is not None
    assert axes is not None
    starts = np.arange(0, chunk.rows, FINE)
    ends = np.minimum(starts + FINE, chunk.rows) - 1
    least, greatest = starts + bins["at_least"], starts + bins["at_greatest"]
    undefined = np.where(bins["nan"] > 0, starts + bins["at_undefined"], starts)
    rows = np.stack([starts, ends, least, greatest, undefined], axis=1)
    nan: Bits = np.where(bins["nan"] > 0, np.float64(np.nan).view(np.uint64), bins["first"])
    bits = np.stack([bins["first"], bins["last"], bins["least"], bins["greatest"], nan], axis=1)
    order, kept = _once(rows)
    row = np.take_along_axis(rows, order, 1)[kept]
    found = axes.at(row)
    return Points(
        row + chunk.first_row,
        found.sequence,
        found.time,
        found.step,
        found.has_step,
        found.epoch,
        found.has_epoch,
        np.take_along_axis(bits, order, 1)[kept],
        np.full(len(row), not floats),
    )


def _once(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Mask]:
    """The order of each bin's points by row, and in that order which are not a repetition of the one before."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, 1)
    kept = np.ones(rows.shape, np.bool_)
    kept[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return order, kept
