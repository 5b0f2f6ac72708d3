"""Reading and writing at once what arrived together and has the form that nearly all requests have: rows of one input.

It saves what NumPy and Python take for each array, each dict and each call: for a row of 64 numbers two thirds of the time.
Whatever is not of that form is left to the protocol, one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from headway.serving.encoding import EncodingError, dumps
from headway.serving.http.messages import Response
from headway.serving.protocols.base import Call
from headway.serving.protocols.results import as_rows
from headway.serving.protocols.values import reader_of
from headway.serving.runtimes.base import LoadedModel

_OF_TRUE, _OF_FALSE = b"r", b"l"
"""Letters that numbers and the field's name do not have; to look for one takes a tenth of looking for a word. NumPy takes
booleans for 1 and 0 where numbers stand beside them, and no request is judged by its neighbours."""


def read_rows(model: LoadedModel, bodies: Sequence[bytes], field: str) -> list[Call | None]:
    """The calls in bodies that are an object with a list of rows as their only ``field``; None for each of the others."""
    calls: list[Call | None] = [None] * len(bodies)
    if model.signature is None:
        return calls
    reader = reader_of(model.signature)
    texts = reader.single is not None and reader.single.dtype.kind == "O"
    places, counts, rows = [], [], []
    for place, body in enumerate(bodies):
        if not texts and (_OF_TRUE in body or _OF_FALSE in body):
            continue
        found = _rows_in(body, field)
        if found:
            places.append(place)
            counts.append(len(found))
            rows += found
    read = reader.of_many(rows, counts) if len(places) > 1 else None
    for place, call in zip(places, read or (), strict=False):
        calls[place] = call
    return calls


def _rows_in(body: bytes, field: str) -> list[Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    rows = document.get(field) if type(document) is dict and len(document) == 1 else None
    return rows if type(rows) is list else None


def write_rows(model: LoadedModel, result: Any, bounds: Sequence[int], field: str) -> list[Response] | None:
    """The answers ``{field: rows}`` for each stretch of rows; None where the result has no form row by row."""
    try:
        rows = as_rows(result, bare=model.signature is not None)
        if not isinstance(rows, (list, np.ndarray)) or len(rows) != bounds[-1]:
            return None
        return [Response(200, dumps({field: rows[start:end]})) for start, end in pairwise(bounds)]
    except EncodingError:
        return None
