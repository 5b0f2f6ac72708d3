"""Uploads and downloads: a run's or artifact's files, and the server."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway import Client
from headway.config import Connection
from headway.domain.artifacts import CommitOutcome
from headway.domain.facts import ArtifactMark
from headway.domain.runs import RunCreate
from headway.errors import ConflictError, HeadwayError, NotFoundError
from headway.tracking.connection import RunConnection, is_skipped
from headway.tracking.delivery import Delivery
from headway.tracking.sync import SyncState, sync
from t9k.em import associations, directories, documents, metrics, session
from t9k.em.artifact import Artifact
from t9k.em.mirror import ROLE, Mirror
from t9k.em.session import Login
from t9k.em.strategies import Destination

if TYPE_CHECKING:
    from t9k.em.run import Run

FINISH_SECONDS = 30.0


def upload_run(run: Run, destination: Destination) -> None:
    """Send a run and the artifacts that it marks. See :meth:`t9k.em.run.Run.upload`."""
    login = session.current()
    with _translated("Run", destination):
        if not _register(run, destination, login):
            return
        mirror = Mirror(run)
        mirror.take_all(_marks(run, destination))
        mirror.close()
        report = sync(mirror.directory.path, login.url, login.token, login.project)
    (sent,) = report.runs
    if sent.state is SyncState.FAILED:
        raise RuntimeError(f"The run was not uploaded whole: {'; '.join(sent.problems)}")
    run.note_remote(_remote("upload", login, destination, run.alternative_name))


def upload_artifact(artifact: Artifact, destination: Destination) -> str | None:
    """Send an artifact; the id of its version, or None when the strategy said to skip it."""
    login = session.current()
    with _translated("Artifact", destination), login.client() as client:
        answer = client.artifacts.upload(
            artifact.name,
            dict(artifact.files()),
            references=artifact.references(),
            folder=destination.path(login.user),
            make_folder=_makes_folder(destination),
            conflict_strategy=destination.conflict_strategy,
            alternative_name=artifact.alternative_name,
            labels=dict.fromkeys(artifact.labels, ""),
            description=artifact.description,
        )
    if answer.outcome is CommitOutcome.SKIPPED:
        return None
    artifact.note_remote(_remote("upload", login, destination, answer.id))
    return answer.id


class LiveUpload:
    """Follows a run while it goes on: each change is shipped in the background, and never waited for.

    Raises:
        RuntimeError, ValueError: As for :meth:`t9k.em.run.Run.upload`, before anything is recorded.
    """

    def __init__(self, run: Run, destination: Destination) -> None:
        login = session.current()
        self._run, self._destination, self._login = run, destination, login
        self._mirror: Mirror | None = None
        with _translated("Run", destination):
            if not _register(run, destination, login):
                return
        line = RunConnection(_connection(login), _creation(run, destination, login))
        self._delivery = Delivery(line, run.alternative_name, login.project, beat=self._beat, warn=_nothing)
        self._line = line
        self._mirror = Mirror(run, opened=self._delivery.add, appended=self._delivery.notify)
        self._mirror.take_all(_marks(run, destination))
        run.note_remote(_remote("upload", login, destination, run.alternative_name))

    def metrics(self, kind: str, entry: Mapping[str, Any]) -> None:
        if self._mirror is not None:
            self._mirror.take_entry(kind, entry)

    def parameters(self, values: Mapping[str, Any]) -> None:
        if self._mirror is not None:
            self._mirror.say_parameters(values)

    def mark(self, side: str, entry: dict[str, Any]) -> None:
        if self._mirror is not None:
            with _translated("Artifact", self._destination):
                self._mirror.say_mark(side, _mark(entry, self._destination))

    def _beat(self) -> None:
        """The run lives, however long it logs nothing."""
        self._line.heartbeat(self._run.alternative_name, ROLE, 0, {})

    def close(self) -> None:
        """The run ended: ship the rest, for a bounded time. What is left stays for :func:`t9k.em.upload`."""
        if self._mirror is None:
            return
        self._mirror.say_state()
        self._mirror.close()
        self._delivery.finish(FINISH_SECONDS, _nothing)
        self._delivery.stop()
        self._line.close()


def download_run(path: str) -> Run:
    """The run of that id or ``folder/name`` on the server, as a new local directory.

    Raises:
        OSError: There is none, or nobody is logged in to look.
    """
    from t9k.em import run as runs

    with _looked_up("run", path) as (client, login):
        found = _find_run(client, path, login)
        directory = directories.runs_directory().absolute() / (found.alternative_name or found.id)
        if not (directory / runs.METADATA).is_file():
            _write_run(client, found, directory, login)
    opened = runs.open_run(directory)
    assert opened is not None
    return opened


def download_artifact(path: str) -> Artifact:
    """The artifact that ``path`` names on the server (``folder/name``, ``name:v3``), as a new local directory.

    Raises:
        OSError: There is none, or nobody is logged in to look.
    """
    from t9k.em.artifact import METADATA, REFERENCES

    with _looked_up("artifact", path) as (client, login):
        version = client.artifacts.resolve(_server_path(path, login))
        name = version.alternative_name or f"{version.name}_v{version.version}"
        directory = directories.artifacts_directory().absolute() / name
        client.artifacts.download(version, directory)
        references = {entry.path: entry.uri for entry in client.artifacts.entries(version) if entry.uri}
    if references:
        documents.write(directory / REFERENCES, references)
    artifact = Artifact(
        directory,
        {
            "kind": "Artifact",
            "name": version.name,
            "labels": list(version.labels),
            "description": version.description,
            "createdTimestamp": version.created_at.isoformat(),
            "alternativeName": name,
            "remote": [_remote("download", login, Destination(), version.id)],
        },
    )
    if not (directory / METADATA).is_file():
        artifact.save()
    return artifact


def _nothing(*_: object) -> None:
    """Nobody is told: the run's own files say what there is."""


