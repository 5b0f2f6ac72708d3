"""Reading and following the log of a job or deployment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headway.domain.logs import LogPage, LogRow
from headway.errors import InvalidRequestError, PlatformError
from headway.sdk import wire
from headway.sdk.session import Session

PAGE = 1000


def read_logs(
    session: Session,
    path: str,
    *,
    follow: bool,
    replica: str | None,
    attempt: int | None,
    tail: int | None,
    timeout: float | None = None,
) -> Iterator[LogRow]:
    """Rows of the log at ``path`` (``…/logs``): those there are, or with ``follow`` also those to come, to the end."""
    if tail is not None and (isinstance(tail, bool) or tail < 0):
        raise InvalidRequestError(f"tail must be a number of lines, not {tail!r}.")
    query = {"replica": replica, "attempt": attempt}
    if not follow:
        return _present(session, path, query, tail)
    return _following(session, path, query, tail, timeout)


def _present(session: Session, path: str, query: dict[str, Any], tail: int | None) -> Iterator[LogRow]:
    page = session.get(LogPage, path, {**query, "limit": PAGE, "tail": tail})
    yield from page.rows
    while page.rows and not page.ended and tail is None:
        following = session.get(LogPage, path, {**query, "limit": PAGE, "cursor": page.cursor})
        if following.rows and following.cursor == page.cursor:
            raise PlatformError(f"{path} answered twice with the same page.")
        page = following
        yield from page.rows


def _following(
    session: Session, path: str, query: dict[str, Any], tail: int | None, timeout: float | None
) -> Iterator[LogRow]:
    cursor = None
    if tail is not None:
        page = session.get(LogPage, path, {**query, "limit": min(max(tail, 1), PAGE), "tail": tail})
        yield from page.rows
        cursor = page.cursor
    for item in session.follow(f"{path}/stream", query, last_id=cursor, timeout=timeout, what="The end of the log"):
        if item.event == "rows":
            yield from _rows(item.data, path)


def _rows(data: str, path: str) -> list[LogRow]:
    rows = wire.decode(data.encode("utf-8", "surrogatepass"), path)
    if not isinstance(rows, list):
        raise PlatformError(f"{path} sent log rows that are not a list.")
    return [wire.parse_record(LogRow, row, path) for row in rows]
