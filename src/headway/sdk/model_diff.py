"""Two versions of models side by side: only what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headway.domain.models import ModelVersion, TensorSpec
from headway.sdk.compare import Change, changes, diff_html, diff_text, flatten, sides_of, value_text

SECTIONS = ("files", "signature", "parameters", "metrics", "labels", "git")


@dataclass(frozen=True, repr=False)
class ModelDiff:
    """What differs between the model versions ``a`` and ``b``; false when nothing does.

    The key of a change in ``files`` is a path and its sides are SHA-256 digests; in ``signature`` it is ``inputs.<name>``
    or ``outputs.<name>`` and its sides say type and shape; elsewhere sides are JSON values.
    """

    a: ModelVersion
    b: ModelVersion
    files: tuple[Change, ...] = ()
    signature: tuple[Change, ...] = ()
    parameters: tuple[Change, ...] = ()
    metrics: tuple[Change, ...] = ()
    labels: tuple[Change, ...] = ()
    git: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, section) for section in SECTIONS)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: ``{"a": {"id", "uri", "version_name"}, "b": …, "files": {path: {"a": …, "b": …}}, …}``. A side
        that lacks something lacks its key.
        """
        found: dict[str, Any] = {
            side: {"id": version.id, "uri": version.uri, "version_name": version.version_name}
            for side, version in (("a", self.a), ("b", self.b))
        }
        for section in SECTIONS:
            found[section] = {change.key: sides_of(change) for change in getattr(self, section)}
        return found

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Section, key and both sides as texts for people."""
        for section in SECTIONS:
            for change in getattr(self, section):
                sides = [value_text(side) for side in (change.a, change.b)]
                if section == "files":
                    sides = [text[:12] for text in sides]
                yield section, change.key, sides[0], sides[1]

    def __repr__(self) -> str:
        return diff_text("ModelDiff", _title(self.a), _title(self.b), [*self.rows()])

    def _repr_html_(self) -> str:
        return diff_html("ModelDiff", _title(self.a), _title(self.b), [*self.rows()])


def compare_versions(a: ModelVersion, b: ModelVersion) -> ModelDiff:
    """What differs between two versions, of one model or of two."""
    return ModelDiff(
        a,
        b,
        files=changes(_files(a), _files(b)),
        signature=changes(_signature(a), _signature(b)),
        parameters=changes(flatten(a.parameters), flatten(b.parameters)),
        metrics=changes(a.metrics, b.metrics),
        labels=changes(a.labels, b.labels),
        git=changes(_git(a), _git(b)),
    )


def tensor_text(spec: TensorSpec) -> str:
    """Type and shape for people; ``?`` is a length that may differ.

    >>> tensor_text(TensorSpec(name="x", dtype="float32", shape=(None, 64)))
    'float32 (?, 64)'
    """
    lengths = ", ".join("?" if length is None else str(length) for length in spec.shape)
    return f"{spec.dtype} ({lengths}{',' if len(spec.shape) == 1 else ''})"


def _files(version: ModelVersion) -> dict[str, str]:
    return {entry.path: entry.digest for entry in version.files}


def _signature(version: ModelVersion) -> dict[str, str]:
    if version.signature is None:
        return {}
    sides: tuple[tuple[str, Sequence[TensorSpec]], ...] = (
        ("inputs", version.signature.inputs),
        ("outputs", version.signature.outputs),
    )
    return {f"{side}.{spec.name}": tensor_text(spec) for side, specs in sides for spec in specs}


def _git(version: ModelVersion) -> dict[str, Any]:
    return {} if version.git is None else version.git.model_dump(exclude_none=True)


def _title(version: ModelVersion) -> str:
    return version.uri if version.version_name is None else f"{version.uri} ({version.version_name})"
