"""Tables: columns of exact values.

A table is stored as JSON: ``{"rows": <count>, "columns": [{"name", "type", "values": [...]}, ...]}``. A missing value is
null whatever the type, which is one of

===========  ======================================================================================================
``number``   ints of any size and floats, digit for digit; ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` as text
``boolean``
``text``
``time``     ISO 8601 text, as the value's own ``isoformat`` gives it
``any``      a mixture: null, booleans, ints, finite floats and text as they are; ``{"number": "NaN"}`` (and the
             infinities), ``{"time": …}``, and ``{"json": …}`` for lists and mappings
===========  ======================================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from headway.domain.metrics import EntryType
from headway.errors import CorruptDataError, InvalidRequestError, PayloadTooLargeError, with_article
from headway.tracking.media import Media, checked_text, is_kind

MEDIA_TYPE = "application/vnd.headway.table+json"
MAX_COLUMNS = 1000
MAX_CELLS = 5_000_000
MAX_TABLE_BYTES = 256 << 20
MAX_COLUMN_NAME = 256

_BOOLEAN, _NUMBER, _TEXT, _TIME, _ANY = "boolean", "number", "text", "time", "any"
_ODD = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Table(Media):
    """Columns of values.

    Args:
        data: A pandas DataFrame (an index that is more than row numbers becomes columns of its own), a list of mappings
            (one a row; a key that one lacks is a missing value), a mapping of names to lists, or a list of rows, which
            needs ``columns``.
        columns: Names of the columns.
        rows: Rows, with ``columns`` and without ``data``.
        caption: A line that is shown with it.

    Values are None, booleans, numbers, text, dates and times, scalars of NumPy and pandas, and lists and mappings of
    such. They are stored exactly as they are now.

    Raises:
        InvalidRequestError: A value of another kind, a name twice, or a row that does not fit the columns.
        PayloadTooLargeError: More than 1000 columns, 5 million cells or 256 MiB.

    >>> Table(columns=["step", "word"], rows=[[1, "a"], [2, None]]).details()
    {'columns': ['step', 'word'], 'rows': 2}
    """

    type = EntryType.TABLE

    def __init__(
        self,
        data: Any = None,
        *,
        columns: Sequence[str] | None = None,
        rows: Iterable[Sequence[Any]] | None = None,
        caption: str | None = None,
    ) -> None:
        super().__init__(caption=caption)
        if (data is None) == (rows is None):
            raise InvalidRequestError("A table is made of data, or of columns and rows.")
        found = _columns(data, columns, rows)
        self._names = _checked_names([name for name, _ in found])
        self._count = len(found[0][1]) if found else 0
        if len(found) * self._count > MAX_CELLS:
            raise PayloadTooLargeError(
                f"A table has at most {MAX_CELLS} cells, not {len(found) * self._count}.", hint=_HINT
            )
        encoded = [
            {"name": name, **_encoded(name, values)} for name, (_, values) in zip(self._names, found, strict=True)
        ]
        document = {"rows": self._count, "columns": encoded}
        self._data = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        if len(self._data) > MAX_TABLE_BYTES:
            raise PayloadTooLargeError(
                f"A table has at most {MAX_TABLE_BYTES} bytes, not {len(self._data)}.", hint=_HINT
            )

    def content(self) -> tuple[bytes, str]:
        return self._data, MEDIA_TYPE

    def details(self) -> dict[str, Any]:
        return {"columns": list(self._names), "rows": self._count}


_HINT = "Log a part of it, or the whole as a file of an artifact."


def decode_table(data: bytes) -> dict[str, list[Any]]:
    """The columns of a stored table, by name; times stay text.

    Raises:
        CorruptDataError: ``data`` is no table.
    """
    try:
        document = json.loads(data)
        found = {c["name"]: [_decoded(c["type"], value) for value in c["values"]] for c in document["columns"]}
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(f"This is no table: {error}.") from None
    if any(len(values) != document["rows"] for values in found.values()):
        raise CorruptDataError("The columns of this table have different lengths.")
    return found


def _decoded(kind: str, value: Any) -> Any:
    if kind == _NUMBER and isinstance(value, str):
        return _ODD[value]
    if isinstance(value, dict):
        tag, inner = next(iter(value.items()))
        return _ODD[inner] if tag == _NUMBER else inner
    return value


_Column = tuple[Any, Sequence[Any]]


def _columns(data: Any, columns: Sequence[str] | None, rows: Iterable[Sequence[Any]] | None) -> list[_Column]:
    if is_kind(data, "pandas.DataFrame"):
        _no_columns(columns, "a DataFrame")
        return _of_frame(data)
    if isinstance(data, Mapping):
        _no_columns(columns, "a mapping")
        return _of_mapping(data)
    given = data if rows is None else rows
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
        raise InvalidRequestError(f"A table is not made of {type(given).__name__}.")
    items = list(given)
    if columns is None:
        if not all(isinstance(item, Mapping) for item in items):
            raise InvalidRequestError(
                "Rows that are no mappings need the names of their columns.", hint="Give columns=[…]."
            )
        names = list(dict.fromkeys(name for item in items for name in item))
        return [(name, [item.get(name) for item in items]) for name in names]
    return _of_rows(list(columns), items)


def _no_columns(columns: object, what: str) -> None:
    if columns is not None:
        raise InvalidRequestError(f"{what[0].upper()}{what[1:]} has names for its columns; columns cannot be given.")


def _of_frame(frame: Any) -> list[_Column]:
    names, index = list(frame.columns), frame.index
    found: list[_Column] = []
    if type(index).__name__ != "RangeIndex" or index.name is not None:
        levels = range(index.nlevels)
        found = [
            (
                index.names[level] if index.names[level] is not None else f"index_{level}" if level else "index",
                index.get_level_values(level).tolist(),
            )
            for level in levels
        ]
    # By place, since a frame may have one name twice; that is refused later, with its name.
    return found + [(name, _of_series(frame.iloc[:, place])) for place, name in enumerate(names)]


def _of_series(series: Any) -> list[Any]:
    """In columns of text and of categories NaN is how pandas writes that nothing is there."""
    values: list[Any] = series.tolist()
    if series.dtype.name in ("str", "string", "category"):
        return [None if isinstance(value, float) and value != value else value for value in values]
    return values


def _of_mapping(data: Mapping[Any, Any]) -> list[_Column]:
    found: list[_Column] = []
    for name, values in data.items():
        plain = values.tolist() if callable(getattr(values, "tolist", None)) else values
        if not isinstance(plain, Sequence) or isinstance(plain, (str, bytes)):
            raise InvalidRequestError(f"The column {name!r} is a list of values, not {type(values).__name__}.")
        found.append((name, plain))
    if len({len(values) for _, values in found}) > 1:
        lengths = ", ".join(f"{name!r} {len(values)}" for name, values in found[:10])
        raise InvalidRequestError(f"The columns of a table are equally long, and these are not: {lengths}.")
    return found


def _of_rows(columns: list[str], rows: list[Any]) -> list[_Column]:
    for number, row in enumerate(rows):
        if isinstance(row, Mapping):
            if unknown := [name for name in row if name not in columns]:
                raise InvalidRequestError(f"Row {number} has a value for {unknown[0]!r}, which is no column.")
            rows[number] = [row.get(name) for name in columns]
        elif isinstance(row, (str, bytes)) or not hasattr(row, "__len__") or len(row) != len(columns):
            size = f"{len(row)} values" if hasattr(row, "__len__") else with_article(type(row).__name__)
            raise InvalidRequestError(f"Row {number} of the table has {size}, and there are {len(columns)} columns.")
    return [(name, [row[place] for row in rows]) for place, name in enumerate(columns)]


def _checked_names(names: Sequence[Any]) -> list[str]:
    if len(names) > MAX_COLUMNS:
        raise PayloadTooLargeError(f"A table has at most {MAX_COLUMNS} columns, not {len(names)}.", hint=_HINT)
    plain = [checked_text(name if isinstance(name, str) else str(name), "A column's name") for name in names]
    for place, name in enumerate(plain):
        if not 1 <= len(name) <= MAX_COLUMN_NAME:
            raise InvalidRequestError(f"A column's name has 1 to {MAX_COLUMN_NAME} characters, not {len(name)}.")
        if name in plain[:place]:
            raise InvalidRequestError(f"The table has two columns {name!r}.")
    return plain


def _encoded(name: str, values: Sequence[Any]) -> dict[str, Any]:
    plain = [_plain(value, f"Row {row} of the column {name!r}") for row, value in enumerate(values)]
    kinds = {_KINDS[type(value)] for value in plain if value is not None}
    kind = kinds.pop() if len(kinds) == 1 else _ANY if kinds else _TEXT
    return {"type": kind, "values": [_ENCODERS[kind](value) for value in plain]}


class _Json:
    """A list or mapping within a cell."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Time:
    """A date or time, as ISO 8601 text."""

    def __init__(self, text: str) -> None:
        self.text = text