def _register(run: Run, destination: Destination, login: Login) -> bool:
    """Have the run on the server; False when the strategy says to leave another one of that name alone."""
    line = RunConnection(_connection(login), _creation(run, destination, login))
    try:
        line.register()
    except ConflictError as error:
        if is_skipped(error):
            return False
        raise
    finally:
        line.close()
    return True


def _creation(run: Run, destination: Destination, login: Login) -> RunCreate:
    return RunCreate.model_validate(
        {
            "id": run.alternative_name,
            "project": login.project,
            "name": run.name or run.alternative_name,
            "alternative_name": run.alternative_name,
            "folder": destination.path(login.user),
            "make_folder": _makes_folder(destination),
            "conflict_strategy": destination.conflict_strategy,
            "labels": run.labels,
            "description": run.description,
            "created_at": run.start_timestamp or None,
        }
    )


def _makes_folder(destination: Destination) -> bool:
    """Everybody has a folder ``default``."""
    return destination.make_folder or destination.folder.strip("/").rpartition("/")[2] == "default"


def _connection(login: Login) -> Connection:
    return Connection(login.url, login.token, login.project)


def _marks(run: Run, destination: Destination) -> dict[str, list[ArtifactMark]]:
    """What the run names, its own artifacts uploaded first."""
    return {side: [_mark(entry, destination) for entry in entries] for side, entries in run.associations.items()}


def _mark(entry: dict[str, Any], destination: Destination) -> ArtifactMark:
    if entry.get("kind") != "Artifact":
        return associations.to_mark(entry)
    name, directory = str(entry.get("name") or ""), Path(str(entry.get("localDir") or ""))
    version = _uploaded(directory, destination) if (directory / "metadata.yaml").is_file() else None
    return ArtifactMark(kind="artifact", id=version, name=name, path=str(directory))


def _uploaded(directory: Path, destination: Destination) -> str | None:
    """The id of the version that holds the artifact in ``directory``, which is uploaded if it was not yet."""
    artifact = Artifact(directory, documents.mapping(documents.read(directory / "metadata.yaml")))
    url = session.current().url
    known = [item["id"] for item in artifact.remote if item.get("host") == url and item.get("id")]
    return str(known[-1]) if known else upload_artifact(artifact, destination)


