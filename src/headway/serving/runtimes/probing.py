"""Trying a model out when it is loaded, to learn what its files do not say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headway.serving.runtimes.base import Arrays, TensorSpec

ROWS = 3
TOLERANCE = 1e-3
FREE_SIZE = 2
"""How long a free axis is made."""


def made_up(specs: tuple[TensorSpec, ...], rows: int = ROWS) -> Arrays | None:
    """Arrays that fit ``specs``, the same each time; None where a shape or dtype is not known."""
    generator = np.random.default_rng(0)
    found: Arrays = {}
    for spec in specs:
        if not spec.shape or spec.dtype in ("", "object"):
            return None
        shape = (rows, *(FREE_SIZE if size is None else size for size in spec.shape[1:]))
        kind = np.dtype(spec.dtype).kind
        if kind not in "fciub":
            return None
        values = generator.normal(size=shape) if kind in "fc" else generator.integers(0, 2, size=shape)
        found[spec.name] = values.astype(spec.dtype)
    return found


def rows_stand_alone(predict: Callable[[Arrays], Arrays], specs: tuple[TensorSpec, ...]) -> bool:
    """Whether rows predicted together answer as each of them alone; what cannot be tried out is taken to."""
    inputs = made_up(specs)
    if inputs is None:
        return True
    try:
        alone = [predict({name: array[row : row + 1] for name, array in inputs.items()}) for row in range(ROWS)]
    except Exception:  # noqa: BLE001  # made-up values are no proof of anything
        return True
    try:
        together = predict(inputs)
    except Exception:  # noqa: BLE001  # one row it can, several it cannot
        return False
    return all(_same(array, [each[name] for each in alone]) for name, array in together.items())


def _same(together: np.ndarray, alone: list[np.ndarray]) -> bool:
    if together.ndim == 0 or together.shape[0] != ROWS or any(each.shape != together[:1].shape for each in alone):
        return False
    if together.dtype == object:
        return bool((together == np.concatenate(alone)).all())
    return np.allclose(together, np.concatenate(alone), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def seen(answer: Arrays, rows: int) -> tuple[TensorSpec, ...]:
    """The outputs as a prediction of ``rows`` rows gave them."""
    return tuple(
        TensorSpec(name, str(array.dtype), _shape(array.shape, rows) if array.dtype != object else None)
        for name, array in answer.items()
    )


def _shape(shape: tuple[int, ...], rows: int) -> tuple[int | None, ...]:
    return (None, *shape[1:]) if shape and shape[0] == rows else shape
