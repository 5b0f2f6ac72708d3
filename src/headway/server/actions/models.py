"""The registry: models and their versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway.domain.base import Page, PageRequest, new_id, now
from headway.domain.files import FileEntry, check_manifest, manifest_digest
from headway.domain.models import Model, ModelRegister, ModelVersion, detect_runtime
from headway.domain.users import Permission
from headway.errors import ConflictError, NotFoundError
from headway.server.actions import blobs
from headway.server.actions.lookup import find_model, find_project, find_version, resolve_version
from headway.server.actions.paging import every
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session


def register(platform: Platform, caller: Caller, request: ModelRegister) -> ModelVersion:
    """The next version of a model from blobs that were uploaded before."""
    files = check_manifest(request.files)
    with platform.storage.write() as session:
        project = find_project(session, caller, request.project, Permission.WRITE)
        blobs.check_held(session, project.id, files)
        for kind, reference in (("run", request.run), ("job", request.job)):
            noun = session.runs if kind == "run" else session.jobs
            found = noun.find(reference) if reference is not None else None
            if reference is not None and (found is None or found.project_id != project.id):
                raise NotFoundError(f"There is no {kind} {reference!r} in this project.")
        version = add_version(
            session,
            project_id=project.id,
            name=request.name,
            files=files,
            actor=caller.user.id,
            model_type=request.model_type,
            description=request.description,
            labels=request.labels,
            run_id=request.run,
            job_id=request.job,
        )
        caller.remember(session, version)
        return version


def add_version(
    session: Session,
    *,
    project_id: str,
    name: str,
    files: Sequence[FileEntry],
    actor: str,
    model_type: str | None = None,
    model_path: str | None = None,
    description: str = "",
    labels: dict[str, str] | None = None,
    run_id: str | None = None,
    job_id: str | None = None,
) -> ModelVersion:
    """Append a version to a model, which is made where it does not exist."""
    moment = now()
    model = session.models.by_name(project_id, name)
    if model is None:
        model = Model(id=new_id("mdl"), project_id=project_id, name=name, created_at=moment)
        session.models.add(model)
    runtime = detect_runtime(entry.path for entry in files)
    version = ModelVersion(
        id=new_id("mv"),
        model_id=model.id,
        project_id=project_id,
        name=name,
        version=model.latest_version + 1,
        model_type=model_type or runtime or "files",
        runtime=runtime,
        size=sum(entry.size for entry in files),
        digest=manifest_digest(files),
        files=tuple(files),
        model_path=model_path,
        run_id=run_id,
        job_id=job_id,
        labels=labels or {},
        description=description,
        created_at=moment,
        created_by=actor,
    )
    session.model_versions.add(version)
    session.models.put(model.evolve(latest_version=version.version))
    record(
        session,
        "model.version_registered",
        version.id,
        project_id=project_id,
        actor=actor,
        message=f"{version.uri}: {len(files)} file(s), {version.size} bytes",
        model=model.id,
        name=name,
        version=version.version,
        job=job_id,
    )
    return version


def list_models(
    platform: Platform, caller: Caller, page: PageRequest, project: str | None = None, name: str | None = None
) -> Page[Model]:
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        return session.models.list(page, project_ids=ids, name=name)


def get(platform: Platform, caller: Caller, reference: str, project: str | None = None) -> Model:
    with platform.storage.read() as session:
        return find_model(session, caller, reference, project)


def list_versions(
    platform: Platform,
    caller: Caller,
    page: PageRequest,
    *,
    project: str | None = None,
    model: str | None = None,
    job: str | None = None,
    run: str | None = None,
) -> Page[ModelVersion]:
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        model_id = None if model is None else find_model(session, caller, model, project).id
        return session.model_versions.list(page, project_ids=ids, model_id=model_id, job_id=job, run_id=run)


def get_version(platform: Platform, caller: Caller, version_id: str) -> ModelVersion:
    with platform.storage.read() as session:
        return find_version(session, caller, version_id)


def resolve(platform: Platform, caller: Caller, reference: str, project: str) -> ModelVersion:
    with platform.storage.read() as session:
        return resolve_version(session, caller, reference, find_project(session, caller, project).id)


def find_file(platform: Platform, caller: Caller, version_id: str, path: str) -> FileEntry:
    version = get_version(platform, caller, version_id)
    entry = next((entry for entry in version.files if entry.path == path), None)
    if entry is None:
        raise NotFoundError(f"{version.uri} has no file {path!r}.")
    return entry


def set_alias(
    platform: Platform, caller: Caller, reference: str, project: str | None, alias: str, number: int
) -> Model:
    """Let ``alias`` name version ``number``, and no other any more."""
    with platform.storage.write() as session:
        model = find_model(session, caller, reference, project, Permission.WRITE)
        if session.model_versions.by_number(model.id, number) is None:
            raise NotFoundError(f"The model {model.name!r} has no version {number}.")
        model = model.evolve(aliases={**model.aliases, alias: number})
        session.models.put(model)
        _tell(session, caller, "model.alias_set", model, alias=alias, version=number)
        return model


def delete_alias(platform: Platform, caller: Caller, reference: str, project: str | None, alias: str) -> None:
    with platform.storage.write() as session:
        model = find_model(session, caller, reference, project, Permission.WRITE)
        if alias not in model.aliases:
            raise NotFoundError(f"The model {model.name!r} has no alias {alias!r}.")
        aliases = {name: number for name, number in model.aliases.items() if name != alias}
        session.models.put(model.evolve(aliases=aliases))
        _tell(session, caller, "model.alias_deleted", model, alias=alias)


def delete(platform: Platform, caller: Caller, reference: str, project: str | None) -> None:
    """Remove a model with all its versions, unless a deployment uses one."""
    with platform.storage.write() as session:
        model = find_model(session, caller, reference, project, Permission.WRITE)
        versions = list(every(session.model_versions.list, model_id=model.id))
        for version in versions:
            _refuse_deployed(session, version)
        for version in versions:
            session.model_versions.delete(version.id)
        session.models.delete(model.id)
        _tell(session, caller, "model.deleted", model)


def delete_version(platform: Platform, caller: Caller, version_id: str) -> None:
    """Remove one version, unless a deployment uses it. Its number is not given again."""
    with platform.storage.write() as session:
        version = find_version(session, caller, version_id, Permission.WRITE)
        _refuse_deployed(session, version)
        session.model_versions.delete(version.id)
        model = session.models.get(version.model_id)
        aliases = {name: number for name, number in model.aliases.items() if number != version.version}
        session.models.put(model.evolve(aliases=aliases))
        _tell(session, caller, "model.version_deleted", model, version=version.version)


def _refuse_deployed(session: Session, version: ModelVersion) -> None:
    using = list(every(session.deployments.list, model_version_id=version.id))
    for revision in session.revisions.pending():
        if any(deployed.model_version_id == version.id for deployed in revision.spec.versions):
            using.append(session.deployments.get(revision.deployment_id))
    if using:
        raise ConflictError(
            f"{version.uri} is used by the deployment {using[0].name!r} ({using[0].id}).",
            hint="Delete the deployment, or take the version out of it, first.",
            details={"deployments": [deployment.id for deployment in using]},
        )


def _tell(session: Session, caller: Caller, type: str, model: Model, **data: Any) -> None:
    record(session, type, model.id, project_id=model.project_id, actor=caller.user.id, name=model.name, **data)
