"""Following a log live."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import StreamingResponse

from headway.server.actions import logs
from headway.server.api.sse import Batch, message, stream
from headway.server.context import Caller, Platform

ROWS_A_MESSAGE = 500


def follow_logs(
    request: Request,
    platform: Platform,
    caller: Caller,
    wanted: logs.LogQuery,
    *,
    cursor: str | None,
    tail: int | None = None,
) -> StreamingResponse:
    """SSE from ``cursor`` (or the Last-Event-ID of a client that comes back) to the end of the log."""
    position = request.headers.get("last-event-id") or cursor
    first = logs.read(platform, caller, wanted, cursor=position, limit=0)
    state = _Following(platform, wanted, first.cursor if position is None else position)
    if tail is not None and position is None:
        state.tail = tail
    return stream(platform, caller, state.look)


class _Following:
    """Remembers how far one client has been served."""

    def __init__(self, platform: Platform, wanted: logs.LogQuery, cursor: str) -> None:
        self._platform, self._wanted, self._cursor = platform, wanted, cursor
        self.tail: int | None = None

    def look(self, caller: Caller) -> Batch:
        tail, self.tail = self.tail, None
        page = logs.read(self._platform, caller, self._wanted, cursor=self._cursor, limit=ROWS_A_MESSAGE, tail=tail)
        self._cursor = page.cursor
        rows = [row.model_dump(mode="json") for row in page.rows]
        messages = (message("rows", rows, id=page.cursor),) if rows else ()
        return Batch(messages=messages, ended=page.ended, more=bool(rows) and not page.ended)
