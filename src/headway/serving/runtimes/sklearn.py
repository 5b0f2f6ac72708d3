"""scikit-learn estimators saved by skops: no pickle, and no type but those that skops or :data:`TRUSTED` names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import skops.io
from sklearn.base import is_classifier

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import Arrays, Signature, TensorSpec
from headway.serving.runtimes.files import the_model_file
from headway.serving.runtimes.reading import reading, refuse_pickle
from headway.serving.runtimes.sklearn_inputs import INPUT, as_estimator_takes_it, input_spec
from headway.serving.runtimes.zips import check_archive

PREFERRED_FILE = "model.skops"
TRUSTED = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
"""What skops leaves to its user to trust: the name of a type of numbers, which what fills gaps keeps, scikit-learn's own
trees, which every forest is made of, and what trained a neural network. Loading one calls no code of the file's; a forged
tree could at worst crash the replica, as a predict.py beside it could."""

MOST_LIKELY = frozenset(
    {
        "LinearClassifierMixin.predict",
        "DiscriminantAnalysisPredictionMixin.predict",
        "_BaseNB.predict",
        "ForestClassifier.predict",
        "BaggingClassifier.predict",
        "GradientBoostingClassifier.predict",
        "HistGradientBoostingClassifier.predict",
    }
)
"""Methods that answer the class of the highest score, where ``predict_proba`` is a monotone function of the scores."""
CLEAR_LEAD = 1e-9
"""Rounding moves a probability by some 1e-15; two that are closer than this may have had their order changed by it."""
PROBE_ROWS = 16


class SklearnRuntime:
    """Loads the one ``*.skops`` file of the model (``model.skops`` if there are several)."""

    def load(self, model_dir: Path) -> SklearnModel:
        path = the_model_file(model_dir, ("*.skops",), PREFERRED_FILE)
        refuse_pickle(path)
        check_archive(path)
        untrusted = _untrusted(path)
        if untrusted:
            raise ModelLoadError(
                f"{path.name} holds types that are not trusted: {', '.join(untrusted)}.",
                hint="Save the model without them, or serve it through a predict.py that trusts them.",
            )
        with reading(path, "skops"):
            estimator = skops.io.load(path, trusted=list(TRUSTED))
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return SklearnModel(estimator)


def _untrusted(path: Path) -> list[str]:
    with reading(path, "skops"):
        return sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))


class SklearnModel:
    """A fitted estimator.

    Classifiers answer ``classes`` and, where they can, ``probabilities``; others what ``predict`` gives as
    ``predictions``, or what ``transform`` gives as ``outputs``.
    """

    batch = True

    def __init__(self, estimator: Any) -> None:
        spec = input_spec(estimator)
        self._prepare = as_estimator_takes_it(estimator, spec)
        self._answer = _answer_of(estimator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._probe(spec)
            if found is not None and is_classifier(estimator):
                self._answer = _faster(estimator, self._answer, self._prepare(_probe(spec)))
        self.signature: Signature | None = Signature((spec,), found or ())
        self.metadata: Mapping[str, Any] = {
            "runtime": "sklearn",
            "estimator": type(estimator).__name__,
            "scikit_learn": sklearn.__version__,
            "features": list(spec.columns) or getattr(estimator, "n_features_in_", None),
        }
        classes = getattr(estimator, "classes_", None)
        if isinstance(classes, np.ndarray) and classes.ndim == 1:
            self.metadata = {**self.metadata, "classes": classes.tolist()}

    def predict(self, inputs: Arrays) -> Arrays:
        """Predict. scikit-learn's own checks are left out where they cannot find anything."""
        matrix = inputs[INPUT]
        finite = matrix.dtype.kind == "f" and bool(np.isfinite(matrix).all())
        with sklearn.config_context(assume_finite=finite, skip_parameter_validation=True):
            answer = self._answer(self._prepare(matrix))
        return {name: _plain(value) for name, value in answer.items()}

    def _probe(self, spec: TensorSpec) -> tuple[TensorSpec, ...] | None:
        """What it answers; None where no probe can be made or the model does not like it."""
        if spec.dtype == "object" or spec.shape is None or None in spec.shape[1:]:
            return None
        try:
            answer = self.predict({INPUT: _probe(spec)})
        except Exception:  # noqa: BLE001  # it is the estimator that knows what it can take
            return None
        return tuple(TensorSpec(name, str(a.dtype), (None, *a.shape[1:])) for name, a in answer.items())


def _probe(spec: TensorSpec) -> Any:
    assert spec.shape is not None
    rows = np.random.default_rng(0).normal(size=(PROBE_ROWS, *(size or 1 for size in spec.shape[1:])))
    rows[0] = 0.0
    return rows


Answer = Callable[[Any], dict[str, Any]]


def _answer_of(estimator: Any) -> Answer:
    if is_classifier(estimator):
        if hasattr(estimator, "predict_proba"):
            return lambda matrix: {
                "classes": estimator.predict(matrix),
                "probabilities": estimator.predict_proba(matrix),
            }
        return lambda matrix: {"classes": estimator.predict(matrix)}
    if callable(getattr(estimator, "predict", None)):
        return lambda matrix: {"predictions": estimator.predict(matrix)}
    if callable(getattr(estimator, "transform", None)):
        return lambda matrix: {"outputs": estimator.transform(matrix)}
    raise ModelLoadError(f"A {type(estimator).__name__} has neither predict nor transform.")


def _faster(estimator: Any, both: Answer, probe: Any) -> Answer:
    """Classes from the probabilities, where that gives what ``predict`` gives; otherwise as before."""
    final = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    known = getattr(type(final).predict, "__qualname__", "") in MOST_LIKELY
    names = getattr(final, "classes_", None)
    if not known or not isinstance(names, np.ndarray) or len(names) < 2 or not hasattr(estimator, "predict_proba"):
        return both

    def answer(matrix: Any) -> dict[str, Any]:
        probabilities = estimator.predict_proba(matrix)
        if not _leads_clearly(probabilities):
            return {"classes": estimator.predict(matrix), "probabilities": probabilities}
        return {"classes": names.take(probabilities.argmax(axis=1)), "probabilities": probabilities}

    return answer if np.array_equal(answer(probe)["classes"], both(probe)["classes"]) else both


def _leads_clearly(probabilities: Any) -> bool:
    """Whether in each row one class is so far ahead that rounding cannot have put it there."""
    if probabilities.shape[1] == 2:
        lead = np.abs(probabilities[:, 0] - probabilities[:, 1])
    else:
        best = np.partition(probabilities, -2, axis=1)
        lead = best[:, -1] - best[:, -2]
    return bool((lead > CLEAR_LEAD).all())


def _plain(value: Any) -> Any:
    """An answer as one array: rows first, texts as objects, nothing sparse."""
    if isinstance(value, list):
        return _by_row(value)
    if hasattr(value, "toarray"):
        value = value.toarray()
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "US" else array


def _by_row(outputs: list[Any]) -> Any:
    """With several outputs scikit-learn answers a list, one array an output; rows come first here."""
    if len({output.shape for output in outputs}) == 1:
        return np.stack(outputs, axis=1)
    rows = np.empty(len(outputs[0]), dtype=object)
    rows[:] = [list(row) for row in zip(*(output.tolist() for output in outputs), strict=True)]
    return rows
