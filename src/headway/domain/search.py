"""What the tree of a search means: which values of a run are compared, and how they are ordered.

Storage keeps the same values in tables and asks for the same in SQL; tests compare the two.

Values are of four forms, which never compare with each other: numbers, NaN, booleans and texts. A number is kept as the
nearest float64 and what is missing to it, so that whole numbers of 64 bits compare exactly. NaN equals NaN and is
neither less nor more than anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum
from typing import Any

from headway.domain.expressions import (
    ATTRIBUTES,
    Among,
    And,
    Attribute,
    Comparison,
    Contains,
    Expression,
    Field,
    FieldType,
    Like,
    Missing,
    Not,
    Operator,
    Or,
    Param,
    Test,
    Value,
)
from headway.domain.metrics import SeriesSummary
from headway.domain.runs import Run

MAX_KEY = 1024
"""Bytes (UTF-8) of the path of a hyperparameter that can be searched for."""
MAX_TEXT = 8192
"""Of a longer text its first characters are compared."""
MAX_PARAMS = 5000
"""How many hyperparameters of one run can be searched for: the first ones."""
MAX_NESTING = 64
SORTED_TEXT = 128
"""Texts are sorted by their first characters, so that the place of a page's end stays short."""
_INT64 = 1 << 63

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How a configuration carries what JSON lacks. Such a text is found as the number and as the text."""


class Form(IntEnum):
    """What a value is. Sorted by this first, whatever the direction."""

    NUMBER = 0
    NAN = 1
    BOOLEAN = 2
    TEXT = 3


@dataclass(frozen=True)
class Indexed:
    """One value as it is compared: ``number + rest`` for numbers (and 0 or 1 for booleans), ``text`` for texts."""

    form: Form
    number: float | None = None
    rest: int = 0
    text: str | None = None


def split_number(value: float) -> tuple[float, int]:
    """``value`` as the nearest float and the whole number that is missing to it.

    >>> split_number(2**53 + 1), split_number(0.5), split_number(10**400)
    ((9007199254740992.0, 1), (0.5, 0), (inf, 0))
    """
    if isinstance(value, int):
        try:
            number = float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf, 0
        return number, value - int(number) if -_INT64 <= value < _INT64 else 0
    return value, 0


def index_value(value: Any) -> Indexed | None:
    """``value`` (JSON) as it is compared; None when there is nothing to compare: null, or text with a NUL.

    A list (and an empty group) counts as its JSON text.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return Indexed(Form.BOOLEAN, number=float(value))
    if isinstance(value, (int, float)):
        return _number(value, None)
    if isinstance(value, str):
        if value in NOT_FINITE:
            return _number(NOT_FINITE[value], value)
        return _text(value)
    return _text(json.dumps(value, ensure_ascii=False))


def _number(value: float, text: str | None) -> Indexed:
    number, rest = split_number(value)
    return Indexed(Form.NAN, text=text) if math.isnan(number) else Indexed(Form.NUMBER, number, rest, text)


def _text(value: str) -> Indexed | None:
    value = value[:MAX_TEXT]
    return Indexed(Form.TEXT, text=value) if _storable(value) else None


def _storable(text: str) -> bool:
    """Whether every database keeps ``text``, in its keys too."""
    try:
        return "\0" not in text and bool(text.encode() or True)
    except UnicodeEncodeError:
        return False


def param_key(path: tuple[str, ...]) -> str:
    r"""How a hyperparameter at ``path`` is called: names with dots between them, in backquotes where a dot is in a name.

    >>> param_key(("optimizer", "lr")), param_key(("a.b", "c`d"))
    ('optimizer.lr', '`a.b`.`c``d`')
    """
    return ".".join(_quoted(name) for name in path)


def _quoted(name: str) -> str:
    if name and "." not in name and "`" not in name:
        return name
    return "`" + name.replace("`", "``") + "`"


def index_params(config: Mapping[str, Any]) -> dict[str, Indexed]:
    """Every hyperparameter in ``config`` that can be searched for, by its key.

    >>> sorted(index_params({"lr": 0.1, "optimizer": {"name": "adam", "none": None}}))
    ['lr', 'optimizer.name']
    """
    found: dict[str, Indexed] = {}
    for path, value in _leaves(config, ()):
        indexed = index_value(value)
        key = param_key(path)
        if indexed is None or not _storable(key) or len(key.encode()) > MAX_KEY:
            continue
        found[key] = indexed
        if len(found) >= MAX_PARAMS:
            break
    return found


