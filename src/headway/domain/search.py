"""What the tree of a search means: which values of a run are compared, and how they are ordered.

Storage keeps the same values in tables and asks for the same in SQL; tests compare the two.

Values are of four forms, which never compare with each other: numbers, NaN, booleans and texts. A number is kept as the
nearest float64 and what is missing to it, so that whole numbers of 64 bits compare exactly. NaN equals NaN and is
neither less nor more than anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

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
            return math.copysign(math.inf, value), 0
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
    """How a hyperparameter at ``path`` is called: names with dots between them, in backquotes where a dot is in a name.

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
