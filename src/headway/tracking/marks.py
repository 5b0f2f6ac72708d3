"""What a run may name as its input or output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.domain.artifacts import ArtifactVersion
from headway.domain.facts import ArtifactMark
from headway.domain.models import ModelVersion
from headway.errors import InvalidRequestError

if TYPE_CHECKING:
    from headway.tracking.run import TrackedRun


def to_mark(thing: Any, run: TrackedRun) -> ArtifactMark:
    """The mark of ``thing``; an artifact that is not on a server yet is handed over to be sent.

    Raises:
        InvalidRequestError: It cannot be an input or output.
    """
    if isinstance(thing, ArtifactMark):
        return thing
    if isinstance(thing, ArtifactVersion):
        return ArtifactMark(kind="artifact", id=thing.id, name=f"{thing.name}:v{thing.version}", digest=thing.digest)
    if isinstance(thing, ModelVersion):
        return ArtifactMark(kind="model-version", id=thing.id, name=thing.uri)
    if isinstance(thing, str) and thing:
        return ArtifactMark(kind="artifact", name=thing.removeprefix("artifact:"))
    own = getattr(thing, "to_mark", None)
    if callable(own):
        return ArtifactMark.model_validate(own(run))
    return _foreign(thing)


def _foreign(thing: Any) -> ArtifactMark:
    """Something of another system, by its ``kind``, ``id`` and ``path``, which are kept as they are."""
    kind, identity, path = (getattr(thing, name, None) for name in ("kind", "id", "path"))
    if not isinstance(kind, str) or (identity is None and path is None):
        raise InvalidRequestError(
            f"A {type(thing).__name__} cannot be marked.",
            hint="Mark an artifact, a version, a reference such as 'digits:v3', or something with kind, id and path.",
        )
    return ArtifactMark(
        kind=kind, id=None if identity is None else str(identity), path=None if path is None else str(path)
    )
