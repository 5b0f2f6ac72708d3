"""Whether two answers say the same."""

from __future__ import annotations

import math
from typing import Any

import orjson

from headway.serving.gateway.replies import Reply

RELATIVE, ABSOLUTE = 1e-6, 1e-9
"""Numbers that are this close are equal: batches of other sizes add up in another order."""
LARGEST_VALUE = 256 * 1024
"""Bytes; longer answers are equal only byte by byte, so that no comparison holds up the loop."""
_NAMES = frozenset(("model_name", "model_version", "id"))
"""What an Open Inference answer says of who gave it."""


def same_answer(given: Reply, other: Reply) -> bool:
    """Whether two replies have the same status, and bodies that are the same bytes or the same JSON."""
    if given.status != other.status:
        return False
    if given.body == other.body:
        return True
    if max(len(given.body), len(other.body)) > LARGEST_VALUE:
        return False
    try:
        one, two = orjson.loads(given.body), orjson.loads(other.body)
    except orjson.JSONDecodeError:
        return False
    return same_value(_unnamed(one), _unnamed(two))


def _unnamed(value: Any) -> Any:
    return {k: v for k, v in value.items() if k not in _NAMES} if isinstance(value, dict) else value


def same_value(one: Any, two: Any) -> bool:
    """Whether two JSON values are equal but for the last digits of their numbers.

    >>> same_value({"x": [1, 0.1]}, {"x": [1.0, 0.1 + 1e-9]}), same_value([1], [True]), same_value([1.0], [1.1])
    (True, False, False)
    """
    pairs = [(one, two)]
    while pairs:
        one, two = pairs.pop()
        if isinstance(one, dict) and isinstance(two, dict):
            if one.keys() != two.keys():
                return False
            pairs.extend((one[key], two[key]) for key in one)
        elif isinstance(one, list) and isinstance(two, list):
            if len(one) != len(two):
                return False
            pairs.extend(zip(one, two, strict=True))
        elif not _same_scalar(one, two):
            return False
    return True


def _same_scalar(one: Any, two: Any) -> bool:
    if isinstance(one, bool) or isinstance(two, bool) or not isinstance(one, int | float):
        return type(one) is type(two) and bool(one == two)
    if not isinstance(two, int | float):
        return False
    if isinstance(one, int) and isinstance(two, int):
        return one == two
    return math.isclose(one, two, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
