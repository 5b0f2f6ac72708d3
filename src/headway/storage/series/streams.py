"""From the server's record of a stream to what the metric store needs of it."""

from __future__ import annotations

from headway.domain.runs import Stream
from headway.storage.series.base import StreamKey


def key_of(stream: Stream) -> StreamKey:
    """The key of ``stream``. Its replica is what its writer said, else what its name says (``rank0-7f3a``: ``rank0``)."""
    return StreamKey(
        run_id=stream.run_id,
        name=stream.name,
        created=round(stream.created_at.timestamp() * 1000),
        attempt=stream.attempt,
        replica=stream.replica or stream.name.partition("/")[2].rpartition("-")[0] or stream.name.partition("/")[2],
    )
