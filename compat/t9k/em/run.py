"""Runs: hyperparameters, metrics, inputs and outputs of one training, in a directory of YAML files."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t9k.em import associations, directories, documents, metrics, surroundings
from t9k.em.params import Params
from t9k.em.strategies import Destination

if TYPE_CHECKING:
    from t9k.em.native import LiveUpload

METADATA, INDEX, HYPERPARAMETERS = "metadata.yaml", "index.yaml", "hyperparameters.yaml"
PLATFORM, GIT, LOG = "platform.yaml", "git.yaml", "stdout.log"
RUNNING, COMPLETE, ERROR = "Running", "Complete", "Error"
CONFIGURABLE = (
    "name",
    "hparams",
    "labels",
    "description",
    "auto_upload",
    "folder",
    "make_folder",
    "conflict_strategy",
)
"""What a configuration file may say."""


class Run:
    """One training. Made by :func:`create_run` or :func:`load_run`."""

    def __init__(self, directory: Path, metadata: dict[str, Any], index: dict[str, Any]) -> None:
        self._directory = directory
        self._metadata = metadata
        self._index = index
        self._lock = threading.RLock()
        self._console: surroundings.StdoutCopy | None = None
        self._live: LiveUpload | None = None
        self.hparams = Params(self._keep_hyperparameters)
        self.hparams.replace(documents.mapping(self._document(HYPERPARAMETERS)))

    def __repr__(self) -> str:
        return f"Run(name={self.name!r}, alternative_name={self.alternative_name!r}, status={self.status!r})"

    @property
    def name(self) -> str:
        return str(self._metadata.get("name") or "")

    @property
    def labels(self) -> list[str]:
        return list(documents.sequence(self._metadata.get("labels")))

    @property
    def description(self) -> str:
        return str(self._metadata.get("description") or "")

    @property
    def start_timestamp(self) -> str:
        return str(self._metadata.get("startTimestamp") or "")

    @property
    def end_timestamp(self) -> str | None:
        return self._metadata.get("endTimestamp")

    @property
    def status(self) -> str:
        """``Running``, ``Complete`` or ``Error``."""
        return str(self._metadata.get("status") or RUNNING)

    @property
    def alternative_name(self) -> str:
        return str(self._metadata.get("alternativeName") or self._directory.name)

    @property
    def associations(self) -> dict[str, list[dict[str, Any]]]:
        """What was marked as ``input`` and ``output``."""
        found = documents.mapping(self._metadata.get("associations"))
        return {side: list(documents.sequence(found.get(side))) for side in ("input", "output")}

    asso = associations

    @property
    def config(self) -> Params:
        """The hyperparameters under the name that Headway's own callbacks know them by."""
        return self.hparams

    @property
    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """Type to entries of ``value`` and ``sequence``, as in the files."""
        files = documents.mapping(self._index.get("metrics"))
        return {kind: metrics.read(self._directory / str(name)) for kind, name in files.items()}

    @property
    def platform(self) -> dict[str, Any]:
        return documents.mapping(self._document(PLATFORM))

    @property
    def git(self) -> dict[str, Any]:
        return documents.mapping(self._document(GIT))

    @property
    def local(self) -> str:
        """The directory."""
        return str(self._directory)

    @property
    def remote(self) -> list[dict[str, Any]]:
        """Where it was uploaded to, oldest first."""
        return list(documents.sequence(self._metadata.get("remote")))

    def log(self, type: str, metrics: Mapping[str, Any], step: int, epoch: int | None = None) -> None:
        """Record metrics.

        Args:
            type: ``train``, ``val``, ``test`` (each with its aliases), or any text of your own.
            metrics: Name to a number, or an array or tensor of one element.
            step: The global step.
            epoch: The epoch, if there is one.

        Raises:
            ValueError: A value is no number, or a name or type cannot be one.
            TypeError: ``metrics`` is no dict.
            RuntimeError: The run is finished.
        """
        if not isinstance(type, str) or not type or "\0" in type:
            raise ValueError(f"A metric type is text: {type!r}")
        entry = _entry(metrics, step, epoch)
        with self._lock:
            self._check_running()
            files = documents.mapping(self._index.setdefault("metrics", {}))
            place = files.get(type) or _file_name(type)
            documents.append(self._directory / place, [entry])
            if type not in files:
                files[type] = place
                documents.write(self._directory / INDEX, self._index)
            if self._live is not None:
                self._live.metrics(type, entry)

    def mark_input(self, r: Any) -> None:
        """Name an artifact (or a model, dataset, branch, tag or commit) as an input. Again changes nothing.

        Raises:
            TypeError: It is none of these.
        """
        self._mark("input", r)

    def mark_output(self, r: Any) -> None:
        """As :meth:`mark_input`, for an output."""
        self._mark("output", r)

    def finish(self) -> None:
        """The training is complete.

        Raises:
            RuntimeError: It was finished before.
        """
        with self._lock:
            self._check_running()
            self._end(COMPLETE)

    def upload(self, folder: str = "default", make_folder: bool = False, conflict_strategy: str = "new") -> None:
        """Send the run, and what it marked, to the server of :func:`t9k.em.login`. Again sends what is new.

        Raises:
            ValueError: The folder does not exist, or the strategy is unknown.
            RuntimeError: Not logged in; the name is taken and the strategy says ``error``; or the server failed.
        """
        from t9k.em.native import upload_run

        with self._lock:
            upload_run(self, Destination(folder, make_folder, conflict_strategy))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            **self._metadata,
            "hyperparameters": self.hparams.as_dict(),
            "metrics": self.metrics,
            "platform": self.platform,
            "git": self.git,
        }

    def parse_from_dict(self, data: dict[str, Any]) -> None:
        """Take what describes the run from what :meth:`to_dict` gave; metrics stay as they are."""
        parts = ("hyperparameters", "metrics", "platform", "git")
        with self._lock:
            self._metadata.update({key: value for key, value in data.items() if key not in parts})
            self.save()
            self.hparams.update(documents.mapping(data.get("hyperparameters")))

    def save(self) -> None:
        """Write the run's own record."""
        documents.write(self._directory / METADATA, self._metadata)

    def note_remote(self, entry: dict[str, Any]) -> None:
        """Remember where it went."""
        self._metadata["remote"] = [*self.remote, entry]
        self.save()

    def begin(self, destination: Destination | None = None) -> None:
        """Go on recording: copy what is printed, follow the run with an upload if one was asked for."""
        self._metadata["status"], self._metadata["endTimestamp"] = RUNNING, None
        self.save()
        if destination is not None:
            from t9k.em.native import LiveUpload

            self._live = LiveUpload(self, destination)
        self._console = surroundings.StdoutCopy(self._directory / LOG)
        _running.add(self)

    def abandon(self) -> None:
        """The program ended without ``finish``."""
        with self._lock:
            if self.status == RUNNING and self._console is not None:
                self._end(ERROR)

    def describe(self) -> None:
        """Write what the run is run on."""
        documents.write(self._directory / PLATFORM, surroundings.platform())
        found = surroundings.git()
        if found:
            documents.write(self._directory / GIT, found)
            self._index["git"] = GIT
        documents.write(self._directory / INDEX, self._index)

    def _end(self, status: str) -> None:
        self._metadata["status"], self._metadata["endTimestamp"] = status, directories.timestamp()
        self.save()
        _running.discard(self)
        if self._console is not None:
            self._console.close()
        if self._live is not None:
            self._live.close()

    def _mark(self, side: str, thing: Any) -> None:
        entry = associations.to_entry(thing)
        with self._lock:
            found = self.associations
            if entry in found[side]:
                return
            found[side].append(entry)
            self._metadata["associations"] = found
            self.save()
            if self._live is not None:
                self._live.mark(side, entry)

    def _keep_hyperparameters(self, values: dict[str, Any]) -> None:
        with self._lock:
            documents.write(self._directory / HYPERPARAMETERS, values)
            if self._live is not None:
                self._live.parameters(values)

    def _check_running(self) -> None:
        if self.status != RUNNING:
            raise RuntimeError(f"The run is finished: its status is {self.status}")

    def _document(self, name: str) -> Any:
        path = self._directory / name
        return documents.read(path) if path.is_file() else None


