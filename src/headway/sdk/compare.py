"""Two runs side by side: only what differs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from html import escape
from typing import Any, Final, Protocol

from headway.domain.metrics import SeriesSummary
from headway.domain.search import param_key
from headway.sdk.summaries import RunSummary, format_number, to_json_number, to_number

SECTIONS = ("config", "environment", "metrics", "inputs")
SHOWN = 60
"""Characters of a value in a repr; ``to_dict`` has all of them."""


class _Absent(Enum):
    """A type of one value, so that type checkers can tell it apart."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent.ABSENT
"""What a run has no value for, None being one."""


@dataclass(frozen=True)
class ComparedRun:
    """What is compared of a run."""

    id: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, SeriesSummary] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    """What people call them."""


class Comparable(Protocol):
    """Anything that can say what there is to compare: a run of a server, of a directory, or one that is running."""

    def compared(self) -> ComparedRun: ...


@dataclass(frozen=True)
class Change:
    """One thing that differs; a side that lacks it is :data:`ABSENT`."""

    key: str
    """The path, with dots between names: ``optimizer.lr``, ``packages.numpy``, ``val.loss``."""
    a: Any
    b: Any


@dataclass(frozen=True, repr=False)
class RunDiff:
    """What differs between the runs ``a`` and ``b``; false when nothing does.

    Changes of ``config`` and ``environment`` carry JSON values, those of ``metrics`` a
    :class:`headway.domain.metrics.SeriesSummary` each, and those of ``inputs`` the name of an input that only one has.
    """

    a: ComparedRun
    b: ComparedRun
    config: tuple[Change, ...] = ()
    environment: tuple[Change, ...] = ()
    metrics: tuple[Change, ...] = ()
    inputs: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, section) for section in SECTIONS)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: ``{"a": {"id", "name"}, "b": …, "config": {path: {"a": …, "b": …}}, …}``. A side that lacks
        something lacks its key, and numbers that are not finite are words.
        """
        found: dict[str, Any] = {side: {"id": run.id, "name": run.name} for side, run in (("a", self.a), ("b", self.b))}
        for section in SECTIONS:
            found[section] = {change.key: sides_of(change) for change in getattr(self, section)}
        return found

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Section, key and both sides as texts for people; of a metric its last value."""
        for section in SECTIONS:
            for change in getattr(self, section):
                yield section, change.key, value_text(change.a), value_text(change.b)

    def __repr__(self) -> str:
        return diff_text("RunDiff", _title(self.a), _title(self.b), [*self.rows()])

    def _repr_html_(self) -> str:
        return diff_html("RunDiff", _title(self.a), _title(self.b), [*self.rows()])


def diff_text(kind: str, a: str, b: str, rows: Sequence[tuple[str, str, str, str]]) -> str:
    """What differs as lines, in columns below their sections."""
    lines = [f"{kind} of a = {a} and b = {b}"]
    widths = [max((len(row[number]) for row in rows), default=0) for number in (1, 2)]
    present = ""
    for section, key, one, other in rows:
        if section != present:
            lines.append(f"{section}:")
            present = section
        lines.append(f"  {key:<{widths[0]}}  {one:<{widths[1]}}  {other}".rstrip())
    return "\n".join(lines if rows else [*lines, "Nothing differs."])


def diff_html(kind: str, a: str, b: str, rows: Sequence[tuple[str, str, str, str]]) -> str:
    """What differs as a table. Every text is escaped: it may be anybody's."""
    head = f"<tr><th></th><th></th><th>{escape(a)}</th><th>{escape(b)}</th></tr>"
    cells = ("".join(f"<td style='text-align:left'>{escape(text)}</td>" for text in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><caption>{kind}</caption>{head}{body or '<tr><td>Nothing differs.</td></tr>'}</table>"


def compare(a: Comparable, b: Comparable) -> RunDiff:
    """What differs between two runs, wherever each of them is kept."""
    one, two = a.compared(), b.compared()
    return RunDiff(
        one,
        two,
        config=changes(flatten(one.config), flatten(two.config)),
        environment=changes(flatten(one.environment, quoted=False), flatten(two.environment, quoted=False)),
        metrics=changes(RunSummary(one.summary.values()), RunSummary(two.summary.values()), _same_summary),
        inputs=changes({name: name for name in one.inputs}, {name: name for name in two.inputs}),
    )


def flatten(values: Mapping[str, Any], *, quoted: bool = True) -> dict[str, Any]:
    """Nested mappings as one, with dots between names; lists stay whole.

    A name that holds a dot stands in backquotes, as in a filter, so that no two paths are the same; not if ``quoted`` is
    false.

    >>> flatten({"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}, "a.b": 1})
    {'optimizer.lr': 0.1, 'optimizer.betas': [0.9, 0.99], '`a.b`': 1}
    """
    return {param_key(path) if quoted else ".".join(path): value for path, value in _leaves(values, ())}


def _leaves(values: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, str(key)))
        else:
            yield (*above, str(key)), value


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal; unlike in Python, ``True`` is not 1, and NaN is NaN.

    >>> same({"x": [1, 2.0]}, {"x": [1.0, 2]}), same(True, 1), same(float("nan"), float("nan"))
    (True, False, True)
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, bool) is not isinstance(b, bool):
        return False
    return bool(a == b or (a != a and b != b))


def changes(a: Mapping[str, Any], b: Mapping[str, Any], equal: Callable[[Any, Any], bool] = same) -> tuple[Change, ...]:
    """What two mappings do not share, in the order of ``a``, then of ``b``."""
    keys = [*a, *(key for key in b if key not in a)]
    pairs = ((key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys)
    return tuple(
        Change(key, one, two) for key, one, two in pairs if one is ABSENT or two is ABSENT or not equal(one, two)
    )


def _same_summary(a: SeriesSummary, b: SeriesSummary) -> bool:
    """Means to nine digits: sums depend on the order of their parts, which is nobody's choice."""
    means = [to_number(item.mean) for item in (a, b)]
    close = None not in means and math.isclose(means[0] or 0.0, means[1] or 0.0, rel_tol=1e-9)
    return same(a.evolve(mean=None).model_dump(), b.evolve(mean=None).model_dump()) and (close or same(*means))


def difference(change: Change) -> float | int | None:
    """By how much a metric's last value is greater in ``b``; None where that cannot be said."""
    numbers = [to_number(side.last) if isinstance(side, SeriesSummary) else None for side in (change.a, change.b)]
    return None if numbers[0] is None or numbers[1] is None else numbers[1] - numbers[0]


def sides_of(change: Change) -> dict[str, Any]:
    """A change as JSON values; a side that lacks something lacks its key."""
    return {side: _plain(value) for side, value in (("a", change.a), ("b", change.b)) if value is not ABSENT}


def _plain(value: Any) -> Any:
    if isinstance(value, SeriesSummary):
        return {name: to_json_number(item) for name, item in value.model_dump(mode="python").items()}
    return value


def value_text(value: Any) -> str:
    """A side of a change for people, cut where it is long."""
    if value is ABSENT:
        return "—"
    if isinstance(value, SeriesSummary):
        return format_number(value.last)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    plain = " ".join(text.split())
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}… ({len(text)} characters)"


def _title(run: ComparedRun) -> str:
    return f"{run.name} ({run.id})" if run.name != run.id else run.id
