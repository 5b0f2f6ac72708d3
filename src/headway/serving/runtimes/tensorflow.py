"""TensorFlow SavedModels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import Arrays, Signature, TensorSpec
from headway.serving.runtimes.files import contained
from headway.serving.runtimes.probing import rows_stand_alone
from headway.serving.runtimes.reading import reading, refuse_pickle, threads

FILES = ("saved_model.pb", "saved_model.pbtxt")
SIGNATURE = "serving_default"
BYTES_SUFFIX = "_bytes"
"""An output so named holds bytes. Source: "Encoding binary values" of TensorFlow Serving's REST API."""
REFUSED_OPERATIONS = frozenset(
    {
        "PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "PrintV2",
        "Save", "SaveV2", "SaveSlices", "MergeV2Checkpoints", "LoadAndRemapMatrix", "TextLineReaderV2",
        "WholeFileReaderV2", "TextLineDataset", "FixedLengthRecordDatasetV2", "TFRecordDataset", "SqlDataset",
        "DebugIdentityV2", "DebugNumericSummaryV2", "DumpTensor",
    }
)  # fmt: skip
"""Operations that run Python, or read and write files of their own choice. Saving has them too, outside of what serves."""
SAVER_OPERATIONS = frozenset({"Save", "SaveV2", "SaveSlices", "MergeV2Checkpoints"})


class TensorFlowRuntime:
    """Loads the SavedModel, at the top or in the folder with the highest number (``1/saved_model.pb``)."""

    def load(self, model_dir: Path) -> TensorFlowModel:
        path = _find(model_dir)
        for each in path.parent.rglob("*"):
            contained(model_dir, each)
        refuse_pickle(path)
        with suppress(RuntimeError):  # this process has used TensorFlow before
            tf.config.threading.set_intra_op_parallelism_threads(threads())
        with reading(path, "TensorFlow"):
            loaded = tf.saved_model.load(str(path.parent))
            return TensorFlowModel(_function(path, loaded), loaded)


def _find(model_dir: Path) -> Path:
    found = [path for name in FILES for path in model_dir.rglob(name)]
    if len(found) == 1:
        return found[0]
    numbered = [path for path in found if path.parent.name.isdigit() and path.parent.parent == model_dir]
    if len(numbered) != len(found):
        names = ", ".join(sorted(path.relative_to(model_dir).as_posix() for path in found))
        raise ModelLoadError(f"There are several models: {names}.", hint="Keep one of them.")
    return max(numbered, key=lambda path: int(path.parent.name))


def _function(path: Path, loaded: Any) -> Any:
    signatures = dict(getattr(loaded, "signatures", {}))
    name = SIGNATURE if SIGNATURE in signatures else next(iter(signatures), "")
    if not name or (name != SIGNATURE and len(signatures) > 1):
        listed = ", ".join(sorted(signatures)) or "none"
        raise ModelLoadError(
            f"{path.name} has no signature {SIGNATURE!r} (it has: {listed}).",
            hint="Save it with `signatures={'serving_default': …}`.",
        )
    function = signatures[name]
    refused = sorted(set(_operations(function.graph.as_graph_def())) & (REFUSED_OPERATIONS - SAVER_OPERATIONS))
    if refused:
        raise ModelLoadError(f"{path.name} has operations that are not served: {', '.join(refused)}.")
    return function


def _operations(graph: Any) -> Iterator[str]:
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        yield from (node.op for node in nodes)


class TensorFlowModel:
    """One signature of a SavedModel."""

    batch = True

    def __init__(self, function: Any, keep: Any) -> None:
        self._function, self._keep = function, keep
        self._given = {name: spec.dtype for name, spec in function.structured_input_signature[1].items()}
        inputs = tuple(_spec(name, spec) for name, spec in sorted(function.structured_input_signature[1].items()))
        outputs = tuple(_spec(name, spec) for name, spec in sorted(function.structured_outputs.items()))
        self.signature: Signature | None = Signature(inputs, outputs, rows=self._has_rows(inputs, outputs))
        self.metadata: Mapping[str, Any] = {
            "runtime": "tensorflow",
            "tensorflow": tf.__version__,
            "signatures": sorted(getattr(keep, "signatures", {})),
        }

    def _has_rows(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bool:
        if not inputs or any(spec.shape is None or not spec.shape or spec.shape[0] is not None for spec in inputs):
            return False
        if any(spec.shape is not None and (not spec.shape or spec.shape[0] is not None) for spec in outputs):
            return False
        return rows_stand_alone(self.predict, inputs)

    def predict(self, inputs: Arrays) -> Arrays:
        try:
            given = {name: tf.constant(inputs[name], dtype) for name, dtype in self._given.items()}
            answer = self._function(**given)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(" ".join(error.message.split())) from None
        return {name: _array(name, value) for name, value in answer.items()}


def _array(name: str, value: Any) -> Any:
    array = np.asarray(value.numpy())
    if array.dtype == object and not name.endswith(BYTES_SUFFIX):
        return _texts(array)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def _texts(array: Any) -> Any:
    """TensorFlow's strings as texts; where one of them is none, all as the bytes that they are."""
    try:
        texts = [item.decode() for item in array.reshape(-1)]
    except UnicodeDecodeError:
        return array
    return np.fromiter(texts, dtype=object, count=len(texts)).reshape(array.shape)


def _spec(name: str, spec: Any) -> TensorSpec:
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    dtype = {"string": "object", "bfloat16": "float32"}.get(spec.dtype.name, spec.dtype.name)
    return TensorSpec(name, dtype, shape)
