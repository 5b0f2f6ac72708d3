"""What a model takes and answers, found out from examples.

NumPy, pandas and the frameworks are never imported for it: whoever holds an array has loaded what made it, and arrays of
all of them say ``shape`` and ``dtype`` alike.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from headway.domain.base import parse_request
from headway.domain.models import ModelSignature
from headway.errors import InvalidRequestError, with_article

INPUT, OUTPUT = "input", "output"
"""What is called by no name of its own."""
ROWS_LOOKED_AT = 1000
EXAMPLE_ROWS, EXAMPLE_BYTES = 3, 4096
STRING, OBJECT = "string", "object"
TAKEN = "Pass a NumPy array, a tensor, a DataFrame, a Series, a list, a dict, a text or a number."
_TEXT_TYPES = re.compile(r"(?:large_)?(?:str|string|utf8|categorical|enum)(?:\[.*\])?|str[0-9]+|bytes[0-9]+")

Spec = dict[str, Any]


def infer_signature(inputs: Any, outputs: Any = None) -> ModelSignature:
    """The signature of a model that takes ``inputs``, and answers ``outputs`` where they are given.

    ==============================  ===============================================================================
    an array or tensor              one tensor of its type; the first length, the number of rows, may differ
    a DataFrame                     a column a name, each of any length
    a Series                        one column, called as it is
    a dict                          a tensor a name: of arrays as above, of lists by what is in them
    a list of dicts                 a column a name that any of them has
    another list                    one tensor; lengths in which its items differ may differ
    a text, number or boolean       one tensor without lengths
    ==============================  ===============================================================================

    Of lists and of columns of objects the first 1,000 items are looked at. The first rows are kept as an example, as JSON,
    where that is short.

    >>> infer_signature([[0.5, 1.0], [2.0, 3.0]], ["cat", "dog"]).outputs
    (TensorSpec(name='output', dtype='string', shape=(None,)),)

    Raises:
        InvalidRequestError: It is nothing of these.
    """
    values = {
        "inputs": _specs(inputs, INPUT),
        "outputs": [] if outputs is None else _specs(outputs, OUTPUT),
        "example": _example(inputs),
    }
    return parse_request(ModelSignature, values, what="The signature")


def _specs(value: Any, name: str) -> list[Spec]:
    if _is_table(value):
        return _table(value)
    if isinstance(value, Mapping):
        return [_spec(str(key), item) for key, item in value.items()]
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
        return _records(value)
    named = getattr(value, "name", None) if _is_array(value) and hasattr(value, "index") else None
    return [_spec(str(named) if named is not None else name, value)]


def _spec(name: str, value: Any) -> Spec:
    if _is_array(value):
        return {"name": name, "dtype": _dtype(value), "shape": _lengths(value)}
    if isinstance(value, (list, tuple)):
        dtype, shape = _of_list(value)
        return {"name": name, "dtype": dtype, "shape": [None, *shape[1:]]}
    return {"name": name, "dtype": _scalar(value), "shape": []}


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _is_table(value: Any) -> bool:
    """A DataFrame, of pandas or of what is made alike."""
    return hasattr(value, "columns") and hasattr(value, "dtypes") and hasattr(value, "shape")


def _table(frame: Any) -> list[Spec]:
    names = list(frame.columns)
    # By place, as two columns may have one name.
    columns = [frame.iloc[:, place] if hasattr(frame, "iloc") else frame[names[place]] for place in range(len(names))]
    return [
        {"name": str(name), "dtype": _dtype(column), "shape": [None]}
        for name, column in zip(names, columns, strict=True)
    ]


def _records(rows: Sequence[Mapping[Any, Any]]) -> list[Spec]:
    looked_at = rows[:ROWS_LOOKED_AT]
    names = dict.fromkeys(str(key) for row in looked_at for key in row)
    found = []
    for name in names:
        cells = [item for row in looked_at for key, item in row.items() if str(key) == name]
        dtype, shape = _of_list(cells)
        found.append({"name": name, "dtype": dtype, "shape": [None, *shape[1:]]})
    return found


def _lengths(array: Any) -> list[int | None]:
    """The shape with a free number of rows. A length that a framework does not know is free, too."""
    lengths = [int(length) if isinstance(length, int) else None for length in tuple(array.shape)]
    return [None, *lengths[1:]] if lengths else []


def _dtype(array: Any) -> str:
    """NumPy's name for the type of an array's elements."""
    dtype = array.dtype
    categories = getattr(dtype, "categories", None)
    if categories is not None and _is_array(categories):
        return _dtype(categories)
    name = str(getattr(dtype, "name", None) or dtype).rpartition(".")[2].lower()
    if getattr(dtype, "kind", "") in ("U", "S", "T") or _TEXT_TYPES.fullmatch(name):
        return STRING
    if name == OBJECT:
        return _of_objects(array)
    return "bool" if name == "boolean" else name


def _of_objects(array: Any) -> str:
    flat = array.ravel() if hasattr(array, "ravel") else array
    found = [item for item in flat[:ROWS_LOOKED_AT] if item is not None and item == item]
    return STRING if found and all(isinstance(item, str) for item in found) else OBJECT


def _of_list(items: Sequence[Any]) -> tuple[str, list[int | None]]:
    """The common type of nested lists, and their shape; None for a length that differs."""
    looked_at = items[:ROWS_LOOKED_AT]
    found = [_of_item(item) for item in looked_at if item is not None]
    shape: list[int | None] = [len(items)]
    if not found:
        return OBJECT, shape
    if len({len(inner) for _, inner in found}) > 1:
        return OBJECT, shape
    for lengths in zip(*(inner for _, inner in found), strict=True):
        shape.append(lengths[0] if len(set(lengths)) == 1 else None)
    return _common(dtype for dtype, _ in found), shape


def _of_item(item: Any) -> tuple[str, list[int | None]]:
    if _is_array(item):
        return _dtype(item), [int(length) for length in tuple(item.shape)]
    if isinstance(item, (list, tuple)):
        return _of_list(item)
    return (OBJECT if isinstance(item, Mapping) else _scalar(item)), []


def _common(dtypes: Iterable[str]) -> str:
    kinds = set(dtypes)
    if len(kinds) == 1:
        return kinds.pop()
    return "float64" if kinds == {"int64", "float64"} else OBJECT


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, (str, bytes, bytearray)):
        return STRING
    if isinstance(value, date):
        return "datetime64[ns]"
    raise InvalidRequestError(
        f"{with_article(type(value).__name__).capitalize()} has no signature to infer.", hint=TAKEN
    )


def _example(value: Any) -> Any:
    """The first rows as JSON values; None where they are long, or have no form in JSON."""
    for rows in (EXAMPLE_ROWS, 1):
        try:
            found = _first_rows(value, rows)
            if len(json.dumps(found, allow_nan=False)) <= EXAMPLE_BYTES:
                return found
        except (TypeError, ValueError, RecursionError):
            return None
    return None


def _first_rows(value: Any, rows: int) -> Any:
    if _is_table(value):
        names, head = [str(name) for name in value.columns], value.head(rows)
        columns = [head.iloc[:, place] if hasattr(head, "iloc") else head[names[place]] for place in range(len(names))]
        cells = [_plain(column) for column in columns]
        return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]
    if isinstance(value, Mapping):
        return {str(key): _first_rows(item, rows) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return _plain(value[:rows])
    return _plain(value[:rows]) if _is_array(value) and tuple(value.shape) else _plain(value)


def _plain(value: Any) -> Any:
    """JSON values; numbers that JSON lacks are texts, as endpoints read them."""
    if _is_array(value):
        value = value.tolist() if hasattr(value, "tolist") else value.numpy().tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(type(value).__name__)
