"""The two models of the measurements, as files and as plain functions.

``digits``: a scikit-learn classifier of 64 floats to a class and 10 probabilities. ``mlp``: an ONNX network of 64 floats
over twice 1,024 to 10. Only NumPy and the model's own library are imported here, and inside the functions, for each peer
has an environment of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

KINDS = ("digits", "mlp")
WIDTHS = (64, 1024, 1024, 10)
Predict = Callable[[list[list[float]]], dict[str, Any]]
"""Rows to columns of JSON values."""


def save(directory: Path) -> dict[str, Path]:
    """Make both; their directories by kind."""
    for kind in KINDS:
        (directory / kind).mkdir()
    save_digits(directory / "digits")
    save_mlp(directory / "mlp")
    return {kind: directory / kind for kind in KINDS}


def save_digits(directory: Path) -> None:
    import skops.io
    from sklearn.datasets import load_digits
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    images, labels = load_digits(return_X_y=True)
    skops.io.dump(LinearDiscriminantAnalysis(solver="lsqr").fit(images, labels), directory / "model.skops")


def save_mlp(directory: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    chance = np.random.default_rng(1)
    weights, nodes, last = [], [], "pixels"
    for layer, (wide, narrow) in enumerate(pairwise(WIDTHS), start=1):
        matrix = chance.normal(0, (2 / wide) ** 0.5, (wide, narrow)).astype(np.float32)
        weights += [
            numpy_helper.from_array(matrix, f"w{layer}"),
            numpy_helper.from_array(np.zeros(narrow, np.float32), f"b{layer}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"h{layer}"]))
        activation, last = ("Softmax", "probabilities") if layer == len(WIDTHS) - 1 else ("Relu", f"a{layer}")
        nodes.append(helper.make_node(activation, [f"h{layer}"], [last]))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["rows", WIDTHS[0]])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", WIDTHS[-1]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (directory / "model.onnx").write_bytes(model.SerializeToString())


def rows() -> list[list[float]]:
    """Some digits, each a row of 64 floats."""
    from sklearn.datasets import load_digits

    images, _ = load_digits(return_X_y=True)
    return [image.tolist() for image in images[:32]]


def load(kind: str, directory: str | Path) -> Predict:
    """The model as a function, as one would write it by hand."""
    return load_digits_model(Path(directory)) if kind == "digits" else load_mlp(Path(directory))


def load_digits_model(directory: Path) -> Predict:
    import numpy as np
    import skops.io

    model = skops.io.load(directory / "model.skops")

    def predict(instances: list[list[float]]) -> dict[str, Any]:
        probabilities = model.predict_proba(np.asarray(instances, np.float64))
        classes = model.classes_[probabilities.argmax(axis=1)]
        return {"classes": classes.tolist(), "probabilities": probabilities.tolist()}

    return predict


def load_mlp(directory: Path) -> Predict:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])

    def predict(instances: list[list[float]]) -> dict[str, Any]:
        (probabilities,) = session.run(None, {"pixels": np.asarray(instances, np.float32)})
        return {"probabilities": probabilities.tolist()}

    return predict
