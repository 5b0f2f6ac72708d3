"""Which Headway this is. A replica and a gateway do not load the client for it."""

from __future__ import annotations

import importlib
from functools import cache


@cache
def release() -> str:
    """The version of the installed distribution; ``unknown`` where there is none (a bare source tree)."""
    metadata = importlib.import_module("importlib.metadata")  # some megabytes that few processes ever need
    try:
        return str(metadata.version("headway"))
    except metadata.PackageNotFoundError:
        return "unknown"
