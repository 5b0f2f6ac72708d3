"""First predictions that nobody waits for: they are slow in most libraries, and say how quick the rest will be."""

from __future__ import annotations

import logging
import time

import numpy as np

from headway.serving.pace import Pace, Stopwatch
from headway.serving.runtimes.base import Arrays, LoadedModel, Signature

log = logging.getLogger(__name__)

ROUNDS = 4
"""The first may compile and allocate; those after it are what is measured."""
ENOUGH_SECONDS = 0.2


def warm(model: LoadedModel, pace: Pace) -> None:
    """Predict a row of zeros a few times, where the signature says what a row is. Runs where the model was loaded."""
    inputs = None if model.signature is None else zeros(model.signature)
    if inputs is None:
        return
    until = time.perf_counter() + ENOUGH_SECONDS
    for turn in range(ROUNDS):
        watch = Stopwatch()
        try:
            model.predict(inputs)
        except Exception as error:  # noqa: BLE001  # a row of zeros may be nothing that this model takes
            log.info("The model was not warmed: %s: %s", type(error).__name__, error)
            return
        if turn:
            pace.observe(1, watch.seconds())
        if time.perf_counter() > until:
            return


def zeros(signature: Signature) -> Arrays | None:
    """One row that fits a signature; None where its shapes leave that open, or it takes texts."""
    inputs = {}
    for spec in signature.inputs:
        if spec.shape is None or spec.dtype == "object" or not spec.shape or None in spec.shape[1:]:
            return None
        sizes = [size or 1 for size in spec.shape]
        inputs[spec.name] = np.zeros(sizes, np.dtype(spec.dtype or "float64"))
    return inputs
