"""What a caller has in hand, as a prediction request, and the answer as the same kind of thing.

NumPy and pandas are looked up among the modules that are loaded already: whoever holds an array has loaded NumPy.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from headway.errors import InvalidRequestError, PlatformError, with_article

NOT_IN_JSON = frozenset({"NaN", "Infinity", "-Infinity"})
"""How endpoints write the numbers that JSON has no form for (the proto3 JSON mapping, "float, double")."""
TAKEN = "Pass a NumPy array, a pandas DataFrame or Series, a list, a dict, a text or a number."


@dataclass(frozen=True)
class Form:
    """A request, and what becomes of its answer."""

    body: Mapping[str, Any]
    """In JSON values."""
    restore: Callable[[Any], Any]
    """What the decoded answer is turned into."""

    def encode(self) -> bytes:
        """The request's bytes, NaN and infinities as endpoints read them: ``NaN``, ``Infinity``, ``-Infinity``.

        Raises:
            InvalidRequestError: Something in it has no form in JSON.
        """
        try:
            text = json.dumps(self.body, ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "surrogatepass")
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidRequestError(f"The input cannot be written as JSON: {error}.") from None


def form_of(value: Any, *, pinned: bool = False) -> Form:
    """How ``value`` is asked for.

    ======================  ================================  =========================================================
    given                   sent                              answered
    ======================  ================================  =========================================================
    NumPy array, or alike   ``{"inputs": …}``                 an array, or a dict of arrays
    dict                    ``{"inputs": {…}}``               what the model gave; arrays where an array was given
    list, tuple             ``{"instances": […]}``            a list, one answer for each
    DataFrame               ``{"dataframe_split": …}``        a DataFrame with the same index
    Series                  ``{"instances": […]}``            a Series or, of several columns, a DataFrame; the same index
    text, bytes, number     ``{"inputs": …}``                 what the model gave
    ======================  ================================  =========================================================

    Where one version is asked for (``pinned``), only TensorFlow Serving's forms are spoken, and a DataFrame is sent as
    ``{"instances": [{column: value}, …]}``, or as rows of values where its columns have numbers for names.

    Raises:
        InvalidRequestError: It is nothing of these.
    """
    if _is(value, "pandas", "DataFrame"):
        return _frame_form(value, pinned)
    if _is(value, "pandas", "Series"):
        index, rows, floats = value.index, _cells(value), _are_numbers([value.dtype])
        return Form({"instances": rows}, lambda answer: _as_series(_field(answer, "predictions"), index, floats))
    if isinstance(value, Mapping):
        body = {"inputs": {str(key): _column(item) for key, item in value.items()}}
        arrays = [item for item in value.values() if is_array(item)]
        if not arrays:
            return Form(body, lambda answer: _field(answer, "outputs"))
        numeric = all(map(_is_numeric, arrays))
        return Form(body, lambda answer: _as_arrays(_field(answer, "outputs"), numeric))
    if isinstance(value, (list, tuple)):
        return Form({"instances": _plain(value)}, lambda answer: _field(answer, "predictions"))
    if is_array(value):
        numeric = _is_numeric(value)
        return Form({"inputs": _column(value)}, lambda answer: _as_arrays(_field(answer, "outputs"), numeric))
    if isinstance(value, (str, bytes, bytearray, int, float)):
        return Form({"inputs": _plain(value)}, lambda answer: _field(answer, "outputs"))
    raise InvalidRequestError(f"{with_article(type(value).__name__).capitalize()} cannot be predicted.", hint=TAKEN)


def decode_answer(content: bytes, address: str) -> Any:
    """The JSON of an answer, with bytes where ``{"b64": …}`` stands for them; PlatformError when it is none."""
    try:
        return json.loads(content, object_hook=_unpacked)
    except (ValueError, RecursionError):
        raise PlatformError(f"{address} answered with something that is not JSON.") from None


def _unpacked(found: dict[str, Any]) -> Any:
    if len(found) == 1 and isinstance(found.get("b64"), str):
        return b64decode(found["b64"], validate=True)
    return found


def _is(value: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def is_array(value: Any) -> bool:
    """Whether it is an array: NumPy's own, or what turns into one, as tensors of PyTorch, TensorFlow and JAX."""
    return _is(value, "numpy", "ndarray") or _is(value, "numpy", "generic") or hasattr(type(value), "__array__")


def _is_numeric(array: Any) -> bool:
    import numpy

    return numpy.asarray(array).dtype.kind in "biuf"


def _column(value: Any) -> Any:
    """JSON values of an array, or of whatever stands in its place."""
    if not is_array(value):
        return _plain(value)
    import numpy

    array = numpy.asarray(value)
    if array.dtype.kind not in "biufOSU":
        raise InvalidRequestError(
            f"An array of {array.dtype} has no form in JSON.", hint="Convert it to numbers first."
        )
    return _plain(array.tolist()) if array.dtype.kind in "OS" else array.tolist()


