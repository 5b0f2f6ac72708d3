"""What a training program tracked and did not send itself: a program that was killed leaves it on the disk."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path

from headway.agent.client import ServerClient, persist
from headway.agent.outputs import Uploader, collect
from headway.agent.streams import HttpStreamSink
from headway.domain.replicas import ReplicaSpec
from headway.errors import InvalidRequestError
from headway.journal.codec import JournalHeader
from headway.journal.leftovers import ship_directory

RUNS, BLOBS = "runs", "blobs"
_STREAM = re.compile(r"[a-z]{1,16}/[A-Za-z0-9_.-]{1,128}")

log = logging.getLogger(__name__)


class LeftTracking:
    """Ships the streams and media of a replica's own run.

    Other runs that the program made stay where they are: the job's token is for one run.

    Args:
        directory: What the program had as HEADWAY_DIR.
        spec: Whose.
        client: A connection that nobody else uses meanwhile.
        give_up: Ends waiting for a server that is away.
        patience: Seconds to wait for it at most.
    """

    def __init__(
        self, directory: Path, spec: ReplicaSpec, client: ServerClient, *, give_up: threading.Event, patience: float
    ) -> None:
        self._runs = directory / RUNS
        self._spec, self._client = spec, client
        self._give_up, self._patience = give_up, patience
        self._sinks: dict[str, HttpStreamSink] = {}
        """Kept over tries: each counts how often in a row it was refused."""

    def ship(self) -> list[str]:
        """Send it; what could not be sent, in words. Sending what the program sent already changes nothing.

        Raises:
            HeadwayError: The server refused, or stayed away too long.
        """
        own = self._own_directory()
        if own is None:
            return []
        self._upload_media(own)
        report = persist(
            lambda: ship_directory(own, self._sink_for, abandoned=True), give_up=self._give_up, seconds=self._patience
        )
        log.info("%d tracked streams are whole", len(report.shipped))
        for path, error in report.failed:
            log.error("%s could not be shipped: %s", ascii(path.name), error)
        return [f"{path.name}: {error}" for path, error in report.failed]

    def _own_directory(self) -> Path | None:
        """The directory of the replica's run, if the program tracked anything; others are named in the log."""
        if not self._runs.is_dir():
            return None
        own = None
        for directory in sorted(self._runs.iterdir()):
            if directory.name == self._spec.run_id and directory.is_dir() and not directory.is_symlink():
                own = directory
            else:
                log.warning("%s is not the job's run and stays on this machine", ascii(str(directory)))
        return own

    def _upload_media(self, directory: Path) -> None:
        """Before the entries that name them, so that nobody is shown an entry without its bytes."""
        uploader = Uploader(self._client, self._spec.project_id, give_up=self._give_up, patience=self._patience)
        uploader.store(collect(directory / BLOBS))

    def _sink_for(self, header: JournalHeader) -> HttpStreamSink:
        if header.run != self._spec.run_id or not _STREAM.fullmatch(header.stream):
            raise InvalidRequestError(f"Its header names the stream {header.stream!r} of the run {header.run!r}.")
        return self._sinks.setdefault(header.stream, HttpStreamSink(self._client, header))
