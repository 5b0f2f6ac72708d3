"""Several calls as one, and the one result as several: along the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from headway.serving.protocols.base import Call
from headway.serving.runtimes.base import LoadedModel


class RowsError(Exception):
    """A result does not have one row for each row of the inputs, so that it cannot be told whose is whose."""


def is_joinable(model: LoadedModel) -> bool:
    """Whether calls of a model may be answered together."""
    return model.signature.rows if model.signature is not None else bool(model.batch)


def join(calls: Sequence[Call]) -> Any:
    """The inputs of calls of one kind as one input.

    >>> join([Call(["a"], rows=1), Call(["b", "c"], rows=2)])
    ['a', 'b', 'c']
    """
    first = calls[0].inputs
    if len(calls) == 1:
        return first
    if isinstance(first, dict):
        return {name: np.concatenate([call.inputs[name] for call in calls]) for name in first}
    return [row for call in calls for row in call.inputs]


def bounds_of(calls: Sequence[Call]) -> list[int]:
    """Where each call begins in the rows of all, and where the last ends.

    >>> bounds_of([Call([], rows=1), Call([], rows=2)])
    [0, 1, 3]
    """
    return [0, *accumulate(call.rows or 0 for call in calls)]


def check_rows(result: Any, count: int) -> None:
    """See that a result has as many rows as were asked for.

    Raises:
        RowsError: It has none, or another number of them.
    """
    for column in result.values() if isinstance(result, Mapping) else (result,):
        if isinstance(column, np.ndarray):
            found = len(column) if column.ndim else None
        else:
            found = len(column) if isinstance(column, (list, tuple)) else None
        if found != count:
            raise RowsError(f"The model answered {found} rows for {count}")


def split(result: Any, bounds: Sequence[int]) -> list[Any]:
    """The result of joined calls as one result for each.

    >>> split({"size": [1, 2, 3]}, [0, 1, 3])
    [{'size': [1]}, {'size': [2, 3]}]
    """
    if not isinstance(result, Mapping):
        return [result[start:end] for start, end in pairwise(bounds)]
    return [{name: column[start:end] for name, column in result.items()} for start, end in pairwise(bounds)]
