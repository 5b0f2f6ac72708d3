"""Rows of logs out of stored stream bytes: pages over several streams, merged by time, from any cursor on.

Bytes come through a callable, so this works on the server's segments as well as on files. However long a log is, a page
reads little more than it returns: it begins at the cursor's byte offsets and holds a few MiB at most.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from headway.domain.logs import LogRow
from headway.journal.cursors import LogCursor
from headway.journal.tails import tail_cursor
from headway.journal.tapes import LogSource, Tape

__all__ = ["LogSource", "read_page", "read_tail"]

PAGE_BYTES = 4 << 20
"""Bytes of lines after which a page ends, whatever its limit of rows."""
_MEMORY = 4 << 20


def read_page(
    sources: Sequence[LogSource], cursor: LogCursor | None, limit: int, *, max_bytes: int = PAGE_BYTES
) -> tuple[list[LogRow], LogCursor]:
    """The next rows after ``cursor``, and the cursor behind them. No rows: everything that is there was delivered.

    Rows are merged by time. Within a stream they keep their order, and of equal times the earlier source comes first. A
    row that reaches the server late appears late: what was delivered is never sorted again. Damaged stretches are left
    out, which shows as a gap in the line numbers.

    Args:
        sources: The streams, each name once. Streams may come and go between calls.
        cursor: Where to go on; None for the beginning.
        limit: How many rows at most.
        max_bytes: The page ends with the row that brings its lines to this many bytes.
    """
    cursor = cursor or LogCursor()
    tapes = [Tape(source, cursor.of(source.name), _MEMORY // len(sources)) for source in sources]
    ready = [(tape.time_ms, order) for order, tape in enumerate(tapes) if tape.advance()]
    heapq.heapify(ready)
    rows: list[LogRow] = []
    while ready and len(rows) < limit and max_bytes > 0:
        tape = tapes[ready[0][1]]
        taken, size = tape.take(limit - len(rows), max_bytes)
        rows += taken
        max_bytes -= size
        if not tape.has_batch:
            if tape.advance():
                heapq.heapreplace(ready, (tape.time_ms, ready[0][1]))
            else:
                heapq.heappop(ready)
    return rows, cursor.moved({tape.source.name: tape.position for tape in tapes})


def read_tail(
    sources: Sequence[LogSource], count: int, *, max_bytes: int = PAGE_BYTES
) -> tuple[list[LogRow], LogCursor]:
    """The last ``count`` rows over all ``sources``, and the cursor behind them.

    They are fewer where they have more than about ``max_bytes``. What lies before them is not read.
    """
    return read_page(sources, tail_cursor(sources, count, max_bytes), count, max_bytes=2 * max_bytes)
