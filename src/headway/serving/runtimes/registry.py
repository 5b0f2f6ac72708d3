"""Which runtime serves which files. The files decide, never a type or a name that somebody gave them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from headway.domain.runtimes import detect_runtime
from headway.errors import MissingExtraError, ModelLoadError
from headway.serving.runtimes.base import LoadedModel, Runtime
from headway.serving.runtimes.reading import reason


@dataclass(frozen=True)
class Entry:
    """A runtime: the class that implements it, the packages it stands on, and what installs them."""

    implementation: str
    packages: tuple[str, ...] = ()
    install: str = ""
    """A package, or an extra of Headway: ``headway[onnx]``."""
    spared: tuple[str, ...] = ()
    """What its packages import where it happens to be installed, and predict as well without."""


RUNTIMES = {
    "python": Entry("headway.serving.runtimes.python:PythonRuntime"),
    "sklearn": Entry(
        "headway.serving.runtimes.sklearn:SklearnRuntime",
        ("sklearn", "skops"),
        "headway[sklearn]",
        spared=("pandas", "pytest"),
    ),
    "onnx": Entry("headway.serving.runtimes.onnx:OnnxRuntime", ("onnxruntime",), "headway[onnx]"),
    "tensorflow": Entry("headway.serving.runtimes.tensorflow:TensorFlowRuntime", ("tensorflow",), "tensorflow"),
    "keras": Entry("headway.serving.runtimes.keras:KerasRuntime", ("keras",), "keras"),
    "torch": Entry("headway.serving.runtimes.torch:TorchRuntime", ("torch",), "torch"),
    "xgboost": Entry("headway.serving.runtimes.xgboost:XGBoostRuntime", ("xgboost",), "xgboost"),
    "lightgbm": Entry("headway.serving.runtimes.lightgbm:LightGBMRuntime", ("lightgbm",), "lightgbm"),
}
"""Every runtime that loads a model into the replica; imported when it is needed. A model with a command of its own is
served by :mod:`headway.serving.passthrough`."""


COMMAND_FILE = "serving.yaml"
"""Where it has no command, it says nothing of what serves the other files."""


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
    name = detect_runtime(path for path in model_files(model_dir) if path != COMMAND_FILE)
    if name is None:
        raise ModelLoadError(
            "Nothing in the model directory can be served.",
            hint="Add a predict.py with a class Predictor, or save the model in a form such as *.skops.",
        )
    return runtime(name).load(model_dir)


def runtime(name: str) -> Runtime:
    """The runtime of that name.

    Raises:
        ModelLoadError, MissingExtraError: Its framework is not installed, or does not work on this machine.
    """
    entry = RUNTIMES[name]
    module, _, attribute = entry.implementation.partition(":")
    try:
        with sparing(entry.spared):
            found = importlib.import_module(module)
        return cast(Runtime, getattr(found, attribute)())
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in entry.packages:
            raise _broken(name, entry, error) from error
        raise _missing(name, entry) from error
    except (ImportError, OSError) as error:
        raise _broken(name, entry, error) from error


@contextmanager
def sparing(packages: Iterable[str]) -> Iterator[None]:
    """Within the block it is as if these packages were not installed, unless they are imported already.

    scikit-learn 1.9 imports pandas only to have it, and skops pytest: a third of a second and tens of megabytes for each
    replica. After the block they are imported as ever, by a model that has to do with data frames.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None says to the import system: not there
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _missing(name: str, entry: Entry) -> MissingExtraError | ModelLoadError:
    what = f"Serving a model of the kind {name!r}"
    if entry.install.startswith("headway["):
        return MissingExtraError(what, entry.install[len("headway[") : -1])
    return ModelLoadError(f"{what} needs {entry.packages[0]}.", hint=f"Run `pip install {entry.install}`.")


def _broken(name: str, entry: Entry, error: Exception) -> ModelLoadError:
    packages = " and ".join(entry.packages) or "Headway"
    return ModelLoadError(f"{packages}, for a model of the kind {name!r}, cannot be imported: {reason(error)}.")