def _plain(value: Any) -> Any:
    """The same with bytes in base64, as TensorFlow Serving writes them."""
    if isinstance(value, (bytes, bytearray)):
        return {"b64": b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _column(value) if is_array(value) else value


def _cells(column: Any) -> list[Any]:
    """The values of a column. NaN among floats is a number, and travels as one; elsewhere it stands for what is missing."""
    if getattr(column.dtype, "kind", "") == "f" and _is(column.dtype, "numpy", "dtype"):
        found: list[Any] = column.tolist()
        return found
    return [_cell(item) for item in column.tolist()]


def _are_numbers(dtypes: Iterable[Any]) -> bool:
    return all(getattr(dtype, "kind", "") in "biuf" for dtype in dtypes)


def _cell(value: Any) -> Any:
    """One value of a table: what is missing is null, a moment its text."""
    if value is None or value is getattr(sys.modules["pandas"], "NaT", None) or _is(value, "numpy", "datetime64"):
        return None if value is None else str(value) if str(value) != "NaT" else None
    if value is getattr(sys.modules["pandas"], "NA", None) or (isinstance(value, float) and value != value):
        return None
    return value.isoformat() if isinstance(value, date) else _plain(value)


def _frame_form(frame: Any, pinned: bool) -> Form:
    if frame.columns.nlevels > 1:
        raise InvalidRequestError(
            "A DataFrame with several levels of columns cannot be sent.", hint="Flatten them first."
        )
    columns = [_cells(frame.iloc[:, place]) for place in range(frame.shape[1])]
    rows = [list(row) for row in zip(*columns, strict=True)]
    names = [str(name) for name in frame.columns]
    body: dict[str, Any] = {"dataframe_split": {"columns": names, "data": rows}}
    if pinned:
        named = any(isinstance(name, str) for name in frame.columns)
        body = {"instances": [dict(zip(names, row, strict=True)) for row in rows] if named else rows}
    numeric = _are_numbers(frame.dtypes)
    return Form(body, lambda answer: _as_frame(_field(answer, "predictions"), frame.index, numeric))


def _field(answer: Any, name: str) -> Any:
    if not isinstance(answer, dict) or name not in answer:
        raise PlatformError(f"The endpoint's answer has no {name!r}.", hint="Is it another protocol's?")
    return answer[name]


def _as_arrays(answer: Any, numeric: bool) -> Any:
    """Lists as arrays; of ragged ones an array of objects. ``numeric``: whether numbers alone were asked with."""
    if isinstance(answer, dict):
        return {name: _as_array(item, numeric) for name, item in answer.items()}
    return _as_array(answer, numeric)


def _as_array(answer: Any, numeric: bool) -> Any:
    import numpy

    if isinstance(answer, dict) or (isinstance(answer, list) and answer and isinstance(answer[0], (dict, bytes))):
        return _objects(answer)
    try:
        found = numpy.asarray(answer)
    except ValueError:
        return _objects(answer)
    if found.dtype.kind == "U" and _are_floats(numpy.asarray(answer, dtype=object).ravel().tolist(), numeric):
        return numpy.asarray(answer, dtype=float)
    return found


def _are_floats(items: list[Any], numeric: bool) -> bool:
    """Whether the texts among ``items`` are numbers that JSON lacks. Where all are texts, ``numeric`` decides: a model may
    well answer texts with the text ``NaN``.
    """
    numbers = [isinstance(item, (int, float)) and not isinstance(item, bool) for item in items]
    words = all(number or item in NOT_IN_JSON for number, item in zip(numbers, items, strict=True))
    return words and (numeric or any(numbers))


def _objects(answer: Any) -> Any:
    import numpy

    if not isinstance(answer, list):
        return numpy.asarray(answer, dtype=object)
    found = numpy.empty(len(answer), dtype=object)
    found[:] = answer
    return found


def _as_frame(answer: Any, index: Any, numeric: bool) -> Any:
    import pandas

    columns = answer if isinstance(answer, dict) else {"predictions": answer}
    count = {len(column) if isinstance(column, list) else -1 for column in columns.values()}
    if count != {len(index)}:
        raise PlatformError(f"The model gave no answer for each of the {len(index)} rows.")
    if isinstance(answer, list) and answer and isinstance(answer[0], (dict, list)):
        frame = pandas.DataFrame(answer, index=index)
    else:
        frame = pandas.DataFrame(columns, index=index)
    for place, dtype in enumerate(frame.dtypes):
        if not _are_numbers([dtype]):
            column = _with_numbers(frame.iloc[:, place].tolist(), numeric)
            if column is not None:
                frame.isetitem(place, pandas.Series(column, index=index))
    return frame


def _with_numbers(cells: list[Any], numeric: bool) -> list[Any] | None:
    """The cells of a column with numbers for the texts that stand for such; None where there are none."""
    items = list(_leaves(cells))
    if not any(isinstance(item, str) and item in NOT_IN_JSON for item in items) or not _are_floats(items, numeric):
        return None
    found: list[Any] = _floats_of(cells)
    return found


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _floats_of(value: Any) -> Any:
    return [_floats_of(item) for item in value] if isinstance(value, list) else float(value)


def _as_series(answer: Any, index: Any, numeric: bool) -> Any:
    frame = _as_frame(answer, index, numeric)
    return frame["predictions"] if list(frame.columns) == ["predictions"] else frame
