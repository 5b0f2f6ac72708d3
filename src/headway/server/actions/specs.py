"""From what is asked of a deployment to the spec of its next revision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from headway.domain.base import did_you_mean
from headway.domain.deployments import (
    DeployedVersion,
    Deployment,
    DeploymentSettings,
    DeploymentSpec,
    DeploymentUpdate,
    Scaling,
)
from headway.domain.models import SERVED_RUNTIMES, ModelVersion
from headway.errors import InvalidRequestError
from headway.server.actions.capacity import check_possible, need_of
from headway.server.actions.lookup import resolve_version
from headway.server.context import Caller, Platform
from headway.storage.base import Session

SERVER_ROLE = "server"
FULL_WEIGHT = 100
T = TypeVar("T")


def settings_of(request: DeploymentSettings) -> dict[str, Any]:
    """What a request says of a spec beside its versions."""
    names = set(DeploymentSettings.model_fields) & set(DeploymentSpec.model_fields)
    given = {name: getattr(request, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def new_version(
    version: ModelVersion, *, replicas: int = 1, scaling: Scaling | None = None, instance_type: str | None = None
) -> DeployedVersion:
    """A model version that takes all traffic."""
    return DeployedVersion(
        model_version_id=version.id,
        model=version.name,
        version=version.version,
        weight=FULL_WEIGHT,
        replicas=replicas if scaling is None else first_count(scaling),
        scaling=scaling,
        instance_type=instance_type,
    )


def first_count(scaling: Scaling) -> int:
    """How many replicas a version begins with: even one that may have none must show that it works."""
    return max(1, scaling.minimum)


def updated_spec(
    session: Session, caller: Caller, deployment: Deployment, base: DeploymentSpec, request: DeploymentUpdate
) -> DeploymentSpec:
    """``base`` with what the request changes.

    Raises:
        InvalidRequestError, NotFoundError: It cannot be done, with the reason.
    """
    references = _References(session, caller, deployment, base)
    versions = _routed(references, base, request)
    versions = _shadowed(references, versions, request.shadow)
    _check_keys(versions)
    versions = _sized(versions, request)
    off: dict[str, Any] = {name: None for name in request.unset if name in ("sticky", "guard", "hedge_after_seconds")}
    if "scaling" in request.unset:
        versions = [version.evolve(scaling=None, replicas=max(1, version.replicas)) for version in versions]
    return base.evolve(versions=tuple(versions), **{**settings_of(request), **off})


class _References:
    """Model versions by what people call them within a deployment."""

    def __init__(self, session: Session, caller: Caller, deployment: Deployment, base: DeploymentSpec) -> None:
        self._session, self._caller, self._deployment = session, caller, deployment
        self._deployed = base.versions
        self._main = max(base.versions, key=lambda version: (version.weight, version.version))

    def find(self, reference: str) -> DeployedVersion:
        """A version that is deployed already as it is, another one like the main one."""
        number = reference[1:] if reference[:1] == "v" and reference[1:].isdigit() else None
        if number is not None:
            for version in self._deployed:
                if version.version == int(number):
                    return version
            models = {version.model for version in self._deployed}
            if len(models) > 1:
                raise InvalidRequestError(
                    f"{reference!r} could be a version of {' or '.join(sorted(models))}.",
                    hint=f"Write {min(models)}:{reference}.",
                )
            reference = f"{self._main.model}:{reference}"
        found = resolve_version(self._session, self._caller, reference, self._deployment.project_id)
        if found.project_id != self._deployment.project_id:
            raise foreign_version(found, self._deployment.project_id)
        for version in self._deployed:
            if version.model_version_id == found.id:
                return version
        check_servable(found)
        return new_version(
            found,
            replicas=max(1, self._main.replicas),
            scaling=self._main.scaling,
            instance_type=self._main.instance_type,
        )


def foreign_version(version: ModelVersion, project: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The model version {version.id!r} belongs to another project than {project!r}.",
        hint="Deploy it in its own project, or register its files in this one.",
    )


def check_servable(version: ModelVersion) -> None:
    """InvalidRequestError, with the reason, when no runtime of this version of Headway serves the files."""
    if version.runtime in SERVED_RUNTIMES:
        return
    what = f"are {version.runtime} files" if version.runtime else "fit no runtime"
    raise InvalidRequestError(
        f"{version.uri} cannot be deployed: its files {what}, and this version serves {', '.join(sorted(SERVED_RUNTIMES))}.",
        hint="Add a predict.py with a class Predictor, or save a scikit-learn model as .skops.",
        details={"runtime": version.runtime, "served": sorted(SERVED_RUNTIMES)},
    )


def check_room(platform: Platform, session: Session, spec: DeploymentSpec) -> None:
    """InvalidRequestError when the engine could not hold a version of the spec even if it were empty."""
    for version in spec.versions:
        need = need_of(session, {SERVER_ROLE: (version.instance_type, max(1, version.replicas))})
        check_possible(need, platform.engine.capacity())


def _routed(references: _References, base: DeploymentSpec, request: DeploymentUpdate) -> list[DeployedVersion]:
    """The versions with the weights that are asked for, and shadows as they were."""
    if request.model is not None and request.traffic is not None:
        raise InvalidRequestError("The update names both a model and traffic.", hint="Give one of them.")
    weights = request.traffic if request.model is None else {request.model: FULL_WEIGHT}
    if weights is None:
        return list(base.versions)
    if not any(weights.values()):
        raise InvalidRequestError(
            "The update gives no version any traffic.", hint="Give one a weight above 0, or stop the deployment."
        )
    found: dict[str, DeployedVersion] = {}
    for reference, weight in weights.items():
        version = references.find(reference)
        if version.model_version_id in found:
            raise InvalidRequestError(f"{reference!r} means {version.key}, which is named twice.")
        found[version.model_version_id] = version.evolve(weight=weight, shadow=False)
    shadows = [v for v in base.versions if v.shadow and v.model_version_id not in found]
    return [*found.values(), *shadows]


def _shadowed(references: _References, versions: list[DeployedVersion], reference: str | None) -> list[DeployedVersion]:
    if reference is None:
        return versions
    others = [version for version in versions if not version.shadow]
    if reference == "none":
        return others
    shadow = references.find(reference)
    taking = [version for version in others if version.model_version_id == shadow.model_version_id]
    if any(version.weight for version in taking):
        raise InvalidRequestError(
            f"{shadow.key} takes traffic, so it cannot be its shadow.", hint="Take it out of the traffic first."
        )
    others = [version for version in others if version not in taking]
    return [*others, shadow.evolve(weight=0, shadow=True)]


def _check_keys(versions: list[DeployedVersion]) -> None:
    """Versions are told apart by their numbers: in the traffic, in headers and in statistics."""
    seen: dict[str, DeployedVersion] = {}
    for version in versions:
        other = seen.setdefault(version.key, version)
        if other is not version:
            raise InvalidRequestError(
                f"{other.model} and {version.model} both have a version {version.key}: they cannot be told apart.",
                hint=f"Register one of them again, so that it gets another number than {version.version}.",
            )


def _sized(versions: list[DeployedVersion], request: DeploymentUpdate) -> list[DeployedVersion]:
    keys = [version.key for version in versions]
    for what in (request.replicas, request.scaling, request.instance_type):
        if isinstance(what, Mapping):
            for key in what:
                if key not in keys:
                    raise InvalidRequestError(f"{key} is not deployed.", hint=did_you_mean(key, keys))
    found = []
    for version in versions:
        instance_type = _for(request.instance_type, version.key, version.instance_type)
        scaling, replicas = version.scaling, version.replicas
        if (count := _for(request.replicas, version.key, None)) is not None:
            scaling, replicas = None, count
        asked = _for(request.scaling, version.key, version.scaling)
        if asked != version.scaling:
            scaling = asked
            lowest = 1 if asked is None else first_count(asked)
            replicas = max(lowest, replicas if asked is None else min(replicas, asked.maximum))
        found.append(version.evolve(instance_type=instance_type, scaling=scaling, replicas=replicas))
    return found


def _for(given: T | dict[str, T] | dict[str, T | None] | None, key: str, otherwise: T | None) -> T | None:
    """What is given for a version: by its key, or for all."""
    if isinstance(given, dict):
        return given.get(key, otherwise)
    return otherwise if given is None else given
