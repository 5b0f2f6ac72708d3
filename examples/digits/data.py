"""Scikit-learn's handwritten digits, split the same way wherever this is imported."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

TEST_SHARE = 0.2
SPLIT_SEED = 20240917
PIXEL_MAX = 16.0


class Digits(NamedTuple):
    """Images as rows of 64 pixels (0 to 16), and the digit that each one shows."""

    pixels: np.ndarray
    labels: np.ndarray


def load_split() -> tuple[Digits, Digits]:
    """The training part and the held-out part, which no rank ever trains on."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    held_out = round(len(labels) * TEST_SHARE)
    test, train = order[:held_out], order[held_out:]
    return Digits(pixels[train], labels[train]), Digits(pixels[test], labels[test])


def shard(digits: Digits, index: int, count: int) -> Digits:
    """Every ``count``-th image from ``index`` on: the part that one worker trains on."""
    return Digits(digits.pixels[index::count], digits.labels[index::count])