def _find_run(client: Client, path: str, login: Login) -> Any:
    try:
        return client.runs.get(Path(path).name)
    except NotFoundError:
        folder, _, name = _server_path(path, login).rpartition("/")
    found = client.runs.query(f"name = {json.dumps(name)} and folder = {json.dumps(folder or 'default')}", limit=1)
    for run in found:
        return run
    raise NotFoundError(f"There is no run {path!r}.")


def _server_path(path: str, login: Login) -> str:
    return path.strip("/").removeprefix(f"{login.user}/") if path.startswith("/") else path


def _write_run(client: Client, found: Any, directory: Path, login: Login) -> None:
    from t9k.em import run as runs

    files: dict[str, str] = {}
    for kind, entries in _entries(client, found.id).items():
        files[kind] = metrics.file_name(kind)
        documents.write(directory / files[kind], entries)
    documents.write(directory / runs.HYPERPARAMETERS, dict(found.config))
    documents.write(
        directory / runs.INDEX, {"hyperparameters": runs.HYPERPARAMETERS, "metrics": files, "log": runs.LOG}
    )
    states = {"complete": runs.COMPLETE, "running": runs.RUNNING}
    documents.write(
        directory / runs.METADATA,
        {
            "kind": "Run",
            "name": found.name,
            "labels": list(found.labels),
            "description": found.description,
            "startTimestamp": found.created_at.isoformat(),
            "endTimestamp": found.finished_at.isoformat() if found.finished_at else None,
            "status": states.get(found.state.value, runs.ERROR),
            "alternativeName": directory.name,
            "associations": {"input": [], "output": []},
            "remote": [_remote("download", login, Destination(), found.id)],
        },
    )


def _entries(client: Client, run: str) -> dict[str, list[dict[str, Any]]]:
    """The metric files of a run: what one ``log`` said together shares a time, a step and an epoch."""
    found: dict[str, dict[tuple[int, int | None, float | None], dict[str, Any]]] = {}
    for series in client.runs.series(run):
        if series.system:
            continue
        points = client.runs.metrics(run, series.name, stage=series.stage or None, replica=series.replica, view="all")
        kind = (series.raw_stages or (series.stage,))[0] or "train"
        for point in points:
            place = (point.time, point.step, point.epoch)
            found.setdefault(kind, {}).setdefault(place, {})[series.name] = point.value
    return {
        kind: [
            {"value": values, "sequence": _sequence(*place)} for place, values in sorted(entries.items(), key=_order)
        ]
        for kind, entries in found.items()
    }


def _order(item: tuple[tuple[int, int | None, float | None], object]) -> tuple[int, int]:
    time, step, _ = item[0]
    return time, -1 if step is None else step


def _sequence(time: int, step: int | None, epoch: float | None) -> dict[str, Any]:
    from datetime import datetime, timezone

    moment = datetime.fromtimestamp(time / 1000, timezone.utc).astimezone().isoformat()
    whole = int(epoch) if epoch is not None and epoch == int(epoch) else epoch
    return {**({} if whole is None else {"epoch": whole}), "step": step, "timestamp": moment}


def _remote(action: str, login: Login, destination: Destination, identity: str) -> dict[str, Any]:
    path = f"/{login.user}/{destination.path(login.user)}"
    return {
        "action": action,
        "timestamp": directories.timestamp(),
        "host": login.url,
        "path": path,
        "id": identity,
    }


@contextlib.contextmanager
def _translated(what: str, destination: Destination) -> Iterator[None]:
    """The server's refusals as the exceptions that the original raised."""
    try:
        yield
    except ConflictError as error:
        raise RuntimeError(f"{what} already exists in Folder {destination.folder}: {error}") from error
    except NotFoundError as error:
        if "folder" in error.message.lower():
            raise ValueError(f"Folder does not exist: {destination.folder}") from error
        raise RuntimeError(str(error)) from error
    except HeadwayError as error:
        raise RuntimeError(f"The upload failed: {error}") from error


@contextlib.contextmanager
def _looked_up(what: str, path: str) -> Iterator[tuple[Client, Login]]:
    try:
        login = session.current()
        with login.client() as client:
            yield client, login
    except (HeadwayError, RuntimeError) as error:
        raise OSError(f"There is no {what} {os.fspath(path)!r}, neither here nor on the server: {error}") from error
