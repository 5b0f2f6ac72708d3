"""A run's line to its server: made where it is first needed, which is never the thread that trains."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.config import Connection
from headway.errors import ConflictError, HeadwayError, NotFoundError, OffsetConflictError
from headway.tracking.progress import say

if TYPE_CHECKING:
    from headway.domain.runs import Run, RunCreate, Stream
    from headway.journal.codec import JournalHeader
    from headway.sdk.client import Client
    from headway.sdk.session import Session
    from headway.sdk.transport import Transport

ANSWER_SECONDS = 30.0
MAX_ANSWER = 1 << 20
SKIPPED = {"skipped": True}


def is_skipped(error: HeadwayError) -> bool:
    """Whether the strategy ``skip`` is why nothing is sent."""
    return isinstance(error, ConflictError) and error.details == SKIPPED


class RunConnection:
    """Says to one server what concerns one run. Usable from several threads; a forked child makes its own connections.

    Args:
        connection: Where, and with which token.
        creation: What makes the run when the server does not know it; None for a run that a job brought with it.
        retry_for: Seconds in which a server that does not answer is asked again within one call.
        transport: Something else than HTTP, for tests.
    """

    def __init__(
        self,
        connection: Connection,
        creation: RunCreate | None,
        *,
        retry_for: float = 0.0,
        transport: Transport | None = None,
    ) -> None:
        self.connection = connection
        self.run: Run | None = None
        """The run as the server answered; None until then."""
        self.error: HeadwayError | None = None
        """Why the server last refused the run or its bytes; None once it took some."""
        self._creation = creation
        self._retry_for = retry_for
        self._transport = transport
        self._renew()

    def _renew(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        if self._owner != os.getpid():
            self._renew()
        with self._lock:
            if self._session is None:
                self._session = self._connect()
            return self._session

    def _connect(self) -> Session:
        from headway.sdk.session import Session
        from headway.sdk.transport import HttpTransport

        transport = self._transport or HttpTransport(self.connection.url, timeout=ANSWER_SECONDS)
        return Session(self.connection, transport, retry_for=self._retry_for)

    def close(self) -> None:
        """Close the connections; they are made again when needed."""
        if self._owner == os.getpid() and self._session is not None:
            session, self._session = self._session, None
            session.transport.close()

    @property
    def is_registered(self) -> bool:
        """Whether the server knows the run."""
        return self._creation is None or self.run is not None

    def aim(self, project: str) -> None:
        """Have the run in another project than it was made for; before it is registered."""
        if self._creation is not None:
            self._creation = self._creation.model_copy(update={"project": project})

    def run_url(self, run: str) -> str:
        """Where the run can be looked at."""
        return f"{self.connection.url}/runs/{run}"

    def register(self) -> None:
        """Have the run on the server; harmless when it is there.

        Raises:
            ConflictError, NotFoundError: Its name is taken, or its folder is not there; said anew at every call.
            HeadwayError: The server does not answer, or refuses otherwise.
        """
        if self._creation is None or self.run is not None:
            return
        try:
            found = self._create(self._creation)
            if found.id != self._creation.id:
                raise ConflictError(
                    f"The folder {found.folder!r} holds another run named {found.name!r}: nothing is sent.",
                    details=SKIPPED,
                )
        except HeadwayError as error:
            self.error = error
            raise
        self.run, self.error = found, None

    def _create(self, creation: RunCreate) -> Run:
        from headway.domain.runs import Run

        try:
            return self.session.create(Run, "/api/v1/runs", creation)
        except NotFoundError:
            if not self._make_project(creation.project):
                raise
            return self.session.create(Run, "/api/v1/runs", creation)

    def _make_project(self, name: str) -> bool:
        """Make the project unless it is there; whether it had to be made."""
        from headway.sdk.resources.projects import Projects

        projects = Projects(self.session)
        try:
            projects.get(name)
            return False
        except NotFoundError:
            pass
        try:
            projects.create(name)
            say(f"made the project {name!r}, which {self.connection.url} did not have")
        except ConflictError:
            pass  # another process was quicker
        return True

    def find(self, run: str) -> Run | None:
        """The run as the server has it; None when it has none."""
        from headway.sdk.resources.runs import Runs

        try:
            return Runs(self.session).get(run)
        except NotFoundError:
            return None

    def streams(self, run: str) -> Sequence[Stream]:
        """What the server holds of the run."""
        from headway.sdk.resources.runs import Runs

        return Runs(self.session).streams(run)

    def client(self) -> Client:
        """Every noun of the server."""
        from headway.sdk.client import Client

        link = self.connection
        return Client(link.url, link.token, link.project, retry_for=self._retry_for, transport=self._transport)

    def heartbeat(self, run: str, writer: str, attempt: int, health: dict[str, int]) -> None:
        """Say that a writer lives, and what trouble it had."""
        body = {"writer": writer, "attempt": attempt, "health": health}
        self.session.call("POST", f"/api/v1/runs/{run}/heartbeat", body=body)

    def upload_blobs(self, blobs: dict[str, tuple[int, Path]], project: str) -> set[str]:
        """Send those blobs (by digest: size and file) that the project lacks; the digests that it holds now."""
        from headway.sdk.resources.blobs import Blobs

        holder = Blobs(self.session)
        place = self.run.project_id if self.run is not None else project
        missing = holder.missing(list(blobs), project=place)
        for digest in missing:
            size, path = blobs[digest]
            holder.put(digest, size, lambda path=path: path.open("rb"), project=place)  # type: ignore[misc]
        return set(blobs)


class RunSink:
    """``PUT /api/v1/runs/{run}/streams/{name}``; implements :class:`headway.journal.shipper.StreamSink`.

    The run is registered before its first byte.
    """

    def __init__(self, connection: RunConnection, header: JournalHeader) -> None:
        self._connection = connection
        self._path = f"/api/v1/runs/{header.run}/streams/{header.stream}"
        self._who = {"writer": header.writer, "attempt": header.attempt, "replica": header.replica}

    def send(self, offset: int, data: bytes, *, close: bool) -> int:
        self._connection.register()
        try:
            committed = self._put({"offset": offset, **self._who, "close": close}, data)
        except OffsetConflictError:
            raise
        except HeadwayError as error:
            self._connection.error = error
            raise
        self._connection.error = None
        return committed

    def _put(self, query: dict[str, Any], data: bytes) -> int:
        from headway.domain.runs import StreamCommit
        from headway.journal.compression import compress
        from headway.sdk import wire

        headers = {"Content-Type": "application/zstd"}
        body = compress(data) if data else b""
        with self._connection.session.open("PUT", self._path, query=query, headers=headers, content=body) as answer:
            found = wire.decode(answer.read(MAX_ANSWER), self._path)
        return wire.parse_record(StreamCommit, found, self._path).committed
