"""Points as packed columns: what ``application/vnd.headway.columns`` holds, bit for bit, and without NumPy.

The format is in docs/internals/tracking.md, section 3: one zstd frame of ``HWC1``, a JSON header and the columns' bytes. The
peer is not trusted: nothing is allocated for bytes that have not come, and every count is held against them.
"""

from __future__ import annotations

import json
import mmap
import struct
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import zstandard

from headway.errors import InvalidRequestError, PlatformError
from headway.paths import full_disk_named

if TYPE_CHECKING:
    Integers: TypeAlias = memoryview[int]
    Floats: TypeAlias = memoryview[float]
    Numbers: TypeAlias = memoryview[int] | memoryview[float]

MEDIA_TYPE = "application/vnd.headway.columns"
MAGIC = b"HWC1"
MAX_HEADER = 16 << 20
MAX_BYTES = 4 << 30
"""Of one answer, unpacked: about 150 million points."""
WINDOW_LIMIT = 128 << 20
PIECE = 1 << 20
SPOOLED = 16 << 20
"""Bytes of a column from which on it is kept in a file, where there is a place for it."""
FORMATS = {"f8": "d", "i8": "q", "u1": "B"}
SIZES = {"f8": 8, "i8": 8, "u1": 1}
COLUMN_TYPES: Mapping[str, tuple[str, ...]] = {
    "step": ("i8",),
    "has_step": ("u1",),
    "value": ("f8", "i8"),
    "is_integer": ("u1",),
    "time": ("i8",),
    "epoch": ("f8",),
    "has_epoch": ("u1",),
}
_LENGTH = struct.Struct("<I")


class Point(NamedTuple):
    """One logged value. ``time`` is in milliseconds since 1970 (UTC)."""

    step: int | None
    value: int | float
    time: int
    epoch: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Line:
    """The points of one rank (and attempt), packed. Iterating gives :class:`Point` after :class:`Point`.

    ``step`` and ``epoch`` are None when no point has one; ``has_step`` and ``has_epoch`` are None when every point of the
    column is given. ``is_integer`` is None when all values are of the column's type; else it says which of the 8 bytes
    in ``value`` are int64, and the others are float64.
    """

    value: Numbers
    time: Integers
    step: Integers | None = None
    has_step: Integers | None = None
    is_integer: Integers | None = None
    epoch: Floats | None = None
    has_epoch: Integers | None = None
    replica: str | None = None
    """``rank0``; None for an aggregate of several."""
    attempt: int | None = None
    """None where attempts are seen as one."""
    exact: bool = True
    """Whether these are all points that were asked for, and not a picture of them."""
    total: int = 0
    """How many there are, before they were thinned for a picture."""
    streams: tuple[tuple[str, int], ...] = ()
    """Whose points follow each other: names of streams and how many of each; empty where that is not known."""

    def __len__(self) -> int:
        return len(self.value)

    def part(self, start: int, end: int) -> Line:
        """The points from number ``start`` up to (not including) ``end``, sharing the memory."""
        columns = ((name, getattr(self, name)) for name in COLUMN_TYPES)
        cut: dict[str, Any] = {name: None if column is None else column[start:end] for name, column in columns}
        return replace(self, **cut, streams=())

    def __iter__(self) -> Iterator[Point]:
        return map(Point, self.steps, self.values, self.times, self.epochs)

    @property
    def steps(self) -> list[int | None]:
        """Steps as they were logged; None where none was given."""
        return _optional(self.step, self.has_step, len(self))

    @property
    def values(self) -> list[int | float]:
        """Values as they were logged: whole numbers are ``int``, all others ``float``."""
        if self.is_integer is None:
            return cast("list[int | float]", self.value.tolist())
        whole, real = self.as_integers.tolist(), self.as_floats.tolist()
        return [i if chosen else f for i, f, chosen in zip(whole, real, self.is_integer, strict=True)]

    @property
    def times(self) -> list[int]:
        """Milliseconds since 1970 (UTC)."""
        return self.time.tolist()

    @property
    def epochs(self) -> list[float | None]:
        """Epochs as they were logged; None where none was given."""
        return _optional(self.epoch, self.has_epoch, len(self))

    @property
    def as_integers(self) -> Integers:
        """The 8 bytes of each value as int64."""
        return self.value.cast("B").cast("q")

    @property
    def as_floats(self) -> Floats:
        """The 8 bytes of each value as float64."""
        return self.value.cast("B").cast("d")


