"""From a reference that a caller gave to the record it means, if the caller may see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from headway.domain.base import Page, PageRequest, did_you_mean
from headway.domain.deployments import Deployment
from headway.domain.jobs import Job
from headway.domain.model_references import SCHEME, VersionReference, parse_reference
from headway.domain.models import Model, ModelVersion
from headway.domain.projects import Project
from headway.domain.runs import Run
from headway.domain.users import Permission, User
from headway.errors import InvalidRequestError, NotFoundError
from headway.server.actions.paging import every
from headway.server.context import Caller
from headway.storage.base import Session

Named = TypeVar("Named", Model, Deployment)


def find_project(session: Session, caller: Caller, reference: str, right: Permission = Permission.READ) -> Project:
    """The project with this id or name, if the caller has ``right`` on it.

    Raises:
        NotFoundError: None that the caller may see, with a suggestion among those it may.
        PermissionDeniedError: It may be seen, and the right is missing.
    """
    project = session.projects.find(reference) or session.projects.by_name(reference)
    if project is None or not caller.may(Permission.READ, project.id):
        names = [p.name for p in every(session.projects.list, ids=caller.visible)]
        hint = did_you_mean(reference, names) or "Create it with `headway project create`."
        raise NotFoundError(f"There is no project {reference!r}.", hint=hint)
    caller.require(right, project.id)
    return project


def find_user(session: Session, reference: str) -> User:
    """The user with this id or name."""
    user = session.users.find(reference) or session.users.by_name(reference)
    if user is None:
        raise NotFoundError(
            f"There is no user {reference!r}.", hint="A server admin lists them with `headway user list`."
        )
    return user


def find_job(session: Session, caller: Caller, job_id: str, right: Permission = Permission.READ) -> Job:
    job = session.jobs.find(job_id)
    if job is None or not caller.may(Permission.READ, job.project_id) or not caller.owns_run(job.run_id):
        raise NotFoundError(f"There is no job {job_id!r}.", hint="List jobs with `headway job list`.")
    caller.require(right, job.project_id)
    return job


def find_run(session: Session, caller: Caller, run_id: str, right: Permission = Permission.READ) -> Run:
    run = session.runs.find(run_id)
    if run is None or not caller.may(Permission.READ, run.project_id) or not caller.owns_run(run.id):
        raise NotFoundError(f"There is no run {run_id!r}.", hint="List runs with `headway run list`.")
    caller.require(right, run.project_id)
    return run


def find_model(
    session: Session, caller: Caller, reference: str, project: str | None, right: Permission = Permission.READ
) -> Model:
    """By id, or by name in ``project``."""
    model = session.models.find(reference)
    if model is None and project is not None:
        model = session.models.by_name(find_project(session, caller, project).id, reference)
    if model is None or not caller.may(Permission.READ, model.project_id):
        raise _unknown(session, caller, session.models.list, reference, project, noun="model", command="model")
    caller.require(right, model.project_id)
    return model


def find_version(
    session: Session, caller: Caller, version_id: str, right: Permission = Permission.READ
) -> ModelVersion:
    version = session.model_versions.find(version_id)
    if version is None or not caller.may(Permission.READ, version.project_id):
        raise NotFoundError(f"There is no model version {version_id!r}.", hint="List models with `headway model list`.")
    caller.require(right, version.project_id)
    return version


def find_deployment(
    session: Session, caller: Caller, reference: str, project: str | None, right: Permission = Permission.READ
) -> Deployment:
    """By id, or by name in ``project``."""
    deployment = session.deployments.find(reference)
    if deployment is None and project is not None:
        deployment = session.deployments.by_name(find_project(session, caller, project).id, reference)
    if deployment is None or not caller.may(Permission.READ, deployment.project_id):
        raise _unknown(
            session, caller, session.deployments.list, reference, project, noun="deployment", command="deploy"
        )
    caller.require(right, deployment.project_id)
    return deployment


def resolve_version(session: Session, caller: Caller, reference: str, project_id: str) -> ModelVersion:
    """The version that a reference means: its id, or one of the forms of :mod:`headway.domain.model_references`.

    Raises:
        InvalidRequestError: It is none of these forms.
        NotFoundError: There is no such model, version or alias, with a suggestion.
    """
    found = session.model_versions.find(reference)
    if found is not None and caller.may(Permission.READ, found.project_id):
        return found
    model, wanted = _read(session, reference, project_id)
    if wanted.alias is not None:
        number = model.aliases.get(wanted.alias)
        if number is None:
            raise _unknown_alias(model, wanted.alias)
        wanted = VersionReference(model.name, number=number)
    if wanted.version_name is not None:
        version = session.model_versions.by_version_name(model.id, wanted.version_name)
        if version is not None:
            return version
        other = session.models.by_name(project_id, reference.removeprefix(SCHEME))
        if other is None:
            raise _unknown_version_name(session, model, wanted.version_name)
        return _newest(session, other)
    if wanted.newest:
        return _newest(session, model)
    assert wanted.number is not None
    version = session.model_versions.by_number(model.id, wanted.number)
    if version is None:
        hint = f"Its newest is {model.latest_version}."
        raise NotFoundError(f"The model {model.name!r} has no version {wanted.number}.", hint=hint)
    return version


def _read(session: Session, reference: str, project_id: str) -> tuple[Model, VersionReference]:
    """The model that exists, by the first reading of a reference or, for a name that looks like one, as a bare name."""
    whole = reference.removeprefix(SCHEME)
    problem = None
    try:
        wanted = parse_reference(reference)
    except InvalidRequestError as error:
        problem, wanted = error, VersionReference(whole)
    model = session.models.by_name(project_id, wanted.model)
    if model is None and wanted.model != whole:
        model, wanted = session.models.by_name(project_id, whole), VersionReference(whole)
    if model is not None:
        return model, wanted
    if problem is not None:
        raise problem
    names = [m.name for m in every(session.models.list, project_ids=[project_id])]
    hint = did_you_mean(parse_reference(reference).model, names) or "List models with `headway model list`."
    raise NotFoundError(f"There is no model {reference!r} in this project.", hint=hint)


def _newest(session: Session, model: Model) -> ModelVersion:
    """The last version that was made and not deleted."""
    version = session.model_versions.by_number(model.id, model.latest_version)
    if version is not None:
        return version
    newest = session.model_versions.list(PageRequest(limit=1), model_id=model.id).items
    if not newest:
        raise NotFoundError(f"The model {model.name!r} has no version.")
    return session.model_versions.get(newest[0].id)


def _unknown_alias(model: Model, alias: str) -> NotFoundError:
    hint = did_you_mean(alias, model.aliases) or f"Its aliases: {', '.join(sorted(model.aliases)) or 'none'}."
    return NotFoundError(f"The model {model.name!r} has no alias {alias!r}.", hint=hint)


def _unknown_version_name(session: Session, model: Model, name: str) -> NotFoundError:
    if name in model.aliases:
        hint: str | None = f"That is an alias: write {model.name}@{name}."
    else:
        recent = session.model_versions.list(PageRequest(limit=1000), model_id=model.id).items
        hint = did_you_mean(name, [version.version_name for version in recent if version.version_name])
    return NotFoundError(
        f"The model {model.name!r} has no version named {name!r}.",
        hint=hint or f"List its versions with `headway model show {model.name}`.",
    )


def _within(session: Session, caller: Caller, project: str | None) -> Collection[str] | None:
    """The projects from which a name may be suggested: only the one that was asked in, where one was."""
    return caller.visible if project is None else [find_project(session, caller, project).id]


def _unknown(
    session: Session,
    caller: Caller,
    listing: Callable[..., Page[Named]],
    reference: str,
    project: str | None,
    *,
    noun: str,
    command: str,
) -> NotFoundError:
    """That there is none, with the closest name among those that the caller may see where it looked."""
    names = (item.name for item in every(listing, project_ids=_within(session, caller, project)))
    return NotFoundError(f"There is no {noun} {reference!r}.", hint=_name_hint(reference, names, project, command))


def _name_hint(reference: str, names: Iterable[str], project: str | None, command: str) -> str:
    if project is None:
        return "Name the project too, or use an id."
    return did_you_mean(reference, names) or f"List what the project has with `headway {command} list`."
