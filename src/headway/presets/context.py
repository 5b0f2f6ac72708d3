"""What a preset algorithm is given and where it leaves things."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.domain.algorithms import AlgorithmSpec
from headway.errors import InvalidRequestError

if TYPE_CHECKING:
    from headway.tracking.run import TrackedRun

VALIDATION_INPUTS = ("VALIDATION", "VAL", "TEST")


@dataclass(frozen=True)
class Context:
    """One training.

    Attributes:
        parameters: All of the algorithm's parameters.
        train: Directory of the training data.
        validation: Directory of the validation data, where some was given.
        model: Directory to leave the model in.
        run: Where metrics go; None for none.
    """

    parameters: Mapping[str, Any]
    train: Path
    validation: Path | None
    model: Path
    run: TrackedRun | None = None

    def report(self, metrics: Mapping[str, float], *, step: int | None = None, stage: str | None = None) -> None:
        """Track metrics and print them as one line."""
        words = ", ".join(f"{name} = {value:.6g}" for name, value in metrics.items())
        place = "".join([f"{stage}: " if stage else "", f"step = {step}, " if step is not None else ""])
        sys.stdout.write(f"{place}{words}\n")
        sys.stdout.flush()
        if self.run is not None:
            self.run.log({name: float(value) for name, value in metrics.items()}, step=step, stage=stage)


def parameters_of(spec: AlgorithmSpec, environment: Mapping[str, str]) -> dict[str, Any]:
    """The parameters in HEADWAY_PARAMS_FILE, checked; all defaults without one.

    Raises:
        InvalidRequestError: One is unknown or does not fit.
    """
    place = environment.get("HEADWAY_PARAMS_FILE")
    if not place or not Path(place).is_file():
        return spec.read({})
    found = json.loads(Path(place).read_text(encoding="utf-8"))
    return spec.read(found)


@contextmanager
def opened(spec: AlgorithmSpec, environment: Mapping[str, str] = os.environ) -> Iterator[Context]:
    """The context of a program that runs as a job, or beside one that is imitated by the same variables.

    Raises:
        InvalidRequestError: There is no training data, or a parameter is wrong.
    """
    train = environment.get("HEADWAY_INPUT_TRAIN") or environment.get("HEADWAY_INPUT_DIR")
    if not train:
        raise InvalidRequestError(
            f"The algorithm {spec.name!r} was given no data.", hint="Give the job an input called train."
        )
    validation = next(
        (environment[f"HEADWAY_INPUT_{name}"] for name in VALIDATION_INPUTS if f"HEADWAY_INPUT_{name}" in environment),
        None,
    )
    model = Path(environment.get("HEADWAY_MODEL_DIR", "model"))
    model.mkdir(parents=True, exist_ok=True)
    parameters = parameters_of(spec, environment)
    place = Path(validation) if validation else None
    if "HEADWAY_RUN_ID" not in environment:
        yield Context(parameters, Path(train), place, model)
        return
    import headway

    with headway.init() as run:
        yield Context(parameters, Path(train), place, model, run)
