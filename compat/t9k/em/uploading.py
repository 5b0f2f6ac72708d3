"""``em.upload()``: what lies in local directories, sent to the server."""

from __future__ import annotations

import os
from pathlib import Path

from t9k.em import artifact, run
from t9k.em.strategies import Destination


def upload(
    path: str | os.PathLike[str], folder: str = "default", make_folder: bool = False, conflict_strategy: str = "new"
) -> None:
    """Upload the run or artifact in ``path``, or every one in the directories below it.

    Raises:
        ValueError: There is none, the folder does not exist, or the strategy is unknown.
        RuntimeError: Not logged in; a name is taken and the strategy says ``error``; or the server failed.
    """
    destination = Destination(folder, make_folder, conflict_strategy)
    top = Path(path)
    directories = [top] if (top / run.METADATA).is_file() else _below(top)
    if not directories:
        raise ValueError(f"There is no run or artifact in {top}")
    for directory in directories:
        _load(directory).upload(destination.folder, destination.make_folder, destination.conflict_strategy)


def _below(top: Path) -> list[Path]:
    return sorted(path.parent for path in top.glob(f"*/{run.METADATA}")) if top.is_dir() else []


def _load(directory: Path) -> run.Run | artifact.Artifact:
    return run.open_run(directory) or artifact.load_artifact(directory)
