"""Models as files: skops, never pickle, and what serves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import skops.io

from headway.presets.context import Context

EXAMPLE_ROWS = 2
PREDICT = '''\
"""Serves the pictures' classifier: any shape with as many pixels is taken, in the range it was trained with."""

import json
from pathlib import Path

import numpy as np
import skops.io


class Predictor:
    batch = True

    def __init__(self, model_dir):
        about = json.loads((Path(model_dir) / "pictures.json").read_text())
        self.shape, self.scale = tuple(about["shape"]), about["scale"]
        self.model = skops.io.load(Path(model_dir) / "network.skops")

    def predict(self, inputs):
        pictures = np.asarray(inputs, dtype=np.float64)
        size = int(np.prod(self.shape))
        if pictures.ndim < 2 or pictures[0].size != size:
            raise ValueError(f"a picture has the shape {self.shape}, {size} pixels; found {pictures.shape[1:]}")
        probabilities = self.model.predict_proba(pictures.reshape(len(pictures), -1) / self.scale)
        classes = self.model.classes_[probabilities.argmax(axis=1)]
        return {"classes": classes, "probabilities": probabilities}
'''


def save(context: Context, pipeline: Any, features: Any) -> None:
    """A pipeline as ``model.skops``, with a few rows of its input beside it."""
    skops.io.dump(pipeline, context.model / "model.skops")
    example = features[:EXAMPLE_ROWS]
    rows = example.to_dict(orient="records") if hasattr(example, "to_dict") else example.tolist()
    _write_example(context.model, rows)


def save_images(context: Context, network: Any, shape: tuple[int, ...], scale: float, examples: Any) -> None:
    """A network with the ``predict.py`` that gives it pictures."""
    del network._optimizer  # what only further training needs, and skops does not know
    skops.io.dump(network, context.model / "network.skops")
    about = {"shape": list(shape), "scale": scale}
    (context.model / "pictures.json").write_text(json.dumps(about), encoding="utf-8")
    (context.model / "predict.py").write_text(PREDICT, encoding="utf-8")
    _write_example(context.model, np.asarray(examples).tolist())


def _write_example(directory: Path, rows: Any) -> None:
    text = json.dumps({"instances": rows}, default=_plain)
    (directory / "example.json").write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
