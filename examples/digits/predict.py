"""Serves the digit classifier that train.py wrote; needs numpy and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np

PIXELS = 64
PIXEL_MAX = 16.0


class Predictor:
    """Answers each image with its class and the probability of every class."""

    def __init__(self, model_dir: str) -> None:
        with np.load(Path(model_dir) / "weights.npz", allow_pickle=False) as weights:
            self._weights = {name: weights[name] for name in weights.files}

    def predict(self, inputs: Any) -> dict[str, Any]:
        """``inputs`` is a list of images, each 64 numbers from 0 to 16 (or 8 rows of 8)."""
        images = np.asarray(inputs, dtype=np.float32)
        if images.ndim < 2 or images.size == 0 or images.size != len(images) * PIXELS:
            raise ValueError(f"inputs must be a list of images with {PIXELS} pixels each, not of shape {images.shape}")
        chances = self._probabilities(images.reshape(len(images), PIXELS) / PIXEL_MAX)
        return {"classes": chances.argmax(1).tolist(), "probabilities": chances.astype(float).round(6).tolist()}

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        weights = self._weights
        hidden = np.maximum(images @ weights["w1"] + weights["b1"], 0)
        scores = hidden @ weights["w2"] + weights["b2"]
        exponents = np.exp(scores - scores.max(1, keepdims=True))
        return exponents / exponents.sum(1, keepdims=True)
