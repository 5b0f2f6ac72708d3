"""Two versions of models side by side: only what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from headway.domain.models import ModelVersion, TensorSpec
from headway.sdk.compare import Change, changes, flatten, sides_of, value_text

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
        lines = [f"ModelDiff of a = {_title(self.a)} and b = {_title(self.b)}"]
        rows = [*self.rows()]
        widths = [max((len(row[number]) for row in rows), default=0) for number in (1, 2)]
        present = ""
        for section, key, a, b in rows:
            if section != present:
                lines.append(f"{section}:")
                present = section
            lines.append(f"  {key:<{widths[0]}}  {a:<{widths[1]}}  {b}".rstrip())
        return "\n".join(lines if rows else [*lines, "Nothing differs."])

    def _repr_html_(self) -> str:
        """A table. Every text is escaped: it may be anybody's."""
        head = f"<tr><th></th><th></th><th>{escape(_title(self.a))}</th><th>{escape(_title(self.b))}</th></tr>"
        cells = ("".join(f"<td style='text-align:left'>{escape(text)}</td>" for text in row) for row in self.rows())
        rows = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><caption>ModelDiff</caption>{head}{rows or '<tr><td>Nothing differs.</td></tr>'}</table>"


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
