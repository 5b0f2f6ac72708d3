"""Which runtime serves which files. The files decide, never a type or a name that somebody gave them."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import cast

from headway.domain.models import detect_runtime
from headway.errors import MissingExtraError, ModelLoadError
from headway.serving.runtimes.base import LoadedModel, Runtime

RUNTIMES = {
    "python": "headway.serving.runtimes.python:PythonRuntime",
    "sklearn": "headway.serving.runtimes.sklearn:SklearnRuntime",
}
"""Runtime to the class that implements it; imported when it is needed."""

EXTRAS = {"sklearn": "sklearn"}
"""Runtime to the extra that installs its framework."""


def model_files(model_dir: Path) -> list[str]:
    """Every file below ``model_dir``, relative, with ``/``; directories that are links are not entered."""
    found = []
    for directory, _, names in os.walk(model_dir):
        below = Path(directory).relative_to(model_dir)
        found += [(below / name).as_posix() for name in names]
    return sorted(found)


def load_model(model_dir: Path) -> LoadedModel:
    """The model in ``model_dir``, by the runtime that its files ask for.

    Raises:
        ModelLoadError: There is no model, its kind cannot be served, or loading it failed.
        MissingExtraError: The framework it needs is not installed.
    """
    if not model_dir.is_dir():
        raise ModelLoadError(f"The model directory {str(model_dir)!r} does not exist.")
    name = detect_runtime(model_files(model_dir))
    if name is None:
        raise ModelLoadError(
            "Nothing in the model directory can be served.",
            hint="Add a predict.py with a class Predictor, or save the model in a form such as *.skops.",
        )
    if name not in RUNTIMES:
        raise ModelLoadError(
            f"A model of the kind {name!r} cannot be served yet by this version.",
            hint="Add a predict.py with a class Predictor that loads it.",
        )
    return _runtime(name).load(model_dir)


def _runtime(name: str) -> Runtime:
    module, _, attribute = RUNTIMES[name].partition(":")
    try:
        return cast(Runtime, getattr(importlib.import_module(module), attribute)())
    except ImportError as error:
        if name not in EXTRAS:
            raise
        raise MissingExtraError(f"Serving a model of the kind {name!r}", EXTRAS[name]) from error
