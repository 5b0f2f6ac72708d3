"""A search of runs as SQL: every value of :mod:`headway.domain.search` is a column, everything asked for a parameter.

Each hyperparameter and each series that is named joins its table once, by primary key; what a run lacks is NULL there.
Ids are found first and documents are read afterwards, so that sorting moves no documents.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Alias,
    ColumnElement,
    Double,
    FromClause,
    Row,
    Select,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)

from headway.domain.base import PageRequest
from headway.domain.expressions import (
    Among,
    And,
    Attribute,
    Comparison,
    Contains,
    Expression,
    Field,
    FieldType,
    Like,
    Metric,
    Missing,
    Not,
    Operator,
    Or,
    Order,
    Param,
    Statistic,
    Value,
)
from headway.domain.search import SORTED_TEXT, Form, split_number
from headway.storage.sql import tables
from headway.storage.sql.columns import PlainText, WholeNumber
from headway.storage.sql.cursors import decode_place, encode_place
from headway.storage.sql.matching import contains, matches
from headway.storage.sql.records import among
from headway.storage.sql.summaries import FORM_BITS, FORM_MASK, NAN, STATISTICS
from headway.storage.sql.transactions import Transaction

EXACT = 2.0**53
"""Below it every whole number is a float64, and nothing is missing to it."""
NOTHING = len(Form)
"""Where runs without a value are sorted."""
DOCUMENTS_PER_QUERY = 500

_runs = tables.runs.c
_Condition = ColumnElement[bool]


def search_runs(
    transaction: Transaction,
    page: PageRequest,
    project_ids: Collection[str] | None,
    where: Expression | None,
    order: Order | None,
) -> tuple[list[Row[Any]], str | None]:
    """One page of rows with ``document``, and the cursor of the next one."""
    columns = _Columns()
    conditions = [among(_runs.project_id, project_ids)]
    if where is not None:
        conditions.append(_condition(where, columns))
    sorting = _Sorting(order, columns)
    if page.cursor is not None:
        conditions.append(sorting.after(page.cursor))
    statement = select(_runs.created_at, _runs.id, *sorting.selected).select_from(columns.source).where(*conditions)
    found = transaction.rows(statement.order_by(*sorting.order).limit(page.limit + 1))
    rows = found[: page.limit]
    cursor = sorting.cursor(rows[-1]) if len(found) > page.limit else None
    documents = _documents(transaction, [row.id for row in rows])
    return [documents[row.id] for row in rows], cursor


def _documents(transaction: Transaction, ids: Sequence[str]) -> Mapping[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for start in range(0, len(ids), DOCUMENTS_PER_QUERY):
        some = ids[start : start + DOCUMENTS_PER_QUERY]
        statement: Select[Any] = select(_runs.id, _runs.document).where(_runs.id.in_(some))
        found.update({row.id: row for row in transaction.rows(statement)})
    return found


@dataclass(frozen=True)
class _Column:
    """One field as SQL. What it can never be is None."""

    present: _Condition
    text: ColumnElement[Any] | None = None
    number: ColumnElement[Any] | None = None
    rest: ColumnElement[Any] | None = None
    form: ColumnElement[Any] | None = None
    """For hyperparameters, which may be of any form."""
    nan: _Condition | None = None

    @property
    def numeric(self) -> _Condition:
        """Whether ``number`` is that of a number (and not a boolean's)."""
        return true() if self.form is None else self.form == Form.NUMBER.value


class _Columns:
    """The columns of the fields that were asked for so far, and the tables that they come from."""

    def __init__(self) -> None:
        self.source: FromClause = tables.runs
        self._params: dict[str, Alias] = {}
        self._metrics: dict[str, Alias] = {}

    def of(self, field: Field) -> _Column:
        if isinstance(field, Attribute):
            return _attribute(field)
        if isinstance(field, Param):
            return _param(self._joined(self._params, tables.run_params, field.key))
        return _metric(self._joined(self._metrics, tables.run_metrics, field.key), field)

    def _joined(self, known: dict[str, Alias], table: Any, key: str) -> Alias:
        if key not in known:
            alias = known[key] = table.alias()
            on = and_(alias.c.run_id == _runs.id, alias.c.key == key)
            self.source = self.source.outerjoin(alias, on)
        return known[key]


def _attribute(field: Attribute) -> _Column:
    if field.type in (FieldType.TEXT, FieldType.STATE):
        column = _runs[field.name]
        return _Column(present=column.is_not(None), text=column)
    if field.type is FieldType.LABELS:
        return _Column(present=_runs.labels != "", text=_runs.labels)
    if field.name == "duration":
        number = cast(_runs.finished_at - _runs.created_at, Double) / literal(1000.0, Double)
        return _Column(present=_runs.finished_at.is_not(None), number=number)
    column = _runs[field.name]
    return _Column(present=column.is_not(None), number=cast(column, Double))


def _param(table: Alias) -> _Column:
    columns = table.c
    nan = columns.form == Form.NAN.value
    return _Column(columns.run_id.is_not(None), columns.text, columns.number, columns.rest, columns.form, nan)


def _metric(table: Alias, field: Metric) -> _Column:
    columns = table.c
    if field.statistic is Statistic.COUNT:
        return _Column(present=columns.run_id.is_not(None), number=cast(columns["count"], Double))
    statistic = field.statistic.value
    shift = FORM_BITS * STATISTICS.index(statistic)
    nan = columns.forms.op("&")(literal(FORM_MASK << shift, WholeNumber)) == NAN << shift
    number = columns[statistic]
    rest = columns.get(f"{statistic}_rest")
    return _Column(present=or_(number.is_not(None), nan), number=number, rest=rest, nan=nan)


def _condition(expression: Expression, columns: _Columns) -> _Condition:
    """True where ``expression`` holds; false or unknown elsewhere."""
    if isinstance(expression, And):
        return and_(*[_condition(operand, columns) for operand in expression.operands])
    if isinstance(expression, Or):
        return or_(*[_condition(operand, columns) for operand in expression.operands])
    if isinstance(expression, Not):
        return _untrue(_condition(expression.operand, columns))
    return _test(expression, columns)


def _test(test: Comparison | Among | Like | Contains | Missing, columns: _Columns) -> _Condition:
    column = columns.of(test.field)
    if isinstance(test, Missing):
        return column.present if test.negated else _untrue(column.present)
    if isinstance(test, Comparison):
        if test.operator is Operator.UNEQUAL:
            return and_(column.present, _untrue(_equal(column, test.value)))
        return _compared(column, test.operator, test.value)
    if isinstance(test, Among):
        held = _among(column, test.values)
    elif column.text is None:
        held = false()
    elif isinstance(test, Like):
        held = matches(column.text, test.pattern)
    else:
        whole = isinstance(test.field, Attribute) and test.field.type is FieldType.LABELS
        held = contains(column.text, f"\n{test.text}\n" if whole else test.text)
    return and_(column.present, _untrue(held)) if test.negated else held


def _untrue(condition: _Condition) -> _Condition:
    """True where ``condition`` is false or unknown."""
    return condition.self_group().is_not(true())


def _compared(column: _Column, operator: Operator, value: Value) -> _Condition:
    if operator is Operator.EQUAL:
        return _equal(column, value)
    less = operator in (Operator.LESS, Operator.AT_MOST)
    found: _Condition
    if isinstance(value, str):
        found = _beyond(column.text, literal(value, PlainText), less=less)
    elif isinstance(value, bool) or math.isnan(value):
        found = false()
    else:
        found = and_(column.numeric, _number_beyond(column, value, less=less))
    if operator in (Operator.AT_MOST, Operator.AT_LEAST):
        return or_(found, _equal(column, value))
    return found


def _beyond(one: ColumnElement[Any] | None, other: ColumnElement[Any], *, less: bool) -> _Condition:
    if one is None:
        return false()
    return one < other if less else one > other


def _number_beyond(column: _Column, value: float, *, less: bool) -> _Condition:
    number, rest = split_number(value)
    bound = literal(number, Double)
    further = _beyond(column.number, bound, less=less)
    if column.number is None or column.rest is None or abs(number) < EXACT:
        return further
    return or_(further, and_(column.number == bound, _beyond(column.rest, literal(rest, WholeNumber), less=less)))


def _equal(column: _Column, value: Value) -> _Condition:
    if isinstance(value, str):
        return false() if column.text is None else column.text == literal(value, PlainText)
    if isinstance(value, bool):
        if column.form is None or column.number is None:
            return false()
        return and_(column.form == Form.BOOLEAN.value, column.number == literal(float(value), Double))
    if math.isnan(value):
        return false() if column.nan is None else column.nan
    number, rest = split_number(value)
    if column.number is None or (column.rest is None and rest):
        return false()
    same: _Condition = and_(column.numeric, column.number == literal(number, Double))
    if column.rest is None or abs(number) < EXACT:
        return same
    return and_(same, column.rest == literal(rest, WholeNumber))


def _among(column: _Column, values: Sequence[Value]) -> _Condition:
    """Equality with one of ``values``, texts and plain numbers as one list each."""
    texts = [value for value in values if isinstance(value, str)]
    numbers = [v for v in values if not isinstance(v, (str, bool)) and not math.isnan(v) and abs(v) < EXACT]
    others = [v for v in values if isinstance(v, bool) or not (isinstance(v, str) or v in numbers)]
    found = [_equal(column, value) for value in others]
    if texts and column.text is not None:
        found.append(column.text.in_([literal(text, PlainText) for text in texts]))
    if numbers and column.number is not None:
        among_them = column.number.in_([literal(float(number), Double) for number in numbers])
        found.append(and_(column.numeric, among_them))
    return or_(false(), *found)


class _Sorting:
    """The order of a page: forms (numbers, NaN, booleans, texts, nothing), then values, then newest first."""

    def __init__(self, order: Order | None, columns: _Columns) -> None:
        self._order, self._columns = order, columns

    @cached_property
    def _keys(self) -> list[ColumnElement[Any]]:
        """What is compared after the form, in the direction asked for."""
        if self._order is None:
            return []
        column = self._columns.of(self._order.field)
        found: list[ColumnElement[Any]] = []
        if column.number is not None:
            found.append(func.coalesce(column.number, literal(0.0, Double), type_=Double))
        if column.rest is not None:
            found.append(func.coalesce(column.rest, literal(0, WholeNumber), type_=WholeNumber))
        if column.text is not None:
            text: ColumnElement[Any] = func.substr(column.text, 1, SORTED_TEXT)
            if column.form is not None:
                text = case((column.form == Form.TEXT.value, text), else_=literal("", PlainText))
            found.append(func.coalesce(text, literal("", PlainText), type_=PlainText))
        return found

    @cached_property
    def _form(self) -> ColumnElement[Any]:
        assert self._order is not None
        column = self._columns.of(self._order.field)
        if column.form is not None:
            return func.coalesce(column.form, NOTHING, type_=WholeNumber)
        numbers = [(column.nan, Form.NAN.value)] if column.nan is not None else []
        return case(*numbers, (column.present, Form.NUMBER.value), else_=NOTHING)

    @property
    def selected(self) -> list[ColumnElement[Any]]:
        if self._order is None:
            return []
        return [part.label(f"sorted_{number}") for number, part in enumerate([self._form, *self._keys])]

    @property
    def order(self) -> list[ColumnElement[Any]]:
        newest: list[ColumnElement[Any]] = [_runs.created_at.desc(), _runs.id.desc()]
        if self._order is None:
            return newest
        keys = [key.desc() if self._order.descending else key.asc() for key in self._keys]
        return [self._form, *keys, *newest]

    def cursor(self, row: Row[Any]) -> str:
        return encode_place([*row[2:], row.created_at, row.id])

    def after(self, cursor: str) -> _Condition:
        """What comes after the run of which :meth:`cursor` was made."""
        keys = [] if self._order is None else [self._form, *self._keys]
        types = [_PLAIN_TYPES[type(key.type)] for key in self._keys]
        place = decode_place(cursor, [*([int] if keys else []), *types, int, str])
        older = tuple_(_runs.created_at, _runs.id) < tuple_(*place[-2:])
        if self._order is None:
            return older
        here = tuple_(*self._keys)
        there = tuple_(*[literal(value, key.type) for value, key in zip(place[1:-2], self._keys, strict=True)])
        beyond = here < there if self._order.descending else here > there
        same_form = self._form == literal(place[0], WholeNumber)
        return or_(
            self._form > literal(place[0], WholeNumber),
            and_(same_form, or_(beyond, and_(here == there, older))),
        )


_PLAIN_TYPES: Mapping[type[Any], type[Any]] = {Double: float, WholeNumber: int, PlainText: str}
