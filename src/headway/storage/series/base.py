"""Metrics in chunks: what the folding process writes, and what charts, summaries and exact reads are made from.

A *track* is what one stream logged under one raw stage and name: an append-only sequence. Rows that have the same columns
(a *schema* of the stream) lie together in *blocks* of at most 65,536 rows: their axes once, and a *chunk* of values with
statistics for each column. A row's number within its schema never changes, whatever blocks it lies in, so that a reader
that goes on later asks for row numbers and is not disturbed by blocks that grew together meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from headway.domain.metrics import Entry
from headway.storage.series.arrays import Bits
from headway.storage.series.axes import Extent, PackedAxes
from headway.storage.series.payloads import Schema
from headway.storage.series.rows import Decoded, Report
from headway.storage.series.statistics import Bins

BLOCK_ROWS = 65_536
"""Rows in a block at most."""
BLOCK_CELLS = 8 << 20
"""Rows times columns of a block at most: what is merged in memory at a time."""


@dataclass(frozen=True)
class StreamKey:
    """A stream as the server's records know it. ``created`` (milliseconds) tells it from one of the same name that was
    deleted with its run.
    """

    run_id: str
    name: str
    created: int
    attempt: int = 0
    replica: str = ""

    @property
    def system(self) -> bool:
        return self.name.startswith("system/")


@dataclass
class StreamState:
    """How far a stream is folded, and what decoding it further needs."""

    id: int
    key: StreamKey
    folded: int = 0
    sequence: int = 0
    schemas: dict[int, Schema] = field(default_factory=dict)
    schema_ids: dict[int, int] = field(default_factory=dict)
    report: Report = field(default_factory=Report)


class Column(NamedTuple):
    """One column of one schema of one stream."""

    stream: StreamKey
    folded: int
    """How far its stream is folded."""
    schema_id: int
    position: int
    """In the schema."""
    number: int
    """Of the schema, as the stream calls it."""
    name: str
    raw_stage: str | None
    floats: bool
    rows: int
    total: Bins | None
    """One item: the statistics of all its rows, where they were asked for."""


class Block(NamedTuple):
    """Rows of one schema."""

    first_row: int
    rows: int
    first_sequence: int
    last_sequence: int
    extent: Extent

    @property
    def end(self) -> int:
        return self.first_row + self.rows


class Chunk(NamedTuple):
    """Values of one column in one block, as far as they were asked for."""

    first_row: int
    rows: int
    axes: PackedAxes | None
    bits: Bits | None
    fine: Bins | None
    middle: Bins | None
    total: Bins | None


class Parts(NamedTuple):
    """Which parts of chunks to bring."""

    axes: bool = False
    values: bool = False
    fine: bool = False
    middle: bool = False
    total: bool = False


class EntryPlace(NamedTuple):
    """Where a media entry stands among those of its run, folded or not."""

    time: int
    stream: str
    sequence: int


class EntryFilter(NamedTuple):
    """Which media entries; None restricts nothing. The stage is normalised."""

    name: str | None = None
    stage: str | None = None
    type: str | None = None

    def admits(self, entry: Entry) -> bool:
        wanted = (self.name, self.stage, self.type)
        return all(
            a is None or a == b for a, b in zip(wanted, (entry.name, entry.stage, entry.type.value), strict=True)
        )


class StoredEntry(NamedTuple):
    """A media entry as its stream told it."""

    place: EntryPlace
    document: Mapping[str, Any]


class SeriesSnapshot(Protocol):
    """One consistent state of the store, open until its block ends."""

    def streams(self, run_id: str) -> Sequence[StreamState]:
        """All of a run, without their schemas."""
        ...

    def schemas(self, stream_id: int) -> Mapping[int, Schema]:
        """Those of one stream, by number."""
        ...

    def columns(
        self,
        run_id: str,
        *,
        system: bool = False,
        stage: str | None = None,
        name: str | None = None,
        totals: bool = False,
    ) -> Sequence[Column]:
        """Of all streams of a run; with a normalised stage or a name only those."""
        ...

    def blocks(self, schema_id: int, first_row: int = 0, end: int | None = None) -> Sequence[Block]:
        """Those that hold rows from ``first_row`` up to (not including) ``end``, in order."""
        ...

    def chunks(
        self, schema_id: int, position: int, parts: Parts, first_row: int = 0, end: int | None = None
    ) -> Iterator[Chunk]:
        """The chunks of one column over the same blocks, in order."""
        ...

    def entries(
        self, run_id: str, wanted: EntryFilter, *, after: EntryPlace | None = None, limit: int = 100
    ) -> Sequence[StoredEntry]:
        """Media entries by place, those above ``after``."""
        ...


class SeriesReader(Protocol):
    """The reading side: any number of processes."""

    def read(self) -> AbstractContextManager[SeriesSnapshot]:
        """A snapshot. A store that does not exist yet is empty. UnavailableError when it does not answer."""
        ...

    def warm(self) -> None:
        """Prepare for the first chart."""
        ...

    def run_ids(self) -> Collection[str]:
        """Of all runs that it holds something of."""
        ...

    def close(self) -> None: ...


class SeriesWriter(SeriesReader, Protocol):
    """The writing side: one process at a time for a stream.

    Obligations (headway/testing/series.py): ``fold`` is one durable transaction; a process that is killed at any instant
    leaves all of it or nothing. A full disk raises StorageFullError and changes nothing.
    """

    def open(self, key: StreamKey) -> StreamState:
        """The state of a stream, which is made where it is missing. One of the same name and another ``created`` is
        removed first.
        """
        ...

    def fold(self, state: StreamState, decoded: Decoded) -> StreamState:
        """Add what was decoded from ``state.folded`` on, and move to ``decoded.end``.

        Raises:
            ConflictError: Somebody folded the stream meanwhile; nothing was changed.
        """
        ...

    def delete_run(self, run_id: str) -> None:
        """Remove everything of a run and give back the space. Again is harmless."""
        ...

    def delete_streams(self, run_id: str, names: Collection[str]) -> None:
        """The same of some of its streams."""
        ...


def block_limit(columns: int) -> int:
    """Rows of a block of so many columns at most."""
    return max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(1, columns)))
