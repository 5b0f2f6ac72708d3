"""One process's share of a run: its journals, its blobs, and their way to the server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError
from headway.journal.codec import JournalHeader
from headway.journal.liveness import is_live
from headway.journal.reader import read_header
from headway.tracking import endings
from headway.tracking.connection import RunConnection, is_skipped
from headway.tracking.directory import RunDirectory
from headway.tracking.progress import Left, SendingBar, amount, in_job, on_terminal, say
from headway.tracking.recorder import Author, Recorder

if TYPE_CHECKING:
    from headway.domain.facts import ArtifactMark
    from headway.tracking.blobs import KeptBlob, LocalBlobs
    from headway.tracking.delivery import Delivery

REFUSED_SECONDS = 5.0
"""How long a run that the server refused waits for the answer to what it is just sending."""
FINISH_SECONDS = 30.0


@dataclass(frozen=True)
class Seat:
    """Where a process writes a run.

    ``leads`` says whether it speaks for all ranks, ``connection`` is None without a server.
    """

    directory: RunDirectory
    author: Author
    project: str
    leads: bool = True
    connection: RunConnection | None = None


class Share:
    """What one process writes of one run, and ships while it has a server. A forked child has one of its own."""

    def __init__(self, seat: Seat, *, inherited: bool = False) -> None:
        self.seat = seat
        self.inherited = inherited
        """Whether this is a child's share: it says nothing of how the run stands."""
        self.warnings: set[str] = set()
        self._blobs: LocalBlobs | None = None
        self._shipped: set[Path] = set()
        self._delivery: Delivery | None = None
        self.recorder = Recorder(
            seat.directory, seat.author, opened=self._opened, appended=self._appended, warn=self.warn
        )

    def in_child(self) -> Share:
        """The share of a forked child. Takes no lock: a thread that does not exist there may hold it."""
        return Share(self.seat, inherited=True)

    @property
    def blobs(self) -> LocalBlobs:
        """Where media are kept until the server holds them."""
        if self._blobs is None:
            from headway.tracking.blobs import LocalBlobs

            self._blobs = LocalBlobs(self.seat.directory.make().path, on_keep=self._kept)
        return self._blobs

    def keep_blob(self, content: bytes | Path, media_type: str) -> KeptBlob:
        """Keep media; see :meth:`headway.tracking.blobs.LocalBlobs.keep`."""
        return self.blobs.keep(content, media_type)

    def carry_artifact(self, side: str, mark: ArtifactMark) -> None:
        """Send an artifact that lies here to the server, in the background."""
        if self._delivery is not None:
            self._delivery.carry_artifact(side, mark)

    def warn(self, text: str) -> None:
        """Say something once."""
        if text not in self.warnings:
            self.warnings.add(text)
            say(f"run {self.seat.author.run}: {text}.".replace("..", "."))

    def left(self) -> Left | None:
        """What the server does not hold of this share; None without a server."""
        return self._delivery.left() if self._delivery is not None else None

    def health(self) -> dict[str, int]:
        """Counters of this process."""
        left = self.left()
        unsent = {"unsent_bytes": left.bytes if left else 0, "unsent_blobs": left.blobs if left else 0}
        return {**self.recorder.health(), **unsent}

    def close(self, facts: Sequence[Mapping[str, Any]]) -> None:
        """Write the last facts and end the journals."""
        counters = {name: count for name, count in self.recorder.health().items() if count}
        for fact in [{"type": "health", "counters": counters}] * bool(counters) + [*facts]:
            self.recorder.fact(fact)
        self.recorder.close()

    def deliver(self, timeout: float) -> None:
        """Wait until the server holds everything, or for ``timeout`` seconds, and say how that went."""
        if self._delivery is None:
            self._say_local()
            return
        with closing(SendingBar()) as bar:
            if not self.inherited:
                self._adopt_children()
            left = self._delivery.finish(timeout, bar)
        self._say_sent(left)

    def say_unsent(self) -> None:
        """Say what was not sent, for a delivery that was interrupted, and whether or not it had said so already."""
        if self._delivery is not None:
            self._say_sent(self._delivery.left())

    def let_go(self) -> None:
        """Send the rest in the background: nobody holds the run any more, and nobody waits."""
        if self._delivery is None:
            return
        endings.watch(self, keep=True)
        try:
            threading.Thread(target=self._deliver_alone, name="headway-last-words", daemon=True).start()
        except RuntimeError:
            pass  # no thread can be started any more: the interpreter ends, and asks again

    def _deliver_alone(self) -> None:
        if self._delivery is not None and not self._delivery.finish(FINISH_SECONDS, lambda _left: None):
            self._end_with_program(None)

    def _end_with_program(self, _reason: str | None) -> None:
        """See :mod:`headway.tracking.endings`."""
        endings.forget(self)
        try:
            self.deliver(FINISH_SECONDS)
        except KeyboardInterrupt:
            endings.despite_interrupts(self.say_unsent)
        self.stop()

    def _enter_child(self) -> None:
        """The parent sends it."""
        endings.forget(self)
        self._delivery = None

    def forget_server(self) -> None:
        """Send nothing: the server refused the run."""
        if self._delivery is not None:
            self._delivery.abort(REFUSED_SECONDS)
        self.stop()
        self._delivery = None
        self.seat = replace(self.seat, connection=None)

    def stop(self) -> None:
        """End the threads and their connections; what they are doing is not waited for."""
        if self._delivery is not None:
            self._delivery.stop()
            self._delivery.connection.close()

    # How it is done

    def _opened(self, path: Path, header: JournalHeader, limit: Callable[[], int]) -> None:
        connection = self.seat.connection
        if connection is None:
            return
        if self._delivery is None:
            from headway.tracking.delivery import Delivery

            self._delivery = Delivery(
                connection, self.seat.author.run, self.seat.project, beat=self._beat, warn=self.warn
            )
        self._delivery.add(path, header, limit)
        self._shipped.add(path)
        if self._writer_id is None:
            self._writer_id = header.writer

    _writer_id: str | None = None
    """By what the server knows this process."""

    def _adopt_children(self) -> None:
        """Ship what forked processes of this one left behind: they may have ended without a word."""
        author = self.seat.author
        for path in self.seat.directory.journals():
            try:
                header = read_header(path)
                ours = (header.run, header.attempt, header.replica) == (author.run, author.attempt, author.role)
                if ours and path not in self._shipped and not is_live(path) and self._delivery is not None:
                    self._delivery.add(path, header, None)
            except (HeadwayError, OSError):
                continue  # `headway doctor` says what is wrong with it

    def _appended(self) -> None:
        if self._delivery is not None:
            self._delivery.notify()

    def _kept(self) -> None:
        if self._delivery is not None:
            self._delivery.carry(self.blobs)

    def _beat(self) -> None:
        self.recorder.check()
        connection, author = self.seat.connection, self.seat.author
        if connection is not None and connection.is_registered and self._writer_id is not None:
            counters = {name: count for name, count in self.recorder.health().items() if count}
            connection.heartbeat(author.run, self._writer_id, author.attempt, counters)

    def _say_sent(self, left: Left) -> None:
        connection = self.seat.connection
        if connection is not None and connection.error is not None and is_skipped(connection.error):
            return
        if left:
            self._say_left(f"{amount(left)} of run {self.seat.author.run} are on this machine only")
        elif not self.inherited and connection is not None:
            self._note_synced(connection)
            if self.seat.leads and not in_job():
                say(f"run {self.seat.author.run} is at {connection.run_url(self.seat.author.run)}")

    def _say_local(self) -> None:
        if self.recorder.left_away():
            self._say_left(f"a part of run {self.seat.author.run} could not be written to {self.seat.directory.path}")
        elif self.seat.leads and not self.inherited and on_terminal():
            say(f"run {self.seat.author.run} is in {self.seat.directory.path}")

    def _say_left(self, what: str) -> None:
        places = [self.seat.directory.path, *self.recorder.left_away()]
        commands = " and ".join(f"`headway sync {_shown(place)}`" for place in places)
        say(f"{what}; send it with {commands}.")

    def _note_synced(self, connection: RunConnection) -> None:
        """Note that all is sent, if nobody else's journal lies here that may not be."""
        directory = self.seat.directory
        if self.recorder.left_away() or any(map(is_live, directory.journals())):
            return
        try:
            target = directory.read_target()
            directory.write_target(
                replace(target, url=connection.connection.url, project=self.seat.project, synced=True)
            )
        except (HeadwayError, OSError):
            pass  # it is found out again by the next sync


def _shown(path: Path) -> str:
    import shlex

    try:
        short = os.path.relpath(path)
    except (OSError, ValueError):
        short = str(path)
    return shlex.quote(short if not short.startswith("..") else str(path))