def create_run(
    config_path: str | os.PathLike[str] | None = None,
    name: str = "default",
    hparams: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    description: str = "",
    auto_upload: bool = False,
    folder: str = "default",
    make_folder: bool = False,
    conflict_strategy: str = "new",
) -> Run:
    """A new run in a directory of its own. What the configuration file says beats the arguments.

    Raises:
        ValueError: The name, folder, strategy or a key of the file is wrong.
        TypeError: A hyperparameter cannot be written as JSON.
        RuntimeError: ``auto_upload`` without a login, or a name that is taken where the strategy says ``error``.
    """
    given: dict[str, Any] = {
        "name": name,
        "hparams": hparams,
        "labels": labels,
        "description": description,
        "auto_upload": auto_upload,
        "folder": folder,
        "make_folder": make_folder,
        "conflict_strategy": conflict_strategy,
    }
    if config_path is not None:
        given.update(_configuration(Path(config_path)))
    directories.check_name(given["name"], "Run")
    destination = _destination(given)
    run = _new_run(given)
    if given["hparams"]:
        run.hparams.update(given["hparams"])
    run.begin(destination)
    return run


def load_run(
    path: str | os.PathLike[str],
    auto_upload: bool = False,
    folder: str = "default",
    make_folder: bool = False,
    conflict_strategy: str = "new",
) -> Run:
    """The run in a local directory, or (after a login) the one of that path or id on the server; it goes on running.

    Raises:
        OSError: There is neither.
        ValueError, RuntimeError: As for :func:`create_run`.
    """
    destination = _destination(
        {
            "auto_upload": auto_upload,
            "folder": folder,
            "make_folder": make_folder,
            "conflict_strategy": conflict_strategy,
        }
    )
    run = open_run(Path(path))
    if run is None:
        from t9k.em.native import download_run

        run = download_run(str(path))
    run.begin(destination)
    return run


