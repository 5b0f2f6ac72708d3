"""The language that runs are searched by: from text to the tree of :mod:`headway.domain.expressions`.

The grammar is in docs/internals/tracking.md, section 5, and for people in docs/guide/filters.md. A text is at most
:data:`MAX_LENGTH` characters, nested at most :data:`MAX_DEPTH` deep, with at most :data:`MAX_COMPARISONS` comparisons
over at most :data:`MAX_FIELDS` different hyperparameters and metrics. Whatever is wrong is one InvalidRequestError that
says at which character.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from enum import Enum
from typing import NamedTuple

from headway.domain.base import did_you_mean
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
    Metric,
    Missing,
    Not,
    Operator,
    Or,
    Order,
    Param,
    Statistic,
    Test,
    Value,
    tests,
)
from headway.domain.metrics import STAGES
from headway.domain.runs import RunState
from headway.domain.search import param_key
from headway.errors import InvalidRequestError

MAX_LENGTH = 10_000
MAX_DEPTH = 64
MAX_COMPARISONS = 200
MAX_FIELDS = 32

GROUPS = ("params", "config", "metrics")
KEYWORDS = frozenset({"and", "or", "not", "in", "like", "is", "contains", "none", "true", "false"})
OPERATORS = {"=": Operator.EQUAL, "==": Operator.EQUAL} | {found.value: found for found in Operator}
ORDERED = (Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST)
NUMBERS = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}
LONGEST_INTEGER = 400
"""Digits beyond which a whole number is read as a float: no float is that large."""


def parse_filter(text: str) -> Expression:
    """The tree of a filter.

    >>> parse_filter("params.lr < 0.01 and not state = 'error'")  # doctest: +NORMALIZE_WHITESPACE
    And(operands=(Comparison(field=Param(key='lr'), operator=<Operator.LESS: '<'>, value=0.01),
        Not(operand=Comparison(field=Attribute(name='state'), operator=<Operator.EQUAL: '='>, value='error'))))

    Raises:
        InvalidRequestError: It is not of the language; says where and why.
    """
    return _Parser(text, "filter").filter()


def parse_order(text: str) -> Order:
    """What ``order_by`` means: a field, after ``-`` for the greatest first.

    >>> parse_order("-metrics.val.loss.min")
    Order(field=Metric(key='val.loss', statistic=<Statistic.MIN: 'min'>), descending=True)

    Raises:
        InvalidRequestError: It names no field that runs can be sorted by.
    """
    return _Parser(text, "order_by").order()


class _Kind(Enum):
    PATH = "a field"
    NUMBER = "a number"
    TEXT = "a text"
    SYMBOL = "a sign"
    END = "the end"


class _Token(NamedTuple):
    kind: _Kind
    text: str
    at: int

    @property
    def word(self) -> str:
        """The keyword that it may be."""
        return self.text.lower() if self.kind is _Kind.PATH else ""


_PART = r"(?:[\w/\-]+|`(?:[^`]|``)*`)"
_TOKEN = re.compile(
    rf"""\s*(?:
    (?P<NUMBER>[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|(?i:infinity|inf)\b)(?![\w`.]))
    |(?P<PATH>(?:[^\W\d][\w/\-]*|`(?:[^`]|``)*`)(?:\.{_PART})*)
    |(?P<TEXT>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<SYMBOL><=|>=|==|!=|[=<>(),\-])
    )""",
    re.VERBOSE,
)
_PARTS = re.compile(_PART)


class _Parser:
    """Recursive descent, one method a rule of the grammar."""

    def __init__(self, text: str, what: str) -> None:
        self._source, self._what = text, what
        self._depth = 0
        self._check_text(text)
        self._tokens = self._read()
        self._next = 0

    def filter(self) -> Expression:
        found = self._or()
        if self._token.kind is not _Kind.END:
            raise self._wrong(f"{self._shown(self._token)} follows what is complete", hint="Join with 'and' or 'or'.")
        self._check_size(found)
        return found

    def order(self) -> Order:
        descending = self._accept("-")
        at = self._token.at
        field = self._field()
        if self._token.kind is not _Kind.END:
            raise self._wrong(f"{self._shown(self._token)} follows the field; runs are sorted by one field")
        if isinstance(field, Attribute) and field.type is FieldType.LABELS:
            raise self._wrong("runs cannot be sorted by their labels", at=at)
        return Order(field, descending)

    def _or(self) -> Expression:
        return self._joined("or", self._and, Or)

    def _and(self) -> Expression:
        return self._joined("and", self._not, And)

    def _joined(
        self, word: str, rule: Callable[[], Expression], join: Callable[[tuple[Expression, ...]], Expression]
    ) -> Expression:
        found = [rule()]
        while self._accept(word):
            found.append(rule())
        return found[0] if len(found) == 1 else join(tuple(found))

    def _not(self) -> Expression:
        opening = self._token
        if self._accept("not"):
            return Not(self._deeper(opening, self._not))
        if self._accept("("):
            found = self._deeper(opening, self._or)
            self._expect(")")
            return found
        return self._comparison()

    def _deeper(self, opening: _Token, rule: Callable[[], Expression]) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"it is nested more than {MAX_DEPTH} deep", at=opening.at)
        found = rule()
        self._depth -= 1
        return found

    def _comparison(self) -> Test:
        at = self._token.at
        field = self._field()
        if self._accept("is"):
            negated = self._accept("not")
            self._expect("none")
            return Missing(field, negated)
        negated = self._accept("not")
        if self._accept("in"):
            return Among(field, self._values(field), negated)
        if self._accept("like"):
            return Like(field, self._text_for(field, at, "like"), negated)
        if self._accept("contains"):
            return Contains(field, self._text_for(field, at, "contains"), negated)
        if negated:
            raise self._wrong("after 'not' belongs 'in', 'like' or 'contains'", hint="Or put 'not' before the field.")
        return self._compared(field)

    def _compared(self, field: Field) -> Comparison | Missing:
        token = self._token
        operator = OPERATORS.get(token.text) if token.kind is _Kind.SYMBOL else None
        if operator is None:
            known = [*sorted(OPERATORS), "in", "like", "contains", "is"]
            hint = did_you_mean(token.word, known) if token.word else None
            raise self._wrong(
                f"{self._shown(token)} where a comparison belongs (=, !=, <, <=, >, >=, in, like, contains, is)",
                hint=hint,
            )
        self._next += 1
        if self._accept("none"):
            if operator not in (Operator.EQUAL, Operator.UNEQUAL):
                raise self._wrong("none has no order", at=token.at, hint="Ask with 'is none' or 'is not none'.")
            return Missing(field, negated=operator is Operator.UNEQUAL)
        at = self._token.at
        value = self._value(field)
        if isinstance(value, bool) and operator in ORDERED:
            raise self._wrong("true and false have no order", at=at, hint="Compare with = or !=.")
        return Comparison(field, operator, value)

    def _field(self) -> Field:
        token = self._token
        if token.kind is not _Kind.PATH or token.word in KEYWORDS:
            raise self._wrong(f"{self._shown(token)} where a field belongs", hint=_FIELD_HINT)
        self._next += 1
        raw = _PARTS.findall(token.text)
        parts = [_unquoted(part) for part in raw]
        if raw[0] in GROUPS and len(parts) > 1:
            if raw[0] == "metrics":
                return self._metric(raw[1:], parts[1:])
            return Param(param_key(tuple(parts[1:])))
        if len(parts) == 1 and raw[0] in ATTRIBUTES:
            return Attribute(raw[0])
        raise self._unknown_field(token, raw)

    def _metric(self, raw: Sequence[str], parts: Sequence[str]) -> Metric:
        statistic, names = Statistic.LAST, list(parts)
        if len(names) > 1 and raw[-1] in {found.value for found in Statistic}:
            statistic = Statistic(names.pop())
        if len(names) > 1:
            names[0] = STAGES.get(raw[0], names[0])
        return Metric(".".join(names), statistic)

    def _unknown_field(self, token: _Token, raw: Sequence[str]) -> InvalidRequestError:
        known = [*ATTRIBUTES, *GROUPS]
        if len(raw) == 1 and raw[0] in GROUPS:
            return self._wrong(f"{raw[0]!r} needs a name after it", at=token.at, hint=f"As in {raw[0]}.lr.")
        hint = did_you_mean(raw[0], known)
        if hint and len(raw) > 1 and raw[0] not in known:
            close = hint.removeprefix("Did you mean '").removesuffix("'?")
            hint = f"Did you mean '{'.'.join([close, *raw[1:]])}'?" if close in GROUPS else None
        return self._wrong(f"there is no field {token.text!r}", at=token.at, hint=hint or _FIELD_HINT)

    def _values(self, field: Field) -> tuple[Value, ...]:
        self._expect("(")
        found = [self._value(field)]
        while self._accept(","):
            found.append(self._value(field))
        self._expect(")")
        return tuple(found)

    def _value(self, field: Field) -> Value:
        """A value that ``field`` can have."""
        token = self._token
        value = self._literal()
        if isinstance(field, Metric):
            return self._checked_number(value, token, f"the metric {field.key!r}")
        if isinstance(field, Param):
            return value
        if field.type is FieldType.NUMBER:
            return self._checked_number(value, token, field.name)
        if field.type is FieldType.LABELS:
            raise self._wrong("labels are asked for one by one", at=token.at, hint="As in: labels contains 'best'.")
        if not isinstance(value, str):
            hint = f"Put it in quotes: '{token.text}'."
            raise self._wrong(f"{field.name} is compared with text, not {token.text}", at=token.at, hint=hint)
        if field.type is FieldType.TIME:
            return self._moment(value, token)
        states = [state.value for state in RunState]
        if field.type is FieldType.STATE and value not in states:
            hint = did_you_mean(value, states) or f"A run is one of {', '.join(states)}."
            raise self._wrong(f"there is no state {value!r}", at=token.at, hint=hint)
        return value

    def _literal(self) -> Value:
        token = self._token
        self._next += 1
        if token.kind is _Kind.NUMBER:
            return _number(token.text)
        if token.kind is _Kind.TEXT:
            quote = token.text[0]
            return token.text[1:-1].replace(quote * 2, quote)
        if token.word in ("true", "false"):
            return token.word == "true"
        if token.word in NUMBERS:
            return NUMBERS[token.word]
        self._next -= 1
        if token.word == "none":
            raise self._wrong("none cannot be in a list", hint="Ask for it with 'or … is none'.")
        hint = f"Put text in quotes: '{token.text}'." if token.kind is _Kind.PATH else None
        raise self._wrong(f"{self._shown(token)} where a value belongs", hint=hint)

    def _checked_number(self, value: Value, token: _Token, what: str) -> float:
        if isinstance(value, (bool, str)):
            raise self._wrong(f"{what} is compared with numbers, not {token.text}", at=token.at)
        return value

    def _moment(self, text: str, token: _Token) -> int:
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=timezone.utc)
            whole = moment.replace(microsecond=0).timestamp()
        except (ValueError, OverflowError):
            hint = "Write it as '2026-01-31' or '2026-01-31T12:00:00Z'."
            raise self._wrong(f"{text!r} is no time", at=token.at, hint=hint) from None
        return int(whole) * 1000 + moment.microsecond // 1000

    def _text_for(self, field: Field, at: int, word: str) -> str:
        token = self._token
        value = self._literal()
        if not isinstance(value, str):
            raise self._wrong(f"{word!r} is followed by text, not {token.text}", at=token.at, hint="Put it in quotes.")
        if isinstance(field, Metric) or (
            isinstance(field, Attribute) and field.type in (FieldType.TIME, FieldType.NUMBER)
        ):
            raise self._wrong(f"{word!r} looks into text, which this field is not", at=at)
        if word == "like" and isinstance(field, Attribute) and field.type is FieldType.LABELS:
            raise self._wrong("labels have no 'like'", at=at, hint="Ask for a whole label with 'contains'.")
        return value

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _accept(self, word: str) -> bool:
        token = self._token
        if token.word == word or (token.kind is _Kind.SYMBOL and token.text == word):
            self._next += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self._wrong(f"{self._shown(self._token)} where {word!r} belongs")

    def _read(self) -> list[_Token]:
        found: list[_Token] = []
        place, end = 0, len(self._source.rstrip())
        while place < end:
            match = _TOKEN.match(self._source, place)
            if match is None:
                raise self._unreadable(place)
            kind = match.lastgroup or ""
            found.append(_Token(_Kind[kind], match[kind], match.start(kind)))
            place = match.end()
        found.append(_Token(_Kind.END, "", end))
        return found

    def _unreadable(self, place: int) -> InvalidRequestError:
        while self._source[place].isspace():
            place += 1
        character = self._source[place]
        if character in "'\"`":
            return self._wrong(f"the {character} has no partner", at=place)
        hint = "A name with such characters stands in backquotes, as in metrics.`a b`; text stands in quotes."
        return self._wrong(f"{self._source[place : place + 20]!r} cannot be read", at=place, hint=hint)

    def _check_text(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise self._wrong(f"it has {len(text)} characters, and at most {MAX_LENGTH} are read", at=MAX_LENGTH)
        for bad, what in (("\0", "a NUL character"), ("[\ud800-\udfff]", "a lone surrogate, which is no text")):
            match = re.search(bad, text)
            if match is not None:
                raise self._wrong(f"it holds {what}", at=match.start())

    def _check_size(self, expression: Expression) -> None:
        found = list(tests(expression))
        if len(found) > MAX_COMPARISONS:
            raise self._wrong(f"it has {len(found)} comparisons, and at most {MAX_COMPARISONS} are read", at=0)
        fields = {test.field.key for test in found if not isinstance(test.field, Attribute)}
        if len(fields) > MAX_FIELDS:
            what = f"it asks for {len(fields)} hyperparameters and metrics, and at most {MAX_FIELDS} are compared"
            raise self._wrong(what, at=0)

    def _shown(self, token: _Token) -> str:
        return "the end comes" if token.kind is _Kind.END else f"{token.text[:40]!r} stands"

    def _wrong(self, what: str, *, at: int | None = None, hint: str | None = None) -> InvalidRequestError:
        place = self._token.at if at is None else at
        message = f"The {self._what} cannot be understood at character {place + 1}: {what}."
        problem = {"field": self._what, "message": what, "position": place}
        return InvalidRequestError(message, hint=hint, details={"errors": [problem], "position": place})


_FIELD_HINT = (
    f"Fields are {', '.join(ATTRIBUTES)},"
    " params.<name> and metrics.<series>, the last with .last, .min, .max, .mean or .count."
)


def _unquoted(part: str) -> str:
    return part[1:-1].replace("``", "`") if part.startswith("`") else part


def _number(text: str) -> float:
    if len(text) <= LONGEST_INTEGER and text.lstrip("+-").isdecimal():
        return int(text)
    return float(text)
