"""What is shipped and not folded yet, decoded for a reader."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.runs import Stream
from headway.storage.segments.base import SegmentStore
from headway.storage.series.base import SeriesSnapshot
from headway.storage.series.rows import Decoded, decode
from headway.storage.series.streams import key_of

MOST_BYTES = 32 << 20
"""Of all streams of a run that one reader decodes; what is beyond is seen once it is folded."""
LEAST_SHARE = 256 << 10


def read_tails(segments: SegmentStore, snapshot: SeriesSnapshot, streams: Sequence[Stream]) -> dict[str, Decoded]:
    """By stream name, for streams of one run that are longer than ``snapshot`` knows them.

    Raises:
        ConflictError: They were folded and given back meanwhile: look again with a new snapshot.
    """
    if not streams:
        return {}
    known = {state.key.name: state for state in snapshot.streams(streams[0].run_id)}
    waiting = []
    for stream in streams:
        state = known.get(stream.name)
        if state is not None and state.key.created != key_of(stream).created:
            state = None
        if stream.committed > (state.folded if state else 0):
            waiting.append((stream, state))
    found: dict[str, Decoded] = {}
    share = max(LEAST_SHARE, MOST_BYTES // max(1, len(waiting)))
    for stream, state in waiting:
        start, sequence = (state.folded, state.sequence) if state else (0, 0)
        data = segments.read(stream.run_id, stream.name, start, min(share, stream.committed - start))
        final = stream.closed and start + len(data) == stream.committed
        schemas = snapshot.schemas(state.id) if state else {}
        found[stream.name] = decode(data, start, schemas, sequence, final=final)
    return found
