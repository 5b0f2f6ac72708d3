"""What a run writes, on its way to the server in the background: streams, blobs, and a heartbeat."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headway.errors import ConnectionFailedError, HeadwayError, NotFoundError, RequestError
from headway.journal.codec import JournalHeader
from headway.journal.shipper import Shipper
from headway.journal.shipping import ShippingGroup
from headway.tracking.blobs import LocalBlobs
from headway.tracking.connection import RunConnection, RunSink
from headway.tracking.progress import Left

if TYPE_CHECKING:
    from headway.domain.facts import ArtifactMark

HEARTBEAT_SECONDS = 15.0
ABSENT_SECONDS = 3.0
"""How long the end of a run waits for a server that has not answered once."""
SLICE_SECONDS = 0.1
"""How often a wait for the end looks at how far it is."""


class Delivery:
    """Ships the journals and blobs of one run from one process.

    Nothing here is waited for by the thread that logs. Threads begin with the first journal; a forked child makes a
    delivery of its own.

    Args:
        connection: The run's line to its server.
        run: Its id.
        project: Where blobs go when the server has not said so.
        beat: Called in the heartbeat's thread, every 15 s; it may look after journals and speak to the server.
        warn: Says one line to the user.
    """

    def __init__(
        self,
        connection: RunConnection,
        run: str,
        project: str,
        *,
        beat: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self.connection = connection
        self._run, self._project, self._warn = run, project, warn
        self._blobs: LocalBlobs | None = None
        self._artifacts: list[tuple[str, ArtifactMark]] = []
        self._group = ShippingGroup(on_failure=self._given_up, on_trouble=self._refused)
        self._pulse = _Repeating("headway-heartbeat", beat, HEARTBEAT_SECONDS)
        self._carrier = _Repeating("headway-blobs", self._carry, HEARTBEAT_SECONDS)

    def add(self, path: Path, header: JournalHeader, limit: Callable[[], int] | None) -> None:
        """Ship one more journal, from its beginning. Without a limit nobody writes it any more."""
        self._group.add(Shipper(path, RunSink(self.connection, header), limit=limit))
        self._pulse.start()

    def notify(self) -> None:
        """Something was appended. Quick, never raises."""
        self._group.notify()

    def carry(self, blobs: LocalBlobs) -> None:
        """Send what is kept in ``blobs``, now and later."""
        self._blobs = blobs
        self._carrier.start()
        self._carrier.wake()

    def carry_artifact(self, side: str, mark: ArtifactMark) -> None:
        """Send an artifact that lies here, or look up one that does not."""
        self._artifacts.append((side, mark))
        self._carrier.start()
        self._carrier.wake()

    def left(self) -> Left:
        """What the server is not known to hold."""
        blobs = sum(1 for _ in self._blobs.pending()) if self._blobs is not None else 0
        return Left(self._group.remaining, blobs, len(self._artifacts))

    def finish(self, timeout: float, progress: Callable[[Left], None]) -> Left:
        """Ship the rest of journals that are closed, for at most ``timeout`` seconds; what is left then.

        A token that the server refuses is not waited for, and a server that was never there only briefly. When something
        is left the threads go on.
        """
        deadline = time.monotonic() + timeout
        self._pulse.stop()
        self._carrier.wake()
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            self._group.finish(min(SLICE_SECONDS, remaining))
            left = self.left()
            progress(left)
            if (not left and self._group.settled) or remaining <= 0 or self._is_hopeless(timeout - remaining):
                return left

    def stop(self) -> None:
        """End the threads after what they are doing; does not wait for them."""
        self._pulse.stop()
        self._carrier.stop()
        self._group.stop()

    def abort(self, timeout: float) -> None:
        """End the threads, and wait so long for what is being sent: its connection can be closed then."""
        self.stop()
        self._group.finish(timeout)

    def _is_hopeless(self, waited: float) -> bool:
        """Whether the server refuses the run, or has not been there since the run began: a restart is waited for."""
        error = self.connection.error
        if isinstance(error, ConnectionFailedError):
            return not self.connection.is_registered and waited >= ABSENT_SECONDS
        return isinstance(error, RequestError)

    def _given_up(self, error: HeadwayError) -> None:
        self.connection.error = error
        self._warn(f"the server does not take it: {error}")

    def _refused(self, error: HeadwayError) -> None:
        self._warn(f"it cannot be sent at present and is kept here: {error}")

    def _carry(self) -> None:
        if self._blobs is not None:
            self.connection.register()
            send_blobs(self.connection, self._blobs, self._project)
        while self._artifacts:
            self._send_artifact(*self._artifacts[0])
            self._artifacts.pop(0)

    def _send_artifact(self, side: str, mark: ArtifactMark) -> None:
        from headway.domain.lineage import Relation
        from headway.tracking.marks import check_reference, reference_of, upload_mark

        self.connection.register()
        with self.connection.client() as client:
            upload_mark(client, self._project, mark, run=self._run, relation=Relation(side))
            try:
                check_reference(client, self._project, mark)
            except NotFoundError as error:
                self._warn(f"its {side} {reference_of(mark)} is not on the server: {error.message}")


def send_blobs(connection: RunConnection, blobs: LocalBlobs, project: str) -> int:
    """Send every blob that is kept in ``blobs`` and let go of those that the server holds; how many those are."""
    pending = {blob.digest: (blob.size, blob.path) for blob in blobs.pending()}
    held = connection.upload_blobs(pending, project) if pending else set()
    for digest in held:
        blobs.release(digest)
    return len(held)


class _Repeating:
    """A daemon thread that does something now, whenever it is woken, and every so many seconds."""

    def __init__(self, name: str, action: Callable[[], None], seconds: float) -> None:
        self._action, self._seconds = action, seconds
        self._event = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._lock = threading.Lock()
        self._started = False

    def start(self) -> None:
        with self._lock:
            if self._started:
                return
            self._started = True
        try:
            self._thread.start()
        except RuntimeError:
            pass  # no thread can be started any more: the interpreter ends

    def wake(self) -> None:
        self._event.set()

    def stop(self) -> None:
        self._stopping = True
        self._event.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._action()
            except HeadwayError:
                pass  # said again in a while; the streams tell the user
            self._event.wait(self._seconds)
            self._event.clear()