def open_run(directory: Path) -> Run | None:
    """The run in ``directory`` as it lies there, or None when there is none."""
    if not (directory / METADATA).is_file():
        return None
    metadata = documents.mapping(documents.read(directory / METADATA))
    if metadata.get("kind", "Run") != "Run":
        return None
    index = directory / INDEX
    return Run(directory.absolute(), metadata, documents.mapping(documents.read(index)) if index.is_file() else {})


def _destination(given: Mapping[str, Any]) -> Destination | None:
    """Where a live upload goes; checked before anything is made."""
    destination = Destination(given["folder"], bool(given["make_folder"]), given["conflict_strategy"])
    if not given["auto_upload"]:
        return None
    from t9k.em import session

    session.current()
    return destination


def _new_run(given: Mapping[str, Any]) -> Run:
    directory = directories.new_directory(directories.runs_directory(), given["name"])
    metadata = {
        "kind": "Run",
        "name": given["name"],
        "labels": list(given["labels"] or ()),
        "description": given["description"] or "",
        "startTimestamp": directories.timestamp(),
        "endTimestamp": None,
        "status": RUNNING,
        "alternativeName": directory.name,
        "associations": {"input": [], "output": []},
        "remote": [],
    }
    index: dict[str, Any] = {"hyperparameters": HYPERPARAMETERS, "metrics": {}, "platform": PLATFORM, "log": LOG}
    run = Run(directory, metadata, index)
    documents.write(directory / HYPERPARAMETERS, {})
    run.save()
    run.describe()
    return run


def _configuration(path: Path) -> dict[str, Any]:
    found = documents.mapping(documents.read(path))
    for key in found:
        if key not in CONFIGURABLE:
            raise ValueError(f"Unknown arg provided by config file: '{key}'")
    return found


_entry, _file_name = metrics.entry, metrics.file_name

_running: set[Run] = set()


@atexit.register
def _abandon_all() -> None:
    for run in list(_running):
        run.abandon()
