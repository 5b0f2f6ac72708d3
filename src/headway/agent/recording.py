"""A replica's log: captured into a journal, shipped while it grows."""

from __future__ import annotations

import logging
import threading
import time

from headway.agent.capture import Capture
from headway.agent.client import ServerClient
from headway.agent.streams import HttpStreamSink
from headway.attempts import ReplicaDirectory
from headway.domain.base import now
from headway.domain.replicas import ReplicaSpec
from headway.journal.codec import JournalHeader
from headway.journal.shipper import RETRYABLE, Shipper
from headway.journal.shipping import ShippingGroup
from headway.journal.writer import JournalWriter, new_writer_id
from headway.paths import private_directory

DRAIN_SECONDS = 5.0
"""How long the outputs are read at most once the program and all its processes have ended."""
LOOK_SECONDS = 0.5
LONGEST_PAUSE = 2.0
"""Between two tries of a server that does not answer."""

log = logging.getLogger(__name__)


class Recording:
    """One stream from the program's output to the server.

    Args:
        spec: Whose.
        directory: Where its journal is kept.
        client: A connection of the recording's own.
        output: Reading end of the pipe that the program prints into; taken over.
    """

    def __init__(self, spec: ReplicaSpec, directory: ReplicaDirectory, client: ServerClient, output: int) -> None:
        writer_id = new_writer_id()
        header = JournalHeader(
            run=spec.run_id,
            stream=f"logs/{spec.name}-{writer_id}",
            writer=writer_id,
            attempt=spec.attempt,
            replica=spec.name,
            created=now(),
        )
        path = private_directory(directory.journal) / f"{spec.name}-{writer_id}.hwj"
        self._writer = JournalWriter(
            path,
            header,
            on_append=lambda: self._shipping.notify(),
            on_trouble=lambda health: log.error("the log cannot be written in full: %s", health.last_error),
        )
        self._shipper = Shipper(path, HttpStreamSink(client, header), limit=lambda: self._writer.position)
        self._shipping = ShippingGroup(
            longest_pause=LONGEST_PAUSE,
            retry=RETRYABLE,
            on_failure=lambda error: log.error("the log cannot be shipped: %s", error),
        )
        self._capture = Capture(output, None, self._writer)

    def start(self) -> None:
        self._capture.start()
        self._shipping.add(self._shipper)

    def drain(self) -> tuple[str, ...]:
        """Once the program has ended: read what is left, end the journal, and return the last lines."""
        report = self._capture.wait(DRAIN_SECONDS)
        if not report.complete:
            log.warning("a process that the program left behind kept its output open")
        if report.unkept_lines:
            log.warning("%d of %d lines were not kept", report.unkept_lines, report.lines)
        self._writer.close()
        return self._capture.last_lines()

    def deliver(self, *, seconds: float, give_up: threading.Event) -> bool:
        """Ship the rest and close the stream; whether the server holds all of it."""
        deadline = time.monotonic() + seconds
        while not (self._shipping.settled or give_up.is_set()):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._shipping.finish(min(left, LOOK_SECONDS))
        if not self._shipping.complete:
            log.warning("%d bytes of the log were not shipped", self._shipping.remaining)
        self._shipping.stop()
        return self._shipping.complete
