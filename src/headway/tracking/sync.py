"""Bringing directories that were left behind to a server: as often, and from as many machines, as one likes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.config import Connection, look_up
from headway.domain.base import Record, did_you_mean, parse_request
from headway.domain.folders import ConflictStrategy
from headway.domain.names import friendly_name
from headway.domain.runs import RunCreate, Stream
from headway.errors import (
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    HeadwayError,
    InvalidRequestError,
    NotFoundError,
)
from headway.journal.leftovers import is_ended, whole_length
from headway.journal.liveness import is_live
from headway.journal.reader import read_header
from headway.journal.shipper import Shipper
from headway.tracking.blobs import LocalBlobs
from headway.tracking.config import DEFAULT_PROJECT
from headway.tracking.connection import RunConnection, RunSink, is_skipped
from headway.tracking.delivery import send_blobs
from headway.tracking.directory import RUNS, RunDirectory, base_directory, run_directories
from headway.tracking.local import read_facts
from headway.tracking.recorder import Author, Recorder

if TYPE_CHECKING:
    from headway.domain.facts import ArtifactMark
    from headway.domain.lineage import Relation

RETRY_SECONDS = 30.0
"""How long a server that does not answer is asked again before a sync gives up."""
log = logging.getLogger(__name__)


class SyncState(str, Enum):
    """How it went with one run."""

    SYNCED = "synced"
    """The server holds everything that lies here."""
    RUNNING = "running"
    """The same, but it is still being written: there will be more."""
    SKIPPED = "skipped"
    """The folder holds another run of that name, and the strategy says to leave it at that."""
    FAILED = "failed"
    """A part is still here only; ``problems`` says why."""


class SyncedRun(Record):
    """What became of one run."""

    id: str
    path: str
    name: str
    state: SyncState
    sent_bytes: int = 0
    left_bytes: int = 0
    blobs: int = 0
    """Media files that were sent."""
    artifacts: int = 0
    """Versions of artifacts that were made on the server."""
    problems: tuple[str, ...] = ()
    """What could not be sent and why; and references to artifacts that the server does not have, which fail nothing."""


class SyncReport(Record):
    """What became of every run that was found."""

    url: str
    runs: tuple[SyncedRun, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(run.state is not SyncState.FAILED for run in self.runs)


def sync(
    path: str | Path | None = None,
    url: str | None = None,
    token: str | None = None,
    project: str | None = None,
    *,
    folder: str | None = None,
    make_folder: bool = False,
    conflict_strategy: str | None = None,
    strict: bool = False,
    on_run: Callable[[SyncedRun], None] | None = None,
) -> SyncReport:
    """Send what lies in a directory and the server lacks. Repeating it, also from a copy elsewhere, changes nothing.

    A run that is refused is reported, and so is a stream; the rest is sent all the same.

    Args:
        path: One run, a ``.headway``, or a directory above either. Without it: HEADWAY_DIR, else ``.headway``.
        url: The server; as for :class:`headway.Client`.
        token: The secret to present to it; the same.
        project: Where runs belong that the server does not know; what each of them says without it. HEADWAY_PROJECT and
            other settings count only for those that say nothing.
        folder: Where to put runs that the server does not know.
        make_folder: Make that folder when it is missing.
        conflict_strategy: ``skip``, ``error``, ``new`` or ``replace``: what another run of that name there means.
        strict: Raise what the server has against a run, and send no more.
        on_run: Called after each run.

    Raises:
        InvalidRequestError: A folder or strategy that is none; said before anything is sent.
        ConfigurationError: No server is named anywhere.
        NotFoundError: No run lies at ``path``.
        ConnectionFailedError: The server does not answer.
    """
    place = _checked_place(folder, make_folder, conflict_strategy)
    connection = look_up(url, token, project)
    top = Path(path).expanduser().absolute() if path is not None else base_directory()
    found = list(run_directories(top))
    if not found:
        raise NotFoundError(f"There is no run in {top}.", hint="Name a run's directory, or one above it.")
    if connection is None:
        connection = _meant_for(found)
    sender = Sender(connection, project, place, strict=strict)
    runs = []
    for directory in found:
        runs.append(sender.send(directory))
        if on_run is not None:
            on_run(runs[-1])
    return SyncReport(url=connection.url, runs=tuple(runs))


def _checked_place(folder: str | None, make_folder: bool, strategy: str | None) -> dict[str, Any]:
    """The fields of a RunCreate that say where it goes, checked."""
    given = {"folder": folder, "make_folder": make_folder, "conflict_strategy": strategy}
    values = {name: value for name, value in given.items() if value not in (None, False)}
    if strategy is not None and strategy not in [known.value for known in ConflictStrategy]:
        words = [known.value for known in ConflictStrategy]
        raise InvalidRequestError(
            f"conflict_strategy must be one of {', '.join(words)}, not {strategy!r}.",
            hint=did_you_mean(str(strategy), words),
        )
    request = parse_request(RunCreate, {"project": DEFAULT_PROJECT, **values}, what="The upload")
    return {name: getattr(request, name) for name in values}


def _meant_for(found: Sequence[RunDirectory]) -> Connection:
    """The one server that the directories name, when nothing else names one."""
    urls = {target.url for target in (directory.read_target() for directory in found) if target.url}
    connection = look_up(urls.pop()) if len(urls) == 1 else None
    if connection is None:
        raise ConfigurationError("No server is configured.", hint="Set HEADWAY_URL, or pass url=….")
    return connection


class Sender:
    """Sends run after run to one server.

    Args:
        connection: Which.
        project: Where the runs belong; what each of them says without it.
        place: Fields of a RunCreate that say where it goes.
        strict: Raise what the server has against a run.
        retry_for: Seconds in which it is asked again when it does not answer.
        only_left: Leave alone what somebody is writing.
    """

    def __init__(
        self,
        connection: Connection,
        project: str | None = None,
        place: Mapping[str, Any] | None = None,
        *,
        strict: bool = False,
        retry_for: float | None = None,
        only_left: bool = False,
    ) -> None:
        self._retry_for = RETRY_SECONDS if retry_for is None else retry_for
        self._only_left = only_left
        self._connection = connection
        self._project = project
        self._place = dict(place or {})
        self._strict = strict

    def send(self, directory: RunDirectory) -> SyncedRun:
        """Send one run; what the server has against it is in the answer.

        Raises:
            ConnectionFailedError: The server does not answer.
            HeadwayError: It refuses the run, and this sender is strict.
        """
        name = friendly_name(directory.id)
        try:
            creation = self._creation(directory)
            name = creation.name or name
            line = RunConnection(self._connection, creation, retry_for=self._retry_for)
        except HeadwayError as error:
            return _failed(directory, name, error)
        try:
            creation = self._settled(line, creation)
            line.register()
            self._note_folder(directory, creation)
            return self._send_all(directory, line, creation)
        except ConnectionFailedError:
            raise
        except HeadwayError as error:
            if is_skipped(error):
                return SyncedRun(id=directory.id, path=str(directory.path), name=name, state=SyncState.SKIPPED)
            if self._strict:
                raise
            return _failed(directory, name, error)
        finally:
            line.close()

    def _creation(self, directory: RunDirectory) -> RunCreate:
        facts, target = read_facts(directory), directory.read_target()
        said = facts.identity
        project = self._project or said.get("project") or target.project or self._connection.project
        values = {key: said[key] for key in ("alternative_name", "folder", "labels", "description") if said.get(key)}
        meant = {"make_folder": target.make_folder, "conflict_strategy": target.conflict_strategy}
        values |= {key: value for key, value in meant.items() if value}
        values |= {"id": directory.id, "name": said.get("name") or friendly_name(directory.id), **self._place}
        values |= {"project": project or DEFAULT_PROJECT, "config": facts.config}
        headers = [header.created for _, header in _headers(directory)]
        if headers:
            values["created_at"] = min(headers)
        return parse_request(RunCreate, values, what=f"The run in {directory.path}")

    def _settled(self, line: RunConnection, creation: RunCreate) -> RunCreate:
        """A run that the server knows stays in the project where it lies.

        Raises:
            ConflictError: The caller names another project.
        """
        found = line.find(str(creation.id))
        if found is None:
            return creation
        with line.client() as client:
            project = client.projects.get(found.project_id)
        if self._project is not None and self._project not in (project.id, project.name):
            raise ConflictError(
                f"The run {found.id} lies in the project {project.name!r} on the server, not in {self._project!r}.",
                hint="Leave the project away to send the rest of it there.",
            )
        line.aim(project.name)
        return creation.model_copy(update={"project": project.name})

    def _note_folder(self, directory: RunDirectory, creation: RunCreate) -> None:
        """A run that was put into another folder than it said says so from now on."""
        facts = read_facts(directory)
        if "folder" in self._place and facts.identity.get("folder", creation.folder) != creation.folder:
            author = Author(directory.id, max(0, directory.latest_attempt()), "upload")
            recorder = Recorder(directory, author)
            recorder.fact({"type": "identity", "folder": creation.folder})
            recorder.close()

    def _send_artifacts(
        self, directory: RunDirectory, line: RunConnection, creation: RunCreate, problems: list[str]
    ) -> int:
        from headway.domain.artifacts import CommitOutcome
        from headway.tracking.marks import upload_mark

        there, sent = (None, CommitOutcome.FOUND, CommitOutcome.SKIPPED), 0
        for relation, mark in _marks(directory):
            try:
                with line.client() as client:
                    version = upload_mark(
                        client, creation.project, mark, run=directory.id, relation=relation, **self._place
                    )
                sent += (version and version.outcome) not in there
            except ConnectionFailedError:
                raise
            except HeadwayError as error:
                problems.append(f"{relation.value} {mark.name or mark.path}: {error}")
        return sent

    def _unknown_references(
        self, directory: RunDirectory, line: RunConnection, creation: RunCreate, problems: list[str]
    ) -> list[str]:
        """What the run refers to and the server lacks; it can be put there later, so the run is none the worse."""
        from headway.tracking.marks import check_reference, reference_of

        unknown = []
        for relation, mark in _marks(directory):
            try:
                with line.client() as client:
                    check_reference(client, creation.project, mark)
            except ConnectionFailedError:
                raise
            except NotFoundError as error:
                unknown.append(f"{relation.value} {reference_of(mark)}: {error}")
            except HeadwayError as error:
                problems.append(f"{relation.value} {reference_of(mark)}: {error}")
        return unknown

    def _send_all(self, directory: RunDirectory, line: RunConnection, creation: RunCreate) -> SyncedRun:
        held = {stream.name: stream for stream in line.streams(directory.id)}
        sent = left = 0
        live = False
        problems: list[str] = []
        for path, header in _headers(directory, problems):
            known = held.get(header.stream)
            parcel = _Parcel(path, is_live(path))
            live = live or parcel.live
            if parcel.live and self._only_left:
                continue
            try:
                sent += parcel.send(RunSink(line, header), known)
            except ConnectionFailedError:
                raise
            except HeadwayError as error:
                problems.append(f"{path.name}: {error}")
            left += parcel.left
        blobs = self._send_blobs(directory, line, creation, problems)
        artifacts = self._send_artifacts(directory, line, creation, problems)
        unknown = self._unknown_references(directory, line, creation, problems)
        state = SyncState.FAILED if problems else SyncState.RUNNING if live else SyncState.SYNCED
        if state is SyncState.SYNCED:
            _note_synced(directory, self._connection.url, creation.project)
        return SyncedRun(
            id=directory.id,
            path=str(directory.path),
            name=line.run.name if line.run is not None else creation.name or "",
            state=state,
            sent_bytes=sent,
            left_bytes=left,
            blobs=blobs,
            artifacts=artifacts,
            problems=(*problems, *unknown),
        )

    def _send_blobs(
        self, directory: RunDirectory, line: RunConnection, creation: RunCreate, problems: list[str]
    ) -> int:
        if not directory.blobs.is_dir():
            return 0
        try:
            return send_blobs(line, LocalBlobs(directory.path), creation.project)
        except ConnectionFailedError:
            raise
        except HeadwayError as error:
            problems.append(f"blobs: {error}")
            return 0


class _Parcel:
    """One journal on its way."""

    def __init__(self, path: Path, live: bool) -> None:
        self._path = path
        self.live = live
        """Whether somebody is writing it: what looks torn may be taken back then, and is not sent."""
        self.left = 0

    def send(self, sink: RunSink, known: Stream | None) -> int:
        """Send what lies behind what the server has; how many bytes that were."""
        size = self._path.stat().st_size
        limit = whole_length(self._path) if self.live else size
        ended = not self.live and is_ended(self._path)
        shipper = Shipper(self._path, sink, limit=lambda: limit)
        try:
            # Another copy of this journal may have been sent further than this one goes.
            shipper.position = begun = min(known.committed if known else 0, limit)
            self.left = limit - begun
            if begun < limit or (ended and not (known and known.closed)):
                shipper.ship(close=ended)
            self.left = shipper.remaining
            return shipper.position - begun
        finally:
            shipper.release()


def _marks(directory: RunDirectory) -> Iterator[tuple[Relation, ArtifactMark]]:
    """What the run says it used and made."""
    from headway.domain.lineage import Relation

    facts = read_facts(directory)
    yield from ((Relation.INPUT, mark) for mark in facts.inputs)
    yield from ((Relation.OUTPUT, mark) for mark in facts.outputs)


def _headers(directory: RunDirectory, problems: list[str] | None = None) -> Iterator[tuple[Path, Any]]:
    for path in directory.journals():
        try:
            header = read_header(path)
        except HeadwayError as error:
            if problems is not None and path.stat().st_size:
                problems.append(f"{path.name}: {error.message}")
            continue
        if header.run != directory.id:
            if problems is not None:
                problems.append(f"{path.name}: It belongs to run {header.run!r}.")
            continue
        yield path, header


def _failed(directory: RunDirectory, name: str, error: HeadwayError) -> SyncedRun:
    size = sum(path.stat().st_size for path in directory.journals())
    return SyncedRun(
        id=directory.id,
        path=str(directory.path),
        name=name,
        state=SyncState.FAILED,
        left_bytes=size,
        problems=(str(error),),
    )


def _note_synced(directory: RunDirectory, url: str, project: str) -> None:
    try:
        directory.write_target(replace(directory.read_target(), url=url, project=project, synced=True))
    except (HeadwayError, OSError):
        pass  # a directory that cannot be written: it is found out again next time


def send_leftovers(base: Path, connection: Connection, besides: str) -> None:
    """Send what earlier processes left below ``base`` for this server; for a thread that nobody waits for.

    Args:
        base: Where runs lie.
        connection: The server.
        besides: The run that the caller is sending itself; of it only what nobody writes.
    """
    sender = Sender(connection, retry_for=0.0, only_left=True)
    for directory in run_directories(base / RUNS):
        target = directory.read_target()
        if target.url != connection.url or (target.synced and directory.id != besides):
            continue
        try:
            outcome = sender.send(directory)
            log.debug("left-over run %s: %s %s", directory.id, outcome.state.value, outcome.problems)
        except ConnectionFailedError:
            return
        except (HeadwayError, OSError):
            log.debug("left-over run %s could not be sent", directory.id, exc_info=True)
