"""Metric files: one a type, a YAML list to which every ``log`` adds an entry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headway.errors import HeadwayError
from headway.journal import values
from t9k.em import directories, documents

FOLDER = "metrics"


def file_name(kind: str) -> str:
    """The file of a metric type, relative to the run: types may hold any character, file names may not.

    >>> file_name("train"), file_name("a/b"), file_name("..")
    ('metrics/train.yaml', 'metrics/a%2Fb.yaml', 'metrics/%2E%2E.yaml')
    """
    name = quote(kind, safe=" +-_~") if kind.strip(".") else kind.replace(".", "%2E")
    return f"{FOLDER}/{name}.yaml"


def entry(metrics: Mapping[str, Any], step: int, epoch: int | None) -> dict[str, Any]:
    """What one ``log`` adds to the file.

    Raises:
        ValueError: A name or value cannot be a metric's.
        TypeError: ``metrics`` is no mapping.
    """
    if not isinstance(metrics, Mapping):
        raise TypeError(f"Metrics are given as a dict, not {type(metrics).__name__}")
    try:
        found = values.plain_values(metrics)
    except HeadwayError as error:
        raise ValueError(str(error)) from error
    sequence: dict[str, Any] = {} if epoch is None else {"epoch": epoch}
    return {"value": found, "sequence": {**sequence, "step": step, "timestamp": directories.timestamp()}}


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a file, also of one whose last entry was cut off by a crash."""
    if not path.is_file():
        return []
    try:
        found = documents.read(path)
    except ValueError:
        found = _whole_entries(path)
    return [item for item in documents.sequence(found) if isinstance(item, dict)]


def _whole_entries(path: Path) -> list[Any]:
    text = path.read_text("utf-8", "replace")
    while (cut := text.rfind("\n- ")) > 0:
        text = text[: cut + 1]
        try:
            return documents.sequence(documents.from_text(text))
        except ValueError:
            continue
    return []


def seconds(moment: object) -> float | None:
    """Seconds since 1970 of an entry's timestamp; None when it has none that can be read."""
    if isinstance(moment, datetime):
        return moment.timestamp()
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return None
