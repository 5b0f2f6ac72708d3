"""Models and their versions."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from headway.domain.base import Description, LabelName, Labels, LabelText, Name, Record, Request, Slug, Timestamp
from headway.domain.files import FileEntry
from headway.domain.redaction import redact_url
from headway.domain.runtimes import RUNTIME_FILES, SERVED_RUNTIMES, detect_runtime


def check_version_name(name: str) -> str:
    """ValueError when it would mean a number or the newest version.

    >>> check_version_name("1.0.3")
    '1.0.3'
    """
    if name == "latest" or name.removeprefix("v").isdecimal():
        raise ValueError(f"{name!r} cannot be a version's name: it means a number or the newest")
    return name


MAX_METRICS = 1000
MAX_PARAMETERS_BYTES = 64 * 1024

VersionName = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"),
    AfterValidator(check_version_name),
]
"""Such as ``1.0.3`` or ``2026-11-beta``; never what means a number or the newest."""

__all__ = [
    "RUNTIME_FILES",
    "SERVED_RUNTIMES",
    "AliasName",
    "AliasSet",
    "GitInfo",
    "Model",
    "ModelRegister",
    "ModelSignature",
    "ModelUpdate",
    "ModelVersion",
    "ModelVersionUpdate",
    "TensorSpec",
    "VersionName",
    "detect_runtime",
]


class TensorSpec(Record):
    """One input or output: an array, or a column of a table."""

    name: str
    dtype: str
    """NumPy's name of it (``float64``, ``int64``, ``bool``), ``string`` or ``object``."""
    shape: tuple[int | None, ...] = ()
    """None for a length that may differ, as the number of rows."""


class ModelSignature(Record):
    """What a model takes and answers, as its maker says or an example shows."""

    inputs: tuple[TensorSpec, ...] = Field(default=(), max_length=10_000)
    outputs: tuple[TensorSpec, ...] = Field(default=(), max_length=10_000)
    example: Any = None
    """A few rows of input, as JSON."""


def _without_credentials(url: str) -> str:
    """``ssh://git@host/…`` keeps its user, who is no secret there."""
    plain = redact_url(url)
    match = _SSH_USER.match(url)
    return plain if match is None else f"{match[1]}{match[2]}@{plain.removeprefix(match[1])}"


_SSH_USER = re.compile(r"((?:git\+)?ssh://)([A-Za-z0-9_.-]+)(?::[^@/]*)?@")


class GitInfo(Record):
    """Where the code of a model's maker lies. Credentials in the URL are left out, wherever it comes from.

    >>> GitInfo(url="https://me:hunter2@example.org/team/code.git").url
    'https://example.org/team/code.git'
    """

    url: Annotated[str, Field(max_length=8192), AfterValidator(_without_credentials)] | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    """Whether files differed from the commit."""


class Model(Record):
    """A name under which versions are kept. ``aliases`` maps an alias to a version number."""

    id: str
    project_id: str
    name: str
    description: str = ""
    latest_version: int = 0
    aliases: dict[str, int] = {}
    created_at: Timestamp


class ModelVersion(Record):
    """Files that can be served, and where they came from. Immutable but for its labels (a stage is one of them) and
    description.
    """

    id: str
    model_id: str
    project_id: str
    name: str
    """The model's name."""
    version: int
    version_name: str | None = None
    """As its maker calls it; unique in the model, and not ``v`` and a number."""
    model_type: str
    """As the submitter said it, or what the files are; never what chooses the runtime."""
    runtime: str | None = None
    """What the files can be served by; None when nothing fits."""
    size: int
    digest: str
    files: tuple[FileEntry, ...]
    model_path: str | None = None
    run_id: str | None = None
    job_id: str | None = None
    source: str | None = None
    """What it was made of: ``runs:/…``, ``artifact:…``, ``s3://…``, ``https://…`` or a path on the maker's machine."""
    signature: ModelSignature | None = None
    git: GitInfo | None = None
    parameters: dict[str, Any] = {}
    """Of the run that made it, as they were then; at most :data:`MAX_PARAMETERS_BYTES` of them as JSON."""
    metrics: dict[str, float | int | str] = {}
    """The last values of that run's series, as they were then, of the first :data:`MAX_METRICS` by key; NaN and infinities
    are texts."""
    labels: dict[str, str] = {}
    description: str = ""
    created_at: Timestamp
    created_by: str

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


class ModelRegister(Request):
    """Make the next version of a model (and the model, if it is new) from uploaded blobs."""

    project: Name
    name: Name
    files: tuple[FileEntry, ...] = Field(default=(), max_length=100_000)
    """Either these, or ``source``."""
    source: str | None = Field(default=None, max_length=8192)
    """``runs:/<run>/<path>``, ``artifact:<name>:<version>`` or ``s3://bucket/prefix``: its files, without their being sent
    again. Beside ``files`` it is kept as what they came from."""
    version_name: VersionName | None = None
    model_type: str | None = None
    signature: ModelSignature | None = None
    git: GitInfo | None = None
    aliases: tuple[Slug, ...] = Field(default=(), max_length=64)
    """That name the new version from now on."""
    description: Description = ""
    labels: Labels = {}
    run: str | None = None
    job: str | None = None


class ModelUpdate(Request):
    description: Description


class ModelVersionUpdate(Request):
    """Other labels or words for a version; what is not given stays. A label that is None is removed."""

    description: Description | None = None
    labels: dict[LabelName, LabelText | None] = Field(default={}, max_length=256)


class AliasSet(Request):
    version: int = Field(ge=1, lt=1 << 31)


AliasName = Slug
