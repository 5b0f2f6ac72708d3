"""The journals that one process writes of one run: in the run's directory, or elsewhere while that takes nothing."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from headway.domain.base import now
from headway.errors import HeadwayError
from headway.journal.codec import JournalHeader
from headway.journal.facts import FactsWriter
from headway.journal.metrics import MetricsWriter
from headway.journal.values import plain_values
from headway.journal.writer import Durability, JournalHealth, JournalWriter, new_writer_id
from headway.tracking.directory import RUNS, RunDirectory, fallback_base, make_probe

RETRY_SECONDS = 5.0
"""How long nothing is tried after neither the run's directory nor another one took anything."""

Opened = Callable[[Path, JournalHeader, Callable[[], int]], None]
"""Told of each new journal: where, whose, and how many bytes of it may be shipped."""


@dataclass(frozen=True)
class Author:
    """In whose name streams are written."""

    run: str
    attempt: int
    role: str
    durability: Durability = Durability.PROCESS

    def header(self, kind: str) -> JournalHeader:
        """A header of a stream that nobody has written yet."""
        writer = new_writer_id()
        return JournalHeader(
            run=self.run,
            stream=f"{kind}/{self.role}-{writer}",
            writer=writer,
            attempt=self.attempt,
            replica=self.role,
            created=now(),
        )


W = TypeVar("W", bound="MetricsWriter | FactsWriter | JournalWriter")


@dataclass
class _Held:
    """An open journal. ``reader`` still reaches its bytes when somebody has removed the file."""

    writer: MetricsWriter | FactsWriter | JournalWriter
    path: Path
    reader: int

    def is_gone(self) -> bool:
        try:
            found = self.path.stat()
        except OSError:
            return True
        mine = os.fstat(self.reader)
        return (found.st_dev, found.st_ino) != (mine.st_dev, mine.st_ino)


