"""client.artifacts: named, versioned sets of files and references."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headway.domain.artifacts import (
    Artifact,
    ArtifactAliasSet,
    ArtifactCommit,
    ArtifactCommitted,
    ArtifactEntry,
    ArtifactVersion,
    CommitOutcome,
    artifact_digest,
)
from headway.domain.base import Record, parse_request
from headway.domain.files import FileEntry
from headway.domain.folders import ConflictStrategy
from headway.errors import ConflictError, CorruptDataError, InvalidRequestError, NotFoundError
from headway.sdk import manifests
from headway.sdk.downloads import Download, make_root
from headway.sdk.progress import progress_bar
from headway.sdk.resources.base import Resource
from headway.sdk.resources.blobs import Blobs
from headway.sdk.session import segment
from headway.sdk.transport import Response
from headway.sdk.trees import check_regular, read_tree, version_of
from headway.sdk.uploads import LocalFile, digest_of, local_file, upload

VERSIONS = "/api/v1/artifact-versions"
ENTRIES_AT_ONCE = 1000
_PLACEHOLDER = "0" * 64

Source = str | os.PathLike[str] | Mapping[str, "str | os.PathLike[str]"] | Sequence[LocalFile]


class Verification(Record):
    """What a look at every file of a version found."""

    version: str
    checked: int = 0
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    """Files whose content is not what the version says."""
    unknown: tuple[str, ...] = ()
    """Files of a local folder that the version does not have."""

    @property
    def ok(self) -> bool:
        return not (self.missing or self.damaged or self.unknown)


@dataclass(frozen=True)
class _Content:
    """What an upload is made of."""

    files: Sequence[LocalFile]
    entries: Sequence[ArtifactEntry]

    @property
    def digest(self) -> str:
        return artifact_digest(self.entries)


class Artifacts(Resource):
    path = "/api/v1/artifacts"
    noun = "artifact"

    def upload(
        self,
        name: str,
        source: Source = (),
        *,
        references: Mapping[str, str] | None = None,
        project: str | None = None,
        **fields: Any,
    ) -> ArtifactCommitted:
        """Make a version of an artifact from local files; the same content again gives the version that is there.

        Args:
            name: The artifact's name; it is made when it is new.
            source: A folder (its content is the artifact's), a file, or a mapping of paths in the artifact to files.
            references: Paths in the artifact to URIs that are kept as they are.
            project: Id or name; the client's own without it.
            fields: ``type``, ``folder``, ``make_folder``, ``conflict_strategy``, ``aliases``, ``labels``,
                ``description``, ``metadata``, ``run``, ``alternative_name``; see
                :class:`headway.domain.artifacts.ArtifactCommit`.

        Raises:
            InvalidRequestError: Something about the files or fields is wrong; nothing was sent.
            ConflictError: Something else has the name, and the strategy is ``error``.
            WorkspaceError: A file changed while it was sent; nothing was committed.
        """
        values = {"project": self._project(project), "name": name, "manifest": _PLACEHOLDER, **fields}
        request = parse_request(ArtifactCommit, values, what="The artifact")
        content = _read_content(source, references or {})
        decided = self._decided(request, content)
        if decided is not None:
            return decided
        with manifests.written(content.entries) as manifest:
            request = request.model_copy(update={"manifest": manifest.entry.digest})
            files = [*content.files, manifest]
            self._send(files, request.project)
            try:
                return self._commit(request)
            except InvalidRequestError as error:
                if "missing" not in error.details:
                    raise
            # What the server had was removed between the question and the commit: now it is sent again.
            self._send(files, request.project)
            return self._commit(request)

    def _send(self, files: Sequence[LocalFile], project: str) -> None:
        upload(Blobs(self._session), files, project=project)

    def _commit(self, request: ArtifactCommit) -> ArtifactCommitted:
        return self._session.create(ArtifactCommitted, VERSIONS, request)

    def _decided(self, request: ArtifactCommit, content: _Content) -> ArtifactCommitted | None:
        """The answer where the strategy says so before a byte is sent. The server decides again at the commit."""
        if request.conflict_strategy not in (ConflictStrategy.SKIP, ConflictStrategy.ERROR):
            return None
        query = {"project": request.project, "folder": request.folder, "name": request.name}
        found = next(self._session.pages(Artifact, self.path, query, 1), None)
        if found is None:
            return None
        versions = list(self.versions(found.id, project=request.project))
        own = request.alternative_name
        if not versions or (own is not None and versions[0].alternative_name == own):
            return None
        if any(version.digest == content.digest for version in versions):
            return None
        if request.conflict_strategy is ConflictStrategy.SKIP:
            return ArtifactCommitted(**dict(versions[0]), outcome=CommitOutcome.SKIPPED)
        where = f"the folder {request.folder!r}" if request.folder else "the project"
        raise ConflictError(
            f"There is another artifact named {request.name!r} in {where}.",
            hint="Choose another name, or another conflict strategy.",
            details={"artifact": found.id},
        )

    def get(self, artifact: str, *, project: str | None = None) -> Artifact:
        """By id, or by name (with its folder before it, where several have that name) within a project."""
        if "/" not in artifact:
            return self._get_named(Artifact, artifact, project)
        folder, _, name = artifact.strip("/").rpartition("/")
        query = {"project": self._project(project), "folder": folder, "name": name}
        for found in self._session.pages(Artifact, self.path, query, 1):
            return found
        raise NotFoundError(f"There is no artifact {artifact!r}.")

    def list(
        self,
        *,
        project: str | None = None,
        folder: str | None = None,
        name: str | None = None,
        type: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Artifact]:
        """Artifacts, newest first."""
        query = {"project": self._scope(project), "folder": folder, "name": name, "type": type}
        return self._session.pages(Artifact, self.path, query, limit)

    def versions(
        self,
        artifact: str | None = None,
        *,
        project: str | None = None,
        run: str | None = None,
        limit: int | None = None,
    ) -> Iterator[ArtifactVersion]:
        """Versions, newest first: of one artifact (id or name), of what one run made, or all."""
        query = {"project": self._scope(project), "artifact": artifact, "run": run}
        return self._session.pages(ArtifactVersion, VERSIONS, query, limit)

    def resolve(self, reference: str, *, project: str | None = None) -> ArtifactVersion:
        """One version: its id, ``name``, ``name:v3``, ``name:latest`` or ``name:alias``, with ``artifact:`` before it or
        not.
        """
        if not isinstance(reference, str) or not reference:
            raise InvalidRequestError(f"An artifact version needs a name or an id, not {reference!r}.")
        if self._scope(project) is None and ":" not in reference:
            return self._session.get(ArtifactVersion, self._version_address(reference))
        query = {"project": self._project(project), "ref": reference}
        return self._session.get(ArtifactVersion, f"{VERSIONS}/resolve", query)

    def entries(self, version: str | ArtifactVersion, *, project: str | None = None) -> Iterator[ArtifactEntry]:
        """Files and references of a version, by path."""
        found = self._found(version, project)
        address, cursor = f"{self._version_address(found.id)}/entries", None
        while True:
            query = {"limit": ENTRIES_AT_ONCE, "cursor": cursor}
            answer = self._session.call("GET", address, query=query)
            page = _EntryPage.model_validate(answer)
            yield from page.items
            if page.next_cursor is None or page.next_cursor == cursor:
                return
            cursor = page.next_cursor

    def open(self, version: str | ArtifactVersion, path: str, *, project: str | None = None) -> Response:
        """The content of one file as it comes; the caller closes it. Nothing is checked."""
        found = self._found(version, project)
        address = f"{self._version_address(found.id)}/files/{quote(path)}"
        return self._session.open("GET", address, headers={"Accept": "*/*"})

    def download(
        self, version: str | ArtifactVersion, directory: str | os.PathLike[str], *, project: str | None = None
    ) -> Sequence[Path]:
        """Bring the files of a version into ``directory``, their contents checked; where they lie now, by path.

        Files that are there with the same content are left alone, and a download that was interrupted goes on. References
        are not followed. Files of other names stay.

        Raises:
            InvalidRequestError: A symbolic link lies where something would be written.
            CorruptDataError: The server sent something else than the version says; nothing of that is kept.
        """
        found = self._found(version, project)
        blobs = Blobs(self._session)
        with manifests.fetched(blobs, found) as manifest:
            manifest.check()
            root = make_root(Path(directory))
            with progress_bar("Downloading", found.size) as advance:
                reader = manifests.BlobReader(blobs, found.project_id)
                Download(root, reader, advance).bring_all(manifest.files())
            return [root / entry.path for entry in manifest.files()]

    def verify(
        self,
        version: str | ArtifactVersion,
        directory: str | os.PathLike[str] | None = None,
        *,
        project: str | None = None,
    ) -> Verification:
        """Digest every file of a version anew: what the server sends, or what lies in ``directory``."""
        found = self._found(version, project)
        blobs = Blobs(self._session)
        with manifests.fetched(blobs, found) as manifest:
            manifest.check()
            if directory is not None:
                return _verify_folder(found, manifest.files(), Path(directory))
            with progress_bar("Verifying", found.size) as advance:
                return _verify_stored(found, manifest.files(), blobs, advance)

    def set_alias(self, artifact: str, alias: str, version: int, *, project: str | None = None) -> Artifact:
        """Let ``alias`` name a version; it moves there if it named another."""
        request = parse_request(ArtifactAliasSet, {"version": version})
        return self._session.act(Artifact, "PUT", self._alias(artifact, alias, project), body=request)

    def delete_alias(self, artifact: str, alias: str, *, project: str | None = None) -> None:
        """Forget an alias; the version stays."""
        self._session.call("DELETE", self._alias(artifact, alias, project))

    def delete(self, artifact: str, *, project: str | None = None) -> None:
        """Delete an artifact with all its versions; a garbage collection gives back their space."""
        self._session.call("DELETE", self._address(self.get(artifact, project=project).id))

    def delete_version(self, reference: str, *, project: str | None = None) -> None:
        """Delete one version."""
        found = self.resolve(reference, project=project)
        self._session.call("DELETE", self._version_address(found.id))

    def _found(self, version: str | ArtifactVersion, project: str | None) -> ArtifactVersion:
        return version if isinstance(version, ArtifactVersion) else self.resolve(version, project=project)

    def _version_address(self, version: str) -> str:
        return f"{VERSIONS}/{segment(version, 'an artifact version')}"

    def _alias(self, artifact: str, alias: str, project: str | None) -> str:
        return self._address(self.get(artifact, project=project).id, "aliases", segment(alias, "an alias"))


class _EntryPage(Record):
    items: tuple[ArtifactEntry, ...]
    next_cursor: str | None = None


def _read_content(source: Source, references: Mapping[str, str]) -> _Content:
    """Every file digested, every path checked, before anything is sent."""
    files = [*_local_files(source)]
    entries = [manifests.file_entry(file.entry) for file in files] + manifests.reference_entries(references)
    return _Content(files, manifests.ordered(entries))


def _local_files(source: Source) -> Iterable[LocalFile]:
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        named = list(read_tree(path)) if path.is_dir() else [(path, path.name)]
    elif isinstance(source, Mapping):
        named = [(Path(path), name) for name, path in source.items()]
    else:
        return source
    return [regular_file(path, name) for path, name in named]


def regular_file(path: Path, name: str) -> LocalFile:
    """A file digested, to be called ``name``; InvalidRequestError when it is none, or changed while it was read."""
    before = check_regular(path)
    found = local_file(path, name)
    if version_of(path) != before or found.entry.size != before[0]:
        raise ConflictError(
            f"The file {str(path)!r} was changed while it was read.", hint="Try again once nothing writes to it."
        )
    return found


def _verify_stored(version: ArtifactVersion, files: Iterator[FileEntry], blobs: Blobs, advance: Any) -> Verification:
    missing, damaged, checked = [], [], 0
    for entry in files:
        checked += 1
        try:
            if manifests.content_digest(blobs, entry, version.project_id) != entry.digest:
                damaged.append(entry.path)
        except NotFoundError:
            missing.append(entry.path)
        except CorruptDataError:
            damaged.append(entry.path)
        advance(entry.size)
    return Verification(version=version.uri, checked=checked, missing=tuple(missing), damaged=tuple(damaged))


def _verify_folder(version: ArtifactVersion, files: Iterator[FileEntry], folder: Path) -> Verification:
    present = {name: path for path, name in read_tree(folder)}
    missing, damaged, checked = [], [], 0
    for entry in files:
        checked += 1
        path = present.pop(entry.path, None)
        if path is None:
            missing.append(entry.path)
            continue
        with path.open("rb") as file:
            if digest_of(file) != (entry.digest, entry.size):
                damaged.append(entry.path)
    return Verification(
        version=version.uri,
        checked=checked,
        missing=tuple(missing),
        damaged=tuple(damaged),
        unknown=tuple(sorted(present)),
    )
