"""Which distributions are installed beside the program."""

from __future__ import annotations

import time
from typing import Any

from headway.tracking.imports import import_quietly

SECONDS = 10.0
"""For all of them; a network drive may take its time."""


def installed_packages(seconds: float = SECONDS) -> dict[str, str]:
    """Name to version, sorted by name without regard to case. Of two of a name the one that is imported is told."""
    metadata: Any = import_quietly("importlib.metadata")
    import_quietly("email.parser")  # which the former imports when it reads the first distribution
    deadline = time.monotonic() + seconds
    found: dict[str, tuple[str, str]] = {}
    for distribution in metadata.distributions():
        if time.monotonic() > deadline:
            break
        name, version = _described(distribution)
        if name:
            found.setdefault(name.lower().replace("_", "-"), (name, version))
    return {name: version for _, (name, version) in sorted(found.items())}


def _described(distribution: Any) -> tuple[str, str]:
    """Empty texts for what a broken installation does not say."""
    try:
        told = distribution.metadata
        return str(told["Name"] or ""), str(told["Version"] or "")
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""
