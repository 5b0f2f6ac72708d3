"""``headway.load_artifact``: an artifact that exists, here or on a server."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from headway.domain.artifacts import ArtifactEntry, ArtifactVersion
from headway.errors import NotFoundError
from headway.tracking.artifact import HEADER, Artifact
from headway.tracking.artifact_files import DEFAULT_PROJECT

if TYPE_CHECKING:
    from headway.sdk.client import Client


class StoredArtifact:
    """A version on a server, as :func:`load_artifact` gives it."""

    def __init__(self, version: ArtifactVersion, client: Client) -> None:
        self.version = version
        self._client = client

    def __repr__(self) -> str:
        return f"StoredArtifact({self.version.uri!r})"

    @property
    def id(self) -> str:
        return self.version.id

    @property
    def name(self) -> str:
        return self.version.name

    @property
    def objects(self) -> dict[str, ArtifactEntry]:
        """What is in it, by path; asked for anew each time."""
        return {entry.path: entry for entry in self._client.artifacts.entries(self.version)}

    def download(self, path: str | os.PathLike[str]) -> list[Path]:
        """Bring its files below ``path``, each checked; see :meth:`headway.sdk.resources.artifacts.Artifacts.download`."""
        return list(self._client.artifacts.download(self.version, path))


def load_artifact(
    reference: str | os.PathLike[str], *, client: Client | None = None, project: str | None = None
) -> Artifact | StoredArtifact:
    """An artifact by the directory where it lies, or a version by its reference on the server.

    Args:
        reference: A directory, or ``name``, ``name:v3``, ``name:latest``, ``name:alias`` (with ``artifact:`` before it or
            not) or a version's id.
        client: Whose server; the configured one without it.
        project: Id or name; the client's own without it.

    Raises:
        NotFoundError: There is neither.
    """
    text = os.fspath(reference)
    if not text.startswith("artifact:") and (Path(text) / HEADER).is_file():
        return Artifact.load(text)
    if not isinstance(reference, str) or text.startswith((".", "/", "~")):
        raise NotFoundError(f"There is no artifact in {text!r}.", hint=f"A directory of one has a file {HEADER}.")
    if client is not None:
        return _stored(text, client, project)
    from headway.sdk.client import Client

    own = Client(project=project)
    try:
        found = _stored(text, own, project)
    except BaseException:
        own.close()
        raise
    weakref.finalize(found, own.close)
    return found


def _stored(reference: str, client: Client, project: str | None) -> StoredArtifact:
    scope = project or client.project or DEFAULT_PROJECT
    return StoredArtifact(client.artifacts.resolve(reference, project=scope), client)
