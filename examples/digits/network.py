"""A two-layer perceptron in numpy. Its parameters are one flat vector, easy to send and to average."""

from __future__ import annotations

import numpy as np

PIXELS, HIDDEN, CLASSES = 64, 48, 10
SHAPES = {"w1": (PIXELS, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, CLASSES), "b2": (CLASSES,)}
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())


def initial_parameters(seed: int = 7) -> np.ndarray:
    """Small random weights and zero biases."""
    random = np.random.default_rng(seed)
    parts = [
        random.normal(0, np.sqrt(2 / shape[0]), shape) if len(shape) == 2 else np.zeros(shape)
        for shape in SHAPES.values()
    ]
    return flatten(parts)


def flatten(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def unflatten(parameters: np.ndarray) -> dict[str, np.ndarray]:
    """Views into the flat vector by name."""
    found, start = {}, 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        found[name] = parameters[start : start + size].reshape(shape)
        start += size
    return found


def probabilities(parameters: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Softmax of the scores of each row; ``inputs`` are scaled to 0..1."""
    return _forward(unflatten(parameters), inputs)[1]


def loss_and_gradient(parameters: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross entropy over the batch, and its gradient as a flat vector."""
    weights = unflatten(parameters)
    hidden, chances = _forward(weights, inputs)
    rows = np.arange(len(labels))
    loss = float(-np.log(chances[rows, labels] + 1e-9).mean())
    slope = chances.copy()
    slope[rows, labels] -= 1
    slope /= len(labels)
    back = (slope @ weights["w2"].T) * (hidden > 0)
    return loss, flatten([inputs.T @ back, back.sum(0), hidden.T @ slope, slope.sum(0)])


def accuracy(parameters: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose most likely class is the right one."""
    return float((probabilities(parameters, inputs).argmax(1) == labels).mean())


def _forward(weights: dict[str, np.ndarray], inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.maximum(inputs @ weights["w1"] + weights["b1"], 0)
    scores = hidden @ weights["w2"] + weights["b2"]
    exponents = np.exp(scores - scores.max(1, keepdims=True))
    return hidden, exponents / exponents.sum(1, keepdims=True)
