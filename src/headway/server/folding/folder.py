"""Folding one stream, a batch at a time."""

from __future__ import annotations

from collections import OrderedDict

from headway.domain.runs import Stream
from headway.errors import ConflictError
from headway.server.folding.messages import FoldResult
from headway.storage.segments.base import SegmentStore
from headway.storage.series.base import SeriesWriter, StreamState
from headway.storage.series.rows import LONGEST_SEARCH, Decoded, Report, decode
from headway.storage.series.streams import key_of

BATCH_BYTES = 8 << 20
"""Of a stream that are folded in one transaction."""
LONGEST_BATCH = 2 * LONGEST_SEARCH
"""The same where damage hides the next frame."""
KEPT_STATES = 512


class Folder:
    """Folds streams into ``series``, each step one transaction. Whatever interrupts it, the next step goes on from there."""

    def __init__(self, series: SeriesWriter, segments: SegmentStore) -> None:
        self._series, self._segments = series, segments
        self._states: OrderedDict[tuple[str, str, int], StreamState] = OrderedDict()

    def fold(self, stream: Stream) -> FoldResult:
        """One batch of ``stream``; nothing when its bytes are no whole frame yet."""
        key = key_of(stream)
        place = (key.run_id, key.name, key.created)
        state = self._states.pop(place, None) or self._series.open(key)
        decoded = self._decode(stream, state)
        if decoded.end > state.folded:
            try:
                state = self._series.fold(state, decoded)
            except ConflictError:
                # Another server's process was faster; the next step begins where that one ended.
                state = self._series.open(key)
        self._states[place] = state
        while len(self._states) > KEPT_STATES:
            self._states.popitem(last=False)
        return FoldResult(folded=state.folded, points=decoded.points, report=_counts(state.report))

    def _decode(self, stream: Stream, state: StreamState) -> Decoded:
        length = BATCH_BYTES
        while True:
            wanted = min(length, stream.committed - state.folded)
            if wanted <= 0:
                return Decoded(end=state.folded, sequence=state.sequence)
            try:
                data = self._segments.read(stream.run_id, stream.name, state.folded, wanted)
            except ConflictError:
                return self._skipped(stream, state)
            whole = state.folded + len(data) >= stream.committed
            final = stream.closed and whole
            decoded = decode(data, state.folded, state.schemas, state.sequence, final=final)
            if decoded.end > state.folded or whole or len(data) < wanted or length >= LONGEST_BATCH:
                return decoded
            length *= 2

    def _skipped(self, stream: Stream, state: StreamState) -> Decoded:
        """On from where there are bytes again: the store is older than the streams (a backup that was put back)."""
        start = self._segments.start(stream.run_id, stream.name)
        return Decoded(end=start, sequence=state.sequence, report=Report(lost=start - state.folded))


def _counts(report: Report) -> dict[str, int]:
    return {name: count for name, count in vars(report).items() if count}
