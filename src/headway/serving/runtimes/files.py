"""Which file of a model directory is the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headway.errors import ModelLoadError


def the_model_file(model_dir: Path, patterns: Sequence[str], preferred: str) -> Path:
    """The one file that fits a pattern; with several, the one (anywhere) that is called ``preferred``.

    Raises:
        ModelLoadError: There are several, and none or more than one is called so, or it is a link out of the directory.
    """
    found = sorted({path for pattern in patterns for path in model_dir.rglob(pattern) if path.is_file()})
    chosen = [path for path in found if path.name == preferred] or found
    if not chosen:
        raise ModelLoadError(f"There is no file {' or '.join(patterns)} in the model.")
    if len(chosen) > 1:
        names = ", ".join(path.relative_to(model_dir).as_posix() for path in chosen)
        raise ModelLoadError(f"There are several models: {names}.", hint=f"Call one of them {preferred}.")
    return contained(model_dir, chosen[0])


def contained(model_dir: Path, path: Path) -> Path:
    """``path`` if what it leads to lies in ``model_dir``.

    Raises:
        ModelLoadError: It leads out of it.
    """
    if not path.resolve().is_relative_to(model_dir.resolve()):
        raise ModelLoadError(f"{path.name} leads out of the model's directory.")
    return path
