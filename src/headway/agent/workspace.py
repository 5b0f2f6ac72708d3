"""The directories of a replica, and what is in them before its program starts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from headway.agent.client import ServerClient
from headway.agent.files import FileBringer
from headway.agent.interruption import Interruption
from headway.attempts import ReplicaDirectory
from headway.domain.files import FileEntry, check_manifest
from headway.domain.replicas import ReplicaSpec
from headway.domain.workspaces import FilesWorkspace, GitWorkspace
from headway.errors import HeadwayError, RequestError, WorkspaceError
from headway.paths import checked, full_disk_named, open_beneath, private_directory

PARAMETERS_FILE = "params.json"


@dataclass(frozen=True)
class Places:
    """Where a program finds and leaves things."""

    workspace: Path
    working_directory: Path
    model: Path
    output: Path
    literal_model: Path | None = None
    """The absolute ``model_path`` itself, which a program may have written to regardless."""
    inputs: Mapping[str, Path] = field(default_factory=dict)
    """Where each input lies."""
    init_model: Path | None = None
    brought: Mapping[str, str] = field(default_factory=dict)
    """Inputs that came from a URI, and the SHA-256 of what lay there."""


def prepare(spec: ReplicaSpec, directory: ReplicaDirectory, client: ServerClient, interruption: Interruption) -> Places:
    """Bring the workspace and make the directories around it.

    Raises:
        WorkspaceError: With the reason; also once interrupted.
        StorageFullError: The disk is full.
    """
    root = private_directory(directory.workspace)
    with full_disk_named("the workspace"):
        bringer = FileBringer(client, spec.project_id, interruption)
        _bring(spec, directory, bringer, interruption)
        places = _make_places(spec, directory, root)
        if spec.model_files:
            _bring_files(bringer, spec.model_files, places.model)
        if spec.inputs or spec.init_model:
            places = _with_inputs(spec, directory, bringer, interruption, places)
        _write_parameters(spec, root)
    return places


def _bring(spec: ReplicaSpec, directory: ReplicaDirectory, bringer: FileBringer, interruption: Interruption) -> None:
    if isinstance(spec.workspace, FilesWorkspace):
        _bring_files(bringer, spec.workspace.files, directory.workspace)
    elif isinstance(spec.workspace, GitWorkspace):
        from headway.agent.git import GitSource, clone  # only such jobs pay for its import

        scratch = private_directory(directory.path / "git")
        source = GitSource(spec.workspace.url, spec.workspace.ref, spec.workspace_username, spec.workspace_password)
        clone(source, directory.workspace, scratch, interruption)
    elif spec.workspace is not None:
        raise WorkspaceError(f"A workspace of kind {spec.workspace.kind!r} is none that an agent brings.")


def _with_inputs(
    spec: ReplicaSpec, directory: ReplicaDirectory, bringer: FileBringer, interruption: Interruption, places: Places
) -> Places:
    from headway.agent.inputs import InputBringer  # only such jobs pay for its import

    scratch = private_directory(directory.path / "inputs")
    inputs = InputBringer(bringer, scratch, interruption, networks=spec.fetch_networks, max_bytes=spec.workspace_bytes)
    roots = {item.name: _below(places.workspace, f"data/{item.name}") for item in spec.inputs}
    for item in spec.inputs:
        inputs.bring(item, roots[item.name])
    init_model = None
    if spec.init_model is not None:
        init_model = _below(places.workspace, "init_model")
        inputs.bring(spec.init_model, init_model)
    return replace(places, inputs=roots, init_model=init_model, brought=inputs.brought)


def _write_parameters(spec: ReplicaSpec, root: Path) -> None:
    """A job's parameters win over a file of the workspace's own; a program always finds some file."""
    place = f"params/{PARAMETERS_FILE}"
    if spec.parameters or not (root / place).exists():
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(open_beneath(root, place, flags, 0o644), "w", encoding="utf-8") as file:
            file.write(json.dumps(spec.parameters, ensure_ascii=False, indent=1) + "\n")


def _bring_files(bringer: FileBringer, files: Sequence[FileEntry], root: Path) -> None:
    try:
        manifest = check_manifest(files)
    except RequestError as error:
        raise WorkspaceError(f"The workspace's list of files is wrong: {error}") from error
    bringer.bring(manifest, root)


def _make_places(spec: ReplicaSpec, directory: ReplicaDirectory, root: Path) -> Places:
    run = f"run/{spec.run_id}"
    for relative in ("params", "data/train", "data/val", "data/test", "model", f"{run}/output", f"{run}/logs"):
        _below(root, relative)
    model, literal = _model_place(spec, directory, root)
    working_directory = _existing(root, spec.working_directory) if spec.working_directory else root
    return Places(root, working_directory, model, root / run / "output", literal)


def _model_place(spec: ReplicaSpec, directory: ReplicaDirectory, root: Path) -> tuple[Path, Path | None]:
    """The model directory, and the literal path that an absolute ``model_path`` names."""
    if not spec.model_path:
        return root / "model", None
    if spec.model_path.startswith("/"):
        return private_directory(directory.shared_model), Path(spec.model_path)
    return _below(root, _plain(spec.model_path, "model path")), None


def _plain(path: str, what: str) -> str:
    """``./models/x/`` as ``models/x``; ``.`` alone is the workspace itself, which cannot be a model's."""
    try:
        return checked(str(PurePosixPath(path)))
    except HeadwayError as error:
        raise WorkspaceError(f"The {what} {path!r} is not a directory below the workspace.") from error


def _below(root: Path, relative: str) -> Path:
    path = root / relative
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise WorkspaceError(f"{relative!r} is to be a directory, but the workspace has a file there.") from error
    return _contained(root, path, relative)


def _existing(root: Path, relative: str) -> Path:
    path = root / PurePosixPath(relative)
    if not path.is_dir():
        raise WorkspaceError(f"The workspace has no directory {relative!r} to work in.")
    return _contained(root, path, relative)


def _contained(root: Path, path: Path, relative: str) -> Path:
    if not path.resolve().is_relative_to(root.resolve()):
        raise WorkspaceError(f"{relative!r} leads out of the workspace through a symbolic link.")
    return path
