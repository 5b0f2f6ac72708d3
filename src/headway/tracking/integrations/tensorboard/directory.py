"""One directory of event files, and the run that they are taken into."""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from headway.config import Connection
from headway.domain.base import Record
from headway.errors import ConflictError, HeadwayError
from headway.tracking.connection import RunConnection
from headway.tracking.directory import RunDirectory, Target
from headway.tracking.integrations.tensorboard.destination import Destination
from headway.tracking.integrations.tensorboard.progress import FileProgress, Progress, identify
from headway.tracking.integrations.tensorboard.records import RecordReader
from headway.tracking.integrations.tensorboard.values import EventDecoder

PATTERN = "*tfevents*"
LOCK = "tensorboard.lock"
BEAT_SECONDS = 15.0


class ImportedRun(Record):
    """What was taken of one directory this time."""

    id: str
    name: str
    source: str
    """The directory of the event files."""
    path: str
    """The run's directory."""
    is_new: bool = False
    points: int = 0
    media: int = 0
    refused: int = 0
    """Values and media that cannot be stored: a name that is too long, a picture that is none."""
    skipped: dict[str, int] = {}
    """Kinds that are not imported (graphs and the like), by count."""
    corrupt: int = 0
    """Damaged places in the files; everything around them was taken."""
    incomplete_bytes: int = 0
    """Of records at the ends of files that are cut off, or still being written."""
    synced: bool = False
    """Whether the server holds all of it."""
    problems: tuple[str, ...] = ()


class EventDirectory:
    """Takes the event files of ``path`` into ``run``.

    Raises:
        ConflictError: Somebody else does.
    """

    def __init__(
        self,
        path: Path,
        run: RunDirectory,
        progress: Progress,
        target: Target,
        name: str,
        checksum: Callable[[bytes], int],
        is_due: Callable[[], bool],
    ) -> None:
        self.path, self.run, self.name = path, run, name
        self.is_new = self.synced = False
        self.problems: tuple[str, ...] = ()
        self.active_at = 0.0
        self._hold = ExitStack()
        if not self._hold.enter_context(locked(run.path / LOCK, wait=False)):
            self._hold.close()
            raise ConflictError(f"Somebody else imports {str(path)!r} at the moment.", hint="Wait, or stop it.")
        self.destination = Destination(run, progress, target)
        self._beaten_at = time.monotonic()
        self._checksum = checksum
        self._is_due = is_due
        self._sizes: dict[str, int] = {}
        self._left: dict[str, int] = {}
        self._corrupt: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()

    def introduce(self) -> None:
        """Make the run."""
        self.is_new = True
        self.destination.introduce(self.name, f"Imported from {self.path}"[:1000])

    def close(self, *, save: bool = True) -> None:
        """Let go of the run; without ``save`` the next import finds out what was written last."""
        with self._hold:
            self.destination.close(ended=False, save=save)

    def beat(self, connection: Connection) -> None:
        """Tell the server, from time to time, that the run is being written although it is quiet."""
        writer = self.destination.writer_id
        if writer is None or time.monotonic() - self._beaten_at < BEAT_SECONDS:
            return
        self._beaten_at = time.monotonic()
        line = RunConnection(connection, None)
        try:
            line.heartbeat(self.run.id, writer, 0, {})
        except HeadwayError as error:
            self.problems = (str(error),)  # it is sent again then, which says what is wrong
        finally:
            line.close()

    def take(self, files: dict[str, Path]) -> bool:
        """Take what is new in ``files``; whether there was anything. Rows that an import which was cut off left beyond its
        progress are of the file that it was reading, so that one comes first."""
        reading = self.destination.progress.reading
        order = sorted(files, key=lambda name: (name != reading, name))
        is_new = [self._take_file(name, files[name]) for name in order]
        if any(is_new):
            self.active_at = time.monotonic()
            self.destination.checkpoint(self.destination.progress.reading)
        return any(is_new)

    def told(self) -> ImportedRun:
        destination = self.destination
        return ImportedRun(
            id=self.run.id,
            name=self.name,
            source=str(self.path),
            path=str(self.run.path),
            is_new=self.is_new,
            points=destination.points,
            media=destination.media,
            refused=destination.refused,
            skipped=dict(self._skipped),
            corrupt=self._corrupt.total(),
            incomplete_bytes=sum(self._left.values()),
            synced=self.synced,
            problems=self.problems,
        )

    def _take_file(self, name: str, path: Path) -> bool:
        item = self.destination.progress.files.setdefault(name, FileProgress())
        size = path.stat().st_size
        if size == self._sizes.get(name) or size <= item.offset:
            return False
        self._sizes[name] = size
        before = item.offset
        with path.open("rb") as file:
            reader = RecordReader(file, item.offset, self._checksum)
            self._take_records(name, item, reader)
            self._left[name] = reader.left
        self._corrupt[name] += reader.damage.corrupt
        if reader.damage.oversized:
            self._skipped["large record"] += reader.damage.oversized
        return item.offset > before

    def _take_records(self, name: str, item: FileProgress, reader: RecordReader) -> None:
        decoder = EventDecoder(item.tags)
        self.destination.begin(name)
        for payload in reader.read():
            event = decoder.decode(payload)
            if event is None:
                self._corrupt[name] += 1
            else:
                self._skipped.update(event.skipped)
                self.destination.write(event)
            self.destination.advance(item, reader.offset, decoder.tags)
            if self._is_due():
                self._sizes.pop(name, None)  # there is more
                return
        self.destination.advance(item, reader.offset, decoder.tags)


def event_files(source: Path) -> Iterator[tuple[Path, dict[str, Path]]]:
    """Each directory at or below ``source`` with event files in it, and those by :func:`identify`. Symbolic links to
    directories are not followed."""
    for folder, below, names in os.walk(source):
        below.sort()
        paths = [Path(folder, name) for name in sorted(names) if Path(name).match(PATTERN)]
        files = {name: path for path in paths if path.is_file() and (name := identify(path)) is not None}
        if files:
            yield Path(folder), files


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock on ``path``; whether it was had."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
