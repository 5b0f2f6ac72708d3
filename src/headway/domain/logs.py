"""Log rows as people and programs read them."""

from __future__ import annotations

from headway.domain.base import Record, Timestamp

CUT_MARK = " … [cut: {count} more bytes]"
"""Ends the message of a line that was longer than the limit."""


class LogRow(Record):
    """One line that a replica printed.

    ``line`` counts from 1 for each replica and attempt; ``stderr`` is None when both outputs share one pipe, which is
    the default because only that keeps their order exactly.
    """

    line: int
    message: str
    timestamp: Timestamp
    replica: str
    attempt: int = 1
    stderr: bool | None = None


class LogPage(Record):
    """Some rows and where to go on: pass ``cursor`` back to get what follows. ``ended``: nothing ever follows."""

    rows: tuple[LogRow, ...] = ()
    cursor: str
    ended: bool = False
