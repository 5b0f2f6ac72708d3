"""Numbers in log lines: what counts as a value, and what as a step."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

LONGEST = 1024
"""Bytes of a number; what is longer is none."""
SMALLEST, LARGEST = -(1 << 63), (1 << 63) - 1
EXACT = 1 << 53
"""Below this a float that is whole stands for itself alone."""

_NUMBER = re.compile(
    rb"(?:(?<![\w.])[-+])?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|(?:(?<![\w.])[-+])?(?<!\w)(?i:nan|inf(?:inity)?)(?!\w)",
    re.ASCII,
)
_WHOLE = re.compile(rb"\s*([-+]?\d+)(?:\.0*)?\s*", re.ASCII)


class Point(NamedTuple):
    """What a line says: a value (NaN and infinities are values), and the step at which it was so, if it names one."""

    value: float
    step: int | None


def value_of(text: bytes) -> float | None:
    """The number that ``text`` is, as the nearest float64; None when it is none.

    Numbers are decimal, with a point and an exponent or without, with a sign or without, or ``nan``, ``inf`` or
    ``infinity`` in any case; white space around them is passed over. Separators of thousands, units, percent signs and
    decimal commas are no part of a number: ``1,234`` might be either, so it is none.

    >>> [value_of(text) for text in (b"3", b" -.5 ", b"1e-3", b"Inf", b"1,234", b"1_000", b"0.3,", b"")]
    [3.0, -0.5, 0.001, inf, None, None, None, None]
    """
    if len(text) > LONGEST or b"_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else math.nan


def last_value_in(text: bytes) -> float | None:
    """The last number in ``text``; None when there is none.

    A sign belongs to a number unless a letter, digit or point stands before it.

    >>> [last_value_in(text) for text in (b"epoch 3: loss=-0.5 (best)", b"7-2", b"nothing", b"loss is NaN", b"banana")]
    [-0.5, 2.0, None, nan, None]
    """
    found = None
    for match in _NUMBER.finditer(text):
        found = match
    return None if found is None else value_of(found.group())


def step_of(text: bytes) -> int | None:
    """The whole number of 64 bits that ``text`` is; None when it is none.

    >>> [step_of(text) for text in (b"159", b"3.0", b"2e3", b"3.5", b"9223372036854775808", b"")]
    [159, 3, 2000, None, None, None]
    """
    if len(text) > LONGEST:
        return None
    if text.isdigit():
        number = int(text)
    elif (plain := _WHOLE.fullmatch(text)) is not None:
        number = int(plain.group(1))
    else:
        found = value_of(text)
        if found is None or not found.is_integer() or abs(found) >= EXACT:
            return None
        number = int(found)
    return number if SMALLEST <= number <= LARGEST else None
