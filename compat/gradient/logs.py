"""Logs as Gradient gave them: a list of what is there, or a generator that follows to the end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from gradient.builders import END_OF_LOG, to_log_row
from gradient.exceptions import FETCH, reported_as
from gradient.records import LogRow
from headway import Client
from headway.domain.base import format_time, now

DEFAULT_LIMIT = 10000


def read_logs(headway: Client, job_id: str, line: int, limit: int) -> list[LogRow]:
    """The rows that exist now, from line number ``line`` of each replica on, at most ``limit`` of them.

    Once the log is over a further row, whose message is ``PSEOF``, marks its end, unless ``limit`` cut the list short.
    """
    with reported_as(FETCH):
        over = headway.jobs.get(job_id).finished
        native = headway.jobs.logs(job_id, follow=over)  # the last rows of a finished job may still be on their way
        rows = list(islice((to_log_row(row) for row in native if row.line >= line), limit + 1))
    if len(rows) > limit:
        return rows[:limit]
    return [*rows, end_mark(rows)] if over else rows


def follow_logs(headway: Client, job_id: str, line: int) -> Iterator[LogRow]:
    """Every row from line number ``line`` of each replica on, as it comes, until nothing more ever will."""
    with reported_as(FETCH):
        for row in headway.jobs.logs(job_id, follow=True):
            if row.line >= line:
                yield to_log_row(row)


def end_mark(rows: list[LogRow]) -> LogRow:
    """The row that says that the log is over."""
    last = rows[-1] if rows else LogRow(0, "", format_time(now()))
    return LogRow(line=last.line + 1, message=END_OF_LOG, timestamp=last.timestamp)
