"""What a runtime is: something that turns a directory of files into a model that predicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class LoadedModel(Protocol):
    """A model in memory. Loaded and called by one and the same thread."""

    metadata: Mapping[str, Any]
    """JSON values that describe it, for people."""

    def predict(self, value: Any, *, columns: bool) -> Any:
        """Predict.

        Args:
            value: What the caller sent, with bytes where it sent base64.
            columns: Whether it was sent as ``inputs`` (columns) and not as ``instances`` (a list of rows).

        Returns:
            A dict of columns, each with one item for each row, or anything else that has a JSON form.

        Raises:
            ValueError, TypeError: The caller's value does not fit; the text says how.
        """
        ...


class Runtime(Protocol):
    """Loads models of one kind."""

    def load(self, model_dir: Path) -> LoadedModel:
        """Load the model whose files lie in ``model_dir``.

        Raises:
            ModelLoadError: They cannot be served, with the reason.
            MissingExtraError: A framework is not installed.
        """
        ...
