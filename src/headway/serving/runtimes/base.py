"""What a runtime is: something that turns a directory of files into a model that predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, "np.ndarray[Any, np.dtype[Any]]"]
"""Name to array; the first axis counts rows. Texts and bytes are arrays of dtype object."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    >>> TensorSpec("pixels", "float32", (None, 64))
    TensorSpec(name='pixels', dtype='float32', shape=(None, 64), columns=())
    """

    name: str
    dtype: str
    """NumPy's name; ``object`` for texts and bytes; empty when any number will do."""
    shape: tuple[int | None, ...] | None
    """With the axis of rows, where there is one; None for a free axis, and for a shape of which nothing is known."""
    columns: tuple[str, ...] = ()
    """Names along the last axis, in order: a table of columns with these names may be sent in place of the array."""
    mixed: bool = field(default=False, repr=False)
    """Of dtype ``object``: whether numbers, booleans and null may stand among the texts, as in a data frame."""


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    rows: bool = True
    """Whether row ``i`` of the answer is made from row ``i`` of the inputs alone: requests may be answered together then."""


class LoadedModel(Protocol):
    """A model in memory. Loaded and called by one and the same thread, or by the event loop's (never by two at once)."""

    metadata: Mapping[str, Any]
    """JSON values that describe it, for people; ``runtime`` is always there."""
    signature: Signature | None
    """None for a model that takes any JSON value (a ``predict.py``): :meth:`predict` then gets what was sent."""
    batch: bool
    """Without a signature: whether :meth:`predict` takes a list of rows of several requests and answers a list (or a dict of
    columns) of the same length. With one, ``signature.rows`` says so."""

    def predict(self, inputs: Any) -> Any:
        """Predict.

        Args:
            inputs: With a signature :data:`Arrays` that fit it: every name, its dtypes, shapes checked. They may be
                read-only, since they may lie in the body of a request.
                Without one the value as it was sent, with bytes where base64 was sent.

        Returns:
            With a signature :data:`Arrays`. Without one a dict of columns or anything else that has a JSON form.

        Raises:
            ValueError, TypeError: The caller's value does not fit; the text says how.
        """
        ...


class Runtime(Protocol):
    """Loads models of one kind."""

    def load(self, model_dir: Path) -> LoadedModel:
        """Load the model whose files lie in ``model_dir``. Never unpickles.

        Raises:
            ModelLoadError: They cannot be served, with the reason.
            MissingExtraError: A framework is not installed; the message has the pip command.
        """
        ...
