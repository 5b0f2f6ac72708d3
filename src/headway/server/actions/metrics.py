"""Reading metrics: which series a run has, what they come to, their points and pictures, and its media."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

from headway.domain.base import Page, PageRequest
from headway.domain.metrics import Axis, Entry, MetricQuery, Series, SeriesSummary, normal_stage
from headway.domain.runs import METRICS, SYSTEM, Run, Stream
from headway.errors import ConflictError, InvalidRequestError, UnavailableError
from headway.server.actions.lookup import find_run
from headway.server.context import Caller, Platform
from headway.storage.series.aggregates import aggregate
from headway.storage.series.base import EntryFilter, EntryPlace, SeriesSnapshot, StreamKey
from headway.storage.series.charts import Window, draw, thin
from headway.storage.series.lines import ChainReader, Line, find_lines
from headway.storage.series.packing import PackedLine, windowed
from headway.storage.series.payloads import entry_of
from headway.storage.series.points import Points
from headway.storage.series.rows import Decoded
from headway.storage.series.streams import key_of
from headway.storage.series.summaries import summarise
from headway.storage.series.tails import read_tails

LOOKS = 20
"""How often a reader looks again when what it was about to read was folded and given back in between."""
MOST_IN_JSON = 1_000_000
"""Exact points in one JSON answer."""
MOST_TO_AGGREGATE = 8_000_000
_SEPARATOR = ":"


@dataclass(frozen=True)
class Drawn:
    """One line of an answer."""

    replica: str | None
    """None for an aggregate of several."""
    attempt: int | None
    exact: bool
    total: int
    points: Points


@dataclass(frozen=True)
class _View:
    """All that is known of a run's metrics at one moment."""

    run: Run
    streams: Sequence[StreamKey]
    snapshot: SeriesSnapshot
    tails: dict[str, Decoded]


@contextmanager
def _view(platform: Platform, caller: Caller | None, run_id: str, *kinds: str) -> Iterator[_View]:
    """``caller`` is None where the platform itself asks."""
    for _ in range(LOOKS):
        with platform.storage.read() as session:
            run = session.runs.get(run_id) if caller is None else find_run(session, caller, run_id)
            held = [stream for kind in kinds for stream in session.streams.of_run(run.id, kind=kind)]
        with _tails(platform, held) as found:
            if found is not None:
                yield _View(run, [key_of(stream) for stream in held], *found)
                return
    raise UnavailableError("The metrics were folded faster than they could be read.", hint="Try again.")


@contextmanager
def _tails(platform: Platform, streams: Sequence[Stream]) -> Iterator[tuple[SeriesSnapshot, dict[str, Decoded]] | None]:
    """A snapshot with what it lacks; None when that was given back meanwhile."""
    with platform.series.read() as snapshot:
        try:
            found = snapshot, read_tails(platform.segments, snapshot, streams)
        except ConflictError:
            yield None
            return
        yield found


def series(platform: Platform, caller: Caller, run_id: str) -> list[Series]:
    """The series of a run, one a rank, those of the system after the others; by stage and name."""
    with _view(platform, caller, run_id, METRICS, SYSTEM) as view:
        found: dict[tuple[bool, str, str, str], _SeriesParts] = {}
        known = {stream.name: stream for stream in view.streams}
        for system in (False, True):
            for column in view.snapshot.columns(run_id, system=system):
                stream = known.get(column.stream.name)
                if stream is not None and stream.created == column.stream.created and column.rows:
                    key = (system, normal_stage(column.raw_stage), column.name, stream.replica)
                    found.setdefault(key, _SeriesParts()).add(column.raw_stage, stream.attempt, column.rows)
        for name, decoded in view.tails.items():
            for rows in decoded.rows:
                stage, stream = rows.schema.stage, known[name]
                for title, _ in rows.schema.columns:
                    key = (stream.system, normal_stage(stage), title, stream.replica)
                    found.setdefault(key, _SeriesParts()).add(stage, stream.attempt, len(rows))
    return [
        Series(
            run_id=run_id,
            name=name,
            stage=stage,
            raw_stages=tuple(sorted(parts.stages)),
            replica=replica,
            attempts=tuple(sorted(parts.attempts)),
            count=parts.count,
            system=system,
        )
        for (system, stage, name, replica), parts in sorted(found.items())
    ]


