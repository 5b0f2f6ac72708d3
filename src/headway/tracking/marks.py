"""What a run names as its input or output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.domain.artifacts import ArtifactCommitted, ArtifactVersion
from headway.domain.facts import ArtifactMark
from headway.domain.lineage import Relation
from headway.domain.models import ModelVersion
from headway.errors import InvalidRequestError, with_article
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
        digest = subject.freeze()
        known = subject.uploaded() or {}
        id = known.get("id") if known.get("digest") == digest else None
        return ArtifactMark(id=id, name=subject.name, digest=digest, path=str(subject.directory))
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
            f"What goes into a run or comes out of it cannot be {with_article(type(subject).__name__)}.",
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
    place: dict[str, Any] = {"folder": folder, "make_folder": make_folder, "conflict_strategy": conflict_strategy}
    found = []
    for mark in marks:
        version = upload_mark(client, project, mark, run=run, relation=relation, **place)
        found.append(mark if version is None else mark.evolve(id=version.id, digest=version.digest))
    return found


def upload_mark(
    client: Client,
    project: str,
    mark: ArtifactMark,
    *,
    run: str | None = None,
    relation: Relation = Relation.OUTPUT,
    **place: Any,
) -> ArtifactCommitted | None:
    """Upload what the artifact of one mark held when it was marked; None for one that does not lie here.

    Arguments and errors are those of :func:`upload_marked`.
    """
    if mark.kind != ARTIFACT or mark.path is None or not (Path(mark.path) / HEADER).is_file():
        return None
    link: dict[str, Any] = {} if run is None else {"run" if relation is Relation.OUTPUT else "input_of": run}
    artifact = Artifact.load(mark.path)
    return artifact.upload(client=client, project=project, digest=mark.digest, **place, **link)


def reference_of(mark: ArtifactMark) -> str | None:
    """What a mark that is only a reference to something on the server says, as ``artifact:digits:v3``; None for others."""
    if mark.name is None or mark.id is not None or mark.digest is not None or mark.path is not None:
        return None
    return ARTIFACT_PREFIX + mark.name if mark.kind == ARTIFACT else mark.name if mark.kind == MODEL_VERSION else None


def check_reference(client: Client, project: str, mark: ArtifactMark) -> None:
    """Ask whether the server has what a mark refers to; nothing for a mark that is no reference.

    Raises:
        NotFoundError: It has nothing of that name in the project.
    """
    reference = reference_of(mark)
    if reference is not None and mark.kind == ARTIFACT:
        client.artifacts.resolve(reference, project=project)
    elif reference is not None:
        client.models.version(reference, project=project)
