"""Models and their versions."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from headway.domain.base import Description, Labels, Name, Record, Request, Slug, Timestamp
from headway.domain.files import FileEntry


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

RUNTIME_FILES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("command", ("headway.yaml",)),
    ("python", ("predict.py",)),
    ("sklearn", ("*.skops",)),
    ("onnx", ("*.onnx",)),
    ("tensorflow", ("saved_model.pb", "saved_model.pbtxt")),
    ("keras", ("*.keras",)),
    ("torch", ("*.pt2", "*.pt", "*.pth")),
    ("xgboost", ("*.ubj", "*.xgb", "model.json")),
    ("lightgbm", ("*.lgb", "*.lightgbm", "model.txt")),
)
"""What a model is, by the files it has; the first line that fits wins. A pattern is a base name or ``*`` and a suffix."""


def detect_runtime(paths: Iterable[str]) -> str | None:
    """The runtime that fits the files, or None.

    ``predict.py`` and ``headway.yaml`` count only at the top; the others may lie deeper (``1/saved_model.pb``).

    >>> detect_runtime(["model.skops"]), detect_runtime(["weights.bin"])
    ('sklearn', None)
    """
    names = list(paths)
    for runtime, patterns in RUNTIME_FILES:
        for path in names:
            base = path.rpartition("/")[2]
            if any(_fits(base, pattern) and (runtime not in TOP_ONLY or path == base) for pattern in patterns):
                return runtime
    return None


def _fits(base: str, pattern: str) -> bool:
    return base.endswith(pattern[1:]) if pattern.startswith("*") else base == pattern


TOP_ONLY = frozenset({"command", "python"})
SERVED_RUNTIMES = frozenset(runtime for runtime, _ in RUNTIME_FILES)
"""What this version of Headway can serve; anything else is registered and refused at deployment with that reason."""