class _SeriesParts:
    """What the streams of one rank hold of a series."""

    def __init__(self) -> None:
        self.stages: set[str] = set()
        self.attempts: set[int] = set()
        self.count = 0

    def add(self, raw_stage: str | None, attempt: int, count: int) -> None:
        if raw_stage:
            self.stages.add(raw_stage)
        self.attempts.add(attempt)
        self.count += count


def summary(platform: Platform, caller: Caller | None, run_id: str, prefix: str = "") -> list[SeriesSummary]:
    """What each series comes to at this moment, over all ranks, in the default view."""
    with _view(platform, caller, run_id, METRICS) as view:
        return summarise(view.snapshot, run_id, view.streams, view.tails, prefix=prefix)


def read(platform: Platform, caller: Caller | None, run_id: str, query: MetricQuery) -> list[Drawn]:
    """The lines that ``query`` asks for: pictures with ``points``, else every point.

    Raises:
        InvalidRequestError: More exact points than fit into one JSON answer, or too many to aggregate.
    """
    window = Window(query.axis, query.start, query.end)
    with _view(platform, caller, run_id, SYSTEM if query.system else METRICS) as view:
        lines = find_lines(view.snapshot, run_id, view.streams, view.tails, query)
        if query.aggregate is not None:
            return _aggregated(view.snapshot, lines, query, window)
        if query.points is None:
            return _exact(view.snapshot, lines, window)
        found = []
        for line in lines:
            picture = draw(view.snapshot, line, window, query.points)
            found.append(Drawn(line.replica, line.attempt, picture.exact, picture.total, picture.points))
        return found


def _exact(snapshot: SeriesSnapshot, lines: Sequence[Line], window: Window) -> list[Drawn]:
    reader, left = ChainReader.within(snapshot), MOST_IN_JSON
    found = []
    for line in lines:
        parts = []
        for points in windowed(reader.batches(line), window):
            parts.append(points)
            left -= len(points)
            if left < 0:
                raise InvalidRequestError(
                    f"These are more than {MOST_IN_JSON} points, which is too many for one JSON answer.",
                    hint="Ask for a picture (points=1000), a part (start=, end=), "
                    "or for Accept: application/vnd.headway.columns.",
                )
        points = Points.joined(parts)
        found.append(Drawn(line.replica, line.attempt, True, len(points), points))
    return found


def _aggregated(snapshot: SeriesSnapshot, lines: Sequence[Line], query: MetricQuery, window: Window) -> list[Drawn]:
    """The ranks of each attempt (or of all, where they are seen as one) as one line."""
    assert query.aggregate is not None
    if query.axis is Axis.INDEX:
        raise InvalidRequestError("An aggregate has no index.", hint="Use axis=step, time or epoch.")
    count = sum(line.count for line in lines)
    if count > MOST_TO_AGGREGATE:
        raise InvalidRequestError(
            f"These are {count} points, and at most {MOST_TO_AGGREGATE} are aggregated.", hint="Ask for one replica."
        )
    reader = ChainReader.within(snapshot)
    found = []
    for attempt, held in groupby(sorted(lines, key=lambda line: line.attempt or 0), key=lambda line: line.attempt):
        whole = aggregate([points for line in held for points in reader.batches(line)], query.aggregate)
        points = Points.joined(list(windowed([whole], window)))
        shown = points
        if query.points is not None and len(points):
            shown = thin(points, points.along(query.axis), query.points)
        elif query.points is None and len(points) > MOST_IN_JSON:
            raise InvalidRequestError(
                f"These are {len(points)} points, which is too many for one answer.", hint="Ask for points=1000."
            )
        found.append(Drawn(None, attempt, len(shown) == len(points), len(points), shown))
    return found


