"""Histograms, of values or as somebody else computed them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

from headway.domain.metrics import EntryType
from headway.errors import InvalidRequestError
from headway.tracking.arrays import as_array, numpy_for
from headway.tracking.media import Media

DEFAULT_BINS = 64
MAX_BINS = 4096
_HUGE, _SCALE = 1e300, 2.0**16
MEDIA_TYPE = "application/vnd.headway.histogram+json"


class Histogram(Media):
    """How values are distributed: ``counts[i]`` of them from ``edges[i]`` to ``edges[i + 1]``, the last edge included.

    Stored as JSON: ``edges`` (one more than counts), ``counts``, ``count`` (all values, those below included), ``nan``,
    ``positive_infinity``, ``negative_infinity`` (how many of each), and the finite ``min`` and ``max`` (null without any).

    Args:
        values: An array, a tensor or a list of numbers.
        bins: How many of equal width, 1 to 4096. They reach from the least to the greatest finite value.
        counts: With ``edges`` and without ``values``: a histogram that was computed already. Not negative.
        edges: Finite and ascending.
        caption: A line that is shown with it.

    >>> Histogram(counts=[1, 2], edges=[0, 0.5, 1]).details()
    {'bins': 2, 'count': 3}
    """

    type = EntryType.HISTOGRAM

    def __init__(
        self,
        values: Any = None,
        *,
        bins: int = DEFAULT_BINS,
        counts: Any = None,
        edges: Any = None,
        caption: str | None = None,
    ) -> None:
        super().__init__(caption=caption)
        if (values is None) == (counts is None) or (counts is None) != (edges is None):
            raise InvalidRequestError("A histogram is made of values, or of counts and edges.")
        self._document = _computed(values, bins) if counts is None else _given(_plain(counts), _plain(edges))

    def content(self) -> tuple[bytes, str]:
        return json.dumps(self._document, allow_nan=False, separators=(",", ":")).encode(), MEDIA_TYPE

    def details(self) -> dict[str, Any]:
        document = self._document
        told = {
            "bins": len(document["counts"]),
            "count": document["count"],
            "min": document["min"],
            "max": document["max"],
        }
        odd = {name: document[name] for name in ("nan", "positive_infinity", "negative_infinity") if document[name]}
        return {key: value for key, value in {**told, **odd}.items() if value is not None}


def _computed(values: Any, bins: int) -> dict[str, Any]:
    if isinstance(bins, bool) or not isinstance(bins, int) or not 1 <= bins <= MAX_BINS:
        raise InvalidRequestError(f"A histogram has 1 to {MAX_BINS} bins, not {bins!r}.")
    numpy = numpy_for("A histogram")
    array = as_array(values, "A histogram").ravel().astype(numpy.float64)
    finite = array[numpy.isfinite(array)]
    counts, edges = _counted(finite, bins)
    return {
        "edges": edges,
        "counts": counts,
        "count": int(array.size),
        "nan": int(numpy.isnan(array).sum()),
        "positive_infinity": int((array == numpy.inf).sum()),
        "negative_infinity": int((array == -numpy.inf).sum()),
        "min": float(finite.min()) if finite.size else None,
        "max": float(finite.max()) if finite.size else None,
    }


def _counted(finite: Any, bins: int) -> tuple[list[int], list[float]]:
    numpy = numpy_for("A histogram")
    if not finite.size:
        return [0], [0.0, 1.0]
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        low, high = _around(low)
    # NumPy multiplies by the number of bins; a power of two changes no digit of numbers as large as these.
    scale = _SCALE if max(-low, high) > _HUGE else 1.0
    finite, low, high = finite / scale, low / scale, high / scale
    try:
        counts, edges = numpy.histogram(finite, bins, (low, high))
    except ValueError:
        # The values lie so close that there are not so many numbers between them.
        counts, edges = numpy.histogram(finite, numpy.unique(numpy.linspace(low, high, bins + 1)))
    return counts.tolist(), (edges * scale).tolist()


def _around(value: float) -> tuple[float, float]:
    """An interval with ``value`` in its middle, for values that are all the same."""
    half = max(0.5, abs(value) * 1e-6)
    return max(value - half, -1.7976931348623157e308), min(value + half, 1.7976931348623157e308)


def _plain(values: Any) -> list[int | float]:
    plain = values.tolist() if callable(getattr(values, "tolist", None)) else values
    if not isinstance(plain, Sequence) or not all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in plain
    ):
        raise InvalidRequestError("Counts and edges of a histogram are lists of numbers.")
    return list(plain)


def _given(counts: list[int | float], edges: list[int | float]) -> dict[str, Any]:
    if len(edges) != len(counts) + 1 or not 1 <= len(counts) <= MAX_BINS:
        raise InvalidRequestError(
            f"A histogram has 1 to {MAX_BINS} counts and one more edge, not {len(counts)} counts and {len(edges)} edges."
        )
    if not all(math.isfinite(value) and value >= 0 for value in counts):
        raise InvalidRequestError("The counts of a histogram are finite and not negative.")
    if not all(map(math.isfinite, edges)) or any(b <= a for a, b in itertools.pairwise(edges)):
        raise InvalidRequestError("The edges of a histogram are finite and ascending.")
    none = {"nan": 0, "positive_infinity": 0, "negative_infinity": 0, "min": None, "max": None}
    return {"edges": edges, "counts": counts, "count": sum(counts), **none}
