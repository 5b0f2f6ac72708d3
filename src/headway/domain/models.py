"""Models and their versions."""

from __future__ import annotations

from pydantic import Field

from headway.domain.base import Description, Labels, Name, Record, Request, Slug, Timestamp
from headway.domain.files import FileEntry
from headway.domain.runtimes import RUNTIME_FILES, SERVED_RUNTIMES, detect_runtime

__all__ = [
    "RUNTIME_FILES",
    "SERVED_RUNTIMES",
    "AliasName",
    "AliasSet",
    "Model",
    "ModelRegister",
    "ModelVersion",
    "detect_runtime",
]


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
    """Files that can be served, and where they came from. Immutable but for its labels."""

    id: str
    model_id: str
    project_id: str
    name: str
    """The model's name."""
    version: int
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
    files: tuple[FileEntry, ...] = Field(min_length=1, max_length=100_000)
    model_type: str | None = None
    description: Description = ""
    labels: Labels = {}
    run: str | None = None
    job: str | None = None


class AliasSet(Request):
    version: int = Field(ge=1, lt=1 << 31)


AliasName = Slug
