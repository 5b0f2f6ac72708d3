"""From a reference that a caller gave to the record it means, if the caller may see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from headway.domain.base import Page, did_you_mean
from headway.domain.deployments import Deployment
from headway.domain.jobs import Job
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
    """The version that a reference means: a version id, ``models:/name/3``, ``models:/name@alias``, ``name:v3``,
    ``name@alias`` or a bare name (its newest)."""
    found = session.model_versions.find(reference)
    if found is not None and caller.may(Permission.READ, found.project_id):
        return found
    name, number, alias = parse_reference(reference)
    model = session.models.by_name(project_id, name)
    if model is None:
        names = (m.name for m in every(session.models.list, project_ids=[project_id]))
        hint = did_you_mean(name, names) or "List models with `headway model list`."
        raise NotFoundError(f"There is no model {reference!r} in this project.", hint=hint)
    if alias is not None:
        if alias not in model.aliases:
            hint = did_you_mean(alias, model.aliases) or f"Its aliases: {', '.join(sorted(model.aliases)) or 'none'}."
            raise NotFoundError(f"The model {name!r} has no alias {alias!r}.", hint=hint)
        number = model.aliases[alias]
    number = number or model.latest_version
    version = session.model_versions.by_number(model.id, number)
    if version is None:
        raise NotFoundError(
            f"The model {name!r} has no version {number}.", hint=f"Its newest is {model.latest_version}."
        )
    return version


def parse_reference(reference: str) -> tuple[str, int | None, str | None]:
    """Name, version number and alias of a model reference; at most one of the last two is given.

    >>> parse_reference("models:/digits/3"), parse_reference("digits@champion"), parse_reference("digits")
    (('digits', 3, None), ('digits', None, 'champion'), ('digits', None, None))
    """
    plain = reference.removeprefix("models:/")
    name, at, alias = plain.rpartition("@")
    if at:
        return name, None, alias
    separator = "/" if reference.startswith("models:/") else ":"
    name, found, number = plain.rpartition(separator)
    if not found or number in ("latest", ""):
        return (name or plain) if found else plain, None, None
    digits = number.removeprefix("v")
    if not digits.isdecimal() or len(digits) > 9:
        raise InvalidRequestError(
            f"{reference!r} does not name a model version.",
            hint="Use models:/name/3, models:/name@alias, name:v3 or a bare name.",
        )
    return name, int(digits), None


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
