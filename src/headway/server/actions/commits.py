"""Commits: the last step of an upload, which makes a version of an artifact."""

from __future__ import annotations

import re

from headway.domain.artifacts import (
    Artifact,
    ArtifactCommit,
    ArtifactCommitted,
    ArtifactVersion,
    CommitOutcome,
)
from headway.domain.base import PageRequest, new_id, now
from headway.domain.folders import ConflictStrategy
from headway.domain.lineage import Link, NodeKind, Relation
from headway.domain.runs import Run
from headway.domain.users import Permission
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.server.actions import folders, manifests
from headway.server.actions.artifacts import check_alias, erase, newest
from headway.server.actions.lookup import find_project, find_run
from headway.server.actions.manifests import Summary
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session

WAS_THERE = (CommitOutcome.FOUND, CommitOutcome.SKIPPED)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


def commit(platform: Platform, caller: Caller, request: ArtifactCommit) -> ArtifactCommitted:
    """Make a version of an artifact from a manifest and files that were uploaded before.

    Raises:
        InvalidRequestError: The manifest is wrong, or names files that the project does not hold
            (``details["missing"]``).
        ConflictError: Something else has the name, and the strategy is ``error``.
        NotFoundError: No such project, folder or run.
    """
    _check_names(request)
    with platform.storage.read() as session:
        project = find_project(session, caller, request.project, Permission.WRITE)
        if not session.blobs.has(project.id, request.manifest):
            raise _without_manifest(request)
    try:
        summary = manifests.summarise(platform, request.manifest)
    except NotFoundError:  # collected as garbage in between
        raise _without_manifest(request) from None
    with platform.storage.write() as session:
        project = find_project(session, caller, request.project, Permission.WRITE)
        maker = _find_run(session, caller, project.id, request.run)
        user = _find_run(session, caller, project.id, request.input_of)
        folders.place(session, project.id, request.folder, make=request.make_folder)
        draft = _Draft(session, caller, project.id, request, summary)
        version, outcome = draft.place(None if maker is None else maker.job_id)
        if outcome is not CommitOutcome.SKIPPED:
            _link(session, version, maker, Relation.OUTPUT)
            _link(session, version, user, Relation.INPUT)
        answer = ArtifactCommitted(**dict(version), outcome=outcome)
        caller.remember(session, answer, 200 if outcome in WAS_THERE else 201)
        # Last, so that the moment that garbage collection looks at is that of the commit.
        _hold(session, project.id, request.manifest, summary)
        return answer


def _without_manifest(request: ArtifactCommit) -> InvalidRequestError:
    return InvalidRequestError(
        "The manifest was not uploaded.", hint="Send it first.", details={"missing": [request.manifest]}
    )


def _hold(session: Session, project_id: str, manifest: str, summary: Summary) -> None:
    """Say that the files are in use. InvalidRequestError when the project lacks some."""
    absent = list(session.blobs.hold(project_id, [manifest], now()))
    for digests in summary.batches():
        absent += session.blobs.hold(project_id, digests, now())
    if absent:
        raise InvalidRequestError(
            f"{len(absent)} file(s) of the manifest were not uploaded: {absent[0]}, …",
            hint="Send them, and commit again.",
            details={"missing": absent[:10_000]},
        )


def _check_names(request: ArtifactCommit) -> None:
    for name in (request.name, request.alternative_name):
        if name is not None and not _NAME.fullmatch(name):
            raise InvalidRequestError(
                f"{name!r} cannot name an artifact.", hint="Use letters, digits and _ . - between them."
            )
    for alias in request.aliases:
        check_alias(alias)


def _find_run(session: Session, caller: Caller, project_id: str, run_id: str | None) -> Run | None:
    if run_id is None:
        return None
    run = find_run(session, caller, run_id, Permission.WRITE)
    if run.project_id != project_id:
        raise NotFoundError(f"There is no run {run_id!r} in this project.")
    return run


def _link(session: Session, version: ArtifactVersion, run: Run | None, relation: Relation) -> None:
    if run is not None:
        link = Link(
            project_id=version.project_id,
            run_id=run.id,
            kind=NodeKind.ARTIFACT_VERSION,
            other_id=version.id,
            relation=relation,
            label=f"{version.name}:v{version.version}",
            created_at=now(),
        )
        session.links.put(link)


