"""``run.hparams``: the hyperparameters, used like a dict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any


class Params(MutableMapping[str, Any]):
    """Hyperparameters of a run. Every change is kept at once.

    Args:
        changed: Called with all parameters after each change.
    """

    def __init__(self, changed: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._values: dict[str, Any] = {}
        self._changed = changed

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._notify()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Params({self._values!r})"

    def as_dict(self) -> dict[str, Any]:
        """A copy as a plain dict."""
        return dict(self._values)

    def update(self, new_params: Mapping[str, Any], override: bool = True) -> None:  # type: ignore[override]
        """Set several at once; without ``override`` those that are there stay as they are.

        Raises:
            TypeError: ``new_params`` is no mapping, or a value cannot be written as JSON.
        """
        if not isinstance(new_params, Mapping):
            raise TypeError(f"Hyperparameters are given as a dict, not {type(new_params).__name__}")
        found = {str(key): plain(value, str(key)) for key, value in new_params.items()}
        self._values.update({key: value for key, value in found.items() if override or key not in self._values})
        self._notify()

    def parse(self, dist_tf_strategy: Any = None, dist_torch_model: Any = None, dist_hvd: Any = None) -> None:
        """Take what a distribution strategy of TensorFlow, a distributed Torch model or Horovod says of itself."""
        found: dict[str, Any] = {}
        if dist_tf_strategy is not None:
            found["tf_strategy"] = type(dist_tf_strategy).__name__
            found["num_replicas"] = int(getattr(dist_tf_strategy, "num_replicas_in_sync", 1))
        if dist_torch_model is not None:
            found["torch_model"] = type(dist_torch_model).__name__
            group = getattr(dist_torch_model, "process_group", None)
            found["world_size"] = int(group.size()) if group is not None else 1
        if dist_hvd is not None:
            found["hvd_size"] = int(dist_hvd.size())
        self.update(found)

    def replace(self, values: Mapping[str, Any]) -> None:
        """Become ``values`` without telling anybody: they were read from where they are kept."""
        self._values = dict(values)

    def _notify(self) -> None:
        if self._changed:
            self._changed(self.as_dict())


def plain(value: Any, name: str) -> Any:
    """``value`` as JSON has it: tuples become lists, one-element arrays numbers.

    Raises:
        TypeError: It has no form in JSON.
    """
    if (
        type(value).__module__.partition(".")[0] == "numpy"
        and hasattr(value, "item")
        and getattr(value, "size", 0) == 1
    ):
        value = value.item()
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"The hyperparameter {name!r} cannot be written as JSON: {error}") from None
