"""Importing a directory of event files: a run for every directory in it that holds some."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headway.config import Connection, default_project, look_up
from headway.domain.base import Record, new_id, parse_request
from headway.domain.runs import RunCreate
from headway.errors import ConfigurationError, HeadwayError, InvalidRequestError, NotFoundError
from headway.paths import private_directory
from headway.tracking.config import DEFAULT_PROJECT, MODES
from headway.tracking.directory import RUNS, RunDirectory, Target, base_directory
from headway.tracking.integrations.tensorboard.directory import LOCK, EventDirectory, ImportedRun, event_files, locked
from headway.tracking.integrations.tensorboard.progress import (
    FileProgress,
    KnownRun,
    Progress,
    choose_run,
    known_runs,
    load_progress,
)
from headway.tracking.integrations.tensorboard.values import masked_checksum

LOOK_SECONDS = 1.0
"""How often a followed directory is looked at."""
SEND_SECONDS = 2.0
"""How long a server that does not answer is asked again, before what is to be sent waits for a later time."""
OPEN_RUNS = 64
"""Runs whose journals stay open while a directory is followed."""


class ImportReport(Record):
    """What was taken of a directory."""

    source: str
    project: str
    runs: tuple[ImportedRun, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is left to be sent."""
        return not any(run.problems for run in self.runs)


def import_directory(
    path: str | Path,
    *,
    project: str | None = None,
    dir: str | Path | None = None,
    mode: str | None = None,
    url: str | None = None,
    token: str | None = None,
    follow: bool = False,
    idle: float | None = None,
    stop: threading.Event | None = None,
    on_run: Callable[[ImportedRun], None] | None = None,
) -> ImportReport:
    """Take the event files at and below ``path`` into runs: scalars with their steps and times, histograms, images, sounds,
    texts, and hyperparameters as the run's config.

    Every directory that holds event files becomes a run, named after its path below ``path``. Importing it again adds
    what is new, and nothing when nothing is. Damaged and cut-off records are passed over and counted.

    Args:
        path: The directory that TensorBoard would be given.
        project: Where the runs belong. Without it: as for :func:`headway.init`.
        dir: Where runs lie here. Without it: HEADWAY_DIR, else ``.headway``.
        mode: ``online`` (sent to the server, too) or ``offline``. Without it: online where a server is configured.
        url: The server; as for :class:`headway.Client`.
        token: The secret to present to it; the same.
        follow: Go on with what is written, until ``idle``, ``stop`` or Ctrl-C.
        idle: Seconds without anything new after which following ends.
        stop: Ends following when it is set.
        on_run: Called after each look at a directory that had something new, with what was taken since the beginning.

    Raises:
        MissingExtraError: The package tensorboard is not installed.
        NotFoundError: There is no such directory, or (without ``follow``) no event file in it.
        InvalidRequestError: An argument is wrong.
        ConfigurationError: ``mode="online"`` and no server is configured.
        ConflictError: Somebody else imports one of the directories at the moment.
        StorageFullError: No space is left; what was taken stays, and the next import goes on from there.
    """
    masked_checksum()
    source = Path(path).expanduser().resolve()
    if not source.is_dir():
        raise NotFoundError(f"There is no directory {str(path)!r}.", hint="Name the directory that TensorBoard shows.")
    if idle is not None and not idle >= 0:
        raise InvalidRequestError(f"idle must be at least 0 seconds, not {idle!r}.")
    place = _place(project, dir, mode, url, token)
    if follow:
        with _Ending(stop) as ending, Importer(source, place, on_run, ending.is_due) as importer:
            _follow(importer, idle, ending)
            importer.finish()
            return importer.report()
    with Importer(source, place, on_run) as importer:
        importer.look(last=True)
        if not importer.found:
            raise NotFoundError(
                f"There is no event file in {str(path)!r}.", hint="Their names begin with events.out.tfevents."
            )
        return importer.report()


def _follow(importer: Importer, idle: float | None, ending: _Ending) -> None:
    """Look again and again."""
    latest = time.monotonic()
    while True:
        if importer.look():
            latest = time.monotonic()
        elif idle is not None and time.monotonic() - latest >= idle:
            return
        if ending.wait(LOOK_SECONDS):
            return


class _Ending:
    """Says when following ends: by the caller's event, or by Ctrl-C, which in here does not interrupt anything halfway. A
    second Ctrl-C does what it always does."""

    def __init__(self, stop: threading.Event | None) -> None:
        self._stop = stop or threading.Event()
        self._interrupted = False
        self._before: Any = None

    def __enter__(self) -> _Ending:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def is_due(self) -> bool:
        return self._interrupted or self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        return self._stop.wait(seconds) or self.is_due()

    def _interrupt(self, _number: int, _frame: object) -> None:
        # Not an event: the handler may run while this very thread holds the event's lock.
        self._interrupted = True
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


@dataclass(frozen=True)
class _Place:
    """Where the runs go."""

    project: str
    base: Path
    connection: Connection | None = field(default=None, repr=False)

    @property
    def target(self) -> Target:
        return Target(self.connection.url if self.connection else None, self.project)


