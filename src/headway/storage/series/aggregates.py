"""Several ranks as one line: the mean, smallest or largest of their values, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.domain.metrics import Aggregate
from headway.storage.series.points import Points


def aggregate(parts: Sequence[Points], how: Aggregate) -> Points:
    """One point a step, in ascending order; points without a step are left out.

    A NaN among the values of a step makes that step NaN. Its time is the latest of them, its epoch that of the first rank
    that has one. Whole numbers stay whole where nothing else is among them and ``how`` is not the mean.
    """
    points = Points.joined(parts)
    points = points.take(points.has_step)
    if not len(points):
        return points
    points = points.take(np.argsort(points.step, kind="stable"))
    starts = np.flatnonzero(np.diff(points.step, prepend=points.step[0] - 1))
    first = points.take(starts)
    whole = bool(points.is_integer.all()) and how is not Aggregate.MEAN
    values: NDArray[Any] = points.bits.view(np.int64) if whole else points.numbers()
    epoch, has_epoch = _first_given(points.epoch, points.has_epoch, starts)
    return Points(
        np.zeros(len(starts), np.int64),
        np.zeros(len(starts), np.int64),
        np.maximum.reduceat(points.time, starts),
        first.step,
        first.has_step,
        epoch,
        has_epoch,
        np.ascontiguousarray(_combined(values, starts, how)).view(np.uint64),
        np.full(len(starts), whole),
    )


def _combined(values: NDArray[Any], starts: NDArray[np.int64], how: Aggregate) -> NDArray[Any]:
    if how is Aggregate.MIN:
        return np.minimum.reduceat(values, starts)
    if how is Aggregate.MAX:
        return np.maximum.reduceat(values, starts)
    counts = np.diff(starts, append=len(values))
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.add.reduceat(values, starts) / counts
        # The sum of the largest numbers overflows; divided first it does not.
        lost = np.isinf(means)
        if lost.any():
            means[lost] = np.add.reduceat(values / np.repeat(counts, counts), starts)[lost]
    undefined = np.isnan(means)
    means[undefined] = np.nan
    return means


def _first_given(
    numbers: NDArray[np.float64], given: NDArray[np.bool_], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of each group the first number that is given."""
    places = np.where(given, np.arange(len(given)), len(given))
    first = np.minimum.reduceat(places, starts)
    found = first < len(given)
    return np.where(found, np.append(numbers, 0.0)[first], 0.0), found
