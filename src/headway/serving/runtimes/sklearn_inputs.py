"""What a scikit-learn estimator takes: numbers or texts, a matrix or a list, with or without names of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from headway.errors import MissingExtraError
from headway.serving.runtimes.base import TensorSpec

INPUT = "inputs"


def input_spec(estimator: Any) -> TensorSpec:
    """The one input of an estimator: ``inputs``, a matrix with a row for each instance.

    Texts are taken where a part of the estimator turns categories or documents into numbers; such a part that reads
    documents gets a list of them, not a matrix.
    """
    names = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    count = getattr(estimator, "n_features_in_", None)
    tags = [_input_tags(part) for part in _first_parts(estimator)]
    if count is None:
        lists = any(tag is not None and not tag.two_d_array for tag in tags)
        return TensorSpec(INPUT, "object" if lists else "", (None,) if lists else None)
    mixed = _wants_names(estimator) or any(tag is not None and (tag.categorical or tag.string) for tag in tags)
    return TensorSpec(INPUT, "object" if mixed else "float64", (None, int(count)), names, mixed)


def as_estimator_takes_it(estimator: Any, spec: TensorSpec) -> Callable[[Any], Any]:
    """A function that turns the array into what the estimator's methods get."""
    if not _wants_names(estimator):
        return lambda matrix: matrix
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("A model that chooses columns by their names", "dataframe") from error
    columns = list(spec.columns)
    return lambda matrix: pandas.DataFrame(matrix, columns=columns).infer_objects()


def _first_parts(estimator: Any) -> Iterator[Any]:
    """The estimators that see what was sent: itself, or what a pipeline begins with and a union consists of."""
    if hasattr(estimator, "best_estimator_"):
        yield from _first_parts(estimator.best_estimator_)
    elif hasattr(estimator, "steps"):
        real = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        yield from _first_parts(real[0]) if real else ()
    elif hasattr(estimator, "transformers_"):
        for _, part, _ in estimator.transformers_:
            yield from _first_parts(part) if not isinstance(part, str) else ()
    elif hasattr(estimator, "transformer_list"):
        for _, part in estimator.transformer_list:
            yield from _first_parts(part) if not isinstance(part, str) else ()
    else:
        yield estimator


def _input_tags(part: Any) -> Any:
    try:
        from sklearn.utils import get_tags
    except ImportError:  # scikit-learn 1.5 has no such tags; its estimators are taken to want numbers
        return None
    return get_tags(part).input_tags


def _wants_names(estimator: Any) -> bool:
    """Whether a ColumnTransformer in front chooses its columns by names, so that only a data frame will do."""
    if hasattr(estimator, "best_estimator_"):
        return _wants_names(estimator.best_estimator_)
    if hasattr(estimator, "steps"):
        return _wants_names(estimator.steps[0][1])
    chosen = [columns for _, _, columns in getattr(estimator, "transformers_", ())]
    return any(isinstance(item, str) for columns in chosen for item in (columns if np.iterable(columns) else [columns]))
