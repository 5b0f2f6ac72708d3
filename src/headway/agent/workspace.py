"""The directories of a replica, and what is in them before its program starts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from headway.agent.client import ServerClient, persist
from headway.agent.interruption import Interruption
from headway.attempts import ReplicaDirectory
from headway.domain.files import FileEntry, check_manifest
from headway.domain.replicas import ReplicaSpec
from headway.domain.workspaces import FilesWorkspace, GitWorkspace
from headway.errors import CorruptDataError, HeadwayError, RequestError, WorkspaceError
from headway.paths import checked, full_disk_named, open_beneath, private_directory

CHUNK = 1024 * 1024
PATIENCE_SECONDS = 24 * 3600.0
"""How long files are waited for while the server is away."""


@dataclass(frozen=True)
class Places:
    """Where a program finds and leaves things."""

    workspace: Path
    working_directory: Path
    model: Path
    output: Path
    literal_model: Path | None = None
    """The absolute ``model_path`` itself, which a program may have written to regardless."""


def prepare(spec: ReplicaSpec, directory: ReplicaDirectory, client: ServerClient, interruption: Interruption) -> Places:
    """Bring the workspace and make the directories around it.

    Raises:
        WorkspaceError: With the reason; also once interrupted.
        StorageFullError: The disk is full.
    """
    root = private_directory(directory.workspace)
    with full_disk_named("the workspace"):
        _bring(spec, directory, client, interruption)
        places = _make_places(spec, directory, root)
        if spec.model_files:
            fetch_files(client, spec.project_id, spec.model_files, places.model, interruption)
    return places


def _bring(spec: ReplicaSpec, directory: ReplicaDirectory, client: ServerClient, interruption: Interruption) -> None:
    if isinstance(spec.workspace, FilesWorkspace):
        fetch_files(client, spec.project_id, spec.workspace.files, directory.workspace, interruption)
    elif isinstance(spec.workspace, GitWorkspace):
        from headway.agent.git import GitSource, clone  # only such jobs pay for its import

        scratch = private_directory(directory.path / "git")
        source = GitSource(spec.workspace.url, spec.workspace.ref, spec.workspace_username, spec.workspace_password)
        clone(source, directory.workspace, scratch, interruption)


def fetch_files(
    client: ServerClient,
    project_id: str,
    files: Sequence[FileEntry],
    root: Path,
    interruption: Interruption,
) -> None:
    """Write the blobs of a manifest below ``root``, each verified against its digest and size.

    Raises:
        WorkspaceError: A blob is not there or a name is not a plain path; also once interrupted.
    """
    try:
        manifest = check_manifest(files)
    except RequestError as error:
        raise WorkspaceError(f"The workspace's list of files is wrong: {error}") from error
    for entry in manifest:
        interruption.check()
        try:
            persist(
                lambda entry=entry: _fetch(client, project_id, entry, root),  # type: ignore[misc]
                give_up=interruption.event,
                seconds=PATIENCE_SECONDS,
            )
        except (RequestError, CorruptDataError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise WorkspaceError(f"The file {entry.path!r} could not be brought: {error}") from error


def _fetch(client: ServerClient, project_id: str, entry: FileEntry, root: Path) -> None:
    mode = 0o755 if entry.executable else 0o644
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(open_beneath(root, entry.path, flags, mode, parents=True), "wb") as file:
        digest, size = hashlib.sha256(), 0
        if entry.size:
            with client.receive(f"/api/v1/projects/{project_id}/blobs/{entry.digest}") as response:
                while part := response.read(CHUNK):
                    size += len(part)
                    if size > entry.size:
                        break
                    digest.update(part)
                    file.write(part)
    if size != entry.size or digest.hexdigest() != entry.digest:
        raise CorruptDataError(f"The server sent something else than the {entry.size} bytes {entry.digest[:12]}….")


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
