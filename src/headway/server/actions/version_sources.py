"""The files of a source that the server holds already, for a model version that is made of them without their being sent.

===================================  ===============================================================================
``runs:/<run>/<path>``               what the run's job left below ``path``: files of its output directory, and below
                                     ``model/`` those of its model; a path that is a file is that file
``artifact:<name>:<version>``        the files of an artifact version; an alias is recorded as the version it means
``s3://<bucket>/<prefix>``           the objects below a prefix, or one object
===================================  ===============================================================================

Nothing is locked here: whoever registers the files holds their blobs, and is refused what is gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from headway.domain.artifacts import ArtifactEntry, ArtifactVersion
from headway.domain.files import FileEntry
from headway.domain.lineage import Node, NodeKind
from headway.domain.projects import Project
from headway.domain.runs import Run
from headway.errors import InvalidRequestError, NotFoundError
from headway.server.actions import artifacts, manifests, objects
from headway.server.actions.lookup import find_job, find_run
from headway.server.context import Caller, Platform
from headway.storage.base import Session

MAX_FILES = 100_000
RUNS, ARTIFACT, OBJECTS = "runs:/", "artifact:", "s3://"
MODEL = "model/"
"""Below it a run shows the files of its model, as of a job that failed."""


@dataclass(frozen=True)
class Source:
    """Files, what they were exactly, and what made them."""

    uri: str
    files: tuple[FileEntry, ...]
    run: Run | None = None
    made_of: Node | None = None
    """What lineage shows as copied, where it is nothing that the run left."""


def external(uri: str) -> Node:
    """Something that has no record of its own, by its address."""
    return Node(kind=NodeKind.EXTERNAL, id=uri[:1024], label=uri[:256])


def read_source(platform: Platform, caller: Caller, project: Project, uri: str) -> Source:
    """What ``uri`` names in ``project``.

    Raises:
        InvalidRequestError: It is no source, or nothing that could be a model's files, with the reason.
        NotFoundError: There is no such thing.
    """
    for scheme, read in _READERS.items():
        if uri.startswith(scheme):
            found = read(platform, caller, project, uri)
            if not found.files:
                raise InvalidRequestError(f"{uri!r} holds no file.")
            if len(found.files) > MAX_FILES:
                raise InvalidRequestError(f"{uri!r} holds more than {MAX_FILES} files.")
            return found
    raise InvalidRequestError(
        f"The server cannot make a model version of {uri!r}.",
        hint="Use runs:/<run>/<path>, artifact:<name>:<version> or s3://bucket/prefix, or send the files.",
    )


def _of_run(platform: Platform, caller: Caller, project: Project, uri: str) -> Source:
    run_id, _, path = uri.removeprefix(RUNS).partition("/")
    with platform.storage.read() as session:
        run = find_run(session, caller, run_id)
        if run.project_id != project.id:
            raise NotFoundError(f"There is no run {run_id!r} in this project.")
        files = _left_by(session, caller, run)
    path = path.strip("/")
    chosen = _below(files, path)
    if not chosen:
        names = ", ".join(repr(entry.path) for entry in files[:5])
        hint = f"It left {names}{' …' if len(files) > 5 else ''}." if files else None
        raise NotFoundError(f"The run {run_id!r} left no file below {path!r}.", hint=hint)
    return Source(f"{RUNS}{run.id}/{path}", chosen, run)


def _left_by(session: Session, caller: Caller, run: Run) -> list[FileEntry]:
    """Outputs of the run's job and the files of its model."""
    if run.job_id is None:
        raise InvalidRequestError(
            f"The run {run.id!r} has no job, so the server has no output files of it.",
            hint="Register an artifact that it logged: artifact:<name>:<version>.",
        )
    job = find_job(session, caller, run.job_id)
    found = {entry.path: entry for entry in job.outputs}
    version = None if job.model_version_id is None else session.model_versions.find(job.model_version_id)
    for entry in () if version is None else version.files:
        found.setdefault(MODEL + entry.path, entry.model_copy(update={"path": MODEL + entry.path}))
    return [found[path] for path in sorted(found)]


def _below(files: Iterable[FileEntry], path: str) -> tuple[FileEntry, ...]:
    """``files`` below a directory, named from there; the file itself where ``path`` is one."""
    if not path:
        return tuple(files)
    found = []
    for entry in files:
        if entry.path == path:
            return (entry.model_copy(update={"path": path.rpartition("/")[2]}),)
        if entry.path.startswith(f"{path}/"):
            found.append(entry.model_copy(update={"path": entry.path[len(path) + 1 :]}))
    return tuple(found)


def _of_artifact(platform: Platform, caller: Caller, project: Project, uri: str) -> Source:
    with platform.storage.read() as session:
        version = artifacts.resolve_version(session, caller, uri, project.id)
        if version.project_id != project.id:
            raise NotFoundError(f"There is no artifact {uri!r} in this project.")
        run = None if version.run_id is None else session.runs.find(version.run_id)
    if version.entries > MAX_FILES:
        raise InvalidRequestError(f"{version.uri} holds more than {MAX_FILES} files.")
    entries = [ArtifactEntry.model_validate_json(line) for line in manifests.lines(platform, version.manifest)]
    made_of = Node(kind=NodeKind.ARTIFACT_VERSION, id=version.id, label=f"{version.name}:v{version.version}")
    return Source(version.uri, tuple(_file(version, entry) for entry in entries), run, made_of)


def _file(version: ArtifactVersion, entry: ArtifactEntry) -> FileEntry:
    if entry.digest is None or entry.size is None:
        raise InvalidRequestError(
            f"{entry.path!r} of {version.uri} is a reference to {entry.uri!r}: its bytes are not kept here.",
            hint="Upload the files themselves, or register a version of the artifact without references.",
        )
    return FileEntry(path=entry.path, digest=entry.digest, size=entry.size, executable=entry.executable)


def _of_objects(platform: Platform, _caller: Caller, project: Project, uri: str) -> Source:
    with platform.storage.read() as session:
        return Source(uri, tuple(objects.manifest(session, project.id, uri)), made_of=external(uri))


_READERS: Mapping[str, Callable[[Platform, Caller, Project, str], Source]] = {
    RUNS: _of_run,
    ARTIFACT: _of_artifact,
    OBJECTS: _of_objects,
}
