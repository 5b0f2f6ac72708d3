"""Points as files: Parquet, CSV and NDJSON that lose nothing, written in constant memory and whole or not at all.

A row a point, with the columns

===========  ==========================================================================================================
``run``      the run's id
``name``     of the metric
``stage``    normalised; empty for none
``word``     the stage as it was logged, where one word was used for the whole series; else empty
``replica``  ``rank0``: the writer role
``writer``   who wrote the stream: one process, from one opening of the run to its end
``attempt``  a number from 0
``system``   whether it is a system metric
``step``     int64; empty where none was given
``epoch``    float64; empty where none was given
``time``     milliseconds since 1970 (UTC)
``value``    exactly what was logged, see below
===========  ==========================================================================================================

*Parquet* has ``value`` as float64 and, beside it, ``integer`` (int64): where that is not null the whole number was
logged, which float64 may only come near. *NDJSON* has one object a line; whole numbers have no point, and NaN and infinities
are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. *CSV* is that of RFC 4180 in UTF-8, with the same words.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and names are anybody's text. So in
CSV every text that begins with one of these, their wide forms, a tab, a line break or ``'`` gets a ``'`` before it: drop one
leading ``'`` to have the text back (:func:`from_cell`). Numbers are as they are. Parquet and NDJSON change nothing.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from headway.domain.base import did_you_mean
from headway.errors import InvalidRequestError, MissingExtraError
from headway.paths import full_disk_named, sync_directory
from headway.sdk.columns import Line, Point
from headway.sdk.summaries import to_json_number

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
FORMATS = ("parquet", "csv", "ndjson")
TEXTS = ("run", "name", "stage", "word", "replica", "writer")
COLUMNS = (*TEXTS, "attempt", "system", "step", "epoch", "time", "value")
FORMULA_STARTS = frozenset("=+-@\t\r\n'＝＋－＠")
ROW_GROUP = 1 << 17
WRITTEN_AT_ONCE = 4096


@dataclass(frozen=True)
class Block:
    """Points of one series, rank and attempt that fit into memory."""

    run: str
    name: str
    stage: str
    word: str
    """The stage as it was logged."""
    system: bool
    line: Line
    writer: str = ""
    """Who wrote the stream: one process, from one opening of the run to its end."""


@dataclass(frozen=True)
class PointSource:
    """All points of one run, block by block; ``total`` is how many there were at the beginning.

    ``blocks`` is given a directory for what does not fit into memory.
    """

    total: int
    blocks: Callable[[Path], Iterator[Block]]


def export_points(
    sources: Iterable[PointSource], path: str | Path, *, format: str | None = None, progress: bool | None = None
) -> Path:
    """Write every point of ``sources`` to ``path``, which is replaced once all is written.

    Args:
        sources: What to write, one run after the other.
        path: The file.
        format: ``parquet``, ``csv`` or ``ndjson``; by the file's ending without it.
        progress: Show a bar on stderr; by default where that is a terminal.

    Raises:
        InvalidRequestError: The format is unknown, or the directory does not exist.
        MissingExtraError: Parquet without pyarrow.
        StorageFullError: No space is left; what was there before stays.
    """
    target = Path(path)
    open_writer = WRITERS[_checked_format(target, format)]
    shown = sys.stderr.isatty() if progress is None else progress
    with _written_whole(target) as file, _bar(target.name, shown) as advance, open_writer(file) as writer:
        for source in sources:
            advance(0, source.total)
            for block in source.blocks(target.parent):
                writer.write(block)
                advance(len(block.line), 0)
    return target


def _checked_format(path: Path, format: str | None) -> str:
    chosen = SUFFIXES.get(path.suffix.lower()) if format is None else format
    if chosen not in FORMATS:
        asked = f"The ending of {path.name!r} names no format" if format is None else f"There is no format {format!r}"
        hint = did_you_mean(str(format), FORMATS) or f"Formats: {', '.join(FORMATS)}."
        raise InvalidRequestError(f"{asked}.", hint=hint)
    return chosen


@contextmanager
def _written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the name ``path`` at the end, and is gone when something goes wrong."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InvalidRequestError(f"Cannot write {str(path)!r}: {error.strerror}.") from error
    try:
        with full_disk_named(path.name), os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def _bar(name: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Something to tell of points that were written and of points that there are."""
    if not shown:
        yield _unseen
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name.replace("[", "\\["), total=0)

        def advance(written: int, more: int) -> None:
            bar.update(task, advance=written, total=(bar.tasks[0].total or 0) + more)

        yield advance


def _unseen(_written: int, _more: int) -> None:
    """Nobody looks."""


class Writer(Protocol):
    """Takes blocks; leaving it writes what is held back."""

    def write(self, block: Block) -> None: ...

    def __enter__(self) -> Writer: ...

    def __exit__(self, *_: object) -> None: ...


class _TextWriter:
    """CSV and NDJSON: lines of UTF-8."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.detach()

    def write(self, block: Block) -> None:
        raise NotImplementedError


class CsvWriter(_TextWriter):
    """RFC 4180, with formulas made harmless."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._csv = csv.writer(self._file)
        self._csv.writerow(COLUMNS)

    def write(self, block: Block) -> None:
        line = block.line
        texts = [block.run, block.name, block.stage, block.word, line.replica or "", block.writer]
        texts = [to_cell(text) for text in texts]
        head = [*texts, "" if line.attempt is None else line.attempt, "true" if block.system else "false"]
        self._csv.writerows([*head, *_cells(point)] for point in line)


