"""Arrays and tensors of any framework as NumPy arrays, without importing the framework."""

from __future__ import annotations

from typing import Any

from headway.errors import InvalidRequestError, MissingExtraError


def numpy_for(what: str) -> Any:
    """The module numpy; MissingExtraError naming ``what`` where it is not installed."""
    try:
        import numpy
    except ImportError:
        raise MissingExtraError(what, "dataframe") from None
    return numpy


def as_array(value: Any, what: str) -> Any:
    """``value`` as a NumPy array: arrays, nested lists, and tensors of PyTorch, TensorFlow and JAX on any device.

    Numbers come out as they are, but bfloat16, which NumPy lacks, as float32.

    Raises:
        InvalidRequestError: It is none of these, or ragged.
    """
    numpy = numpy_for(what)
    try:
        array = numpy.asarray(_on_host(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidRequestError(
            f"{what} cannot be made of {type(value).__name__}: {error}.".replace("..", "."),
            hint="Give a NumPy array, or a tensor that lies in the computer's memory.",
        ) from None
    if array.dtype.name == "bfloat16":
        return array.astype(numpy.float32)
    if array.dtype.kind not in "biuf":
        raise InvalidRequestError(f"{what} needs an array of numbers, not of {array.dtype}.")
    return array


def _on_host(value: Any) -> Any:
    """PyTorch wants gradients left and memory changed first; both are methods that others lack."""
    for method in ("detach", "cpu"):
        if callable(found := getattr(value, method, None)):
            value = found()
    if not callable(found := getattr(value, "numpy", None)):
        return value
    try:
        return found()
    except TypeError:
        return value.float().numpy()  # bfloat16
