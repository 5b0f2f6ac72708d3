"""scikit-learn estimators saved by skops: no pickle, and no type but those that skops or :data:`TRUSTED` names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import skops.io
from sklearn.base import is_classifier

from headway.errors import ModelLoadError

PREFERRED_FILE = "model.skops"
TRUSTED = ("sklearn.tree._tree.Tree",)
"""scikit-learn's own compiled tree, which every forest is made of and skops leaves to its user to trust. Loading one calls
no code of the file's; a forged one could at worst crash the replica, as a predict.py beside it could."""


class SklearnRuntime:
    """Loads the one ``*.skops`` file of the model (``model.skops`` if there are several)."""

    def load(self, model_dir: Path) -> SklearnModel:
        path = _find(model_dir)
        untrusted = _untrusted(path)
        if untrusted:
            raise ModelLoadError(
                f"{path.name} holds types that are not trusted: {', '.join(untrusted)}.",
                hint="Save the model without them, or serve it through a predict.py that trusts them.",
            )
        try:
            estimator = skops.io.load(path, trusted=list(TRUSTED))
        except Exception as error:  # the file is a peer's: whatever goes wrong in it is the reason
            raise _unreadable(path, error) from error
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return SklearnModel(estimator)


def _find(model_dir: Path) -> Path:
    found = sorted(model_dir.rglob("*.skops"))
    preferred = [path for path in found if path.name == PREFERRED_FILE]
    chosen = preferred or found
    if len(chosen) != 1:
        names = ", ".join(path.relative_to(model_dir).as_posix() for path in chosen)
        raise ModelLoadError(f"There are several models: {names}.", hint=f"Call one of them {PREFERRED_FILE}.")
    return chosen[0]


def _untrusted(path: Path) -> list[str]:
    try:
        return sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
    except Exception as error:  # as above
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ModelLoadError:
    return ModelLoadError(f"{path.name} could not be read by skops: {type(error).__name__}: {error}")


class SklearnModel:
    """A fitted estimator. Classifiers answer ``classes`` and, where they can, ``probabilities``."""

    def __init__(self, estimator: Any) -> None:
        self._answer = _answer_of(estimator)
        self._names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
        self.metadata: Mapping[str, Any] = {
            "runtime": "sklearn",
            "estimator": type(estimator).__name__,
            "scikit_learn": sklearn.__version__,
            "features": self._names or getattr(estimator, "n_features_in_", None),
        }

    def predict(self, value: Any, *, columns: bool) -> Any:
        return self._answer(_matrix(value, self._names, columns=columns))


def _answer_of(estimator: Any) -> Callable[[Any], Any]:
    if is_classifier(estimator):
        return lambda matrix: _classify(estimator, matrix)
    for name in ("predict", "transform"):
        method = getattr(estimator, name, None)
        if callable(method):
            found: Callable[[Any], Any] = method
            return found
    raise ModelLoadError(f"A {type(estimator).__name__} has neither predict nor transform.")


def _classify(estimator: Any, matrix: Any) -> dict[str, Any]:
    answer = {"classes": estimator.predict(matrix)}
    if hasattr(estimator, "predict_proba"):
        answer["probabilities"] = _by_row(estimator.predict_proba(matrix))
    return answer


def _by_row(probabilities: Any) -> Any:
    """With several outputs scikit-learn answers a list, one array an output; rows come first here."""
    if not isinstance(probabilities, list):
        return probabilities
    return [list(row) for row in zip(*(output.tolist() for output in probabilities), strict=True)]


def _matrix(value: Any, names: Sequence[str], *, columns: bool) -> Any:
    """What was sent as the array that an estimator takes: rows of features, in the order of ``names``."""
    if not columns and isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        value = _transposed(value)
    if isinstance(value, dict):
        return _stacked(value, names)
    return _array(value)


def _transposed(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    keys = list(rows[0])
    for number, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise ValueError(f"instance {number} has the features {sorted(row)}, instance 0 has {sorted(keys)}")
    return {key: [row[key] for row in rows] for key in keys}


def _stacked(columns: dict[str, Any], names: Sequence[str]) -> Any:
    if not names and len(columns) == 1:
        return _array(next(iter(columns.values())))
    if not names:
        raise ValueError("the model knows no feature names; send a list of rows")
    missing, unknown = set(names) - set(columns), set(columns) - set(names)
    if missing or unknown:
        raise ValueError(f"the features must be {list(names)}; missing: {sorted(missing)}; unknown: {sorted(unknown)}")
    arrays = [_array(columns[name]) for name in names]
    if any(array.ndim != 1 or array.shape != arrays[0].shape for array in arrays):
        raise ValueError("each feature must be a list with one value for each row")
    kind = object if len({array.dtype.kind in "OUS" for array in arrays}) > 1 else None
    return np.column_stack([array.astype(kind) if kind else array for array in arrays])


def _array(value: Any) -> Any:
    """A list as an array of numbers where its items are numbers (or ``"NaN"``), otherwise of texts or objects."""
    array = np.asarray(value)
    if array.dtype.kind in "US":
        try:
            return array.astype(float)
        except ValueError:
            return np.asarray(value, dtype=object)
    if array.dtype == object and any(item is None for item in array.flat):
        return array.astype(float)
    return array
