"""What a search of runs asks for, as a small tree of frozen records.

:mod:`headway.domain.filters` reads it from text, :mod:`headway.domain.search` says what it means, and storage turns the
same tree into SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class FieldType(Enum):
    """What a field of the run itself holds."""

    TEXT = "text"
    STATE = "state"
    TIME = "time"
    NUMBER = "number"
    LABELS = "labels"


ATTRIBUTES: dict[str, FieldType] = {
    "id": FieldType.TEXT,
    "name": FieldType.TEXT,
    "state": FieldType.STATE,
    "folder": FieldType.TEXT,
    "description": FieldType.TEXT,
    "labels": FieldType.LABELS,
    "created_at": FieldType.TIME,
    "finished_at": FieldType.TIME,
    "duration": FieldType.NUMBER,
    "created_by": FieldType.TEXT,
    "attempts": FieldType.NUMBER,
    "job_id": FieldType.TEXT,
}
"""Fields of the run itself. ``duration`` is in seconds, and missing before the run has finished."""


class Statistic(str, Enum):
    """What of a series is compared."""

    LAST = "last"
    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    COUNT = "count"


class Operator(str, Enum):
    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


@dataclass(frozen=True)
class Attribute:
    """A field of the run itself."""

    name: str

    @property
    def type(self) -> FieldType:
        return ATTRIBUTES[self.name]


@dataclass(frozen=True)
class Param:
    """A hyperparameter; ``key`` is as :func:`headway.domain.search.param_key` makes it."""

    key: str


@dataclass(frozen=True)
class Metric:
    """A statistic of a series; ``key`` is as :func:`headway.domain.metrics.series_key` makes it."""

    key: str
    statistic: Statistic = Statistic.LAST


Field: TypeAlias = Attribute | Param | Metric
Value: TypeAlias = bool | int | float | str
"""A time is its milliseconds since 1970."""


@dataclass(frozen=True)
class Comparison:
    field: Field
    operator: Operator
    value: Value


@dataclass(frozen=True)
class Among:
    """``in``, or with ``negated`` ``not in``: which still needs a value to be there."""

    field: Field
    values: tuple[Value, ...]
    negated: bool = False


@dataclass(frozen=True)
class Like:
    """``%`` is any text, ``_`` any one character; upper and lower case differ."""

    field: Field
    pattern: str
    negated: bool = False


@dataclass(frozen=True)
class Contains:
    """A part of a text, or one of the labels."""

    field: Field
    text: str
    negated: bool = False


@dataclass(frozen=True)
class Missing:
    """``is none``."""

    field: Field
    negated: bool = False


@dataclass(frozen=True)
class Not:
    operand: Expression


@dataclass(frozen=True)
class And:
    operands: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    operands: tuple[Expression, ...]


Test: TypeAlias = Comparison | Among | Like | Contains | Missing
Expression: TypeAlias = Test | Not | And | Or


@dataclass(frozen=True)
class Order:
    """What runs are sorted by. Runs without it come last either way; equal ones are newest first."""

    field: Field
    descending: bool = False


def tests(expression: Expression) -> Iterator[Test]:
    """Every comparison in ``expression``, from left to right."""
    if isinstance(expression, (And, Or)):
        for operand in expression.operands:
            yield from tests(operand)
    elif isinstance(expression, Not):
        yield from tests(expression.operand)
    else:
        yield expression
