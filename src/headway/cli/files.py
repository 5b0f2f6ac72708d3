"""Job files: YAML on disk into the keywords of ``client.jobs.create``.

The fields are those of :class:`headway.domain.jobs.JobCreate`, with a few liberties that only files have: ``image`` for
``container``, ``env`` for ``environment``, ``secrets`` as a list of names whose values come from the environment, and paths
of ``workspace``, ``inputs`` and ``init_model`` relative to the file.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from headway.domain.base import did_you_mean
from headway.domain.jobs import JobCreate, RoleSpec
from headway.domain.sources import is_source
from headway.errors import HeadwayError, InvalidRequestError

SPELLINGS = {"image": "container", "env": "environment"}


def read_job_file(path: Path) -> dict[str, Any]:
    """The keywords that a job file stands for.

    Raises:
        InvalidRequestError: It cannot be read, is not a mapping, or has an unknown field; names the file.
    """
    from headway.documents import read_yaml

    document = read_yaml(path)
    if not isinstance(document, dict):
        raise InvalidRequestError(f"{str(path)!r} must hold the fields of a job.", hint="At least name and command.")
    known = {*JobCreate.model_fields, *JobCreate.input_shortcuts}
    values = _spelled(document, known, str(path), "")
    roles = values.get("roles")
    if isinstance(roles, dict):
        fields = set(RoleSpec.model_fields)
        values["roles"] = {
            name: _spelled(role, fields, str(path), f"roles.{name}.") if isinstance(role, dict) else role
            for name, role in roles.items()
        }
    if "workspace" in values:
        values["workspace"] = _beside(path, values["workspace"])
    if isinstance(values.get("inputs"), dict):
        values["inputs"] = {name: _source(path, given) for name, given in values["inputs"].items()}
    if isinstance(values.get("parameters"), dict):
        values["parameters"] = {name: _without_dates(value) for name, value in values["parameters"].items()}
    if "init_model" in values:
        values["init_model"] = _source(path, values["init_model"])
    if "secrets" in values:
        values["secrets"] = _names(values["secrets"], str(path))
    return values


def _spelled(document: dict[Any, Any], known: set[str], file: str, prefix: str) -> dict[str, Any]:
    """``document`` with the file's spellings replaced; an unknown field is refused with a suggestion."""
    values: dict[str, Any] = {}
    for key, value in document.items():
        field = SPELLINGS.get(key, key)
        if field not in known:
            hint = did_you_mean(str(key), sorted({*known, *SPELLINGS}))
            raise InvalidRequestError(f"{file}: unknown field '{prefix}{key}'.", hint=hint)
        if field in values:
            raise InvalidRequestError(f"{file}: '{prefix}{field}' is given twice, once as '{key}'.")
        values[field] = value
    return values


def _beside(path: Path, workspace: Any) -> Any:
    """A workspace path relative to the file becomes one that holds from anywhere; URLs and mappings stay."""
    if not isinstance(workspace, str) or "://" in workspace or workspace.startswith("git+"):
        return workspace
    candidate = path.parent / Path(workspace).expanduser()
    looks_remote = ":" in workspace.split("/")[0] and not candidate.exists()
    return workspace if looks_remote else str(candidate)


def _source(path: Path, given: Any) -> Any:
    """A local file or folder relative to the file, as it is found from anywhere; sources stay."""
    if not isinstance(given, str) or is_source(given) or "://" in given:
        return given
    candidate = path.parent / Path(given).expanduser()
    return str(candidate) if candidate.exists() else given


def _without_dates(value: Any) -> Any:
    """A value as JSON has it: what YAML takes for a date is a text."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _without_dates(item) for key, item in value.items()}
    return [_without_dates(item) for item in value] if isinstance(value, list) else value


def _names(secrets: Any, file: str) -> list[str]:
    if not isinstance(secrets, list) or not all(isinstance(name, str) for name in secrets):
        raise InvalidRequestError(
            f"{file}: 'secrets' must be a list of names, without values.",
            hint="The values are taken from the environment, so that the file can be shared.",
        )
    return secrets


def named_after(error: HeadwayError, file: Path | None) -> HeadwayError:
    """``error`` saying which file it is about."""
    if file is not None and isinstance(error, InvalidRequestError):
        return InvalidRequestError(f"{file}: {error.message}", hint=error.hint, details=error.details)
    return error
