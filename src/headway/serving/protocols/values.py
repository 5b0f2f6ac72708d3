"""JSON values and tensors as the arrays of a signature, and what does not fit, in words.

The common case, a list of lists of numbers, is one ``np.asarray``; whatever that does not settle goes through
:mod:`headway.serving.protocols.scalars`, item by item.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from headway.serving.protocols.base import BadRequestError, Call
from headway.serving.protocols.scalars import text_of, walked
from headway.serving.runtimes.base import Arrays, LoadedModel, Signature, TensorSpec

Array = np.ndarray[Any, np.dtype[Any]]

MANY_NAMES = 20
"""Names that an error lists."""
DOUBLE = 8
"""Bytes."""
EXACT = 2.0**53
"""Below it every int is a double."""


class Input:
    """One input of a signature, prepared for many requests."""

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.dtype = np.dtype(spec.dtype or "float64")
        self.rank = None if spec.shape is None else len(spec.shape)
        self.fixed = [(axis, size) for axis, size in enumerate(spec.shape or ()) if size is not None]
        self._plain_kinds = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}.get(self.dtype.kind, "")

    @property
    def is_settled(self) -> bool:
        """Whether the signature alone says what a row looks like."""
        shape = self.spec.shape
        return bool(shape) and None not in (shape or ())[1:]

    def from_json(self, value: Any, *, missing: bool = False) -> Array:
        """A JSON value as this input's array; ``missing`` makes null NaN.

        Raises:
            BadRequestError: It does not fit.
        """
        array = self._quickly(value)
        if array is None:
            array = walked(value, self.spec, missing=missing)
        self.check_shape(array.shape)
        return array

    def from_many(self, rows: list[Any]) -> Array | None:
        """Rows of several requests as one array; None unless each request would have been read to these very values."""
        array = self._quickly(rows)
        if array is None or not self.is_settled or array.shape[1:] != (self.spec.shape or ())[1:]:
            return None
        # An int between floats becomes a double first; beyond this a narrow float may be another one then.
        if self.dtype.itemsize < DOUBLE and self.dtype.kind == "f" and not (np.abs(array) < EXACT).all():
            return None
        return array

    def _quickly(self, value: Any) -> Array | None:
        """The array where NumPy reads it as JSON means it; None where it would guess."""
        if self.dtype.kind == "O":
            return self._as_texts(value)
        if not self._plain_kinds:
            return None
        try:
            array = np.asarray(value)
        except (ValueError, OverflowError):
            return None
        if array.dtype is self.dtype:
            return array
        if array.dtype.kind not in self._plain_kinds or not array.size:
            return None
        if self.dtype.kind == "f":
            return self._as_floats(array)
        cast = array.astype(self.dtype)
        return cast if np.array_equal(cast, array) else None

    def _as_texts(self, value: Any) -> Array | None:
        try:
            array = np.asarray(value, dtype=object)
        except ValueError:
            return None
        return array if set(map(type, array.reshape(-1))) == {str} else None

    def _as_floats(self, array: Array) -> Array | None:
        try:
            with np.errstate(over="raise"):
                return array.astype(self.dtype)
        except FloatingPointError:
            return None

    def from_array(self, array: Array) -> Array:
        """A tensor that came with a type of its own; only a cast that loses nothing is made.

        Raises:
            BadRequestError: Its type or shape does not fit.
        """
        if self.spec.mixed and array.dtype.kind in "fiub":
            array = array.astype(object)
        elif array.dtype != self.dtype:
            if not self._may_cast(array.dtype):
                raise BadRequestError(f"input {self.name!r}: expected {_word(self.dtype)}, found {_word(array.dtype)}")
            array = array.astype(self.dtype)
        elif self.dtype == object:
            flat = [text_of(item) if isinstance(item, bytes) else item for item in array.reshape(-1)]
            array = np.fromiter(flat, dtype=object, count=len(flat)).reshape(array.shape)
        self.check_shape(array.shape)
        return array

    def _may_cast(self, dtype: np.dtype[Any]) -> bool:
        if not self.spec.dtype:
            return dtype.kind in "fiub"
        return "O" not in (dtype.kind, self.dtype.kind) and np.can_cast(dtype, self.dtype, "safe")

    def check_shape(self, shape: tuple[int, ...]) -> None:
        if self.rank is None:
            return
        if len(shape) != self.rank:
            raise self._unfit(shape)
        for axis, size in self.fixed:
            if shape[axis] != size:
                raise self._unfit(shape)

    def _unfit(self, shape: tuple[int, ...]) -> BadRequestError:
        wanted = self.spec.shape or ()
        expected = f"expected the shape {_shown_shape(wanted)}, found {_shown_shape(shape)}"
        if 0 in shape:
            hint = ": there are no values"
        elif len(shape) == len(wanted) - 1:
            hint = ": a single row is a list of one row, [row]"
        elif len(shape) == len(wanted) == 2 and wanted[1] != shape[1]:
            hint = f": rows of {shape[1]} features where there are {wanted[1]}"
        else:
            hint = ""
        return BadRequestError(f"input {self.name!r}: {expected}{hint}")


def _word(dtype: np.dtype[Any]) -> str:
    return "texts" if dtype.kind == "O" else str(dtype)


def _shown_shape(shape: Iterable[int | None]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


class Reader:
    """Makes the calls of one signature."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.inputs = {spec.name: Input(spec) for spec in signature.inputs}
        self.single = next(iter(self.inputs.values())) if len(self.inputs) == 1 else None
        self._kind: Hashable = None
        if all(known.is_settled for known in self.inputs.values()):
            self._kind = tuple((known.name, known.dtype.str, known.spec.shape) for known in self.inputs.values())

    def call(self, arrays: Arrays) -> Call:
        """The call for arrays that fit one by one.

        Raises:
            BadRequestError: They have different numbers of rows, or none.
        """
        if not self.signature.rows:
            return Call(arrays)
        rows = None
        for array in arrays.values():
            if not array.ndim:
                return Call(arrays)
            if rows is None:
                rows = array.shape[0]
            elif rows != array.shape[0]:
                counts = {name: len(each) if each.ndim else 1 for name, each in arrays.items()}
                raise BadRequestError(f"the inputs have different numbers of rows: {counts}")
        if not rows:
            raise BadRequestError("there are no rows")
        return Call(arrays, rows, self._kind or _kind(arrays))

    def of_value(self, value: Any) -> Call:
        """One value: the array of a model's only input, or an object of input names (or of a table's columns)."""
        if isinstance(value, dict):
            return self.of_columns(value)
        if self.single is None:
            raise BadRequestError(f"the model has several inputs; send an object with the names {self._listed()}")
        return self.call({self.single.name: self.single.from_json(value)})

    def of_rows(self, rows: list[Any]) -> Call:
        """A list of rows: of values for a single input, of objects with one value an input (or a table's column)."""
        if rows and isinstance(rows[0], dict):
            return self.of_columns(transposed(rows))
        if self.single is None:
            raise BadRequestError(
                f"the model has several inputs; each instance is an object with the names {self._listed()}"
            )
        return self.call({self.single.name: self.single.from_json(rows)})

    def of_many(self, rows: list[Any], counts: Sequence[int]) -> list[Call] | None:
        """Calls of ``counts`` rows each, of which ``rows`` are all, read at once; None where each is to be read alone.

        That is so where they do not fit together, where one does not fit, and where it would be read otherwise by itself.
        """
        known = self.single
        if known is None or not self.signature.rows or self._kind is None:
            return None
        array = known.from_many(rows)
        if array is None:
            return None
        name, kind, calls, start = known.name, self._kind, [], 0
        for count in counts:
            calls.append(Call({name: array[start : start + count]}, count, kind))
            start += count
        return calls

    def of_columns(self, columns: Mapping[str, Any], *, missing: bool = False) -> Call:
        """Values by the names of inputs, or of the columns of a table; ``missing`` makes null NaN.

        Raises:
            BadRequestError: A name is missing or unknown, or a value does not fit.
        """
        if columns.keys() != self.inputs.keys():
            if self.single is None or not self.single.spec.columns:
                raise BadRequestError(name_fault("input", columns, self.inputs))
            return self._stacked(self.single, columns, missing=missing)
        return self.call({name: known.from_json(columns[name], missing=missing) for name, known in self.inputs.items()})

    def _stacked(self, known: Input, columns: Mapping[str, Any], *, missing: bool) -> Call:
        names = known.spec.columns
        if columns.keys() != set(names):
            raise BadRequestError(name_fault("column", columns, names))
        lengths = {name: len(column) if isinstance(column, list) else None for name, column in columns.items()}
        if None in lengths.values() or len(set(lengths.values())) > 1:
            raise BadRequestError(f"each column must be a list with one value for each row; their lengths: {lengths}")
        table = [list(row) for row in zip(*(columns[name] for name in names), strict=True)]
        return self.call({known.name: known.from_json(table, missing=missing)})

    def of_frame(self, names: Sequence[str], rows: list[list[Any]]) -> Call:
        """A data frame: different names, and rows of as many values. Null is NaN.

        A model with one matrix gets the columns in the order of their names, or as they stand where it knows none.

        Raises:
            BadRequestError: A name is missing or unknown, or a value does not fit.
        """
        known = self.single
        if known is None or list(names) == [known.name] or (known.rank != 2 and not known.spec.columns):
            columns = [list(column) for column in zip(*rows, strict=True)]
            return self.of_columns(dict(zip(names, columns, strict=True)), missing=True)
        return self.call({known.name: known.from_json(_in_order(names, rows, known.spec.columns), missing=True)})

    def of_arrays(self, arrays: Mapping[str, Array]) -> Call:
        """Tensors by the names of inputs, each of its own type; or one tensor for each column of a table.

        Raises:
            BadRequestError: A name is missing or unknown, a type or shape does not fit.
        """
        if arrays.keys() != self.inputs.keys():
            if self.single is None or not self.single.spec.columns:
                raise BadRequestError(name_fault("input", arrays, self.inputs))
            return self.call({self.single.name: self.single.from_array(_table(arrays, self.single.spec.columns))})
        return self.call({name: known.from_array(arrays[name]) for name, known in self.inputs.items()})

    def _listed(self) -> str:
        return _listed(self.inputs)


