"""Where runs and artifacts lie, and how they are named."""

from __future__ import annotations

import os
import re
import secrets
import string
from datetime import datetime
from pathlib import Path

RUN_VARIABLE, ARTIFACT_VARIABLE = "EM_RUN_PARENT_DIR", "EM_ARTIFACT_PARENT_DIR"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,38}[A-Za-z0-9])?")
_SUFFIX = string.ascii_lowercase + string.digits


def runs_directory() -> Path:
    """Read at every use: a variable set after the import counts, too."""
    return Path(os.environ.get(RUN_VARIABLE) or ".em/runs")


def artifacts_directory() -> Path:
    return Path(os.environ.get(ARTIFACT_VARIABLE) or ".em/artifacts")


def check_name(name: object, what: str) -> str:
    """``name`` if a run or artifact can have it: letters, digits, ``_`` and ``-``, at most 40.

    Raises:
        ValueError: It cannot.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"Invalid name of {what}: {name!r}")
    return name


def alternative_name(name: str) -> str:
    """``<name>_<date>_<time>_<suffix>`` in local time."""
    suffix = "".join(secrets.choice(_SUFFIX) for _ in range(6))
    return f"{name}_{datetime.now():%y%m%d_%H%M%S}_{suffix}"  # noqa: DTZ005 - the original's names are in local time


def new_directory(parent: Path, name: str) -> Path:
    """A new directory named by an alternative name, as an absolute path: a later chdir must not lose it."""
    while True:
        path = (parent / alternative_name(name)).absolute()
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path


def timestamp() -> str:
    """Now as ISO 8601 with the local offset."""
    return datetime.now().astimezone().isoformat()
