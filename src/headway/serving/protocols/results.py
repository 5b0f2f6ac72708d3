"""What a model answered, by the names of its outputs or row by row: what protocols have in common when they write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headway.serving.encoding import EncodingError

NARROW = "ef"
"""NumPy's letters for float16 and float32."""
BINARY = "_bytes"
"""How the name of an output ends whose texts are bytes."""


def named(result: Any) -> Any:
    """A data frame as a dict of its columns; anything else as it is."""
    if isinstance(result, (Mapping, list, np.ndarray)) or not hasattr(result, "columns"):
        return result
    return {str(name): np.asarray(result[name]) for name in result.columns}


def as_columns(result: Any, *, bare: bool) -> Any:
    """A result by the names of outputs; ``bare`` answers an only output without its name."""
    result = named(result)
    if not isinstance(result, Mapping):
        return result
    if bare and len(result) == 1:
        ((name, array),) = result.items()
        return _binary(name, array)
    for name in result:
        if isinstance(name, str) and name.endswith(BINARY):
            return {name: _binary(name, array) for name, array in result.items()}
    return result


def as_rows(result: Any, *, bare: bool = False) -> Any:
    """A dict of columns as a list of rows; anything else as it is.

    >>> as_rows({"classes": [5, 1], "scores": [[0.9], [0.8]]})
    [{'classes': 5, 'scores': [0.9]}, {'classes': 1, 'scores': [0.8]}]
    """
    result = as_columns(result, bare=bare)
    if not isinstance(result, Mapping) or not result:
        return result
    columns = [_column(value) for value in result.values()]
    for column in columns:
        if column is None:
            return result
    try:
        return [dict(zip(result, row)) for row in zip(*columns, strict=True)]  # noqa: B905  # as many names as columns
    except ValueError:
        lengths = {str(key): len(column) for key, column in zip(result, columns, strict=True)}
        raise EncodingError(f"The model's columns have different lengths, so they are not rows: {lengths}") from None


def _column(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if not value.ndim:
            return None
        # Narrow floats as Python's would be written with the digits of wide ones.
        return list(value) if value.dtype.char in NARROW else value.tolist()
    if isinstance(value, (list, tuple)):
        return value
    if hasattr(value, "tolist") and not isinstance(value, np.generic):
        listed = value.tolist()
        return listed if isinstance(listed, list) else None
    return None


def _binary(name: Any, value: Any) -> Any:
    """What an output whose name ends in ``_bytes`` holds, as bytes: its texts are sent as base64 too."""
    if not (isinstance(name, str) and name.endswith(BINARY)):
        return value
    return _as_bytes(value.tolist() if isinstance(value, np.ndarray) else value)


def _as_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_bytes(item) for item in value]
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
