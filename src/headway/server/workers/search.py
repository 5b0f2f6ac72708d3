"""Choosing parameters: Optuna, rebuilt from a sweep's trials whenever it is asked."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from pydantic import JsonValue

from headway.domain.sweeps import Choice, Distribution, IntegerRange, Sweep, Trial, TrialState, grid_point

optuna.logging.set_verbosity(optuna.logging.WARNING)
Curve = Mapping[int, float]
"""Values of an objective by step."""

STARTUP_TRIALS = 10
"""So many are chosen at random before the others are learned from: Optuna's own default."""
_STATES = {
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.SUCCEEDED: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.STOPPED: OptunaState.FAIL,
}


def choose(sweep: Sweep, trials: Sequence[Trial], number: int) -> dict[str, JsonValue]:
    """The parameters of trial ``number``, given all before it: the same whenever it is asked."""
    if sweep.sampler == "grid":
        return grid_point(sweep.space, number - 1)
    study = _study(sweep, trials, {}, seed=sweep.seed + number)
    chosen = study.ask(_distributions(sweep.space)).params
    return {name: _value(sweep.space[name], chosen[name]) for name in sweep.space}


def is_hopeless(sweep: Sweep, trials: Sequence[Trial], trial: Trial, curves: Mapping[str, Curve]) -> bool:
    """Whether the pruner would end ``trial`` at its newest step.

    Args:
        curves: By trial id; of the trial and of those that have ended.
    """
    curve = curves.get(trial.id)
    if sweep.pruner == "none" or not curve:
        return False
    study = _study(sweep, [each for each in trials if each.id != trial.id], curves, seed=sweep.seed)
    return study.pruner.prune(study, _frozen(sweep, trial, curve))


def _study(sweep: Sweep, trials: Sequence[Trial], curves: Mapping[str, Curve], *, seed: int) -> optuna.Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=seed)
        if sweep.sampler == "tpe":
            # Trials that still run count as bad ones, so that those beside them look elsewhere.
            sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=sweep.parallel > 1
            )
        pruner = optuna.pruners.MedianPruner() if sweep.pruner == "median" else optuna.pruners.NopPruner()
    study = optuna.create_study(direction=sweep.objective.goal, sampler=sampler, pruner=pruner)
    study.add_trials([_frozen(sweep, trial, curves.get(trial.id, {})) for trial in trials])
    return study


def _frozen(sweep: Sweep, trial: Trial, curve: Curve) -> FrozenTrial:
    space = {name: sweep.space[name] for name in trial.parameters}
    frozen = optuna.trial.create_trial(
        state=_STATES[trial.state],
        value=trial.value if trial.state in (TrialState.SUCCEEDED, TrialState.PRUNED) else None,
        params={name: _internal(space[name], value) for name, value in trial.parameters.items()},
        distributions=_distributions(space),
        intermediate_values=dict(curve),
    )
    frozen.number = trial.number - 1
    return frozen


def _distributions(space: Mapping[str, Distribution]) -> dict[str, BaseDistribution]:
    return {name: _distribution(each) for name, each in space.items()}


def _distribution(found: Distribution) -> BaseDistribution:
    if isinstance(found, Choice):
        return CategoricalDistribution(tuple(range(len(found.values))))
    if isinstance(found, IntegerRange):
        return IntDistribution(found.low, found.high, log=found.log, step=found.step or 1)
    return FloatDistribution(found.low, found.high, log=found.log, step=found.step)


def _value(distribution: Distribution, chosen: Any) -> JsonValue:
    """What Optuna chose, as the program gets it: of a choice it knows positions only."""
    found: JsonValue = distribution.values[chosen] if isinstance(distribution, Choice) else chosen
    return found


def _internal(distribution: Distribution, value: JsonValue) -> Any:
    if not isinstance(distribution, Choice):
        return value
    # As JSON, for 1 and true are equal in Python.
    return [json.dumps(each) for each in distribution.values].index(json.dumps(value))
