"""ONNX models on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import Arrays, Signature, TensorSpec
from headway.serving.runtimes.files import contained, the_model_file
from headway.serving.runtimes.onnx_files import external_files
from headway.serving.runtimes.probing import rows_stand_alone
from headway.serving.runtimes.reading import reading, refuse_pickle, threads

PREFERRED_FILE = "model.onnx"
DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(string)": "object",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
ERRORS_ONLY = 3


class OnnxRuntime:
    """Loads the one ``*.onnx`` file of the model; weights in files of their own must lie in the model's directory."""

    def load(self, model_dir: Path) -> OnnxModel:
        path = the_model_file(model_dir, ("*.onnx",), PREFERRED_FILE)
        refuse_pickle(path)
        with reading(path, "ONNX Runtime"):
            for location in external_files(path):
                self._check(model_dir, path, location)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads()
            options.inter_op_num_threads = 1
            options.log_severity_level = ERRORS_ONLY
            # A thread that spins for work takes the processor from the loop that reads the next requests.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            return OnnxModel(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))

    @staticmethod
    def _check(model_dir: Path, path: Path, location: str) -> None:
        outside = Path(location).is_absolute()
        if outside or not contained(model_dir, path.parent / location).is_file():
            where = "lies outside of the model" if outside else "is missing"
            raise ModelLoadError(f"{path.name} keeps weights in {location!r}, which {where}.")


class OnnxModel:
    """A session. A model made for exactly one row is asked row by row."""

    batch = True

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [output.name for output in session.get_outputs()]
        inputs = [_spec(found) for found in session.get_inputs()]
        self._one_by_one = all(spec.shape and spec.shape[0] == 1 for spec in inputs)
        if self._one_by_one:
            inputs = [TensorSpec(spec.name, spec.dtype, (None, *(spec.shape or ())[1:])) for spec in inputs]
        found = tuple(_output(output, free=self._one_by_one) for output in session.get_outputs())
        self.signature: Signature | None = Signature(tuple(inputs), found, rows=self._has_rows(tuple(inputs), found))
        meta = session.get_modelmeta()
        self.metadata: Mapping[str, Any] = {
            "runtime": "onnx",
            "onnxruntime": onnxruntime.__version__,
            "graph": meta.graph_name,
            "producer": meta.producer_name,
        }

    def _has_rows(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bool:
        if not inputs or any(not spec.shape or spec.shape[0] is not None for spec in inputs):
            return False
        if any(spec.shape is not None and (not spec.shape or spec.shape[0] is not None) for spec in outputs):
            return False
        return rows_stand_alone(self.predict, inputs)

    def predict(self, inputs: Arrays) -> Arrays:
        if not self._one_by_one or len(next(iter(inputs.values()))) == 1:
            return self._run(inputs)
        rows = len(next(iter(inputs.values())))
        parts = [self._run({name: array[row : row + 1] for name, array in inputs.items()}) for row in range(rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._names}

    def _run(self, inputs: Arrays) -> Arrays:
        try:
            answer = self._session.run(None, inputs)
        except InvalidArgument as error:
            raise ValueError(" ".join(str(error).split())) from None
        return {name: _array(value) for name, value in zip(self._names, answer, strict=True)}


def _spec(found: Any) -> TensorSpec:
    if found.type not in DTYPES:
        raise ModelLoadError(f"The input {found.name!r} is a {found.type}, which cannot be sent.")
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in found.shape)
    return TensorSpec(found.name, DTYPES[found.type], shape)


def _output(found: Any, *, free: bool) -> TensorSpec:
    """An output; one that is no tensor (a classifier's list of dictionaries) becomes a matrix of unknown width."""
    if found.type not in DTYPES:
        return TensorSpec(found.name, "float32" if found.type.startswith("seq(map(") else "", None)
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in found.shape)
    if free and shape and shape[0] == 1:
        shape = (None, *shape[1:])
    return TensorSpec(found.name, DTYPES[found.type], shape)


def _array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return np.array([[row[key] for key in value[0]] for row in value], dtype=np.float32)
    rows = np.empty(len(value), dtype=object)
    rows[:] = value
    return rows
