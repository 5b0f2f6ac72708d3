"""Writing metrics: one row and one write a call, a few microseconds for ten values.

The columns of a row are described once, in a schema frame; what a call costs after that is finding the schema again,
packing, a checksum and the write. :meth:`MetricsWriter.log` does this in one function for calls like the one before;
everything else takes the longer way below it, which gives the same bytes.
"""

from __future__ import annotations

import itertools
import math
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from os import write
from pathlib import Path
from threading import get_ident
from time import time_ns
from typing import Any, NamedTuple
from zlib import crc32

from headway.errors import InvalidRequestError
from headway.journal.base import StreamWriter
from headway.journal.codec import JournalHeader
from headway.journal.documents import plain_json
from headway.journal.files import is_disk_error
from headway.journal.frames import KIND_ENTRY, KIND_SCHEMA, PAYLOAD_LIMIT, Frame, encode_frame
from headway.journal.health import Durability, JournalHealth
from headway.journal.lanes import LANES, NO_LANE, Lane
from headway.journal.parts import ROW_COLUMNS, Part, Recent
from headway.journal.rows import FLOAT, HAS_EPOCH, HAS_STEP, INTEGER, Schema, encode_schema, sequence_of
from headway.journal.values import plain_epoch, plain_name, plain_stage, plain_step, plain_time, plain_values

KEPT_ROWS = 10_000
"""Rows and entries that stay in memory while the disk is full: the newest ones."""
MAX_COLUMNS = 1 << 17
"""Of the schemas that are remembered, all together. A schema that was forgotten is written again when it is needed."""
SCHEMA_WEIGHT = 32
"""What a schema itself takes of that, in columns."""
EXACT = 1 << 53
"""Up to here every whole number is a float."""

_PREFIX = struct.Struct("<II").pack
_COVERED = 8
_JOURNAL = __name__.rpartition(".")[0] + "."
_LETTERS = {float: FLOAT, int: INTEGER}


class _Row(NamedTuple):
    """A row that is to be written: everything but its number."""

    part: Part
    time_ns: int
    flags: int
    step: int
    epoch: float
    values: tuple[int | float, ...]


class _Media(NamedTuple):
    """An entry that is to be written: its JSON behind the number."""

    document: bytes


_NOTHING: Recent = (object(), -1, itemgetter(0, 1), [], struct.pack, b"", 0)