def _leaves(config: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in config.items():
        path = (*above, str(name))
        if isinstance(value, Mapping) and value and len(path) < MAX_NESTING:
            yield from _leaves(value, path)
        else:
            yield path, value


@dataclass(frozen=True)
class Searched:
    """Everything of one run that can be asked for."""

    attributes: Mapping[str, Indexed | None]
    labels: tuple[str, ...]
    params: Mapping[str, Indexed]
    metrics: Mapping[str, SeriesSummary]

    @classmethod
    def of(cls, run: Run, summaries: Iterable[SeriesSummary] = ()) -> Searched:
        """As the server would search it."""
        return cls(
            attributes={name: _attribute(run, name) for name in ATTRIBUTES if name != "labels"},
            labels=run.labels,
            params=index_params(run.config),
            metrics={summary.key: summary for summary in summaries},
        )

    def value(self, field: Field) -> Indexed | None:
        if isinstance(field, Param):
            return self.params.get(field.key)
        if isinstance(field, Attribute):
            return self.attributes.get(field.name)
        summary = self.metrics.get(field.key)
        value = None if summary is None else getattr(summary, field.statistic.value)
        # Whatever a summary says in words is a number; a metric is never text.
        return None if value is None else _number(NOT_FINITE[value] if isinstance(value, str) else value, None)


def _attribute(run: Run, name: str) -> Indexed | None:
    if name == "duration":
        if run.finished_at is None:
            return None
        return _number((_milliseconds(run.finished_at) - _milliseconds(run.created_at)) / 1000.0, None)
    value = getattr(run, name)
    if value is None:
        return None
    if isinstance(value, datetime):
        return _number(_milliseconds(value), None)
    if isinstance(value, int):
        return _number(value, None)
    return Indexed(Form.TEXT, text=value.value if isinstance(value, Enum) else value)


def _milliseconds(moment: datetime) -> int:
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def matches(expression: Expression, run: Searched) -> bool:
    """Whether ``expression`` holds of ``run``. What a run lacks satisfies no comparison but ``is none``."""
    if isinstance(expression, And):
        return all(matches(operand, run) for operand in expression.operands)
    if isinstance(expression, Or):
        return any(matches(operand, run) for operand in expression.operands)
    if isinstance(expression, Not):
        return not matches(expression.operand, run)
    if isinstance(expression.field, Attribute) and expression.field.type is FieldType.LABELS:
        return _labelled(expression, run.labels)
    return _holds(expression, run.value(expression.field))


def _labelled(test: Test, labels: tuple[str, ...]) -> bool:
    if isinstance(test, Missing):
        return bool(labels) is test.negated
    assert isinstance(test, Contains)
    return bool(labels) and (test.text in labels) is not test.negated


def _holds(test: Test, value: Indexed | None) -> bool:
    if isinstance(test, Missing):
        return (value is not None) is test.negated
    if value is None:
        return False
    if isinstance(test, Comparison):
        return _compare(value, test.operator, test.value)
    if isinstance(test, Among):
        found = any(_equal(value, one) for one in test.values)
    elif isinstance(test, Like):
        found = value.text is not None and _like(value.text, test.pattern)
    else:
        found = value.text is not None and test.text in value.text
    return found is not test.negated


def _compare(value: Indexed, operator: Operator, other: Value) -> bool:
    if operator is Operator.EQUAL:
        return _equal(value, other)
    if operator is Operator.UNEQUAL:
        return not _equal(value, other)
    equal = operator in (Operator.AT_MOST, Operator.AT_LEAST) and _equal(value, other)
    less = operator in (Operator.LESS, Operator.AT_MOST)
    if isinstance(other, str):
        return equal or (value.text is not None and (value.text < other if less else value.text > other))
    if value.form is not Form.NUMBER or value.number is None or isinstance(other, bool) or math.isnan(other):
        return equal
    here, there = (value.number, value.rest), split_number(other)
    return equal or (here < there if less else here > there)


def _equal(value: Indexed, other: Value) -> bool:
    if isinstance(other, str):
        return value.text == other
    if isinstance(other, bool):
        return value.form is Form.BOOLEAN and value.number == float(other)
    if math.isnan(other):
        return value.form is Form.NAN
    return value.form is Form.NUMBER and (value.number, value.rest) == split_number(other)


def _like(text: str, pattern: str) -> bool:
    """Whether all of ``text`` fits. Goes back to the last ``%`` only, so the time is at most the product of both."""
    at = place = 0
    any_at, resume = -1, 0
    while at < len(text):
        sign = pattern[place] if place < len(pattern) else None
        if sign == "%":
            any_at, resume = place, at
            place += 1
        elif sign == "_" or (sign is not None and sign == text[at]):
            at, place = at + 1, place + 1
        elif any_at >= 0:
            resume += 1
            at, place = resume, any_at + 1
        else:
            return False
    return all(sign == "%" for sign in pattern[place:])