def pack(
    points: Iterable[tuple[int | None, int | float, int, float | None]],
    *,
    replica: str | None = None,
    attempt: int | None = None,
) -> Line:
    """``points`` (step, value, time, epoch) as a line.

    >>> line = pack([(0, 1, 10, None), (None, 0.5, 11, None)])
    >>> line.steps, line.values, line.epochs
    ([0, None], [1, 0.5], [None, None])
    """
    rows = list(points)
    step, has_step = _packed("q", [row[0] for row in rows])
    epoch, has_epoch = _packed("d", [row[3] for row in rows])
    value, is_integer = _packed_values([row[1] for row in rows])
    return Line(
        value=value,
        time=cast("Integers", memoryview(array("q", (row[2] for row in rows)))),
        step=cast("Integers | None", step),
        has_step=has_step,
        is_integer=is_integer,
        epoch=cast("Floats | None", epoch),
        has_epoch=has_epoch,
        replica=replica,
        attempt=attempt,
        total=len(rows),
    )


def _packed(code: str, numbers: list[Any]) -> tuple[Numbers | None, Integers | None]:
    given = bytes(number is not None for number in numbers)
    if 1 not in given:
        return None, None
    packed = memoryview(array(code, (0 if number is None else number for number in numbers)))
    return packed, (cast("Integers", memoryview(given)) if 0 in given else None)


def _packed_values(values: list[int | float]) -> tuple[Numbers, Integers | None]:
    whole = bytes(isinstance(value, int) for value in values)
    if 0 not in whole and values:
        return memoryview(array("q", cast("list[int]", values))), None
    if 1 not in whole:
        return memoryview(array("d", values)), None
    parts = (struct.pack("q" if isinstance(value, int) else "d", value) for value in values)
    return memoryview(b"".join(parts)).cast("d"), cast("Integers", memoryview(whole))


def _optional(column: Any, given: Any, count: int) -> list[Any]:
    if column is None:
        return [None] * count
    if given is None:
        return list(column.tolist())
    return [number if present else None for number, present in zip(column, given, strict=True)]


def decode_columns(
    chunks: Iterable[bytes], what: str, *, limit: int = MAX_BYTES, spool: Path | None = None
) -> list[Line]:
    """The lines in a body that arrives in ``chunks``.

    Args:
        chunks: The body, in pieces of any size.
        what: How to call it in errors.
        limit: Bytes that it may become; no more memory than that is used, whatever it claims.
        spool: A directory for columns that are too large to be held in memory; their files have no name, and are gone
            with the lines.

    Raises:
        PlatformError: It is not such a body: damaged, cut off, or its counts are not what came.
        InvalidRequestError: It would be larger than ``limit``.
    """
    reader = _Reader(chunks, what, spool)
    if reader.take(len(MAGIC)) != MAGIC:
        raise reader.wrong("it does not begin as columns do")
    (length,) = _LENGTH.unpack(reader.take(_LENGTH.size))
    if length > MAX_HEADER:
        raise reader.wrong(f"its header claims {length} bytes")
    header = reader.header(length)
    _check_size(header, reader, limit)
    lines = [_read_line(about, reader) for about in header]
    if reader.more():
        raise reader.wrong("more bytes follow than its header announces")
    return lines


class _Reader:
    """Bounded reads from a zstd frame of unknown honesty."""

    def __init__(self, chunks: Iterable[bytes], what: str, spool: Path | None = None) -> None:
        self._what, self._spool = what, spool
        source = cast(Any, _Source(iter(chunks)))
        self._stream = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT).stream_reader(source)

    def wrong(self, why: str) -> PlatformError:
        return PlatformError(
            f"{self._what} answered with columns that cannot be read: {why}.",
            hint="Are client and server of fitting versions? `headway version` shows both.",
        )

    def take(self, size: int) -> bytearray:
        """Exactly ``size`` bytes, held only as they come."""
        found = bytearray()
        while len(found) < size:
            piece = self._read(min(PIECE, size - len(found)))
            if not piece:
                raise self.wrong("it ends too early")
            found += piece
        return found

    def column(self, kind: str, count: int) -> memoryview[Any]:
        """So many numbers; in a file when they are many and there is a place for it."""
        size = count * SIZES[kind]
        if self._spool is None or size < SPOOLED:
            return _native(memoryview(self.take(size)).toreadonly(), FORMATS[kind])
        with tempfile.TemporaryFile(dir=self._spool) as file, full_disk_named("points on their way"):
            for start in range(0, size, PIECE):
                file.write(self.take(min(PIECE, size - start)))
            file.flush()
            return _native(memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)), FORMATS[kind])

    def more(self) -> bool:
        return bool(self._read(1))

    def header(self, length: int) -> list[dict[str, Any]]:
        try:
            header = json.loads(self.take(length))
        except (ValueError, RecursionError):
            raise self.wrong("its header is not JSON") from None
        lines = header.get("lines") if isinstance(header, dict) else None
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            raise self.wrong("its header lists no lines")
        return lines

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except zstandard.ZstdError as error:
            raise self.wrong(f"{error}") from None