def _place(
    project: str | None, directory: str | Path | None, mode: str | None, url: str | None, token: str | None
) -> _Place:
    if mode not in (None, *MODES[:2]):
        raise InvalidRequestError(f"mode must be 'online' or 'offline', not {mode!r}.")
    connection = look_up(url, token, project)
    if mode == "online" and connection is None:
        raise ConfigurationError(
            "mode is 'online' and no server is configured.", hint="Set HEADWAY_URL, or pass url=…."
        )
    name = (connection and connection.project) or default_project(project) or DEFAULT_PROJECT
    parse_request(RunCreate, {"project": name}, what="The project")
    return _Place(name, base_directory(directory), None if mode == "offline" else connection)


class Importer:
    """Takes what is new in a directory, at every :meth:`look`. A context manager, which lets go of the runs."""

    def __init__(
        self,
        source: Path,
        place: _Place,
        on_run: Callable[[ImportedRun], None] | None = None,
        is_due: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_due = is_due
        self._source = source
        self._place = place
        self._on_run = on_run
        self._checksum = masked_checksum()
        self._known: dict[str, list[KnownRun]] = {}
        self._known_at = -1
        self._directories: dict[Path, EventDirectory] = {}

    def __enter__(self) -> Importer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with ExitStack() as stack:
            for directory in self._directories.values():
                # Where it was interrupted it may be between a row and its account; what was saved last is right.
                stack.callback(directory.close, save=kind is None)

    @property
    def found(self) -> bool:
        """Whether there was any event file."""
        return bool(self._directories)

    def look(self, *, last: bool = False) -> bool:
        """Take what is new, and whether there was anything. After the ``last`` look the runs are complete."""
        is_new = False
        for path, files in event_files(self._source):
            directory = self._directories.get(path) or self._enter(path, files)
            if directory.take(files):
                is_new = True
                self._send(directory)
                if self._on_run is not None:
                    self._on_run(directory.told())
            if last:
                self._finish(directory)
            if self._is_due():
                break
        self._rest()
        return is_new

    def finish(self) -> None:
        """Say that the runs are complete, and let go of them."""
        for directory in self._directories.values():
            self._finish(directory)

    def report(self) -> ImportReport:
        runs = tuple(directory.told() for directory in self._directories.values())
        return ImportReport(source=str(self._source), project=self._place.project, runs=runs)

    # How it is done

    def _finish(self, directory: EventDirectory) -> None:
        directory.destination.close(ended=True)
        directory.close()
        self._send(directory)

    def _rest(self) -> None:
        """Close the journals that nothing was written to for the longest time when there are many; say that the others live,
        and try again to send what could not be sent."""
        open_ones = [item for item in self._directories.values() if item.destination.is_open]
        open_ones.sort(key=lambda item: item.active_at)
        for directory in open_ones[:-OPEN_RUNS]:
            directory.destination.close(ended=False)
        for directory in self._directories.values():
            if directory.problems:
                self._send(directory)
            elif directory.destination.is_open and self._place.connection is not None:
                directory.beat(self._place.connection)

    def _enter(self, path: Path, files: dict[str, Path]) -> EventDirectory:
        """The run of a directory that is seen the first time: the one that has its files already, or a new one."""
        private_directory(private_directory(self._place.base) / RUNS)
        with locked(self._place.base / LOCK, wait=True):
            self._read_known()
            candidates = (run for name in files for run in self._known.get(name, ()))
            known = choose_run(path, candidates, self._source)
            run = RunDirectory(known or self._place.base / RUNS / new_id("run")).make()
            name = str(path.relative_to(self._source)) if path != self._source else path.name or "tensorboard"
            progress = load_progress(run.path)
            is_new = progress is None
            if progress is not None:
                progress.source = str(path)
            else:
                progress = Progress(str(path), self._place.project, {name: FileProgress() for name in files})
            directory = EventDirectory(
                path, run, progress, self._place.target, name[-256:], self._checksum, self._is_due
            )
            self._directories[path] = directory
            if is_new:
                directory.introduce()
                self._known_at = (self._place.base / RUNS).stat().st_mtime_ns
        return directory

    def _read_known(self) -> None:
        """Anew when somebody else has made a run; called with the lock held."""
        changed_at = (self._place.base / RUNS).stat().st_mtime_ns
        if changed_at != self._known_at:
            self._known = known_runs(self._place.base / RUNS, self._place.project)
            self._known_at = changed_at

    def _send(self, directory: EventDirectory) -> None:
        connection = self._place.connection
        if connection is None:
            return
        from headway.tracking.sync import Sender, SyncState

        try:
            sent = Sender(connection, self._place.project, retry_for=SEND_SECONDS).send(directory.run)
        except HeadwayError as error:
            directory.synced, directory.problems = False, (str(error),)
        else:
            directory.synced, directory.problems = sent.state is SyncState.SYNCED, sent.problems
