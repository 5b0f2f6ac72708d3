"""Rows of metrics: what schema, row and entry frames hold, and reading them in plain Python.

docs/internals/tracking.md, section 2, is the definition; tests/journal keeps golden bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

from headway.errors import CorruptDataError
from headway.journal.frames import KIND_ENTRY, KIND_ROW, KIND_SCHEMA, Frame

FLOAT, INTEGER = "f", "i"
"""Types of columns: a float64, an int64."""
HAS_STEP, HAS_EPOCH = 1, 2
"""Flags of a row."""

ROW_HEAD = struct.Struct("<IQqBqd")
"""Schema, sequence, nanoseconds since 1970, flags, step, epoch; one 8-byte value a column follows."""
_SEQUENCE = struct.Struct("<4xQ")
_FORMATS = {FLOAT: "d", INTEGER: "q"}
LARGEST_SCHEMA = (1 << 32) - 1


class Schema(NamedTuple):
    """The columns of rows. ``stage`` is the raw word; ``types`` holds a letter a name."""

    id: int
    stage: str | None
    names: tuple[str, ...]
    types: str


class Row(NamedTuple):
    """What one call logged. ``values`` are floats and ints; what was not given is None."""

    sequence: int
    time_ns: int
    step: int | None
    epoch: float | None
    stage: str | None
    names: tuple[str, ...]
    values: tuple[int | float, ...]


class MediaEntry(NamedTuple):
    """A piece of media. ``document`` is the frame's JSON, ``sequence`` included."""

    sequence: int
    document: dict[str, Any]


def value_formats(types: str) -> str:
    """``types`` as the :mod:`struct` letters of a row's values.

    >>> value_formats("fffi")
    '3d1q'
    """
    return "".join(f"{sum(1 for _ in group)}{_FORMATS[letter]}" for letter, group in groupby(types))


def encode_schema(schema: Schema) -> bytes:
    """The payload of a :data:`KIND_SCHEMA` frame: compact JSON."""
    columns = list(zip(schema.names, schema.types, strict=True))
    document = {"id": schema.id, "stage": schema.stage, "columns": columns}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def decode_schema(payload: bytes) -> Schema:
    """The schema in a :data:`KIND_SCHEMA` frame; CorruptDataError when it is none."""
    document = _json(payload, "schema")
    try:
        names, types = _columns(document["columns"])
        number, stage = document["id"], document["stage"]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptDataError(f"The schema is not readable: {error}.") from error
    if type(number) is not int or not 0 <= number <= LARGEST_SCHEMA or not isinstance(stage, (str, type(None))):
        raise CorruptDataError(f"The schema has the id {number!r} and the stage {stage!r}.")
    return Schema(number, stage, names, types)


def _columns(columns: list[list[str]]) -> tuple[tuple[str, ...], str]:
    names = tuple(name for name, _ in columns)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a name is not text")
    types = "".join(letter for _, letter in columns)
    if len(types) != len(names) or set(types) - set(_FORMATS):
        raise ValueError(f"a type is neither {FLOAT!r} nor {INTEGER!r}")
    return names, types


def encode_row(schema: Schema, row: Row) -> bytes:
    """The payload of a :data:`KIND_ROW` frame. :class:`MetricsWriter` packs the same bytes in fewer steps."""
    flags = HAS_STEP * (row.step is not None) | HAS_EPOCH * (row.epoch is not None)
    head = ROW_HEAD.pack(schema.id, row.sequence, row.time_ns, flags, row.step or 0, row.epoch or 0.0)
    return head + _values(schema.types).pack(*row.values)


def decode_row(schema: Schema, payload: bytes) -> Row:
    """The row in a :data:`KIND_ROW` frame of ``schema``; CorruptDataError when it does not fit."""
    packed = _values(schema.types)
    if len(payload) != ROW_HEAD.size + packed.size:
        raise CorruptDataError(f"A row of {len(schema.names)} values does not have {len(payload)} bytes.")
    number, sequence, time_ns, flags, step, epoch = ROW_HEAD.unpack_from(payload)
    if number != schema.id:
        raise CorruptDataError(f"The row belongs to schema {number}, not to {schema.id}.")
    return Row(
        sequence,
        time_ns,
        step if flags & HAS_STEP else None,
        epoch if flags & HAS_EPOCH else None,
        schema.stage,
        schema.names,
        packed.unpack_from(payload, ROW_HEAD.size),
    )


@lru_cache(maxsize=64)
def _values(types: str) -> struct.Struct:
    return struct.Struct("<" + value_formats(types))


def row_schema(payload: bytes) -> int:
    """The id of the schema of the row in a :data:`KIND_ROW` frame."""
    return int.from_bytes(payload[:4], "little")


def sequence_of(frame: Frame) -> int | None:
    """The number of a row or entry among those of its stream; None for another frame, or one that is unreadable."""
    if frame.kind == KIND_ROW:
        return int(_SEQUENCE.unpack_from(frame.payload)[0]) if len(frame.payload) >= ROW_HEAD.size else None
    if frame.kind == KIND_ENTRY:
        try:
            return decode_entry(frame.payload).sequence
        except CorruptDataError:
            return None
    return None


def decode_entry(payload: bytes) -> MediaEntry:
    """The entry in a :data:`KIND_ENTRY` frame; CorruptDataError when it is none."""
    document = _json(payload, "entry")
    sequence = document.get("sequence")
    if type(sequence) is not int or sequence < 1:
        raise CorruptDataError(f"The entry has the sequence number {sequence!r}.")
    return MediaEntry(sequence, document)


def _json(payload: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"The {what} is not readable: {error}.") from error
    if not isinstance(document, dict):
        raise CorruptDataError(f"The {what} is not a JSON object.")
    return document


class RowDecoder:
    """Turns the frames of one metrics or system stream into rows, whatever else lies between them.

    Frames that cannot be understood are stepped over and counted; nothing is raised and nothing guessed.
    """

    def __init__(self) -> None:
        self.schemas: dict[int, Schema] = {}
        self.sequence = 0
        """Of the last row or entry."""
        self.entries: list[MediaEntry] = []
        """Media between the rows, in order; the caller may take them away."""
        self.repeated = 0
        """Rows and entries that were there before: a block of the stream was doubled. They are left out."""
        self.unreadable = 0
        """Rows whose schema is not there, and frames whose payload makes no sense."""

    def feed(self, frames: Iterable[Frame]) -> Iterator[Row]:
        """The rows in ``frames``, which follow those given before."""
        for frame in frames:
            try:
                row = self._take(frame)
            except CorruptDataError:
                self.unreadable += 1
            else:
                if row is not None:
                    yield row

    def _take(self, frame: Frame) -> Row | None:
        if frame.kind == KIND_SCHEMA:
            schema = decode_schema(frame.payload)
            self.schemas[schema.id] = schema
        elif frame.kind == KIND_ROW:
            return self._row(frame.payload)
        elif frame.kind == KIND_ENTRY:
            entry = decode_entry(frame.payload)
            if self._is_new(entry.sequence):
                self.entries.append(entry)
        return None

    def _row(self, payload: bytes) -> Row | None:
        schema = self.schemas.get(row_schema(payload))
        if schema is None:
            raise CorruptDataError("The row's schema is missing.")
        row = decode_row(schema, payload)
        return row if self._is_new(row.sequence) else None

    def _is_new(self, sequence: int) -> bool:
        if sequence <= self.sequence:
            self.repeated += 1
            return False
        self.sequence = sequence
        return True
