"""Several calls as one, and the one result as several: along the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
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


def split(result: Any, calls: Sequence[Call]) -> list[Any]:
    """The result of joined calls as one result for each.

    >>> split({"size": [1, 2, 3]}, [Call([], rows=1), Call([], rows=2)])
    [{'size': [1]}, {'size': [2, 3]}]

    Raises:
        RowsError: It has no rows, or not as many as were asked for.
    """
    if len(calls) == 1 and calls[0].rows is None:
        return [result]  # it has no rows to be counted
    bounds = [0]
    for call in calls:
        bounds.append(bounds[-1] + (call.rows or 0))
    if isinstance(result, Mapping):
        parts = [(name, _slices(column, bounds)) for name, column in result.items()]
        return [{name: slices[position] for name, slices in parts} for position in range(len(calls))]
    return _slices(result, bounds)


def _slices(column: Any, bounds: list[int]) -> list[Any]:
    if isinstance(column, np.ndarray):
        found = len(column) if column.ndim else None
    else:
        found = len(column) if isinstance(column, (list, tuple)) else None
    if found != bounds[-1]:
        raise RowsError(f"The model answered {found} rows for {bounds[-1]}")
    return [column[start:end] for start, end in pairwise(bounds)]