class MetricsWriter(StreamWriter[_Row | _Media]):
    """Writes the rows and media entries of one ``metrics`` or ``system`` stream. Arguments as for :class:`StreamWriter`.

    ``on_append`` is called at least once between two readings of :attr:`position` when something was written in between,
    and not for every row. While the disk is full the newest 10,000 rows and entries stay in memory (as far as they have
    256 MiB); they are written when space returns, and what had to go is counted in :attr:`health`.
    """

    keeps = KEPT_ROWS

    def __init__(
        self,
        path: Path,
        header: JournalHeader,
        *,
        durability: Durability = Durability.PROCESS,
        on_append: Callable[[], None] | None = None,
        on_trouble: Callable[[JournalHealth], None] | None = None,
    ) -> None:
        self._sequence = 0
        self._lane = NO_LANE
        self._recent = _NOTHING
        self._quiet = True
        """Whether the next row has to wake the syncer and whoever ships."""
        self._part: Part | None = None
        """Whose rows the fast way writes."""
        self._plans: dict[tuple[object, ...], tuple[Part, ...]] = {}
        self._columns = 0
        self._ids = itertools.count()
        self._stated = 0
        super().__init__(path, header, durability=durability, on_append=on_append, on_trouble=on_trouble)

    @property
    def position(self) -> int:
        """Bytes of whole frames in the file: what may be shipped."""
        self._quiet = True
        return super().position

    @property
    def rows(self) -> int:
        """How many rows and entries are in the file."""
        return self._sequence

    def log(
        self,
        metrics: Mapping[str, Any],
        step: int | None = None,
        *,
        stage: str | None = None,
        epoch: float | None = None,
    ) -> None:
        """Write ``metrics`` as one row: in the page cache when this returns.

        Args:
            metrics: Names to numbers, see :func:`headway.journal.values.plain_value`.
            step: Any order, repeats and gaps are fine.
            stage: A word for what is going on (``train``, ``val``, …), kept as it is.
            epoch: A finite number.

        Raises:
            InvalidRequestError: A name, value, step, stage or epoch is refused; nothing of the call was stored.
        """
        known, count, values_of, types, pack, head, size = self._recent
        if epoch is None and type(step) is int:
            flags, place, turn = HAS_STEP, step, 0.0
        else:
            flags, place, turn = _plain_place(step, epoch)
        lane = self._lane
        if (
            stage is known
            and flags >= 0
            and type(metrics) is dict
            and len(metrics) == count
            and not lane.busy
            and lane.thread == get_ident()
        ):
            lane.busy = True
            try:
                values = values_of(metrics)
                if [*map(type, values)] == types and not lane.revoked:
                    sequence = self._sequence + 1
                    body = pack(head, sequence, time_ns(), flags, place, turn, *values)
                    if (total := sum(values)) == total:  # a NaN among them may not be the canonical one
                        if write(self._descriptor, _PREFIX(size, crc32(body)) + body) == size + _COVERED:
                            self._sequence = sequence
                            self._position += size + _COVERED
                            if self._quiet:
                                self._stir()
                            lane.busy = False
                            if self._deferred:
                                self._drain()
                            return
                        self._reconcile()
            except BaseException as error:  # an interrupt, too, must leave the account right
                outcome = self._land(lane, error)
                if outcome is None:
                    raise
                if outcome:
                    return
            lane.busy = False
        self._log(metrics, step, stage, epoch)

    def log_at(
        self,
        time: float,
        metrics: Mapping[str, Any],
        step: int | None = None,
        *,
        stage: str | None = None,
        epoch: float | None = None,
    ) -> None:
        """As :meth:`log`, for what was measured at another time than now.

        Args:
            time: Seconds since 1970 (UTC), 0 to 2**63 - 1 nanoseconds.
            metrics, step, stage, epoch: As for :meth:`log`, and refused in the same way.
        """
        self._log(metrics, step, stage, epoch, plain_time(time))

    def entry(self, document: Mapping[str, Any]) -> None:
        """Write a media entry.

        Args:
            document: The entry's fields (docs/internals/tracking.md, section 2) without ``sequence``; ``time`` is now
                when it is not given.

        Raises:
            InvalidRequestError: The name is none, the document is not JSON, or it is larger than a frame.
        """
        plain_name(document.get("name"))
        fields = {"time": time_ns() // 1_000_000, **document}
        fields.pop("sequence", None)
        payload = plain_json(fields, f"the entry {document['name']!r}")
        if len(payload) > PAYLOAD_LIMIT - 64:
            raise InvalidRequestError(
                f"The entry {document['name']!r} has {len(payload)} bytes of JSON.",
                hint="Put what is large into the blob.",
            )
        self._put(_Media(payload[1:]))

    # The longer way

    def _log(
        self, metrics: Mapping[str, Any], step: object, stage: object, epoch: object, logged_at: int | None = None
    ) -> None:
        moment = time_ns() if logged_at is None else logged_at
        exact_step, exact_epoch = plain_step(step), plain_epoch(epoch)
        parts, values = self._direct(metrics, stage) or self._converted(metrics, stage)
        flags = HAS_STEP * (exact_step is not None) | HAS_EPOCH * (exact_epoch is not None)
        rows = [_Row(part, moment, flags, exact_step or 0, exact_epoch or 0.0, values[part.columns]) for part in parts]
        if self._foreign or self._in_flight():
            for row in rows:
                self._put(row)
            return
        with self._lock:
            for row in rows:
                self._put(row)
            if len(parts) == 1:
                self._prefer(parts[0], stage)

    def _direct(self, metrics: Any, stage: object) -> tuple[tuple[Part, ...], tuple[float, ...]] | None:
        """Schema and values of a call that is like an earlier one and has nothing but floats, none of them NaN."""
        try:
            values = (*metrics.values(),)
            types = [*map(type, values)]
            if types.count(float) == len(types) and (parts := self._plans.get((stage, *metrics, *types))):
                return None if math.isnan(sum(values)) else (parts, values)
        except (AttributeError, TypeError):
            pass
        return None

    def _converted(self, metrics: object, stage: object) -> tuple[tuple[Part, ...], tuple[int | float, ...]]:
        """Schema and values of any call; InvalidRequestError when there is something wrong with it."""
        word, found = plain_stage(stage), plain_values(metrics)
        values = tuple(found.values())
        key = (word, *found, *map(type, values))
        parts = self._plans.get(key)
        if parts is None and found:
            letters = "".join(_LETTERS[type(value)] for value in values)
            parts = self._plans[key] = tuple(self._split(word, tuple(found), letters, 0))
            self._columns += len(found) + SCHEMA_WEIGHT
            if self._columns > MAX_COLUMNS:
                self._plans, self._columns = {key: parts}, len(found) + SCHEMA_WEIGHT
        return parts or (), values

    def _split(self, stage: str | None, names: tuple[str, ...], types: str, start: int) -> Iterator[Part]:
        """As few parts as hold the columns, which begin at ``start`` in the call's values."""
        schema = Schema(next(self._ids), stage, names, types)
        if len(names) <= ROW_COLUMNS and len(payload := encode_schema(schema)) <= PAYLOAD_LIMIT:
            yield Part(schema, payload, slice(start, start + len(names)))
            return
        middle = len(names) // 2
        yield from self._split(stage, names[:middle], types[:middle], start)
        yield from self._split(stage, names[middle:], types[middle:], start + middle)

    # The fast way's rights and duties

    def _prefer(self, part: Part, stage: object) -> None:
        """Have the next calls of this thread go the fast way if they are like this one. Called with the lock held."""
        if self._sync_each or self._writing or self._kept or self._closed or part.stated_at < 0:
            return
        if stage is not part.recent[0]:
            part.recent = (stage, *part.recent[1:])
        self._part, self._recent = part, part.recent
        if LANES and self._lane is NO_LANE:
            self._lane = Lane(get_ident())

    def _in_flight(self) -> bool:
        lane = self._lane
        return lane.busy and lane.thread == get_ident()

    def _take_over(self, *, wait: bool = True) -> bool:
        lane = self._lane
        lane.revoked = True
        while lane.busy:
            if not wait:
                return False
            time.sleep(0)
        self._lane = NO_LANE
        return True

    def _stir(self) -> None:
        """After the first row since somebody looked: wake the syncer and whoever ships."""
        self._quiet = False
        self._syncer.ask()
        if self._on_append:
            self._on_append()
        if self._part and not self._part.is_stated(self._position):
            self._recent = _NOTHING

    def _land(self, lane: Lane, error: BaseException) -> bool | None:
        """After the fast way was left by ``error``: whether the row is in the file; None when it is not its own error."""
        try:
            own = _is_own(error)
            before = self._sequence
            if not own or isinstance(error, OSError):
                self._reconcile()
        finally:
            lane.busy = False
        if not own:
            return None
        if self._sequence == before:
            return False
        self._drain()
        return True

    def _drain(self) -> None:
        """Write what was logged by signal handlers and finalizers within a write."""
        with self._lock:
            while self._deferred:
                self._put(self._deferred.popleft())

    # What the file knows

    def _encode(self, item: _Row | _Media) -> bytes:
        sequence = self._sequence + 1
        if isinstance(item, _Media):
            return encode_frame(KIND_ENTRY, b'{"sequence":%d,' % sequence + item.document)
        part = item.part
        body = part.pack(part.head, sequence, item.time_ns, item.flags, item.step, item.epoch, *item.values)
        frame = _PREFIX(part.size, crc32(body)) + body
        return frame if part.is_stated(self._position) else part.frame + frame

    def _note(self, item: _Row | _Media) -> None:
        if isinstance(item, _Row) and not item.part.is_stated(self._position):
            item.part.stated_at = self._position
            self._stated += 1
        self._sequence += 1

    def _adopt(self, frame: Frame) -> None:
        self._stated += frame.kind == KIND_SCHEMA
        self._sequence = sequence_of(frame) or self._sequence

    def _tick(self) -> None:
        self._quiet = True  # before the sync: it covers what is written up to now
        super()._tick()

    def _frames(self) -> int:
        return 1 + self._stated + self._sequence + self._ended

    def _weigh(self, item: _Row | _Media) -> tuple[int, int]:
        if isinstance(item, _Media):
            return len(item.document) + 64, 0
        return item.part.size + _COVERED, len(item.values)

    def _keep(self, item: _Row | _Media) -> None:
        self._recent = _NOTHING
        super()._keep(item)

    def _end(self) -> None:
        self._recent = _NOTHING
        super()._end()

    def _disown(self) -> None:
        self._recent = _NOTHING
        super()._disown()


def _plain_place(step: object, epoch: object) -> tuple[int, int, float]:
    """Flags, step and epoch of a row when they are plain numbers; flags of -1 when they are not, or may be wrong."""
    flags, place, turn = 0, 0, 0.0
    if step is not None:
        if type(step) is not int:
            return -1, 0, 0.0
        flags, place = HAS_STEP, step
    if epoch is not None:
        if (type(epoch) is not float and type(epoch) is not int) or not -EXACT <= epoch <= EXACT:
            return -1, 0, 0.0
        flags, turn = flags | HAS_EPOCH, epoch
    return flags, place, turn


def _is_own(error: BaseException) -> bool:
    """Whether ``error`` comes from looking up, packing or writing, and not out of a signal handler."""
    if not isinstance(error, (KeyError, struct.error)):
        return is_disk_error(error)
    place = error.__traceback__
    while place is not None:
        if not place.tb_frame.f_globals["__name__"].startswith(_JOURNAL):
            return False
        place = place.tb_next
    return True
