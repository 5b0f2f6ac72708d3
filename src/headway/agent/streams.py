"""Where the agent's journal goes: a stream of the run, over HTTP."""

from __future__ import annotations

from urllib.parse import urlencode

from headway.agent.client import ServerClient
from headway.domain.runs import StreamCommit
from headway.errors import AuthenticationError, ConnectionFailedError, NotFoundError, PermissionDeniedError
from headway.journal.codec import JournalHeader

ANSWER_SECONDS = 60.0
REFUSALS = 30
"""So often in a row the server may refuse the token before that is believed; the reports say the same sooner if it is
meant, and a stale address may lead to somebody else's server for a moment."""


class HttpStreamSink:
    """``PUT /api/v1/runs/{run}/streams/{name}``; implements :class:`headway.journal.shipper.StreamSink`.

    Args:
        client: A connection of the sink's own.
        header: Whose stream it is, as in the journal's first frame.
    """

    def __init__(self, client: ServerClient, header: JournalHeader) -> None:
        self._client = client
        self._path = f"/api/v1/runs/{header.run}/streams/{header.stream}"
        self._who = {"writer": header.writer, "attempt": str(header.attempt), "replica": header.replica or ""}
        self._refusals = 0

    def send(self, offset: int, data: bytes, *, close: bool) -> int:
        from headway.journal.compression import compress  # not on the way to the program's start

        query = urlencode({"offset": offset, **self._who, "close": "true" if close else "false"})
        body = compress(data) if data else b""
        try:
            answer = self._client.send(
                "PUT", f"{self._path}?{query}", body, content_type="application/zstd", timeout=ANSWER_SECONDS
            )
        except (AuthenticationError, PermissionDeniedError, NotFoundError) as error:
            self._refusals += 1
            if self._refusals >= REFUSALS:
                raise
            raise ConnectionFailedError(f"The server refused the stream: {error}") from error
        self._refusals = 0
        return StreamCommit.model_validate(answer).committed