def _table(arrays: Mapping[str, Array], names: Sequence[str]) -> Array:
    """Columns of n values, or of n rows of one, as one matrix in the order of ``names``."""
    if arrays.keys() != set(names):
        raise BadRequestError(name_fault("column", arrays, names))
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    alike = len({tuple(shape[:1]) for shape in shapes.values()}) == 1
    if not alike or any(not shape or shape[1:] not in ([], [1]) for shape in shapes.values()):
        raise BadRequestError(f"each column must have one value for each row; their shapes: {shapes}")
    columns = [arrays[name].reshape(-1) for name in names]
    if any(column.dtype.kind == "O" for column in columns):
        columns = [column.astype(object) for column in columns]
    return np.stack(columns, axis=1)


def _in_order(names: Sequence[str], rows: list[list[Any]], wanted: Sequence[str]) -> list[list[Any]]:
    """Rows with their values in the order of ``wanted``; as they are where nothing is."""
    if not wanted or list(names) == list(wanted):
        return rows
    if set(names) != set(wanted):
        raise BadRequestError(name_fault("column", names, wanted))
    places = [names.index(name) for name in wanted]
    return [[row[place] for place in places] for row in rows]


def _kind(arrays: Arrays) -> Hashable:
    return tuple((name, array.dtype.str, array.shape[1:]) for name, array in arrays.items())


