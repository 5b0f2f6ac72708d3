"""Models and their versions in ModelMaker's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from headway.domain.base import format_time
from headway.domain.models import Model, ModelVersion, VersionName
from headway.domain.redaction import redact_values
from headway.errors import NotFoundError
from modelmaker.exceptions import reported_as
from modelmaker.ids import MODEL, MODEL_VERSION, to_native, to_number
from modelmaker.model_checks import check_model, model_type
from modelmaker.model_files import gathered
from modelmaker.session import Session
from modelmaker.training_checks import DOCKER

REQUEST_LABEL = "modelmaker.request"
VERSION_NAME: TypeAdapter[str] = TypeAdapter(VersionName)


def create(
    session: Session, words: Mapping[str, Any], *, left_by: str | None = None, job: str | None = None
) -> ModelVersion:
    """The next version of the model that the words name, which is made when it is new.

    Args:
        session: Whose.
        words: The keywords of ``create_model``.
        left_by: A source to take the model path's files from instead.
        job: The training that made it.
    """
    check_model(session, words)
    with reported_as("create model error!"):
        name, path = _name(session, words), words.get("model_path")
        source = left_by or (path if path and not path.startswith(DOCKER) else None)
        name_of_version = _version_name(words["model_version"])
        fields: dict[str, Any] = {"version_name": name_of_version, "git": _git(words), "job": job}
        with gathered(session, words, source) as files:
            return session.client.models.register(
                name,
                **files,
                project=session.project,
                model_type=model_type(words),
                description=words.get("model_description") or "",
                labels={REQUEST_LABEL: json.dumps(redact_values(_words(words)), default=str)},
                **{key: value for key, value in fields.items() if value is not None},
            )


def _name(session: Session, words: Mapping[str, Any]) -> str:
    if words.get("model_id") is not None:
        return find(session, words["model_id"]).name
    return str(words["model_name"])


def _version_name(given: str) -> str | None:
    """Where Headway takes it for a name; a plain number means one of its own numbers there."""
    try:
        return VERSION_NAME.validate_python(given)
    except ValidationError:
        return None


def _git(words: Mapping[str, Any]) -> dict[str, Any] | None:
    given = words.get("model_git_info")
    info = given if isinstance(given, Mapping) or not given else given[0]
    if not info:
        return None
    known = {"url": info.get("url"), "branch": info.get("branch")}
    return {key: value for key, value in known.items() if value} or None


def _words(words: Mapping[str, Any]) -> dict[str, Any]:
    """The body that ModelMaker's own SDK sent, without the password of the repository."""
    found = {
        "type": model_type(words),
        "version": words.get("model_version"),
        "frameworkId": words.get("model_framework"),
        "mirrorUrl": words.get("model_mirrorUrl"),
        "modelPath": words.get("model_path"),
        "codeUrl": words.get("model_code_dir"),
        "gitInfo": _git(words),
        "startup": words.get("model_boot_file"),
        "callSpecs": words.get("model_call_specs"),
        "description": words.get("model_description"),
    }
    return {key: value for key, value in found.items() if value is not None}


def _native(prefix: str, number: int) -> str:
    try:
        return to_native(prefix, number)
    except ValueError as error:
        raise NotFoundError(str(error)) from None


def find(session: Session, model_id: int) -> Model:
    """By its number; ApiException when there is none."""
    with reported_as():
        return session.client.models.get(_native(MODEL, model_id))


def find_version(session: Session, version_id: int) -> ModelVersion:
    """By its number; ApiException when there is none."""
    with reported_as():
        # Asked by id and not in a project, where it would be taken for a name.
        return session.client.models.version(_native(MODEL_VERSION, version_id))


def listed(session: Session) -> dict[str, Any]:
    """All models of the project."""
    with reported_as():
        return {"models": [_shown(model) for model in session.client.models.list(project=session.project)]}


def info(session: Session, model_id: int) -> dict[str, Any]:
    """One model with its versions, oldest first."""
    model = find(session, model_id)
    with reported_as():
        versions = [*session.client.models.versions(model.id)][::-1]
    return {**_shown(model), "versions": [version_words(version) for version in versions]}


def _shown(model: Model) -> dict[str, Any]:
    return {
        "id": to_number(model.id),
        "name": model.name,
        "description": model.description,
        "createTime": format_time(model.created_at),
    }


def version_words(version: ModelVersion) -> dict[str, Any]:
    """One version in ModelMaker's words."""
    return {
        **json.loads(version.labels.get(REQUEST_LABEL, "{}")),
        "id": to_number(version.id),
        "versionId": to_number(version.id),
        "modelId": to_number(version.model_id),
        "name": version.name,
        "number": version.version,
        "files": [entry.path for entry in version.files],
        "createTime": format_time(version.created_at),
    }


def delete(session: Session, model_id: int) -> dict[str, Any]:
    """A model with all its versions; ApiException while one is deployed."""
    model = find(session, model_id)
    with reported_as("delete model error!"):
        session.client.models.delete(model.id)
    return {"id": model_id}


def delete_version(session: Session, version_id: int) -> dict[str, Any]:
    """One version; ApiException while it is deployed."""
    version = find_version(session, version_id)
    with reported_as("delete model version error!"):
        session.client.models.delete_version(version)
    return {"id": version_id}
