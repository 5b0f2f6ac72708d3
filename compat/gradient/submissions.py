"""Gradient's keywords as Headway job submissions.

Whatever Headway has a word for becomes that; whatever else was given (machine types, containers, ports, clusters, …)
is kept in labels as it was said. Secrets go nowhere but into credentials.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gradient.labels import to_labels

NATIVE = frozenset({"name", "project_id", "experiment_env", "job_env", "command"})
"""Keywords that a job record holds by itself."""

WORKSPACE_ROOT = "/paperspace"
"""Where the original platform put the workspace; a working directory below it is one below ours."""


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's keywords: a method's ``locals()`` without ``self``."""
    return {name: value for name, value in arguments.items() if name != "self"}


def kept_words(values: Mapping[str, Any]) -> dict[str, str]:
    """Labels for all keywords but those that the record holds by itself, long commands and secrets."""
    kept = {
        name: value
        for name, value in values.items()
        if name not in NATIVE and not name.endswith(("_password", "_command", "_env")) and value not in (None, "")
    }
    return to_labels(kept)


def job_values(values: Mapping[str, Any], roles: dict[str, Any], *, kind: int | None, start: bool) -> dict[str, Any]:
    """What :meth:`headway.Client.jobs.create` takes, from the keywords that all kinds of experiment share.

    Args:
        values: The caller's keywords.
        roles: Made by :func:`role`.
        kind: A number of ExperimentType; None for a plain job.
        start: Whether it starts at once.
    """
    labels = kept_words(values)
    if kind is not None:
        labels |= to_labels({"experiment_type_id": kind})
    return {
        "name": values.get("name") or "job",
        "project": values["project_id"],
        "roles": roles,
        "workspace": workspace(values.get("workspace_url")),
        "working_directory": working_directory(values.get("working_directory")),
        "environment": dict(values.get("experiment_env") or values.get("job_env") or {}),
        "model_path": values.get("model_path"),
        "model_type": values.get("model_type"),
        "cluster_style": "gradient",
        "labels": labels,
        "start": start,
    }


def role(values: Mapping[str, Any], prefix: str, known_types: Collection[str]) -> dict[str, Any]:
    """One role of a job from the keywords that begin with ``prefix``: ``worker_``, ``parameter_server_`` or nothing."""
    machine = values.get(prefix + "machine_type")
    return {
        "count": values.get(prefix + "count", 1),
        "command": values[prefix + "command"],
        "container": container(values, prefix),
        "instance_type": machine if machine in known_types else None,
    }


def container(values: Mapping[str, Any], prefix: str) -> dict[str, Any] | None:
    """The image of a role and how to reach it, or None where no image was named."""
    image = values.get(prefix + "container")
    if not image:
        return None
    username, password = values.get(prefix + "registry_username"), values.get(prefix + "registry_password")
    credentials = {"username": username or "", "password": password} if password else None
    return {
        "image": image,
        "user": values.get(prefix + "container_user"),
        "registry_url": values.get(prefix + "registry_url"),
        "registry": credentials,
    }


def workspace(url: str | None) -> dict[str, Any] | None:
    """A git workspace. The original took ``none`` for no workspace at all."""
    return None if not url or url == "none" else {"kind": "git", "url": url}


def working_directory(path: str | None) -> str | None:
    """A directory below the workspace, also where it was named by its absolute place on the original platform."""
    if path is None or (path != WORKSPACE_ROOT and not path.startswith(WORKSPACE_ROOT + "/")):
        return path
    return path[len(WORKSPACE_ROOT) :].strip("/") or None
