"""What ``inputs=`` and ``init_model=`` of a job accept, turned into sources."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.domain.artifacts import ArtifactVersion
from headway.domain.jobs import JobCreate, JobInput
from headway.domain.models import ModelVersion
from headway.domain.sources import ARTIFACT, is_source, source_hint
from headway.errors import InvalidRequestError
from headway.sdk.resources.artifacts import Artifacts

InputSource = str | os.PathLike[str] | Mapping[str, Any] | JobInput | ArtifactVersion | ModelVersion

INIT_MODEL = "init_model"
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
_ENDS = "-_."
_PENDING = JobInput(source=f"{ARTIFACT}pending")
"""Stands for a file or folder until it is sent, so that all else can be checked before."""


@dataclass(frozen=True)
class LocalInputs:
    """The files and folders among a job's inputs."""

    inputs: Mapping[str, Path]
    init_model: Path | None = None

    @classmethod
    def take(
        cls, values: dict[str, Any], inputs: Mapping[str, InputSource], init_model: InputSource | None
    ) -> LocalInputs:
        """Put sources into the ``values`` of a request, and remember what is local. Nothing is read or sent.

        Raises:
            InvalidRequestError: It is neither a source nor a path that exists; names the input.
        """
        if not isinstance(inputs, Mapping):
            raise InvalidRequestError(f"inputs must be a mapping of names to sources, not {type(inputs).__name__}.")
        meant = {name: _meaning(f"inputs.{name}", given) for name, given in inputs.items()}
        if meant:
            values["inputs"] = {name: _PENDING if isinstance(found, Path) else found for name, found in meant.items()}
        model = None if init_model is None else _meaning(INIT_MODEL, init_model)
        if model is not None:
            values[INIT_MODEL] = _PENDING if isinstance(model, Path) else model
        local = {name: found for name, found in meant.items() if isinstance(found, Path)}
        return cls(local, model if isinstance(model, Path) else None)

    def send(self, artifacts: Artifacts, request: JobCreate) -> JobCreate:
        """``request`` with each of them as the artifact version that it is now."""
        changes: dict[str, Any] = {}
        if self.inputs:
            sent = {name: _send(artifacts, request, name, path) for name, path in self.inputs.items()}
            changes["inputs"] = {**request.inputs, **sent}
        if self.init_model is not None:
            changes[INIT_MODEL] = _send(artifacts, request, INIT_MODEL, self.init_model)
        return request.model_copy(update=changes) if changes else request


def _meaning(place: str, given: InputSource) -> Any:
    """A path for what is local; else what the request may say."""
    if isinstance(given, (ArtifactVersion, ModelVersion)):
        return given.uri
    if isinstance(given, str) and is_source(given):
        return given
    if not isinstance(given, (str, os.PathLike)) or given == "":
        return given
    path = Path(given).expanduser()
    if path.exists():
        return path
    if isinstance(given, str) and "://" not in given:
        message = f"{place}: there is no file or folder {given!r}, and it is no source."
        raise InvalidRequestError(message, hint=source_hint(given))
    raise InvalidRequestError(f"{place}: {str(given)!r} is no source of files.", hint=source_hint(str(given)))


def _send(artifacts: Artifacts, request: JobCreate, name: str, path: Path) -> JobInput:
    artifact = artifact_name(request.name, name)
    return JobInput(source=artifacts.upload(artifact, path, project=request.project).uri)


def artifact_name(job: str, name: str) -> str:
    """What the artifact of a local input is called.

    >>> artifact_name("My training (2)", "train")
    'My-training-2-train'
    """
    return _UNFIT.sub("-", f"{_UNFIT.sub('-', job).strip(_ENDS)}-{name}").strip(_ENDS)[-256:].strip(_ENDS)
