"""Making versions of models: of uploaded files, of what the server holds already, and of what a job left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headway.domain.base import Record, new_id, now
from headway.domain.files import FileEntry, check_manifest, manifest_digest
from headway.domain.lineage import Link, Node, Relation
from headway.domain.model_references import check_alias
from headway.domain.models import GitInfo, Model, ModelRegister, ModelSignature, ModelVersion, detect_runtime
from headway.domain.projects import Project
from headway.domain.redaction import redact_url
from headway.domain.users import Permission
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.server.actions import blobs, version_facts
from headway.server.actions.lookup import find_project
from headway.server.actions.recording import record
from headway.server.actions.version_facts import RunFacts
from headway.server.actions.version_sources import Source, read_source
from headway.server.context import Caller, Platform
from headway.storage.base import Session


class VersionDraft(Record):
    """What a new version is, but for its number and where it belongs."""

    files: tuple[FileEntry, ...]
    version_name: str | None = None
    model_type: str | None = None
    model_path: str | None = None
    signature: ModelSignature | None = None
    git: GitInfo | None = None
    aliases: tuple[str, ...] = ()
    description: str = ""
    labels: dict[str, str] = {}
    run_id: str | None = None
    job_id: str | None = None
    source: str | None = None
    facts: RunFacts = RunFacts()


@dataclass
class _Origin:
    """What the files are, and what made them."""

    files: tuple[FileEntry, ...]
    uri: str | None = None
    source: Source | None = None
    run_id: str | None = None
    job_id: str | None = None
    facts: RunFacts = field(default_factory=RunFacts)


def register(platform: Platform, caller: Caller, request: ModelRegister) -> ModelVersion:
    """The next version of a model, from blobs that were uploaded before or a source that the server holds.

    Raises:
        InvalidRequestError: Neither or both are given, files are missing, or the source is nothing of the kind.
        NotFoundError: There is no such project, run, job or source.
        ConflictError: The model has a version of that name.
    """
    for alias in request.aliases:
        check_alias(alias)
    with platform.storage.read() as session:
        project = find_project(session, caller, request.project, Permission.WRITE)
    origin = _origin(platform, caller, project, request)
    with platform.storage.write() as session:
        project = find_project(session, caller, request.project, Permission.WRITE)
        blobs.check_held(session, project.id, origin.files)
        draft = VersionDraft(
            files=origin.files,
            version_name=request.version_name,
            model_type=request.model_type,
            signature=request.signature,
            git=request.git,
            aliases=request.aliases,
            description=request.description,
            labels=request.labels,
            run_id=origin.run_id,
            job_id=origin.job_id,
            source=origin.uri,
            facts=origin.facts,
        )
        version = add_version(session, project.id, request.name, draft, actor=caller.user.id)
        if origin.source is not None and origin.source.made_of is not None:
            _link(session, version, origin.source.made_of)
        caller.remember(session, version)
        return version


def _origin(platform: Platform, caller: Caller, project: Project, request: ModelRegister) -> _Origin:
    if request.files:
        uri = None if request.source is None else redact_url(request.source)
        origin = _Origin(check_manifest(request.files), uri)
    elif request.source is not None:
        found = read_source(platform, caller, project, request.source)
        origin = _Origin(check_manifest(found.files), found.uri, found)
        if found.run is not None:
            origin.run_id, origin.job_id = found.run.id, found.run.job_id
    else:
        raise InvalidRequestError("A model version needs files or a source.", hint="Send files, or name a source.")
    _made_by(platform, project, request, origin)
    if origin.run_id is not None:
        origin.facts = version_facts.present(platform, caller, origin.run_id)
    return origin


def _made_by(platform: Platform, project: Project, request: ModelRegister, origin: _Origin) -> None:
    """Fill in the run and the job: what is named counts, and one of them says what the other is."""
    with platform.storage.read() as session:
        run = None if request.run is None else session.runs.find(request.run)
        job = None if request.job is None else session.jobs.find(request.job)
    for kind, reference, found in (("run", request.run, run), ("job", request.job, job)):
        if reference is not None and (found is None or found.project_id != project.id):
            raise NotFoundError(f"There is no {kind} {reference!r} in this project.")
    if run is not None:
        origin.run_id, origin.job_id = run.id, run.job_id
    if job is not None:
        if origin.run_id not in (None, job.run_id):
            raise InvalidRequestError(
                f"The job {job.id!r} has the run {job.run_id!r}, not {origin.run_id!r}.", hint="Name one of them."
            )
        origin.run_id, origin.job_id = job.run_id, job.id


def _link(session: Session, version: ModelVersion, made_of: Node) -> None:
    """That a version was copied from something, whatever run made either."""
    session.links.put(
        Link(
            project_id=version.project_id,
            run_id=version.id,
            kind=made_of.kind,
            other_id=made_of.id,
            relation=Relation.COPIED,
            label=made_of.label,
            created_at=now(),
        )
    )


def add_version(session: Session, project_id: str, name: str, draft: VersionDraft, *, actor: str) -> ModelVersion:
    """Append a version to a model, which is made where it does not exist. The files must be held already.

    Raises:
        ConflictError: The model has a version of that name; nothing was written.
    """
    model = _locked_model(session, project_id, name)
    if draft.version_name is not None:
        taken = session.model_versions.by_version_name(model.id, draft.version_name)
        if taken is not None:
            raise ConflictError(
                f"The model {name!r} has a version named {draft.version_name!r} already: version {taken.version}.",
                hint="Choose another name, or none.",
                details={"version": taken.id},
            )
    version = _next(model, draft, actor)
    session.model_versions.add(version)
    aliases = {**model.aliases, **dict.fromkeys(draft.aliases, version.version)}
    session.models.put(model.evolve(latest_version=version.version, aliases=aliases))
    record(
        session,
        "model.version_registered",
        version.id,
        project_id=project_id,
        actor=actor,
        message=f"{version.uri}: {len(version.files)} file(s), {version.size} bytes",
        model=model.id,
        name=name,
        version=version.version,
        job=draft.job_id,
        version_name=draft.version_name,
    )
    for alias in draft.aliases:
        record(
            session,
            "model.alias_set",
            model.id,
            project_id=project_id,
            actor=actor,
            name=name,
            alias=alias,
            version=version.version,
        )
    return version


def _locked_model(session: Session, project_id: str, name: str) -> Model:
    """The model of that name, locked: its versions are numbered one after the other."""
    model = session.models.by_name(project_id, name)
    if model is not None:
        return model
    model = Model(id=new_id("mdl"), project_id=project_id, name=name, created_at=now())
    try:
        session.models.add(model)
    except ConflictError:
        # Somebody else made it at the same moment; their version comes first.
        found = session.models.by_name(project_id, name)
        if found is None:
            raise
        return found
    return model


def _next(model: Model, draft: VersionDraft, actor: str) -> ModelVersion:
    runtime = detect_runtime(entry.path for entry in draft.files)
    return draft.facts.apply(
        ModelVersion(
            id=new_id("mv"),
            model_id=model.id,
            project_id=model.project_id,
            name=model.name,
            version=model.latest_version + 1,
            version_name=draft.version_name,
            model_type=draft.model_type or runtime or "files",
            runtime=runtime,
            size=sum(entry.size for entry in draft.files),
            digest=manifest_digest(draft.files),
            files=draft.files,
            model_path=draft.model_path,
            run_id=draft.run_id,
            job_id=draft.job_id,
            source=draft.source,
            signature=draft.signature,
            git=draft.git,
            labels=draft.labels,
            description=draft.description,
            created_at=now(),
            created_by=actor,
        )
    )


def add_left_by_job(
    session: Session,
    files: Sequence[FileEntry],
    *,
    project_id: str,
    name: str,
    run_id: str,
    job_id: str,
    actor: str,
    model_type: str | None = None,
    model_path: str | None = None,
) -> ModelVersion:
    """The version that a job leaves by itself, with what is known of its run by now.

    Raises:
        HeadwayError: It cannot be registered; nothing was written.
    """
    known = version_facts.taken_in(session, run_id)
    blobs.check_held(session, project_id, files)
    draft = VersionDraft(
        files=tuple(files),
        model_type=model_type,
        model_path=model_path,
        run_id=run_id,
        job_id=job_id,
        facts=known,
    )
    return add_version(session, project_id, name, draft, actor=actor)
