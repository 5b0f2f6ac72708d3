"""What a run's metrics came to, by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from html import escape

from headway.domain.base import did_you_mean
from headway.domain.metrics import SeriesSummary, normal_stage
from headway.errors import NotFoundError

Number = float | int | str | None
NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
STATISTICS = ("last", "min", "max", "mean")
SPELLINGS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def to_number(value: Number) -> float | int | None:
    """A number of a summary; JSON has words for those that it lacks.

    >>> to_number("-Infinity"), to_number(3), to_number(None)
    (-inf, 3, None)
    """
    return NON_FINITE[value] if isinstance(value, str) else value


def to_json_number(value: Number) -> Number:
    """``value`` as JSON can say it: what is not finite by its word.

    >>> to_json_number(float("nan")), to_json_number(0.5)
    ('NaN', 0.5)
    """
    return SPELLINGS[repr(value)] if isinstance(value, float) and not math.isfinite(value) else value


class RunSummary(Mapping[str, SeriesSummary]):
    """Series of a run by ``loss`` or ``val.loss``: ``run.summary["val.loss"].min``. Any word for a stage will do.

    ``last``, ``min``, ``max`` and ``mean`` are numbers, NaN and infinities too.
    """

    def __init__(self, items: Iterable[SeriesSummary] = ()) -> None:
        self._items = {item.key: _with_numbers(item) for item in items}

    def __getitem__(self, key: str) -> SeriesSummary:
        found = self._items.get(key) or self._items.get(_normal_key(key))
        if found is None:
            raise KeyError(key)
        return found

    def find(self, key: str) -> SeriesSummary:
        """As ``summary[key]``, but NotFoundError with the closest name there is."""
        try:
            return self[key]
        except KeyError:
            hint = did_you_mean(key, self._items) or "Its series are in `run.summary`."
            raise NotFoundError(f"The run has no series {key!r}.", hint=hint) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={format_number(item.last)}" for key, item in [*self._items.items()][:10])
        return f"RunSummary({shown}{', …' if len(self) > 10 else ''})"

    def _repr_html_(self) -> str:
        """A row a series. Every text is escaped: it may be anybody's."""
        head = "".join(f"<th>{name}</th>" for name in ("series", "count", *STATISTICS))
        rows = "".join(f"<tr>{_cells(key, item)}</tr>" for key, item in self._items.items())
        return f"<table><tr>{head}</tr>{rows}</table>"


def _cells(key: str, item: SeriesSummary) -> str:
    numbers = "".join(f"<td>{escape(format_number(getattr(item, name)))}</td>" for name in STATISTICS)
    return f"<th style='text-align:left'>{escape(key)}</th><td>{item.count}</td>{numbers}"


def format_number(value: Number) -> str:
    """A number for people; nothing for None.

    >>> format_number(0.123456789), format_number(12345678), format_number(None), format_number("NaN")
    ('0.123457', '12345678', '', 'NaN')
    """
    if value is None:
        return ""
    plain = to_number(value)
    return f"{plain:.6g}" if isinstance(value, float) else str(value)


def _with_numbers(item: SeriesSummary) -> SeriesSummary:
    return item.evolve(**{name: to_number(getattr(item, name)) for name in STATISTICS})


def _normal_key(key: str) -> str:
    stage, dot, name = key.partition(".")
    return f"{normal_stage(stage)}.{name}" if dot else key
