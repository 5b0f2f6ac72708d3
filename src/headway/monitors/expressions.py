"""An expression over single lines, compiled by RE2, and the fast way through many lines at once.

What an expression finds in a line is defined by the line alone (:meth:`Expression.match_line`). :meth:`Expression.scan`
finds the same in many lines joined by newlines, and passes over those that do not match without looking at each: it
searches the whole text with the multi-line form of the expression, in which ``^`` and ``$`` are the edges of lines, and
with RE2's ``never_nl``, in which nothing matches a newline, so that a match never leaves its line. An expression for which
these are not the same thing (``\\A``, ``\\z``, ``\\C``, flags that are switched off within) goes line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

import re2

from headway.errors import InvalidRequestError
from headway.monitors.numbers import Point, last_value_in, step_of, value_of
from headway.monitors.refusals import refusal, too_large, too_many_groups

MEMORY = 4 << 20
"""Bytes that RE2 may use for one expression: program and caches."""
LARGEST_PROGRAM = 2000
"""RE2's instructions: what a character may cost on a text for which the caches do not suffice."""
MOST_GROUPS = 2
KEPT = 32
"""Compiled expressions that are remembered; with the memory of each, that bounds the memory of all."""
_OWN_EDGES = re.compile(r"\\[AzC]|\(\?[A-Za-z]*-")
"""Parts of expressions (perhaps quoted: then the slow way is taken without need) that mean something else over lines."""


class Match(NamedTuple):
    """A line that matched: where it lies in the scanned text, and its point, if what matched is a number."""

    start: int
    end: int
    point: Point | None


class _Found(Protocol):
    def span(self, group: int = 0) -> tuple[int, int]: ...
    def group(self, group: int) -> bytes | None: ...


class Expression:
    """A compiled expression. :func:`compile_expression` makes them."""

    def __init__(self, regex: str) -> None:
        self.regex = regex
        self._line = _compiled(regex)
        self.groups = self._line.groups
        if self.groups > MOST_GROUPS:
            raise too_many_groups(regex, self.groups)
        self._value, self._step = _places(regex, self._line.groupindex, self.groups)
        self._lines = None if _OWN_EDGES.search(regex) else _compiled("(?m)" + regex, never_nl=True)
        largest = max(part.programsize for part in (self._line, self._lines) if part is not None)
        if largest > LARGEST_PROGRAM:
            raise too_large(regex)

    def match_line(self, line: bytes) -> Match | None:
        """What it finds in one line of valid UTF-8 without a newline: its leftmost match."""
        found = self._line.search(line)
        return None if found is None else Match(0, len(line), self._point(line, found))

    def point_of(self, line: str) -> Point | None:
        """The point in one line; None where it does not match, or what matched is no number."""
        found = self.match_line(line.encode("utf-8", "replace"))
        return None if found is None else found.point

    def scan(self, lines: bytes) -> Iterator[Match]:
        """The lines that match, in order.

        Args:
            lines: Valid UTF-8 (see :func:`readable`), lines joined by a newline, without the last one.
        """
        return self._scan_singly(lines) if self._lines is None else self._scan_together(self._lines, lines)

    def _scan_together(self, expression: re2._Regexp, lines: bytes) -> Iterator[Match]:
        search, find, rfind, point, size = expression.search, lines.find, lines.rfind, self._point, len(lines)
        position = 0
        while position <= size:
            found = search(lines, position)
            if found is None:
                return
            place = found.start()
            end = find(b"\n", place)
            if end < 0:
                end = size
            yield Match(rfind(b"\n", 0, place) + 1, end, point(lines, found))
            position = end + 1

    def _scan_singly(self, lines: bytes) -> Iterator[Match]:
        start = 0
        for line in lines.split(b"\n"):
            found = self._line.search(line)
            if found is not None:
                yield Match(start, start + len(line), self._point(line, found))
            start += len(line) + 1

    def _point(self, text: bytes, found: _Found) -> Point | None:
        if not self.groups:
            first, last = found.span()
            value = last_value_in(text[first:last])
            return None if value is None else Point(value, None)
        word = found.group(self._value)
        value = None if word is None else value_of(word)
        if value is None:
            return None
        place = found.group(self._step) if self._step else None
        if not place:
            return Point(value, None)  # there is no second group, or it took no part, or nothing
        step = step_of(place)
        return None if step is None else Point(value, step)


def _places(regex: str, names: Mapping[str, int], groups: int) -> tuple[int, int]:
    """The numbers of the groups that hold value and step, 0 for none: by the names ``value`` and ``step`` where they are
    given, else the first and the second.
    """
    step = names.get("step", 0)
    value = names.get("value") or next((number for number in range(1, groups + 1) if number != step), 0)
    if groups and not value:
        raise InvalidRequestError(
            f"The expression {_short(regex)} has a step and no value.", hint="Add a second group."
        )
    return value, step or next((number for number in range(1, groups + 1) if number != value), 0)


@lru_cache(maxsize=KEPT)
def compile_expression(regex: str) -> Expression:
    """``regex`` as an expression.

    Raises:
        InvalidRequestError: RE2 cannot say it (look-around, references to groups), it has more than two groups, or it is
            too large; with the reason, and what to write instead.
    """
    return Expression(regex)


def check_sample(regex: str, sample: str | None) -> Expression:
    """``regex`` as an expression that finds a point in ``sample``, if one is given.

    Raises:
        InvalidRequestError: It cannot be used, or finds no point in the sample.
    """
    expression = compile_expression(regex)
    if sample is None:
        return expression
    line = sample.rstrip("\r\n")
    if "\n" in line:
        raise InvalidRequestError("The sample has several lines.", hint="Give one line as the program prints it.")
    found = expression.match_line(readable(line.encode("utf-8", "replace")))
    if found is None:
        raise InvalidRequestError(
            f"The expression {_short(regex)} does not match the sample {_short(line)}.",
            hint="Correct either; `headway monitor test` shows what an expression finds.",
        )
    if found.point is None:
        what = "its match holds no number" if not expression.groups else "what its groups hold is no number and step"
        raise InvalidRequestError(
            f"The expression {_short(regex)} matches the sample {_short(line)}, but {what}.",
            hint="The first group is the value, as in 0.3 or 1e-3, and the second a whole number.",
        )
    return expression


def readable(text: bytes) -> bytes:
    """``text`` as every reader of a log sees it: what is no UTF-8 is the replacement character."""
    if text.isascii():
        return text
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode(errors="replace").encode()
    return text


def _compiled(regex: str, *, never_nl: bool = False) -> re2._Regexp:
    options = re2.Options()
    options.max_mem = MEMORY
    options.log_errors = False
    options.never_nl = never_nl
    try:
        return re2.compile(regex, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        raise refusal(regex, said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from None
    except UnicodeEncodeError:
        raise refusal(regex, "invalid UTF-8") from None
    finally:
        re2.purge()  # it would keep another 128 of them alive


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