_KINDS: dict[type, str] = {bool: _BOOLEAN, int: _NUMBER, float: _NUMBER, str: _TEXT, _Time: _TIME, _Json: _ANY}


def _plain(value: Any, where: str) -> Any:
    """``value`` as one of the keys of :data:`_KINDS`, or None."""
    if value is None or type(value) in (bool, int, float):
        return value
    if is_kind(value, "pandas.NAType", "pandas.NaTType"):
        return None
    if isinstance(value, str):
        return str.__str__(checked_text(value, where))
    if isinstance(value, date):
        return _Time(value.isoformat())
    for number in (int, float):
        if isinstance(value, number):
            return number(value)
    if isinstance(value, (Mapping, list, tuple)):
        return _Json(_plain_json(value, where))
    return _plain_scalar(value, where)


def _plain_scalar(value: Any, where: str) -> Any:
    """Scalars and arrays of NumPy and the like."""
    if is_kind(value, "numpy.datetime64"):
        text = str(value)
        return None if text == "NaT" else _Time(text)
    if getattr(value, "ndim", 0) and callable(getattr(value, "tolist", None)):
        return _Json(_plain_json(value.tolist(), where))
    item = getattr(value, "item", None)
    if callable(item) and not is_kind(value, "numpy.timedelta64"):
        plain = item()
        if isinstance(plain, (bool, int, float, str)):
            return _plain(plain, where)
    raise InvalidRequestError(
        f"{where} is {with_article(type(value).__name__)}, which a table cannot hold.",
        hint="Use numbers, text, booleans, times, None, and lists and mappings of such; or its str().",
    )


def _plain_json(value: Any, where: str, depth: int = 0) -> Any:
    if depth > 50:
        raise InvalidRequestError(f"{where} is nested too deeply.")
    if isinstance(value, Mapping):
        return {
            checked_text(key, f"A key in {where}"): _plain_json(item, where, depth + 1) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain_json(item, where, depth + 1) for item in value]
    plain = _plain(value, where)
    if isinstance(plain, float) and not math.isfinite(plain):
        raise InvalidRequestError(
            f"{where} holds {plain} within a list, which JSON cannot.", hint="Use a column of its own."
        )
    return plain.value if isinstance(plain, _Json) else plain.text if isinstance(plain, _Time) else plain


def _number(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _time(value: Any) -> Any:
    return None if value is None else value.text


def _any(value: Any) -> Any:
    if isinstance(value, _Json):
        return {"json": value.value}
    if isinstance(value, _Time):
        return {_TIME: value.text}
    plain = _number(value)
    return {_NUMBER: plain} if isinstance(value, float) and isinstance(plain, str) else plain


def _same(value: Any) -> Any:
    return value


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    _BOOLEAN: _same,
    _NUMBER: _number,
    _TEXT: _same,
    _TIME: _time,
    _ANY: _any,
}