def read_packed(platform: Platform, caller: Caller, run_id: str, query: MetricQuery) -> list[PackedLine]:
    """The same to be sent as packed columns; exact points of any number, which are read while they are sent."""
    if query.points is not None or query.aggregate is not None:
        return [_packed(drawn) for drawn in read(platform, caller, run_id, query)]
    window = Window(query.axis, query.start, query.end)
    with _view(platform, caller, run_id, SYSTEM if query.system else METRICS) as view:
        lines = find_lines(view.snapshot, run_id, view.streams, view.tails, query)
    reader = ChainReader(platform.series.read)
    return [_sent(reader, line, window) for line in lines]


def _packed(drawn: Drawn) -> PackedLine:
    return PackedLine(drawn.replica, drawn.attempt, drawn.exact, drawn.total, lambda: [drawn.points])


def _sent(reader: ChainReader, line: Line, window: Window) -> PackedLine:
    streams = _streams(line) if window.start is None and window.end is None else ()
    if line.count <= MOST_IN_JSON // 4:
        points = Points.joined(list(windowed(reader.batches(line), window)))
        return PackedLine(line.replica, line.attempt, True, None, lambda: [points], streams)
    return PackedLine(line.replica, line.attempt, True, None, lambda: windowed(reader.batches(line), window), streams)


def _streams(line: Line) -> tuple[tuple[str, int], ...]:
    """Whose points follow each other; not told where some of them are hidden."""
    if any(chain.cutoff is not None for chain in line.chains):
        return ()
    return tuple((chains[0].stream.name, sum(chain.count for chain in chains)) for chains in line.streams())


def entries(platform: Platform, caller: Caller, run_id: str, wanted: EntryFilter, page: PageRequest) -> Page[Entry]:
    """Media entries by the time at which they were logged."""
    after = None if page.cursor is None else _place(page.cursor)
    with _view(platform, caller, run_id, METRICS) as view:
        known = {stream.name: stream for stream in view.streams}
        found = _stored_entries(view, known, wanted, after, page.limit + 1)
        for name, decoded in view.tails.items():
            for document in decoded.entries:
                place = EntryPlace(document["time"], name, document["sequence"])
                entry = _entry(run_id, known[name], document)
                if (after is None or place > after) and wanted.admits(entry):
                    found.append((place, entry))
    found.sort(key=lambda item: item[0])
    more = len(found) > page.limit
    items = found[: page.limit]
    cursor = _SEPARATOR.join(map(str, items[-1][0])) if more else None
    return Page(items=tuple(entry for _, entry in items), next_cursor=cursor)


def _stored_entries(
    view: _View, known: dict[str, StreamKey], wanted: EntryFilter, after: EntryPlace | None, limit: int
) -> list[tuple[EntryPlace, Entry]]:
    """At least ``limit`` of them, if there are. Remains of streams that were deleted are passed over."""
    states = {state.key.name: state.key for state in view.snapshot.streams(view.run.id)}
    found: list[tuple[EntryPlace, Entry]] = []
    while len(found) < limit:
        stored = view.snapshot.entries(view.run.id, wanted, after=after, limit=limit)
        for place, document in stored:
            stream = known.get(place.stream)
            if stream is not None and states[place.stream].created == stream.created:
                found.append((place, _entry(view.run.id, stream, document)))
        if len(stored) < limit:
            break
        after = stored[-1].place
    return found


def _entry(run_id: str, stream: StreamKey, document: object) -> Entry:
    assert isinstance(document, dict)
    return entry_of(document, run_id=run_id, replica=stream.replica, attempt=stream.attempt)


def _place(cursor: str) -> EntryPlace:
    time, _, rest = cursor.partition(_SEPARATOR)
    stream, _, sequence = rest.partition(_SEPARATOR)
    try:
        place = EntryPlace(int(time), stream, int(sequence))
    except ValueError:
        place = EntryPlace(1 << 63, "", 0)
    if not all(abs(number) < 1 << 63 for number in (place.time, place.sequence)) or "\0" in stream:
        raise InvalidRequestError(
            f"The cursor {cursor!r} was not given out by this server.", hint="Use `next_cursor` of the page before."
        )
    return place