class _Source:
    """The chunks as something to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return taken.tobytes()


def _check_size(header: list[dict[str, Any]], reader: _Reader, limit: int) -> None:
    total = 0
    for about in header:
        for name, kind, count in _columns(about, reader):
            if kind not in SIZES or kind not in COLUMN_TYPES.get(name, (kind,)):
                raise reader.wrong(f"the column {name!r} is of type {kind!r}")
            total += SIZES[kind] * count
    if total > limit:
        raise InvalidRequestError(
            f"These points would take {total} bytes of memory, and {limit} is the limit.",
            hint="Ask for a part (start=, end=), for a picture (points=1000), or export them.",
        )


def _columns(about: dict[str, Any], reader: _Reader) -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    columns = about.get("columns")
    if not isinstance(columns, list):
        raise reader.wrong("a line has no columns")
    for column in columns:
        if not isinstance(column, list) or [type(part) for part in column[:3]] != [str, str, int] or column[2] < 0:
            raise reader.wrong("a column is not described as name, type and count")
        found.append((column[0], column[1], column[2]))
    names = [name for name, _, _ in found]
    if len(set(names)) < len(names) or not {"value", "time"} <= set(names):
        raise reader.wrong("a line has columns twice, or lacks value or time")
    if len({count for _, _, count in found}) > 1:
        raise reader.wrong("the columns of a line differ in length")
    return found


def _read_line(about: dict[str, Any], reader: _Reader) -> Line:
    columns: dict[str, Any] = {}
    count = 0
    for name, kind, count in _columns(about, reader):
        column = reader.column(kind, count)
        if name in COLUMN_TYPES:
            columns[name] = column
    streams = _read_streams(about, count, reader)
    replica, attempt, total = about.get("replica"), about.get("attempt"), about.get("total", count)
    if not isinstance(replica, (str, type(None))) or not all(type(n) in (int, type(None)) for n in (attempt, total)):
        raise reader.wrong("a line's replica, attempt or total is of the wrong type")
    columns |= {"replica": replica, "attempt": attempt, "exact": about.get("exact") is not False}
    return Line(**columns, streams=streams, total=total or count)


def _read_streams(about: dict[str, Any], count: int, reader: _Reader) -> tuple[tuple[str, int], ...]:
    streams = about.get("streams") or []
    if not isinstance(streams, list) or not all(
        isinstance(part, list) and [type(item) for item in part] == [str, int] and part[1] >= 0 for part in streams
    ):
        raise reader.wrong("the streams of a line are not names and counts")
    if streams and sum(part[1] for part in streams) != count:
        raise reader.wrong("the streams of a line have other points than the line")
    return tuple((part[0], part[1]) for part in streams)


def _native(data: memoryview[Any], code: str) -> memoryview[Any]:
    if sys.byteorder == "big" and code != "B":
        numbers = array(code, data.tobytes())
        numbers.byteswap()
        return memoryview(numbers)
    return data.cast(cast(Any, code))


def encode_columns(lines: Iterable[Line]) -> bytes:
    """``lines`` as such a body: what a server answers, for tests and tools."""
    header, parts = [], []
    for line in lines:
        columns = []
        for name in COLUMN_TYPES:
            data = getattr(line, name)
            if data is not None:
                kind = {"d": "f8", "q": "i8", "B": "u1"}[data.format]
                columns.append([name, kind, len(data)])
                parts.append(_little(data))
        about = {"replica": line.replica, "attempt": line.attempt, "exact": line.exact, "total": line.total}
        header.append({**about, "streams": line.streams, "columns": columns})
    text = json.dumps({"lines": header}).encode()
    return zstandard.compress(b"".join((MAGIC, _LENGTH.pack(len(text)), text, *parts)))


def _little(data: memoryview[Any]) -> bytes:
    if sys.byteorder == "big" and data.format != "B":
        numbers = array(data.format, data.tobytes())
        numbers.byteswap()
        return numbers.tobytes()
    return data.tobytes()
