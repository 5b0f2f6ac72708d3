"""Has what was shipped of metrics folded, keeps the index of their summaries, and gives back the stream bytes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from headway.domain.monitors import MonitorProgress
from headway.domain.runs import METRICS, SYSTEM, Stream
from headway.errors import HeadwayError
from headway.server.actions import monitor_points, version_facts
from headway.server.context import Platform
from headway.server.folding.child import FoldingChild
from headway.server.folding.messages import FoldResult, Setup

logger = logging.getLogger("headway.workers.folding")

KINDS = (METRICS, SYSTEM)
AT_ONCE = 256 << 10
"""Bytes of a stream that are folded without waiting for more. What waits is in charts all the same: readers decode it."""
WAIT_SECONDS = 2.0
"""How long fewer bytes wait."""
AT_A_LOOK = 1000
"""Streams of which a batch is folded in one look."""
DROP_BYTES = 1 << 20
"""Folded bytes of a living stream that are worth giving back."""
SUMMARY_SECONDS = 1.0
"""How soon the index of a run's summaries follows; for a run of very many series, ten times what making them took."""
TROUBLE_PAUSE = 2.0
SWEEP_SECONDS = 60.0

Place = tuple[str, str]
"""Run and name of a stream."""


class FoldingWorker:
    """Looks for streams with bytes that are not folded. One thread calls it."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._child = FoldingChild(Setup(database_url=platform.database_url, data=platform.data))
        self._tried: dict[Place, tuple[int, bool]] = {}
        """How far a stream went when nothing of it could be folded: it is tried again when it has grown."""
        self._folded_at: dict[Place, float] = {}
        self._dropped: dict[Place, int] = {}
        self._changed: set[str] = set()
        """Runs whose summaries are to be made anew."""
        self._summary_due: dict[str, float] = {}
        """From when on that may be done again."""
        self._not_before = self._swept_at = 0.0
        self._troubled = False

    def look(self) -> None:
        """One step for every stream that is due, and again until none is."""
        if time.monotonic() < self._not_before:
            return
        try:
            self._sweep()
            self._forget_points()
            while not self._platform.wakeups.closed and self._fold_due():
                self._summarise()
            self._summarise()
            self._troubled = False
        except HeadwayError as error:
            self._not_before = time.monotonic() + TROUBLE_PAUSE
            if not self._troubled:
                logger.warning("metrics wait to be folded: %s", error)
            self._troubled = True

    def close(self) -> None:
        """End the process. What it was doing is done again by the next one."""
        self._child.close()

    @property
    def child_pid(self) -> int | None:
        return self._child.pid

    def _fold_due(self) -> bool:
        """A batch of each stream that is due; whether there was one."""
        with self._platform.storage.read() as session:
            # Those that wait for the rest of a frame must not take the others' places.
            waiting = session.streams.unfolded(KINDS, limit=AT_A_LOOK + len(self._tried))
        self._forget(waiting)
        due = [stream for stream in waiting if self._due(stream)]
        results: list[tuple[Stream, FoldResult]] = []
        try:
            for stream in due:
                if self._platform.wakeups.closed:
                    break
                results.append((stream, self._fold(stream)))
        finally:
            self._apply(results)
        return bool(due)

    def has_tried(self, stream: Stream) -> bool:
        """Whether nothing of what ``stream`` holds beyond its folded bytes is a whole frame."""
        return self._tried.get((stream.run_id, stream.name)) == (stream.committed, stream.closed)

    def _due(self, stream: Stream) -> bool:
        place = (stream.run_id, stream.name)
        if self.has_tried(stream):
            return False
        if stream.closed or stream.committed - stream.folded >= AT_ONCE:
            return True
        # The first bytes of a stream are folded at once: a short run's summaries are soon there.
        return time.monotonic() - self._folded_at.get(place, -WAIT_SECONDS) >= WAIT_SECONDS

    def _fold(self, stream: Stream) -> FoldResult:
        place = (stream.run_id, stream.name)
        result = self._child.fold(stream)
        self._folded_at[place] = time.monotonic()
        if result.folded <= stream.folded:
            self._tried[place] = (stream.committed, stream.closed)
        else:
            self._tried.pop(place, None)
            if stream.kind == METRICS:
                self._changed.add(stream.run_id)
        return result

    def _apply(self, results: Iterable[tuple[Stream, FoldResult]]) -> None:
        """Note how far the streams are folded; then their bytes are not needed any more."""
        moved = [(stream, result.folded) for stream, result in results if result.folded > stream.folded]
        if not moved:
            return
        done: list[tuple[Stream, int]] = []
        with self._platform.storage.write() as session:
            for stream, folded in moved:
                present = session.streams.find(stream.run_id, stream.name)
                if present is None or present.created_at != stream.created_at or folded > present.committed:
                    continue
                if folded > present.folded:
                    session.streams.put(present.evolve(folded=folded))
                done.append((present, folded))
        for stream, folded in done:
            self._drop(stream, folded)

    def _drop(self, stream: Stream, folded: int) -> None:
        place = (stream.run_id, stream.name)
        over = stream.closed and folded == stream.committed
        if over or folded - self._dropped.get(place, 0) >= DROP_BYTES:
            try:
                self._platform.segments.drop(stream.run_id, stream.name, folded)
            except ValueError:
                # The run was deleted in between.
                return
            self._dropped[place] = folded

    def _summarise(self) -> None:
        """Bring the index of the runs that changed up to date."""
        for run_id in list(self._changed):
            began = time.monotonic()
            if began < self._summary_due.get(run_id, 0.0) or self._platform.wakeups.closed:
                continue
            self._changed.discard(run_id)
            with self._platform.storage.read() as session:
                streams = tuple(session.streams.of_run(run_id, kind=METRICS))
            try:
                summaries = self._child.summaries(run_id, streams).summaries if streams else ()
                with self._platform.storage.write() as session:
                    session.run_metrics.put(run_id, summaries)
                version_facts.refresh(self._platform, run_id)
            except HeadwayError:
                self._changed.add(run_id)
                raise
            moment = time.monotonic()
            self._summary_due[run_id] = moment + max(SUMMARY_SECONDS, 10 * (moment - began))

    def _forget_points(self) -> None:
        """Give back what monitors had found before they were changed or deleted."""
        with self._platform.storage.read() as session:
            retired = session.monitors.retired()
        by_run: dict[str, list[MonitorProgress]] = {}
        for progress in retired:
            by_run.setdefault(progress.run_id, []).append(progress)
        for run_id, some in by_run.items():
            self._child.forget(run_id, [progress.target for progress in some if progress.written])
            monitor_points.forget(self._platform, some)
            self._changed.add(run_id)

    def _forget(self, waiting: Sequence[Stream]) -> None:
        """Notes about streams that have nothing to fold are not kept for ever."""
        for notes in (self._tried, self._folded_at, self._dropped):
            if len(notes) > 10_000:
                known = {(stream.run_id, stream.name) for stream in waiting}
                for place in [place for place in notes if place not in known]:
                    del notes[place]
        if len(self._summary_due) > 10_000:
            self._summary_due.clear()

    def _sweep(self) -> None:
        """Remove what the store holds of runs that were deleted."""
        if time.monotonic() - self._swept_at < SWEEP_SECONDS and self._swept_at:
            return
        if not self._swept_at:
            self._platform.series.warm()
        held = self._platform.series.run_ids()
        with self._platform.storage.read() as session:
            gone = [run_id for run_id in held if session.runs.find(run_id) is None]
        for run_id in gone:
            self._child.delete(run_id)
        self._swept_at = time.monotonic()
