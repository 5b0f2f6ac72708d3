"""LightGBM boosters saved as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import Arrays, Signature, TensorSpec
from headway.serving.runtimes.files import the_model_file
from headway.serving.runtimes.probing import made_up, seen
from headway.serving.runtimes.reading import reading, refuse_pickle, threads

PATTERNS = ("*.lgb", "*.lightgbm", "model.txt")
PREFERRED_FILE = "model.txt"
FIRST_LINE = b"tree"
ENDS = (b"\nend of trees", b"\nend of parameters")
NAMELESS = "Column_"
"""How LightGBM calls the features of a model that was trained on an array."""


class LightGBMRuntime:
    """Loads the one model file."""

    def load(self, model_dir: Path) -> LightGBMModel:
        path = the_model_file(model_dir, PATTERNS, PREFERRED_FILE)
        refuse_pickle(path)
        with reading(path, "LightGBM"):
            content = path.read_bytes()
            lines = content.split(b"\n", 1)
            # LightGBM trusts these files: it reads past the end of one that stops too early.
            if lines[0].strip() != FIRST_LINE or any(end not in content for end in ENDS):
                raise ModelLoadError(
                    f"{path.name} is no whole LightGBM model in text form.",
                    hint="Save it by `booster.save_model('model.txt')`.",
                )
            return LightGBMModel(lightgbm.Booster(model_str=content.decode()))


class LightGBMModel:
    """A booster; answers what its objective gives (probabilities of a classifier) as ``predictions``."""

    batch = True

    def __init__(self, booster: Any) -> None:
        self._booster = booster
        self._threads = threads()
        names = tuple(booster.feature_name())
        columns = () if all(name.startswith(NAMELESS) for name in names) else names
        inputs = (TensorSpec("inputs", "float64", (None, booster.num_feature()), columns),)
        probe = made_up(inputs)
        assert probe is not None
        self.signature: Signature | None = Signature(inputs, seen(self.predict(probe), len(probe["inputs"])))
        self.metadata: Mapping[str, Any] = {
            "runtime": "lightgbm",
            "lightgbm": lightgbm.__version__,
            "features": list(columns) or booster.num_feature(),
            "trees": booster.num_trees(),
        }

    def predict(self, inputs: Arrays) -> Arrays:
        answer = self._booster.predict(inputs["inputs"], num_threads=self._threads)
        return {"predictions": np.asarray(answer)}
