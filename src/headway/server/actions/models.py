"""The registry: models and their versions, as people look at them and change them. How versions are made is in
registration.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway.domain.base import Page, PageRequest
from headway.domain.files import FileEntry
from headway.domain.model_references import check_alias
from headway.domain.models import Model, ModelUpdate, ModelVersion, ModelVersionUpdate
from headway.domain.users import Permission
from headway.errors import ConflictError, NotFoundError
from headway.server.actions.lookup import find_model, find_project, find_version, resolve_version
from headway.server.actions.paging import every
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session

MAX_LABELS = 256


def list_models(
    platform: Platform,
    caller: Caller,
    page: PageRequest,
    *,
    project: str | None = None,
    name: str | None = None,
    contains: str | None = None,
) -> Page[Model]:
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        return session.models.list(page, project_ids=ids, name=name, contains=contains)


def get(platform: Platform, caller: Caller, reference: str, project: str | None = None) -> Model:
    with platform.storage.read() as session:
        return find_model(session, caller, reference, project)


def update(platform: Platform, caller: Caller, reference: str, project: str | None, request: ModelUpdate) -> Model:
    with platform.storage.write() as session:
        model = find_model(session, caller, reference, project, Permission.WRITE)
        model = model.evolve(description=request.description)
        session.models.put(model)
        _tell(session, caller, "model.updated", model)
        return model


def list_versions(
    platform: Platform,
    caller: Caller,
    page: PageRequest,
    *,
    project: str | None = None,
    model: str | None = None,
    **filters: Any,
) -> Page[ModelVersion]:
    """Newest first. ``filters`` are those of :meth:`headway.storage.base.ModelVersionStorage.list`."""
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        model_id = None if model is None else find_model(session, caller, model, project).id
        return session.model_versions.list(page, project_ids=ids, model_id=model_id, **filters)


def get_version(platform: Platform, caller: Caller, version_id: str) -> ModelVersion:
    with platform.storage.read() as session:
        return find_version(session, caller, version_id)


def resolve(platform: Platform, caller: Caller, reference: str, project: str) -> ModelVersion:
    with platform.storage.read() as session:
        return resolve_version(session, caller, reference, find_project(session, caller, project).id)


def update_version(platform: Platform, caller: Caller, version_id: str, request: ModelVersionUpdate) -> ModelVersion:
    """Other words or labels; a label that is None goes.

    Raises:
        ConflictError: There would be too many labels.
    """
    with platform.storage.write() as session:
        version = find_version(session, caller, version_id, Permission.WRITE)
        labels = _merged(version.labels, request.labels)
        if len(labels) > MAX_LABELS:
            raise ConflictError(f"{version.uri} would have {len(labels)} labels; {MAX_LABELS} is the most.")
        changed = version.evolve(labels=labels)
        if request.description is not None:
            changed = changed.evolve(description=request.description)
        if changed != version:
            session.model_versions.put(changed)
            labelled = sorted(key for key in request.labels if labels.get(key) != version.labels.get(key))
            _tell_version(session, caller, "model.version_updated", changed, labels=labelled)
        return changed


def _merged(labels: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**labels, **changes}
    return {key: value for key, value in merged.items() if value is not None}


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
    check_alias(alias)
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
        for listed in list(every(session.model_versions.list, model_id=model.id)):
            # Locked before it is looked at who uses it: who is about to deploy it has it locked, too.
            version = session.model_versions.find(listed.id)
            if version is not None:
                _refuse_deployed(session, version)
                erase_version(session, version)
        session.models.delete(model.id)
        _tell(session, caller, "model.deleted", model)


def delete_version(platform: Platform, caller: Caller, version_id: str) -> None:
    """Remove one version, unless a deployment uses it. Its number is not given again."""
    model_id = get_version(platform, caller, version_id).model_id
    with platform.storage.write() as session:
        # The model first, as everybody locks them who needs both.
        model = session.models.find(model_id)
        version = find_version(session, caller, version_id, Permission.WRITE)
        _refuse_deployed(session, version)
        erase_version(session, version)
        if model is not None:
            aliases = {name: number for name, number in model.aliases.items() if number != version.version}
            session.models.put(model.evolve(aliases=aliases))
        _tell_version(session, caller, "model.version_deleted", version)


def erase_version(session: Session, version: ModelVersion) -> None:
    """Forget a version and what it was copied from."""
    session.links.delete_run(version.id)
    session.model_versions.delete(version.id)


def _refuse_deployed(session: Session, version: ModelVersion) -> None:
    """ConflictError, naming each, while deployments serve the version or are about to."""
    using = {each.id: each.name for each in every(session.deployments.list, model_version_id=version.id)}
    for revision in session.revisions.pending():
        if any(deployed.model_version_id == version.id for deployed in revision.spec.versions):
            using.setdefault(revision.deployment_id, _name_of(session, version.project_id, revision.deployment_id))
    if using:
        names = ", ".join(f"{name!r} ({id})" for id, name in list(using.items())[:5])
        more = f" and {len(using) - 5} more" if len(using) > 5 else ""
        noun = "deployment" if len(using) == 1 else "deployments"
        raise ConflictError(
            f"{version.uri} is used by the {noun} {names}{more}.",
            hint="Delete the deployment, or take the version out of it, first.",
            details={"deployments": list(using)},
        )


def _name_of(session: Session, project_id: str, deployment_id: str) -> str:
    """Not locked: who changes a deployment may be waiting for the version."""
    found = every(session.deployments.list, project_ids=[project_id])
    return next((deployment.name for deployment in found if deployment.id == deployment_id), deployment_id)


def _tell(session: Session, caller: Caller, type: str, model: Model, **data: Any) -> None:
    record(session, type, model.id, project_id=model.project_id, actor=caller.user.id, name=model.name, **data)


def _tell_version(session: Session, caller: Caller, type: str, version: ModelVersion, **data: Any) -> None:
    """As of the model: who watches it sees what becomes of its versions."""
    tell = {"name": version.name, "version": version.version, **data}
    record(session, type, version.model_id, project_id=version.project_id, actor=caller.user.id, **tell)
