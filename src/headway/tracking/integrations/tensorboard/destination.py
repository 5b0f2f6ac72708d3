"""One run that event files are taken into: its journals, its media, and how far it got."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from headway.domain.metrics import EntryType
from headway.errors import HeadwayError, InvalidRequestError, StorageFullError
from headway.journal.codec import JournalHeader
from headway.journal.facts import FactsWriter
from headway.journal.metrics import MetricsWriter
from headway.journal.reader import read_frames
from headway.journal.rows import RowDecoder
from headway.journal.values import plain_name, plain_time
from headway.tracking.blobs import LocalBlobs
from headway.tracking.directory import RunDirectory, Target
from headway.tracking.integrations.guard import recorded
from headway.tracking.integrations.tensorboard.progress import FileProgress, Progress
from headway.tracking.integrations.tensorboard.values import EventContent, Medium
from headway.tracking.media import Media, Text
from headway.tracking.recorder import Author

CHECKPOINT_ROWS = 1000
"""Rows after which the progress is saved; fewer than a journal keeps in memory while the disk is full."""
ROLE = "rank0"
_TOKEN = "tensorboard import"  # noqa: S105 - of the attempt, no secret


class Destination:
    """Writes into the first attempt of a run, however often it is imported into.

    Args:
        directory: The run's; exists.
        progress: What was done before.
        target: Where the run is to be sent.
    """

    def __init__(self, directory: RunDirectory, progress: Progress, target: Target) -> None:
        self.directory = directory
        self.progress = progress
        self.points = self.media = self.refused = 0
        """Values and media that were written, and those that cannot be stored: a name that is too long, a picture that
        is none."""
        self._target = target
        self._author = Author(directory.id, 0, ROLE)
        self._metrics: MetricsWriter | None = None
        self._facts: FactsWriter | None = None
        self._blobs = LocalBlobs(directory.path)
        self._since = 0
        self._in_event = 0
        """Rows and entries of the present event that the journals have."""
        self._pass_over = self._rows_beyond()

    @property
    def is_open(self) -> bool:
        """Whether journals are open."""
        return self._metrics is not None or self._facts is not None

    @property
    def writer_id(self) -> str | None:
        """Under what the server knows the one who writes; None while nobody does."""
        writer = self._metrics or self._facts
        return writer.header.writer if writer is not None else None

    def introduce(self, name: str, description: str) -> None:
        """Say who a new run is, and which files are taken into it."""
        self.directory.claim_attempt(_TOKEN, 0)
        self.directory.write_target(self._target)
        self.progress.save(self.directory.path)
        said = {"type": "identity", "name": name, "project": self._target.project, "labels": ["tensorboard"]}
        self._fact({**said, "description": description}, None)

    def begin(self, file: str) -> None:
        """From now on what is written comes from ``file``."""
        if self.progress.reading != file:
            self.checkpoint(file)
            self._pass_over = 0

    def write(self, event: EventContent) -> None:
        """Write what an event says.

        Raises:
            StorageFullError: No space is left; the progress is as far as everything is stored.
        """
        time = _sound_time(event.time, self.progress.latest)
        self.progress.latest = max(self.progress.latest, time)
        if event.config:
            self._fact({"type": "config", "set": recorded(event.config)}, time)
        scalars = {name: value for name, value in event.scalars.items() if self._is_name(name)}
        if scalars and self._is_new():
            self._open(time).log_at(time, scalars, event.step)
            self._in_event += 1
            self.points += len(scalars)
        for medium in event.media:
            self._write_medium(medium, time, event.step)

    def advance(self, item: FileProgress, offset: int, tags: Mapping[str, str]) -> None:
        """Note that everything before ``offset`` was written; saved from time to time."""
        item.offset, item.tags = offset, dict(tags)
        self._in_event = 0
        self._since += 1
        if self._since >= CHECKPOINT_ROWS:
            self.checkpoint(self.progress.reading)

    def checkpoint(self, reading: str | None) -> None:
        """Save how far everything is stored durably, and what is read next."""
        self._since = 0
        if self._metrics is not None:
            if self._metrics.health.kept_frames or self._metrics.health.dropped_frames:
                raise StorageFullError("No space is left to store the run.", hint="Free some space and import again.")
            self._blobs.sync()
            _sync(self._metrics.path)
            self.progress.stream = self._metrics.header.stream
            self.progress.rows = self._metrics.rows - self._in_event
        self.progress.reading = reading
        self.progress.save(self.directory.path)

    def close(self, *, ended: bool, save: bool = True) -> None:
        """Close the journals, and ``save`` the progress; with ``ended`` the run is complete, as of its last event."""
        try:
            if ended and not self.progress.ended:
                self._fact({"type": "state", "state": "complete"}, self.progress.latest or None)
                self.progress.ended = True
            if save and self.is_open:
                self.checkpoint(self.progress.reading)
                self._settle()
        finally:
            for writer in (self._metrics, self._facts):
                if writer is not None:
                    writer.close()
            self._metrics = self._facts = None

    # How it is done

    def _settle(self) -> None:
        """Nothing will be written beyond what was saved: the next import need not look for it."""
        if not self._pass_over:
            self.progress.reading = self.progress.stream = None
            self.progress.rows = 0
            self.progress.save(self.directory.path)

    def _rows_beyond(self) -> int:
        """Rows that an import which was cut off wrote after it had last saved its progress."""
        progress = self.progress
        if progress.stream is None:
            return 0
        path = self.directory.journal(progress.stream)
        decoder = RowDecoder()
        try:
            for _ in decoder.feed(read_frames(path)):
                pass
            _sync(path)
        except (HeadwayError, OSError):
            return 0
        return max(0, decoder.sequence - progress.rows)

    def _is_new(self) -> bool:
        if self._pass_over:
            self._pass_over -= 1
            self._in_event += 1
            self.progress.rows += 1  # of the journal that was written then; a new one begins only after these
            return False
        return True

    def _write_medium(self, medium: Medium, time: float, step: int) -> None:
        try:
            plain_name(medium.name)
            media = as_media(medium)
        except HeadwayError:
            self.refused += 1
            return
        if not self._is_new():
            return
        entry = media.to_entry(self._blobs.keep)
        if medium.index is not None:
            entry["details"]["index"] = medium.index
        entry |= {"name": medium.name, "stage": None, "step": step, "time": plain_time(time) // 1_000_000}
        self._open(time).entry(entry)
        self._in_event += 1
        self.media += 1

    def _is_name(self, name: str) -> bool:
        try:
            plain_name(name)
        except InvalidRequestError:
            self.refused += 1
            return False
        return True

    def _open(self, time: float) -> MetricsWriter:
        if self._metrics is None:
            header = self._header("metrics", time)
            self._metrics = MetricsWriter(self.directory.journal(header.stream), header)
            self._unsettle()
            self.checkpoint(self.progress.reading)
        return self._metrics

    def _fact(self, fact: Mapping[str, Any], time: float | None) -> None:
        if self._facts is None:
            header = self._header("facts", time)
            self._facts = FactsWriter(self.directory.journal(header.stream), header)
            self._unsettle()
        self._facts.write(fact if time is None else {"time": plain_time(time) // 1_000_000, **fact})

    def _header(self, kind: str, time: float | None) -> JournalHeader:
        """Of a stream that begins with an event of ``time``: a run begins with its first stream."""
        header = self._author.header(kind)
        return header.model_copy(update={"created": datetime.fromtimestamp(time, timezone.utc)}) if time else header

    def _unsettle(self) -> None:
        """The server lacks something again."""
        self.progress.ended = False
        if self.directory.read_target().synced:
            self.directory.write_target(replace(self._target, synced=False))


def as_media(medium: Medium) -> Media:
    """``medium`` as what is logged; raises a HeadwayError when it is none."""
    if medium.type is EntryType.TEXT:
        return Text(medium.content, markdown=True)
    if medium.type is EntryType.HISTOGRAM:
        from headway.tracking.histograms import Histogram

        edges, counts = medium.content
        return Histogram(counts=counts, edges=edges)
    if medium.type is EntryType.IMAGE:
        from headway.tracking.images import Image

        return Image(medium.content)
    from headway.tracking.audio import Audio

    return Audio(medium.content)


def _sound_time(time: float, latest: float) -> float:
    """A writer's clock may say anything; the time before is kept where it says what is none."""
    try:
        plain_time(time)
    except InvalidRequestError:
        return latest
    return time


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
