"""Artifacts: named, versioned sets of files and references, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from headway.domain.base import Description, Labels, Name, Record, Request, Slug, Timestamp
from headway.domain.files import Digest, RelativePath
from headway.domain.folders import ConflictStrategy, FolderPath
from headway.errors import InvalidRequestError

MAX_ENTRIES = 1_000_000
"""Files and references of one version."""


def _check_uri(uri: str) -> str:
    scheme, colon, rest = uri.partition(":")
    if not colon or not rest or not scheme.isascii() or not scheme[:1].isalpha():
        raise ValueError(f"{uri!r} is no URI: it begins with a scheme such as https: or s3:")
    return uri


class ArtifactEntry(Record):
    """One file (``digest`` and ``size``) or one reference (``uri``) of an artifact version."""

    path: RelativePath
    digest: Digest | None = None
    size: int | None = Field(default=None, ge=0)
    executable: bool = False
    uri: Annotated[str, AfterValidator(_check_uri), Field(max_length=8192)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.digest is None) == (self.uri is None):
            raise ValueError(f"the entry {self.path!r} has either a digest or a uri")
        if self.digest is not None and self.size is None:
            raise ValueError(f"the file {self.path!r} has no size")
        return self


def artifact_digest(entries: Iterable[ArtifactEntry]) -> str:
    """One SHA-256 over paths and contents, the same whatever the order.

    The digested text is one line an entry, sorted by path: ``<digest or uri> <x or -> <path>``, with ``\\n`` after each.
    """
    ordered = sorted(entries, key=lambda entry: entry.path)
    lines = (f"{e.digest or e.uri} {'x' if e.executable else '-'} {e.path}\n" for e in ordered)
    hasher = hashlib.sha256()
    for line in lines:
        hasher.update(line.encode())
    return hasher.hexdigest()


def manifest_line(entry: ArtifactEntry) -> bytes:
    """An entry as a line of a manifest."""
    return entry.model_dump_json(exclude_defaults=True).encode() + b"\n"


class PathOrder:
    """Checks paths that come in ascending order, one after the other: none is there twice or lies below a file.

    All paths that begin with one text follow each other, so of what came before only what the present one begins with
    is kept.
    """

    def __init__(self) -> None:
        self._last: str | None = None
        self._above: list[str] = []

    def check(self, path: str) -> None:
        """InvalidRequestError when ``path`` cannot come next."""
        if self._last is not None and path <= self._last:
            problem = "is listed twice" if path == self._last else f"comes after {self._last!r}: the order is by path"
            raise InvalidRequestError(f"The path {path!r} {problem}.")
        while self._above and not path.startswith(self._above[-1]):
            self._above.pop()
        for above in self._above:
            if path[len(above)] == "/":
                raise InvalidRequestError(f"{above!r} is listed as a file and as the directory of {path!r}.")
        self._above.append(path)
        self._last = path


class Artifact(Record):
    """A name under which versions are kept. ``aliases`` maps an alias to a version number."""

    id: str
    project_id: str
    name: str
    type: str = "artifact"
    folder: str = ""
    description: str = ""
    latest_version: int = 0
    aliases: dict[str, int] = {}
    created_at: Timestamp


class ArtifactVersion(Record):
    """Files and references, by content. Immutable. ``manifest`` is the digest of the blob that lists them: a line of
    JSON an :class:`ArtifactEntry`, sorted by path.
    """

    id: str
    artifact_id: str
    project_id: str
    name: str
    """The artifact's name."""
    version: int
    type: str = "artifact"
    digest: str
    """:func:`artifact_digest`; the same content again is the same version."""
    manifest: Digest
    entries: int
    size: int
    """Bytes of all files; references count nothing."""
    alternative_name: str | None = None
    labels: Labels = {}
    description: str = ""
    metadata: dict[str, Any] = {}
    run_id: str | None = None
    """The run that made it."""
    job_id: str | None = None
    created_at: Timestamp
    created_by: str

    @property
    def uri(self) -> str:
        return f"artifact:{self.name}:v{self.version}"


class CommitOutcome(str, Enum):
    """What became of a commit."""

    CREATED = "created"
    """A new version."""
    FOUND = "found"
    """The artifact has a version of that content, which is given back."""
    SKIPPED = "skipped"
    """Something else has the name; its newest version is given back and nothing was made (``skip``)."""
    RENAMED = "renamed"
    """Something else has the name; this was put under its alternative name (``new``)."""
    REPLACED = "replaced"
    """Something else had the name and was deleted (``replace``)."""


class ArtifactCommitted(ArtifactVersion):
    """The answer to :class:`ArtifactCommit`: the version, and what was done."""

    outcome: CommitOutcome = CommitOutcome.CREATED


class ArtifactCommit(Request):
    """The last step of an upload: all blobs are there; make the version (and the artifact, if it is new)."""

    project: Name
    name: Name
    manifest: Digest
    type: Name = "artifact"
    folder: FolderPath = ""
    make_folder: bool = False
    conflict_strategy: ConflictStrategy | None = None
    """As for runs; None adds a version to the artifact of that name, whoever made it."""
    alternative_name: Name | None = None
    aliases: tuple[Slug, ...] = Field(default=(), max_length=64)
    labels: Labels = {}
    description: Description = ""
    metadata: dict[str, Any] = {}
    run: str | None = None
    """The run that made it."""
    input_of: str | None = None
    """A run that used it."""


class ArtifactAliasSet(Request):
    version: int = Field(ge=1, lt=1 << 31)