def transposed(rows: list[Any]) -> dict[str, list[Any]]:
    """Objects with the same names as one object of lists.

    Raises:
        BadRequestError: One is no object, or has other names than the first.
    """
    names = rows[0].keys()
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadRequestError(f"row {number} is no object, row 0 is one")
        if row.keys() != names:
            raise BadRequestError(f"row {number} has the names {_listed(row)}, row 0 has {_listed(names)}")
    return {name: [row[name] for row in rows] for name in names}


def name_fault(what: str, found: Iterable[str], wanted: Iterable[str]) -> str:
    """What is wrong with names, with the nearest one for each that is unknown.

    >>> name_fault("input", ["pixel"], ["pixels"])
    "unknown input 'pixel', did you mean 'pixels'?"
    """
    known, given = dict.fromkeys(wanted), dict.fromkeys(found)
    unknown = [name for name in given if name not in known]
    missing = [name for name in known if name not in given]
    if len(unknown) == 1:
        near = difflib.get_close_matches(unknown[0][:200], known, n=1)
        if near:
            return f"unknown {what} {unknown[0]!r}, did you mean {near[0]!r}?"
    parts = [f"unknown {what} {_listed(unknown)}"] if unknown else []
    parts += [f"missing {what} {_listed(missing)}"] if missing else []
    return "; ".join(parts) + f"; the model takes {_listed(known)}"


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - MANY_NAMES
    told = ", ".join(repr(str(name)[:100]) for name in listed[:MANY_NAMES])
    return told + (f" and {more} more" if more > 0 else "")


_last: list[Reader] = []


def reader_of(signature: Signature) -> Reader:
    """The reader of a signature; the last one is kept, since a replica has one model."""
    if _last and _last[0].signature is signature:
        return _last[0]
    reader = Reader(signature)
    _last[:] = [reader]
    return reader


def call_without_signature(model: LoadedModel, value: Any) -> Call:
    """The call of a model that takes any value; a list is joined with others only where the model says ``batch``."""
    if model.batch and isinstance(value, list) and value:
        return Call(value, len(value), "rows")
    return Call(value)
