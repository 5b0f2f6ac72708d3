"""Sweeps: a search for the parameters with which a job does best, each trial a job with a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator
from typing_extensions import Self

from headway.domain.base import Description, Labels, Name, Record, Request, Timestamp
from headway.domain.jobs import JobSpec, JobTemplate
from headway.domain.parameters import Parameters

MAX_TRIALS = 10_000
MAX_PARALLEL = 256


class NumberRange(Request):
    """Numbers from ``low`` to ``high``, both included where ``step`` reaches them."""

    kind: Literal["number"] = "number"
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    log: bool = False
    """Whether all orders of magnitude are as likely; ``low`` is above 0 then."""
    step: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        _check_range(self.low, self.high, self.step, log=self.log)
        return self


class IntegerRange(Request):
    """Whole numbers from ``low`` to ``high``, both included where ``step`` reaches them."""

    kind: Literal["integer"] = "integer"
    low: int = Field(ge=-(1 << 53), le=1 << 53)
    high: int = Field(ge=-(1 << 53), le=1 << 53)
    log: bool = False
    step: int | None = Field(default=None, ge=1, le=1 << 53)

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        _check_range(self.low, self.high, self.step, log=self.log)
        return self


class Choice(Request):
    """One of several values."""

    kind: Literal["choice"] = "choice"
    values: tuple[JsonValue, ...] = Field(min_length=1, max_length=1000)


def _check_range(low: float, high: float, step: float | None, *, log: bool) -> None:
    if low > high:
        raise ValueError(f"low ({low}) is above high ({high})")
    if log and low <= 0:
        raise ValueError("with log, low is above 0")
    if log and step is not None:
        raise ValueError("a range has log or a step, not both")


Distribution = Annotated[NumberRange | IntegerRange | Choice, Field(discriminator="kind")]


def _distribution(value: Any) -> Any:
    """Short forms: a list is a choice; a mapping without a kind is read off its bounds."""
    if isinstance(value, (list, tuple)):
        return {"kind": "choice", "values": list(value)}
    if isinstance(value, dict) and "kind" not in value:
        if "values" in value:
            return {"kind": "choice", **value}
        bounds = [value.get(name) for name in ("low", "high", "step") if value.get(name) is not None]
        whole = bool(bounds) and all(isinstance(bound, int) and not isinstance(bound, bool) for bound in bounds)
        return {"kind": "integer" if whole else "number", **value}
    return value


class Objective(Request):
    """What is to become small or large: a series of each trial's run."""

    metric: str = Field(min_length=1, max_length=1024)
    """The series' name, or stage and name as ``val.loss``."""
    goal: Literal["minimize", "maximize"]
    statistic: Literal["last", "min", "max", "mean"] = "last"


Sampler = Literal["tpe", "random", "grid"]
"""How parameters are chosen: by what did well before, at random, or all of them one after the other."""
Pruner = Literal["none", "median"]
"""When a trial is ended early: never, or when it is worse at a step than the middle one of those before it."""


class SweepCreate(Request):
    """Start a search.

    ``job`` is what every trial runs. Each trial's parameters are those of ``job`` and, above them, those that the search
    chose.
    """

    project: Name
    name: Name
    job: JobTemplate
    space: dict[str, Distribution] = Field(min_length=1, max_length=200)
    objective: Objective
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    trials: int = Field(default=20, ge=1, le=MAX_TRIALS)
    parallel: int = Field(default=1, ge=1, le=MAX_PARALLEL)
    max_failures: int | None = Field(default=None, ge=0)
    """More failed trials than these end the search; None goes on through all."""
    seed: int | None = Field(default=None, ge=0, lt=1 << 31)
    """Of all choices; any, which the record then says, without one."""
    description: Description = ""
    labels: Labels = {}

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("space"), dict):
            value = {**value, "space": {name: _distribution(each) for name, each in value["space"].items()}}
        return value

    @model_validator(mode="after")
    def _a_finite_grid(self) -> Self:
        if self.sampler == "grid":
            for name, distribution in self.space.items():
                if isinstance(distribution, NumberRange) and distribution.step is None:
                    raise ValueError(f"space.{name}: a grid needs a step")
        return self


class SweepState(str, Enum):
    RUNNING = "running"
    STOPPING = "stopping"
    """Asked to end; its trials are being stopped."""
    SUCCEEDED = "succeeded"
    """All trials have ended, and one at least has a value."""
    FAILED = "failed"
    """Too many trials failed, or none has a value."""
    STOPPED = "stopped"
    """Ended because somebody asked."""

    @property
    def finished(self) -> bool:
        return self not in (SweepState.RUNNING, SweepState.STOPPING)


class TrialState(str, Enum):
    RUNNING = "running"
    """Its job was made and has not ended."""
    SUCCEEDED = "succeeded"
    """It has a value."""
    PRUNED = "pruned"
    """It did badly at a step and was ended."""
    FAILED = "failed"
    """Its job failed after all its retries, or left no value."""
    STOPPED = "stopped"

    @property
    def finished(self) -> bool:
        return self is not TrialState.RUNNING


class Trial(Record):
    """One try. The job has the id that was chosen with the trial, so that none is made twice."""

    id: str
    sweep_id: str
    project_id: str
    number: int
    """From 1."""
    parameters: Parameters
    """Those that the search chose."""
    state: TrialState = TrialState.RUNNING
    reason: str = ""
    value: float | None = None
    """Of the objective; of a pruned trial, the one it was ended for."""
    step: int | None = None
    """Of a pruned trial: where."""
    job_id: str
    run_id: str
    created_at: Timestamp
    finished_at: Timestamp | None = None


class Sweep(Record):
    """A search and how it stands."""

    id: str
    project_id: str
    name: str
    job: JobSpec
    space: dict[str, Distribution]
    objective: Objective
    sampler: Sampler
    pruner: Pruner
    trials: int
    parallel: int
    max_failures: int | None = None
    seed: int = 0
    state: SweepState = SweepState.RUNNING
    reason: str = ""
    counts: dict[TrialState, int] = {}
    """Trials by state."""
    best: Trial | None = None
    """The trial that has done best."""
    description: str = ""
    labels: dict[str, str] = {}
    created_at: Timestamp
    created_by: str
    finished_at: Timestamp | None = None


def grid_size(space: Mapping[str, Distribution]) -> int:
    """How many points a grid has.

    >>> grid_size({"a": Choice(values=("x", "y")), "b": IntegerRange(low=1, high=5, step=2)})
    6
    """
    return math.prod(len(_levels(each)) for each in space.values())


def grid_point(space: Mapping[str, Distribution], index: int) -> dict[str, JsonValue]:
    """The point number ``index`` of a grid, from 0; the last parameter changes first.

    >>> grid_point({"a": Choice(values=("x", "y")), "b": IntegerRange(low=1, high=5, step=2)}, 4)
    {'a': 'y', 'b': 3}
    """
    found: dict[str, JsonValue] = {}
    for name, distribution in reversed(list(space.items())):
        levels = _levels(distribution)
        index, position = divmod(index, len(levels))
        found[name] = levels[position]
    return {name: found[name] for name in space}


def _levels(distribution: Distribution) -> Sequence[JsonValue]:
    if isinstance(distribution, Choice):
        return distribution.values
    if isinstance(distribution, IntegerRange):
        return range(distribution.low, distribution.high + 1, distribution.step or 1)
    step = distribution.step or 1.0
    # A step that fits but for rounding counts as fitting.
    count = int((distribution.high - distribution.low) / step + 1e-9) + 1
    return [distribution.low + step * number for number in range(count)]
