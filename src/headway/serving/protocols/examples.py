"""``:classify`` and ``:regress`` of TensorFlow Serving's REST API: lists of examples, each with its features by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headway.serving.encoding import EncodingError
from headway.serving.protocols.base import BadRequestError, Call
from headway.serving.protocols.values import Array, Reader, reader_of, transposed
from headway.serving.runtimes.base import LoadedModel


def read(model: LoadedModel, document: dict[str, Any]) -> Call:
    """The call in ``{"examples": [{feature: value, …}, …], "context": {feature: value, …}}``.

    Raises:
        BadRequestError: It is not of that form, or does not fit the model.
    """
    if model.signature is None:
        raise BadRequestError("This model has no signature, so it has no features by name; use ':predict'.")
    reader = reader_of(model.signature)
    return reader.of_columns(_as_features(reader, transposed(_examples_in(document))))


def _examples_in(document: dict[str, Any]) -> list[Any]:
    examples, context = document.get("examples"), document.get("context", {})
    if not isinstance(examples, list):
        raise BadRequestError("Missing 'examples' key, or it is no list")
    if not examples:
        raise BadRequestError("No values in 'examples' array")
    if not isinstance(context, dict):
        raise BadRequestError("'context' must be an object of features")
    for number, example in enumerate(examples):
        if not isinstance(example, dict):
            raise BadRequestError(f"example {number} is no object of features")
        twice = sorted(context.keys() & example.keys())
        if twice:
            raise BadRequestError(f"the feature {twice[0]!r} is in 'context' and in example {number}")
    return [{**context, **example} for example in examples] if context else examples


def _as_features(reader: Reader, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A feature is a list of values; a single one may stand without its list, and the other way about."""
    found = {}
    for name, values in columns.items():
        known = reader.inputs.get(name)
        shape = None if known is None else known.spec.shape
        if shape is not None and len(shape) == 2 and shape[1] in (1, None):
            values = [value if isinstance(value, list) else [value] for value in values]
        elif shape is None or len(shape) == 1:
            values = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
        found[name] = values
    return found


def classified(model: LoadedModel, result: Any) -> list[list[list[Any]]]:
    """For each example its pairs of label and score; a label that is not known is the empty text.

    Raises:
        EncodingError: No output has scores.
    """
    outputs = _outputs(result)
    scores = _scores(outputs)
    if scores is None:
        raise EncodingError(
            f"None of the model's outputs {list(outputs)} holds a score for each class; use ':predict'."
        )
    labels = _labels(model, outputs, scores)
    return [[list(pair) for pair in zip(*row, strict=True)] for row in zip(labels, scores, strict=True)]


def _scores(outputs: Mapping[str, Array]) -> Array | None:
    """The output with a number for each class: by its name where several could be."""
    found = {name: array for name, array in outputs.items() if array.ndim == 2 and array.dtype.kind == "f"}
    for name in ("scores", "probabilities"):
        if name in found:
            return found[name]
    return next(iter(found.values())) if len(found) == 1 else None


def _labels(model: LoadedModel, outputs: Mapping[str, Array], scores: Array) -> list[list[str]]:
    """Labels of each row: an output of texts in the scores' shape, or the classes that the model knows."""
    for array in outputs.values():
        if array is not scores and array.shape == scores.shape:
            return [[_text(label) for label in row] for row in array.tolist()]
    known = model.metadata.get("classes")
    if isinstance(known, (list, tuple)) and len(known) == scores.shape[1]:
        return [[_text(label) for label in known]] * len(scores)
    return [[""] * scores.shape[1]] * len(scores)


def _text(label: Any) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)


def regressed(result: Any) -> Array:
    """One number for each example.

    Raises:
        EncodingError: The model does not answer one number a row.
    """
    found = {name: array for name, array in _outputs(result).items() if _is_a_number_a_row(array)}
    if len(found) != 1:
        raise EncodingError("The model does not answer one number for each example; use ':predict'.")
    return next(iter(found.values())).reshape(-1)


def _is_a_number_a_row(array: Array) -> bool:
    return array.dtype.kind in "fiu" and (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1))


def _outputs(result: Any) -> dict[str, Array]:
    if not isinstance(result, Mapping):
        raise EncodingError("The model's answer has no named outputs.")
    return {str(name): np.asarray(value) for name, value in result.items()}
