"""Keras 3 models in ``.keras`` files, on whichever backend is installed."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import Arrays, Signature, TensorSpec
from headway.serving.runtimes.files import the_model_file
from headway.serving.runtimes.probing import made_up, rows_stand_alone, seen
from headway.serving.runtimes.reading import reading, refuse_pickle
from headway.serving.runtimes.zips import check_archive

BACKENDS = ("tensorflow", "jax", "torch")
PREFERRED_FILE = "model.keras"

if "KERAS_BACKEND" not in os.environ:
    installed = [name for name in BACKENDS if importlib.util.find_spec(name) is not None]
    if not installed and importlib.util.find_spec("keras") is not None:
        raise ModelLoadError(
            "Keras needs TensorFlow, JAX or PyTorch, and none is installed.", hint="Run `pip install jax`."
        )
    os.environ["KERAS_BACKEND"] = next(iter(installed), "tensorflow")

import keras  # noqa: E402  # the choice of a backend comes before


class KerasRuntime:
    """Loads the one ``*.keras`` file in safe mode: layers that carry Python code (Lambda) are refused."""

    def load(self, model_dir: Path) -> KerasModel:
        path = the_model_file(model_dir, ("*.keras",), PREFERRED_FILE)
        refuse_pickle(path)
        with reading(path, "Keras"), warnings.catch_warnings():
            check_archive(path)
            # Keras goes on with fresh random weights where the file has none: a model that answers nonsense.
            warnings.filterwarnings("error", message=".*freshly-initialized")
            return KerasModel(keras.saving.load_model(path, compile=False, safe_mode=True))


class KerasModel:
    """A built model. Inputs and outputs have the names that its layers have."""

    batch = True

    def __init__(self, model: Any) -> None:
        tensors = getattr(model, "inputs", None)
        if not tensors:
            raise ModelLoadError(
                "The model does not say what it takes.", hint="Call it once, or give it an Input, before saving it."
            )
        self._model = model
        self._inputs = [tensor.name for tensor in tensors]
        self._outputs = list(model.output_names)
        inputs = tuple(TensorSpec(t.name, _dtype(t.dtype), tuple(t.shape)) for t in tensors)
        probe = made_up(inputs)
        outputs = seen(self.predict(probe), len(probe[inputs[0].name])) if probe is not None else ()
        self.signature: Signature | None = Signature(inputs, outputs, rows=self._has_rows(inputs, outputs))
        self.metadata: Mapping[str, Any] = {
            "runtime": "keras",
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "model": type(model).__name__,
            "parameters": model.count_params(),
        }

    def _has_rows(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bool:
        if any(not spec.shape or spec.shape[0] is not None for spec in (*inputs, *outputs)):
            return False
        return rows_stand_alone(self.predict, inputs)

    def predict(self, inputs: Arrays) -> Arrays:
        given = [inputs[name] for name in self._inputs]
        rows = len(given[0])
        # Backends compile a program for each shape that they see: powers of two are few.
        padded = [_padded(array, 1 << max(0, rows - 1).bit_length()) for array in given]
        answer = self._model.predict_on_batch(padded if len(padded) > 1 else padded[0])
        return {name: value[:rows] for name, value in self._named(answer)}

    def _named(self, answer: Any) -> list[tuple[str, Any]]:
        if isinstance(answer, dict):
            return [(str(name), np.asarray(value)) for name, value in answer.items()]
        values = answer if isinstance(answer, (list, tuple)) else [answer]
        return [(name, np.asarray(value)) for name, value in zip(self._outputs, values, strict=True)]


def _dtype(name: str) -> str:
    return "object" if name == "string" else "float32" if name == "bfloat16" else str(name)


def _padded(array: Any, rows: int) -> Any:
    """``array`` with its last row repeated until it has so many."""
    missing = rows - len(array)
    return array if missing <= 0 else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
