"""Preset algorithms: what they are called, and what may be asked of them. The programs are in :mod:`headway.presets`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import JsonValue

from headway.domain.base import Record, did_you_mean
from headway.errors import InvalidRequestError

ParameterType = Literal["integer", "number", "boolean", "text"]
_PYTHON: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "text": (str,),
}


class ParameterSpec(Record):
    """One parameter of an algorithm."""

    name: str
    type: ParameterType
    default: JsonValue = None
    """None: the program finds a value that fits the data."""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    description: str = ""

    def read(self, value: JsonValue) -> JsonValue:
        """A value of this parameter; a text is taken for what it says, as from a command line.

        Raises:
            InvalidRequestError: It is none.
        """
        if value is None:
            return self.default
        found = self._from_text(value) if isinstance(value, str) and self.type != "text" else value
        if not isinstance(found, _PYTHON[self.type]) or (isinstance(found, bool) and self.type != "boolean"):
            raise self._refused(value, f"is no {self.type}")
        if self.choices and found not in self.choices:
            hint = did_you_mean(str(found), self.choices)
            raise self._refused(value, f"is none of {', '.join(self.choices)}", hint=hint)
        if isinstance(found, (int, float)):
            if self.minimum is not None and not found >= self.minimum:
                raise self._refused(value, f"is below {self.minimum:g}")
            if self.maximum is not None and not found <= self.maximum:
                raise self._refused(value, f"is above {self.maximum:g}")
        return found

    def _from_text(self, text: str) -> JsonValue:
        plain = text.strip().lower()
        try:
            if self.type == "boolean":
                return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[plain]
            return int(plain) if self.type == "integer" else float(plain)
        except (KeyError, ValueError):
            raise self._refused(text, f"is no {self.type}") from None

    def _refused(self, value: JsonValue, why: str, *, hint: str | None = None) -> InvalidRequestError:
        return InvalidRequestError(f"The parameter {self.name!r}: {value!r} {why}.", hint=hint)


class AlgorithmSpec(Record):
    """A program that needs nothing but data and parameters."""

    name: str
    title: str
    task: Literal["classification", "regression", "clustering"]
    description: str
    parameters: tuple[ParameterSpec, ...]

    def read(self, parameters: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """All parameters, those that are not given with their defaults.

        Raises:
            InvalidRequestError: One is unknown or does not fit.
        """
        known = {spec.name: spec for spec in self.parameters}
        for name in parameters:
            if name not in known:
                hint = did_you_mean(name, known) or f"It takes {', '.join(known)}."
                raise InvalidRequestError(f"The algorithm {self.name!r} has no parameter {name!r}.", hint=hint)
        return {name: spec.read(parameters.get(name)) for name, spec in known.items()}


def _parameter(name: str, type: ParameterType, default: JsonValue, description: str, **bounds: Any) -> ParameterSpec:
    return ParameterSpec(name=name, type=type, default=default, description=description, **bounds)


_SEED = _parameter("seed", "integer", 0, "Of all random choices.", minimum=0, maximum=2**31 - 1)
_TARGET = _parameter("target", "text", None, "The column to predict; without it target, label, y or the last one.")
_VALIDATION = _parameter(
    "validation_share", "number", 0.2, "Of the rows, where no validation data is given.", minimum=0.0, maximum=0.9
)
_COMMON = (_TARGET, _VALIDATION, _SEED)

ALGORITHMS: tuple[AlgorithmSpec, ...] = (
    AlgorithmSpec(
        name="logistic-regression",
        title="Logistic regression",
        task="classification",
        description="Classes by a weighted sum of the features; numbers are scaled, texts become one column a value.",
        parameters=(
            _parameter("C", "number", 1.0, "Inverse strength of the L2 penalty.", minimum=1e-9, maximum=1e9),
            _parameter("max_iter", "integer", 200, "Iterations at most.", minimum=1, maximum=100_000),
            *_COMMON,
        ),
    ),
    AlgorithmSpec(
        name="gradient-boosting",
        title="Gradient boosting",
        task="classification",
        description="Classes by a sum of small decision trees, each fitted to what those before it got wrong.",
        parameters=(
            _parameter("n_estimators", "integer", 100, "Trees.", minimum=1, maximum=10_000),
            _parameter("learning_rate", "number", 0.1, "Share of each tree.", minimum=1e-6, maximum=1.0),
            _parameter("max_depth", "integer", 3, "Of a tree.", minimum=1, maximum=64),
            _parameter("subsample", "number", 1.0, "Share of the rows a tree sees.", minimum=0.01, maximum=1.0),
            *_COMMON,
        ),
    ),
    AlgorithmSpec(
        name="k-means",
        title="k-means",
        task="clustering",
        description="Groups of rows around as many centres.",
        parameters=(
            _parameter("n_clusters", "integer", 8, "Centres.", minimum=1, maximum=100_000),
            _parameter("max_iter", "integer", 300, "Iterations at most.", minimum=1, maximum=100_000),
            _parameter("n_init", "integer", 10, "Beginnings, of which the best is kept.", minimum=1, maximum=1000),
            _SEED,
        ),
    ),
    AlgorithmSpec(
        name="mlp-image-classifier",
        title="MLP image classifier",
        task="classification",
        description="Classes of small pictures of one size by a neural network of fully connected layers.",
        parameters=(
            _parameter("hidden_layers", "text", "128", "Widths of the hidden layers, as 128,64."),
            _parameter("learning_rate", "number", 0.001, "Of Adam.", minimum=1e-8, maximum=10.0),
            _parameter("batch_size", "integer", 64, "Pictures a step.", minimum=1, maximum=65_536),
            _parameter("epochs", "integer", 20, "Times all pictures are seen.", minimum=1, maximum=100_000),
            _parameter("alpha", "number", 0.0001, "Strength of the L2 penalty.", minimum=0.0, maximum=100.0),
            *_COMMON,
        ),
    ),
    AlgorithmSpec(
        name="linear-regression",
        title="Linear regression",
        task="regression",
        description="A number as a weighted sum of the features.",
        parameters=(
            _parameter("alpha", "number", 0.0, "Strength of the L2 penalty; 0 for none.", minimum=0.0, maximum=1e9),
            *_COMMON,
        ),
    ),
)


def find_algorithm(name: str) -> AlgorithmSpec:
    """The preset algorithm of that name.

    >>> find_algorithm("k-means").task
    'clustering'

    Raises:
        InvalidRequestError: There is none, with the closest name.
    """
    known = {spec.name: spec for spec in ALGORITHMS}
    if name not in known:
        hint = did_you_mean(name, known) or f"There are {', '.join(known)}."
        raise InvalidRequestError(f"There is no preset algorithm {name!r}.", hint=hint)
    return known[name]