class Recorder:
    """Writes rows, entries and facts so that nothing the disk does is ever raised into training.

    Once the run's directory takes nothing, what follows goes to a directory on another file system (temporary, or in
    memory); :meth:`check` goes back as soon as the first one takes something again, and brings along what was written
    elsewhere. What could not be written when it was logged stays in the journal's writer, which goes on trying. Where
    nothing takes anything, points are counted in ``dropped``. Any thread may log; a signal handler, too.

    Args:
        home: The run's directory.
        author: In whose name.
        opened: Told of each new journal.
        appended: Called after frames; quick.
        warn: Says one line to the user.
    """

    def __init__(
        self,
        home: RunDirectory,
        author: Author,
        *,
        opened: Opened | None = None,
        appended: Callable[[], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.home, self.author = home, author
        self.place = home
        """Where journals are opened at present."""
        self.write: Callable[..., None] = self._begin
        """Writes one row, as :meth:`headway.journal.metrics.MetricsWriter.log`; asked for anew at each call."""
        self._opened, self._appended, self._warn = opened, appended, warn
        self._lock = threading.RLock()
        self._metrics: MetricsWriter | None = None
        self._facts: FactsWriter | None = None
        self._held: list[_Held] = []
        self._away: list[Path] = []
        """Closed journals that lie elsewhere."""
        self._counted: dict[str, int] = {"dropped": 0, "sync_errors": 0}
        """Of closed journals, and of points that there was no journal for."""
        self._retry_at = 0.0
        self._warned = False
        self._closed = False

    def metrics(self) -> MetricsWriter | None:
        """Where rows go, opened when first needed; None while nothing takes any."""
        with self._lock:
            if self._metrics is None and not self._closed:
                self._metrics = self.open("metrics", self.make_metrics)
                if self._metrics is not None:
                    self.write = self._metrics.log
            return self._metrics

    def _begin(self, metrics: Mapping[str, Any], step: int | None = None, **more: Any) -> None:
        """The first row: opens the journal for it."""
        writer = self.metrics()
        if writer is not None:
            writer.log(metrics, step, **more)
        else:
            self._counted["dropped"] += len(plain_values(metrics))

    def write_at(self, time: float, metrics: Mapping[str, Any], step: int | None = None, **more: Any) -> None:
        """Write one row of another time than now, as :meth:`headway.journal.metrics.MetricsWriter.log_at`."""
        writer = self.metrics()
        if writer is not None:
            writer.log_at(time, metrics, step, **more)
        else:
            self._counted["dropped"] += len(plain_values(metrics))

    def entry(self, document: Mapping[str, Any]) -> None:
        """Write one media entry."""
        writer = self.metrics()
        if writer is not None:
            writer.entry(dict(document))
        else:
            self._counted["dropped"] += 1

    def count_dropped(self, points: int = 1) -> None:
        """Something was not kept anywhere."""
        with self._lock:
            self._counted["dropped"] += points

    def fact(self, fact: Mapping[str, Any]) -> None:
        """Write one fact, with the time."""
        with self._lock:
            if self._facts is None and not self._closed:
                self._facts = self.open("facts", self._make_facts)
            if self._facts is not None:
                self._facts.write({"time": time.time_ns() // 1_000_000, **fact})

    def open(self, kind: str, make: Callable[[Path, JournalHeader], W]) -> W | None:
        """A new journal of ``kind``, in the first place that takes one; None when none does."""
        with self._lock:
            if self._closed or time.monotonic() < self._retry_at:
                return None
            for place in self._places():
                if (writer := self._open_in(place, kind, make)) is not None:
                    return writer
            self._retry_at = time.monotonic() + RETRY_SECONDS
        return None

    def health(self) -> dict[str, int]:
        """Counters of trouble so far: ``dropped`` points and ``sync_errors``."""
        with self._lock:
            return _added(self._counted, *(_counters(item.writer) for item in self._held))

    def check(self) -> None:
        """Look after the journals: files that somebody removed, and a disk that takes something again."""
        with self._lock:
            if self._closed:
                return
            for held in [item for item in self._held if item.is_gone()]:
                self._warn_once(f"{held.path} was removed while it was written; it is made again")
                self._release(held)
            if self.place is not self.home and self._home_takes():
                for held in [item for item in self._held if item.path.parent != self.home.path]:
                    self._release(held)
                self.place = self.home
                self.bring_home()

    def close(self) -> None:
        """End every journal; nothing can be written afterwards."""
        self.check()
        with self._lock:
            self._closed = True
            for held in list(self._held):
                self._release(held)
            if self._home_takes():
                self.bring_home()

    def left_away(self) -> list[Path]:
        """Other directories in which journals of the run lie."""
        return sorted({path.parent for path in self._away})

    # How it is done

    def make_metrics(self, path: Path, header: JournalHeader) -> MetricsWriter:
        """For :meth:`open`: a journal of rows."""
        report = self._leave if header.stream.startswith("metrics/") else None
        return MetricsWriter(
            path, header, durability=self.author.durability, on_append=self._appended, on_trouble=report
        )

    def make_lines(self, path: Path, header: JournalHeader) -> JournalWriter:
        """For :meth:`open`: a journal of lines."""
        return JournalWriter(path, header, durability=self.author.durability, on_append=self._appended)

    def _make_facts(self, path: Path, header: JournalHeader) -> FactsWriter:
        return FactsWriter(path, header, durability=self.author.durability, on_append=self._appended)

    def _leave(self, health: JournalHealth) -> None:
        """The journal of rows has trouble: the next row opens another one. What it kept in memory it goes on trying to
        write. Called from within it, so nothing is written here.
        """
        if health.kept_frames or health.dropped_frames:
            self._warn_once(f"{self.place.path} takes no data ({health.last_error})")
            self.write = self._begin
            self._metrics = None
            if self.place is self.home:
                self.place = self._other_place() or self.home

    def _places(self) -> list[RunDirectory]:
        """Where to try to open a journal, in this order."""
        other = None if self.place is not self.home else self._other_place()
        return [self.place, *([other] if other is not None else [])]

    def _other_place(self) -> RunDirectory | None:
        base = fallback_base(self.home.path)
        return RunDirectory(base / RUNS / self.home.id) if base is not None else None

    def _open_in(self, place: RunDirectory, kind: str, make: Callable[[Path, JournalHeader], W]) -> W | None:
        header = self.author.header(kind)
        path = place.journal(header.stream)
        try:
            place.make()
            writer = make(path, header)
            self._held.append(_Held(writer, path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
        except (HeadwayError, OSError) as error:
            self._warn_once(f"{place.path} takes no data ({error})")
            return None
        self.place = place
        if self._opened is not None:
            self._opened(path, header, lambda: writer.position)
        return writer

    def _release(self, held: _Held) -> None:
        """Close a journal; when its file is gone, what was in it is written to a new one of the same name."""
        held.writer.close()
        self._held.remove(held)
        self._counted = _added(self._counted, _counters(held.writer))
        if held.writer is self._metrics:
            self._metrics = None
            self.write = self._begin
        if held.writer is self._facts:
            self._facts = None
        try:
            if held.is_gone():
                _restore(held, self.home.make())
        except (HeadwayError, OSError) as error:
            self._warn_once(f"{held.path} is lost ({error})")
        finally:
            os.close(held.reader)
        if held.path.parent != self.home.path:
            self._away.append(held.path)

    def _home_takes(self) -> bool:
        try:
            make_probe(self.home.make().path)
        except OSError:
            return False
        return True

    def bring_home(self) -> None:
        """Move closed journals from other places to the run's directory."""
        while self._away and _moved(self._away[0], self.home):
            _remove_empty(self._away.pop(0).parent)

    def _warn_once(self, text: str) -> None:
        if not self._warned and self._warn is not None:
            self._warned = True
            self._warn(text)


def _counters(writer: MetricsWriter | FactsWriter | JournalWriter) -> dict[str, int]:
    health = writer.health
    return {"dropped": health.dropped_points, "sync_errors": health.sync_errors}


def _added(*counters: Mapping[str, int]) -> dict[str, int]:
    return {name: sum(each[name] for each in counters) for name in ("dropped", "sync_errors")}


def _restore(held: _Held, home: RunDirectory) -> None:
    """The bytes of a removed file, at the same place again."""
    with os.fdopen(os.dup(held.reader), "rb") as source:
        source.seek(0)
        _copy(source, home.path / held.path.name)


def _moved(path: Path, home: RunDirectory) -> bool:
    try:
        with path.open("rb") as source:
            _copy(source, home.path / path.name)
        path.unlink()
    except OSError:
        return False
    return True


def _copy(source: IO[bytes], target: Path) -> None:
    """A copy that is there whole or not at all."""
    temporary = target.with_name(f".{target.name}.{new_writer_id()}")
    try:
        with open(temporary, "xb", opener=_private) as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _remove_empty(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        pass  # somebody else's journals are there, too
