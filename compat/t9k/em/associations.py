"""What a run names as its input or output, as the run's file holds it."""

from __future__ import annotations

from typing import Any

from headway.domain.artifacts import ArtifactVersion
from headway.domain.facts import ArtifactMark
from headway.domain.models import ModelVersion
from t9k.em.artifact import Artifact

ASSETS = ("model", "dataset")
REFERENCES = ("branch", "tag", "commit")


def to_entry(thing: Any) -> dict[str, Any]:
    """The entry of ``thing`` in ``associations``.

    Raises:
        TypeError: It cannot be an input or output.
    """
    if isinstance(thing, Artifact):
        return {"kind": "Artifact", "name": thing.alternative_name, "localDir": thing.local}
    if isinstance(thing, ArtifactVersion):
        return {"kind": "artifact", "id": thing.id, "path": thing.uri}
    if isinstance(thing, ModelVersion):
        return {"kind": "model-version", "id": thing.id, "path": thing.uri}
    native = getattr(thing, "version", None)
    if isinstance(native, ArtifactVersion):
        return to_entry(native)
    kind, identity, path = (getattr(thing, name, None) for name in ("kind", "id", "path"))
    if isinstance(kind, str) and kind.lower() in ASSETS + REFERENCES and identity is not None:
        return {"kind": kind, "id": str(identity), "path": None if path is None else str(path)}
    raise TypeError(
        f"Cannot mark a {type(thing).__name__}: an Artifact, Model, Dataset, Branch, Tag or Commit can be marked"
    )


def to_mark(entry: dict[str, Any]) -> ArtifactMark:
    """The same as Headway says it; not for artifacts in a local directory, which are uploaded first."""
    path = entry.get("path")
    return ArtifactMark(kind=str(entry.get("kind", "")).lower(), id=entry.get("id"), path=path, name=path)
