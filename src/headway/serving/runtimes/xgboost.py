"""XGBoost boosters saved as JSON or UBJSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import Arrays, Signature, TensorSpec
from headway.serving.runtimes.files import the_model_file
from headway.serving.runtimes.probing import made_up, seen
from headway.serving.runtimes.reading import reading, refuse_pickle, threads

PATTERNS = ("*.ubj", "*.xgb", "model.json")
PREFERRED_FILE = "model.ubj"


class XGBoostRuntime:
    """Loads the one model file. Its form is read from its content, not from its name."""

    def load(self, model_dir: Path) -> XGBoostModel:
        path = the_model_file(model_dir, PATTERNS, PREFERRED_FILE)
        refuse_pickle(path)
        with reading(path, "XGBoost"):
            content = path.read_bytes()
            if not content.lstrip().startswith(b"{"):
                raise ModelLoadError(
                    f"{path.name} is neither JSON nor UBJSON.", hint="Save it by `booster.save_model('model.ubj')`."
                )
            booster = xgboost.Booster()
            booster.load_model(bytearray(content))
            booster.set_param({"nthread": threads(), "device": "cpu"})
            return XGBoostModel(booster)


class XGBoostModel:
    """A booster; answers what its objective gives (probabilities of a classifier) as ``predictions``.

    One that was trained with early stopping predicts with its best iteration.
    """

    batch = True

    def __init__(self, booster: Any) -> None:
        self._booster = booster
        best = booster.attr("best_iteration")
        self._range = (0, 0 if best is None else int(best) + 1)
        names = tuple(booster.feature_names or ())
        inputs = (TensorSpec("inputs", "float32", (None, booster.num_features()), names),)
        probe = made_up(inputs)
        assert probe is not None
        self.signature: Signature | None = Signature(inputs, seen(self.predict(probe), len(probe["inputs"])))
        self.metadata: Mapping[str, Any] = {
            "runtime": "xgboost",
            "xgboost": xgboost.__version__,
            "features": list(names) or booster.num_features(),
            "rounds": booster.num_boosted_rounds(),
        }

    def predict(self, inputs: Arrays) -> Arrays:
        answer = self._booster.inplace_predict(inputs["inputs"], iteration_range=self._range, validate_features=False)
        return {"predictions": np.asarray(answer)}
