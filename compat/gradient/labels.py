"""The original words of a request, kept as labels so that they come back exactly as they were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREFIX = "gradient."


def to_labels(values: Mapping[str, Any]) -> dict[str, str]:
    """A label for each value that is not None; names carry the prefix, values are text."""
    return {PREFIX + name: _text(value) for name, value in values.items() if value is not None}


def from_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that :func:`to_labels` made, without the prefix."""
    return {name[len(PREFIX) :]: value for name, value in labels.items() if name.startswith(PREFIX)}


def as_bool(text: str | None) -> bool | None:
    """A boolean that was kept as text."""
    return None if text is None else text == "true"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
