"""What a run names as its input or output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.domain.artifacts import ArtifactVersion
from headway.domain.facts import ArtifactMark
from headway.domain.lineage import Relation
from headway.domain.models import ModelVersion
from headway.errors import InvalidRequestError
from headway.tracking.artifact import HEADER, Artifact
from headway.tracking.artifact_loading import StoredArtifact

if TYPE_CHECKING:
    from headway.sdk.client import Client

ARTIFACT, MODEL_VERSION = "artifact", "model-version"
ARTIFACT_PREFIX, MODEL_PREFIX = "artifact:", "models:/"


def resolve_mark(subject: Any, client: Client | None = None) -> ArtifactMark:
    """``subject`` as a run's facts name it. Nothing is sent, unless it is a reference and a ``client`` can look it up.

    Args:
        subject: A :class:`headway.Artifact`, an artifact or model version, ``artifact:name:v3``, ``models:/name/3``, or an
            object of another system that has ``kind``, ``id`` and ``path``.
        client: Who to ask what a reference means now; without it the text is kept and looked up by the server.

    Raises:
        InvalidRequestError: It is none of these.
        NotFoundError: The client's server has nothing of that name.
    """
    if isinstance(subject, Artifact):
        return ArtifactMark(id=subject.id, name=subject.name, digest=subject.digest, path=str(subject.directory))
    if isinstance(subject, StoredArtifact):
        subject = subject.version
    if isinstance(subject, ArtifactVersion):
        return ArtifactMark(id=subject.id, name=subject.name, digest=subject.digest)
    if isinstance(subject, ModelVersion):
        return ArtifactMark(kind=MODEL_VERSION, id=subject.id, name=subject.uri, digest=subject.digest)
    if isinstance(subject, str):
        return _from_text(subject, client)
    return _foreign(subject)


def _from_text(text: str, client: Client | None) -> ArtifactMark:
    if text.startswith(ARTIFACT_PREFIX) and len(text) > len(ARTIFACT_PREFIX):
        if client is not None:
            return resolve_mark(client.artifacts.resolve(text))
        return ArtifactMark(name=text.removeprefix(ARTIFACT_PREFIX))
    if text.startswith(MODEL_PREFIX) and len(text) > len(MODEL_PREFIX):
        if client is not None:
            return resolve_mark(client.models.version(text))
        return ArtifactMark(kind=MODEL_VERSION, name=text)
    raise InvalidRequestError(
        f"{text!r} names no input or output.", hint="Write artifact:NAME:v3 or models:/NAME/3, or pass an artifact."
    )


def _foreign(subject: Any) -> ArtifactMark:
    kind, id, path = (getattr(subject, name, None) for name in ("kind", "id", "path"))
    if not isinstance(kind, str) or not kind or (id is None and path is None):
        raise InvalidRequestError(
            f"A {type(subject).__name__} cannot be the input or output of a run.",
            hint="Pass a headway.Artifact, an artifact or model version, or what has a kind, an id and a path.",
        )
    place = None if path is None else str(path)
    return ArtifactMark(kind=kind.lower(), id=None if id is None else str(id), path=place, name=place)


def upload_marked(
    client: Client,
    project: str,
    marks: Sequence[ArtifactMark],
    *,
    run: str | None = None,
    relation: Relation = Relation.OUTPUT,
    folder: str = "",
    make_folder: bool = False,
    conflict_strategy: str | None = None,
) -> list[ArtifactMark]:
    """Upload the artifacts among ``marks`` that lie on this machine, and link them with the run; again is harmless.

    Call it once the run is known to the server.

    Args:
        client: Whose server.
        project: Id or name.
        marks: As the run's facts hold them.
        run: The run's id, whose outputs (or inputs) they are; None links nothing.
        relation: Whether it made them or used them.
        folder: Where artifacts go that are new; see :meth:`headway.Artifact.upload`.
        make_folder: The same.
        conflict_strategy: The same.

    Returns:
        The marks in their order, those that were uploaded with the id of the version. A mark whose artifact lies elsewhere
        stays as it is.

    Raises:
        HeadwayError: As :meth:`headway.Artifact.upload`.
    """
    link = {} if run is None else {"run" if relation is Relation.OUTPUT else "input_of": run}
    found = []
    for mark in marks:
        if mark.kind == ARTIFACT and mark.path is not None and (Path(mark.path) / HEADER).is_file():
            artifact = Artifact.load(mark.path)
            version = artifact.upload(folder, make_folder, conflict_strategy, client=client, project=project, **link)
            mark = mark.evolve(id=version.id, digest=version.digest)
        found.append(mark)
    return found