class _Draft:
    """A commit on its way to its place."""

    def __init__(
        self, session: Session, caller: Caller, project_id: str, request: ArtifactCommit, summary: Summary
    ) -> None:
        self._session, self._caller, self._project_id = session, caller, project_id
        self._request, self._summary = request, summary

    def place(self, job_id: str | None) -> tuple[ArtifactVersion, CommitOutcome]:
        """The version that it is now, and what was done for that."""
        artifact, outcome = self._artifact()
        if outcome is CommitOutcome.SKIPPED:
            return newest(self._session, artifact), outcome
        version = self._session.artifact_versions.by_content(artifact.id, self._summary.digest)
        if version is not None:
            outcome = CommitOutcome.FOUND
        else:
            artifact, version = self._add_version(artifact, job_id)
        aliases = {**artifact.aliases, **dict.fromkeys(self._request.aliases, version.version)}
        if aliases != artifact.aliases:
            self._session.artifacts.put(artifact.evolve(aliases=aliases))
        return version, outcome

    def _artifact(self) -> tuple[Artifact, CommitOutcome]:
        request, strategy = self._request, self._request.conflict_strategy
        found = self._session.artifacts.by_name(self._project_id, request.folder, request.name)
        if found is None:
            return self._add_artifact(request.name), CommitOutcome.CREATED
        if strategy is None or self._is_same(found):
            return found, CommitOutcome.CREATED
        if strategy is ConflictStrategy.SKIP:
            return found, CommitOutcome.SKIPPED
        if strategy is ConflictStrategy.NEW:
            return self._renamed(), CommitOutcome.RENAMED
        if strategy is ConflictStrategy.REPLACE:
            erase(self._session, found)
            return self._add_artifact(request.name), CommitOutcome.REPLACED
        where = f"the folder {request.folder!r}" if request.folder else "the project"
        raise ConflictError(
            f"There is another artifact named {request.name!r} in {where}.",
            hint="Choose another name, or another conflict strategy.",
            details={"artifact": found.id},
        )

    def _is_same(self, found: Artifact) -> bool:
        """Whether what has the name is this very artifact: by its alternative name, or by content."""
        versions = self._session.artifact_versions
        if versions.by_content(found.id, self._summary.digest) is not None:
            return True
        newest_page = versions.list(PageRequest(limit=1), artifact_id=found.id).items
        if not newest_page:
            return True
        own = self._request.alternative_name
        return own is not None and newest_page[0].alternative_name == own

    def _renamed(self) -> Artifact:
        name = self._request.alternative_name or f"{self._request.name}_{now():%y%m%d_%H%M%S}_{new_id('')[:6]}"
        found = self._session.artifacts.by_name(self._project_id, self._request.folder, name)
        return found or self._add_artifact(name)

    def _add_artifact(self, name: str) -> Artifact:
        artifact = Artifact(
            id=new_id("art"),
            project_id=self._project_id,
            name=name,
            type=self._request.type,
            folder=self._request.folder,
            description=self._request.description,
            created_at=now(),
        )
        self._session.artifacts.add(artifact)
        return artifact

    def _add_version(self, artifact: Artifact, job_id: str | None) -> tuple[Artifact, ArtifactVersion]:
        request, summary = self._request, self._summary
        artifact = artifact.evolve(latest_version=artifact.latest_version + 1)
        version = ArtifactVersion(
            id=new_id("av"),
            artifact_id=artifact.id,
            project_id=self._project_id,
            name=artifact.name,
            version=artifact.latest_version,
            type=request.type,
            digest=summary.digest,
            manifest=request.manifest,
            entries=summary.entries,
            size=summary.size,
            alternative_name=request.alternative_name,
            labels=request.labels,
            description=request.description,
            metadata=request.metadata,
            run_id=request.run,
            job_id=job_id,
            created_at=now(),
            created_by=self._caller.user.id,
        )
        self._session.artifact_versions.add(version)
        self._session.artifacts.put(artifact)
        message = f"{version.uri}: {version.entries} entries, {version.size} bytes"
        names = {"artifact": artifact.id, "name": artifact.name, "version": version.version}
        record(
            self._session,
            "artifact.version_committed",
            version.id,
            project_id=self._project_id,
            actor=self._caller.user.id,
            message=message,
            **names,
        )
        return artifact, version
