"""What a source means: which files, exactly, and where they came from.

=========================================  =========================================================================
``artifact:<name>:<version or alias>``     the files and references of an artifact version
``models:/<name>/<version>``, ``…@alias``  the files of a model version
``runs:/<run>/<path>``                     what the run's job left below a path
``s3://<bucket>/<prefix>``                 the objects below a prefix, or one object
``https://…``                              one file, brought where it is needed
=========================================  =========================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from headway import fetch
from headway.domain.artifacts import ArtifactEntry, manifest_line
from headway.domain.files import FileEntry, manifest_digest
from headway.domain.lineage import NodeKind
from headway.domain.projects import Project
from headway.domain.redaction import redact_url
from headway.domain.sources import ARTIFACT, HTTPS, MODELS, OBJECTS, RUNS, source_hint
from headway.errors import InvalidRequestError, NotFoundError
from headway.server.actions import artifacts, objects, version_sources
from headway.server.actions.lookup import resolve_version
from headway.server.context import Caller, Platform


@dataclass(frozen=True)
class Resolved:
    """What a source meant at one moment."""

    uri: str
    """The same thing for ever: an alias is the number that it named."""
    kind: NodeKind
    node_id: str
    label: str
    digest: str | None = None
    manifest: str | None = None
    """Of an artifact: the stored list of its files."""
    files: tuple[FileEntry, ...] = ()
    """Of all else that the server holds."""


def resolve(platform: Platform, caller: Caller, project: Project, source: str) -> Resolved:
    """What ``source`` means in ``project`` now. Opens sessions of its own and locks nothing: whoever keeps the answer looks
    whether everything is still there.

    Raises:
        InvalidRequestError: It has no known form.
        NotFoundError: There is no such thing, with a suggestion.
    """
    for scheme, reader in _READERS.items():
        if source.startswith(scheme):
            return reader(platform, caller, project, source)
    raise InvalidRequestError(f"{source!r} is no source of files.", hint=source_hint(source))


def _artifact(platform: Platform, caller: Caller, project: Project, source: str) -> Resolved:
    with platform.storage.read() as session:
        version = artifacts.resolve_version(session, caller, source, project.id)
        folder = session.artifacts.get(version.artifact_id).folder
    if version.project_id != project.id:
        raise NotFoundError(f"There is no artifact {source!r} in this project.")
    name = f"{folder}/{version.name}" if folder else version.name
    return Resolved(
        uri=f"{ARTIFACT}{name}:v{version.version}",
        kind=NodeKind.ARTIFACT_VERSION,
        node_id=version.id,
        label=f"{version.name}:v{version.version}",
        digest=version.digest,
        manifest=version.manifest,
    )


def _model(platform: Platform, caller: Caller, project: Project, source: str) -> Resolved:
    with platform.storage.read() as session:
        version = resolve_version(session, caller, source, project.id)
    if version.project_id != project.id:
        raise NotFoundError(f"There is no model {source!r} in this project.")
    return Resolved(
        uri=version.uri,
        kind=NodeKind.MODEL_VERSION,
        node_id=version.id,
        label=f"{version.name}:v{version.version}",
        digest=version.digest,
        files=version.files,
    )


def _left_by_run(platform: Platform, caller: Caller, project: Project, source: str) -> Resolved:
    found = version_sources.read_source(platform, caller, project, source)
    assert found.run is not None
    digest = manifest_digest(found.files)
    return Resolved(found.uri, NodeKind.RUN, found.run.id, found.run.name, digest, files=found.files)


def _objects(platform: Platform, _caller: Caller, project: Project, source: str) -> Resolved:
    with platform.storage.read() as session:
        files = tuple(objects.manifest(session, project.id, source))
    return _external(source, manifest_digest(files), files)


def _address(_platform: Platform, _caller: Caller, _project: Project, source: str) -> Resolved:
    fetch.check_url(source)
    return _external(redact_url(source))


def _external(uri: str, digest: str | None = None, files: tuple[FileEntry, ...] = ()) -> Resolved:
    return Resolved(uri, NodeKind.EXTERNAL, *external_node(uri, digest), digest, files=files)


def external_node(uri: str, digest: str | None) -> tuple[str, str]:
    """Id and label of what no record stands for; where the content is known, another content is another node.

    >>> external_node("s3://data/iris", "8c7d5dd058103f2a")
    ('s3://data/iris#sha256=8c7d5dd058103f2a', 's3://data/iris (8c7d5dd05810)')
    """
    if digest is None:
        return uri[:1024], uri[:256]
    return f"{uri[:900]}#sha256={digest}", f"{uri[:240]} ({digest[:12]})"


_READERS: Mapping[str, Callable[[Platform, Caller, Project, str], Resolved]] = {
    ARTIFACT: _artifact,
    MODELS: _model,
    RUNS: _left_by_run,
    OBJECTS: _objects,
    HTTPS: _address,
}


def write_manifest(platform: Platform, files: Iterable[FileEntry]) -> tuple[str, int]:
    """Digest and size of the blob that lists ``files``, stored; the project does not hold it yet."""
    ordered = sorted(files, key=lambda entry: entry.path)
    lines = [manifest_line(ArtifactEntry.model_validate(dict(entry))) for entry in ordered]
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    return digest, platform.blobs.put(digest, lines)