def _cells(point: Point) -> tuple[object, ...]:
    step = "" if point.step is None else point.step
    epoch = "" if point.epoch is None else to_json_number(point.epoch)
    return step, epoch, point.time, to_json_number(point.value)


class NdjsonWriter(_TextWriter):
    """One JSON object a line."""

    def write(self, block: Block) -> None:
        line = block.line
        about: dict[str, object] = {"run": block.run, "name": block.name, "stage": block.stage, "word": block.word}
        about = {**about, "replica": line.replica, "writer": block.writer, "attempt": line.attempt}
        about["system"] = block.system
        head = json.dumps(about, ensure_ascii=False)[:-1]
        for point in line:
            numbers = {"step": point.step, "epoch": to_json_number(point.epoch), "time": point.time}
            rest = json.dumps({**numbers, "value": to_json_number(point.value)}, allow_nan=False)
            self._file.write(f"{head}, {rest[1:]}\n")


class ParquetWriter:
    """Row groups of some 130,000 points, however many series they come from."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise MissingExtraError("Parquet", "dataframe") from None
        words = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        numbers = {"attempt": pyarrow.int64(), "system": pyarrow.bool_(), "step": pyarrow.int64()}
        numbers |= {"epoch": pyarrow.float64(), "time": pyarrow.timestamp("ms", "UTC")}
        numbers |= {"value": pyarrow.float64(), "integer": pyarrow.int64()}
        self.schema = pyarrow.schema({**dict.fromkeys(TEXTS, words), **numbers})
        self._parquet = parquet.ParquetWriter(file, self.schema, compression="zstd")
        self._held: list[pyarrow.RecordBatch] = []
        self._rows = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._parquet.close()

    def write(self, block: Block) -> None:
        self._held.append(_batch(block, self.schema))
        self._rows += len(block.line)
        if self._rows >= ROW_GROUP or len(self._held) >= WRITTEN_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            table = pyarrow.Table.from_batches(self._held, self.schema).unify_dictionaries()
            self._parquet.write_table(table.combine_chunks(), row_group_size=ROW_GROUP)
        self._held, self._rows = [], 0


def _batch(block: Block, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    import numpy
    import pyarrow

    line, count = block.line, len(block.line)
    indices = numpy.zeros(count, "int32")

    def word(text: str | None) -> pyarrow.Array:
        mask = numpy.full(count, text is None)
        return pyarrow.DictionaryArray.from_arrays(pyarrow.array(indices, mask=mask), [text or ""])

    def optional(numbers: Any, given: Any, kind: str) -> pyarrow.Array:
        if numbers is None:
            return pyarrow.nulls(count, kind)
        missing = None if given is None else numpy.frombuffer(given, "uint8") == 0
        return pyarrow.array(numpy.frombuffer(numbers.cast("B"), kind), mask=missing)

    arrays = {
        "run": word(block.run),
        "name": word(block.name),
        "stage": word(block.stage),
        "word": word(block.word),
        "replica": word(line.replica),
        "writer": word(block.writer),
        "attempt": pyarrow.repeat(pyarrow.scalar(line.attempt, pyarrow.int64()), count),
        "system": pyarrow.repeat(pyarrow.scalar(block.system), count),
        "step": optional(line.step, line.has_step, "int64"),
        "epoch": optional(line.epoch, line.has_epoch, "float64"),
        "time": pyarrow.array(numpy.frombuffer(line.time, "int64")).cast(schema.field("time").type),
        **_values(line),
    }
    return pyarrow.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _values(line: Line) -> dict[str, pyarrow.Array]:
    """``value`` (the nearest float64) and ``integer`` (null where a float was logged)."""
    import numpy
    import pyarrow

    whole = numpy.full(len(line), line.value.format == "q")
    if line.is_integer is not None:
        whole = numpy.frombuffer(line.is_integer, "uint8") != 0
    raw = numpy.frombuffer(line.value.cast("B"), "int64")
    value = numpy.where(whole, raw.astype("float64"), raw.view("float64"))
    return {"value": pyarrow.array(value), "integer": pyarrow.array(raw, mask=~whole)}


def to_cell(text: str) -> str:
    """``text`` as a CSV cell that no spreadsheet takes for a formula.

    >>> to_cell("=1+1"), to_cell("loss"), to_cell("'quoted")
    ("'=1+1", 'loss', "''quoted")
    """
    return f"'{text}" if text[:1] in FORMULA_STARTS else text


def from_cell(cell: str) -> str:
    """The text that :func:`to_cell` wrote.

    >>> from_cell("'=1+1"), from_cell("loss")
    ('=1+1', 'loss')
    """
    return cell[1:] if cell.startswith("'") else cell


WRITERS: dict[str, Callable[[IO[bytes]], Any]] = {"parquet": ParquetWriter, "csv": CsvWriter, "ndjson": NdjsonWriter}
