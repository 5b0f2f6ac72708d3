"""Models that bring their own code: ``predict.py`` with a class ``Predictor`` (or ``Model``).

class Predictor:
    def __init__(self, model_dir): ...   # or without argument
    def load(self): ...                  # optional
    def predict(self, inputs): ...       # the value of "inputs" or "instances" as it was sent
    batch = True                         # optional: predict takes a list of rows, of several requests too, and answers
                                         # a list, or a dict of columns, with an item for each of them in their order
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import Signature

MODULE_NAME = "_headway_model_predict"
CLASS_NAMES = ("Predictor", "Model")


class PythonModel:
    """An object of the user's class."""

    signature: Signature | None = None

    def __init__(self, predict: Callable[[Any], Any], metadata: Mapping[str, Any], *, batch: bool = False) -> None:
        self.predict = predict
        self.metadata = metadata
        self.batch = batch


class PythonRuntime:
    """Imports ``predict.py`` under a private name, with the model directory importable for the files beside it."""

    def load(self, model_dir: Path) -> PythonModel:
        source = model_dir.resolve() / "predict.py"
        module = _import(source)
        chosen = _choose_class(module)
        model = _construct(chosen, source.parent)
        if callable(getattr(model, "load", None)):
            _guarded(source.parent, f"{chosen.__name__}.load", model.load)
        metadata = {"runtime": "python", "class": chosen.__name__}
        return PythonModel(_predict_of(model, chosen), metadata, batch=_takes_rows(model, chosen))


def _import(source: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE_NAME, source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    sys.path.insert(0, str(source.parent))
    loader = spec.loader
    _guarded(source.parent, "Importing predict.py", lambda: loader.exec_module(module))
    return module


def _choose_class(module: ModuleType) -> type:
    """``Predictor``, or a ``Model`` that the file defines itself (many frameworks export a class of that name)."""
    for name in CLASS_NAMES:
        found = getattr(module, name, None)
        if isinstance(found, type) and (name == "Predictor" or found.__module__ == MODULE_NAME):
            return found
    raise ModelLoadError(
        "predict.py defines no class Predictor or Model.",
        hint="Define `class Predictor` with a method `predict(self, inputs)`.",
    )


def _construct(chosen: type, model_dir: Path) -> Any:
    """An object of the class, given the model directory if its ``__init__`` asks for it."""
    what = f"{chosen.__name__}()"
    if _takes_directory(chosen):
        return _guarded(model_dir, what, lambda: chosen(str(model_dir)))
    return _guarded(model_dir, what, chosen)


def _takes_directory(chosen: type) -> bool:
    try:
        parameters = list(inspect.signature(chosen).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(required) > 1 or (required and required[0] not in positional):
        raise ModelLoadError(
            f"{chosen.__name__} in predict.py needs {len(required)} arguments; it is given the model directory alone.",
            hint="Write `__init__(self, model_dir)` or `__init__(self)`.",
        )
    return bool(required) or bool(positional and positional[0].name == "model_dir")


def _predict_of(model: Any, chosen: type) -> Callable[[Any], Any]:
    predict = getattr(model, "predict", None)
    if not callable(predict):
        raise ModelLoadError(f"{chosen.__name__} in predict.py has no method predict(self, inputs).")
    if inspect.iscoroutinefunction(predict):
        raise ModelLoadError(
            f"{chosen.__name__}.predict in predict.py is asynchronous.", hint="Write `def`, not `async def`."
        )
    found: Callable[[Any], Any] = predict
    return found


def _takes_rows(model: Any, chosen: type) -> bool:
    batch = getattr(model, "batch", False)
    if callable(batch):  # a method of that name is the user's own
        return False
    if not isinstance(batch, bool):
        raise ModelLoadError(f"{chosen.__name__}.batch in predict.py is {batch!r}; it must be True or False.")
    return batch


def _guarded(model_dir: Path, what: str, call: Callable[[], Any]) -> Any:
    """Run the user's code; whatever it raises is the reason why the model cannot be loaded."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        place = _place(error, model_dir)
        text = str(error).strip() or "no message"
        raise ModelLoadError(f"{what} failed{place}: {type(error).__name__}: {text}") from error


def _place(error: BaseException, model_dir: Path) -> str:
    """`` at predict.py:12``: the innermost line of the model's own files that is to blame."""
    if isinstance(error, SyntaxError) and error.filename:
        frames = [(error.filename, error.lineno)]
    else:
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    for filename, line in reversed(frames):
        path = Path(filename)
        if path.is_relative_to(model_dir):
            return f" at {path.relative_to(model_dir)}:{line}"
    return ""
