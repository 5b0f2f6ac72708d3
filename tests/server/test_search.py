"""Choosing parameters: the same whenever it is asked, within the space, and better than chance."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.domain.sweeps import Choice, IntegerRange, NumberRange, Objective, Sweep, Trial, TrialState, grid_size
from headway.server.workers.search import choose, is_hopeless
from headway.testing.factories import make_sweep, make_trial

SPACE = {
    "lr": NumberRange(low=1e-5, high=1e-1, log=True),
    "share": NumberRange(low=0.0, high=1.0, step=0.25),
    "layers": IntegerRange(low=1, high=9, step=2),
    "kind": Choice(values=("a", 1, True, None, 1.5, [1, 2], {"x": 1})),
}


def sweep_of(**fields: Any) -> Sweep:
    return make_sweep(**{"space": SPACE, **fields})


def grown(sweep: Sweep, count: int) -> list[Trial]:
    """Trials as a search makes them, each with a value."""
    trials: list[Trial] = []
    for number in range(1, count + 1):
        chosen = choose(sweep, trials, number)
        value = None if number % 7 == 0 else number / 10
        state = TrialState.FAILED if value is None else TrialState.SUCCEEDED
        trials.append(make_trial(sweep_id=sweep.id, number=number, parameters=chosen, state=state, value=value))
    return trials


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_what_is_chosen_lies_in_the_space_and_is_chosen_again(sampler: str) -> None:
    sweep = sweep_of(sampler=sampler, parallel=4)
    trials = grown(sweep, 25)
    for number, trial in enumerate(trials, start=1):
        found = trial.parameters
        assert 1e-5 <= found["lr"] <= 1e-1  # type: ignore[operator]
        assert found["share"] in (0.0, 0.25, 0.5, 0.75, 1.0)
        assert found["layers"] in (1, 3, 5, 7, 9)
        assert any(found["kind"] is value or found["kind"] == value for value in SPACE["kind"].values)
        # A server that was restarted has nothing but the trials as they were stored.
        stored = [Trial.model_validate_json(each.model_dump_json()) for each in trials[: number - 1]]
        assert choose(sweep, stored, number) == found


@given(seed=st.integers(0, 2**31 - 1), number=st.integers(1, 5))
def test_seeds_make_different_searches(seed: int, number: int) -> None:
    one, other = sweep_of(seed=seed, sampler="random"), sweep_of(seed=(seed + 1000) % 2**31, sampler="random")
    assert choose(one, [], number) == choose(one, [], number)
    assert choose(one, [], number)["lr"] != choose(other, [], number)["lr"]


def test_values_that_python_takes_for_equal_are_told_apart() -> None:
    sweep = sweep_of(space={"kind": Choice(values=(1, True, 1.0))}, sampler="tpe")
    for parameters in ({"kind": 1}, {"kind": True}, {"kind": 1.0}):
        trials = [
            make_trial(number=n, parameters=parameters, state=TrialState.SUCCEEDED, value=0.0) for n in range(1, 13)
        ]
        (found,) = choose(sweep, trials, 13).values()
        assert type(found) in (int, bool, float)


def test_tpe_learns_where_the_minimum_is() -> None:
    space = {"x": NumberRange(low=-10, high=10), "y": NumberRange(low=-10, high=10)}
    sweep = sweep_of(space=space, seed=7)
    trials: list[Trial] = []
    for number in range(1, 61):
        chosen = choose(sweep, trials, number)
        value = (chosen["x"] - 3) ** 2 + (chosen["y"] + 2) ** 2  # type: ignore[operator]
        trials.append(make_trial(number=number, parameters=chosen, state=TrialState.SUCCEEDED, value=value))
    early = sum(trial.value or 0.0 for trial in trials[:10]) / 10
    late = sum(trial.value or 0.0 for trial in trials[-10:]) / 10
    assert late < early / 4
    assert min(trial.value or 0.0 for trial in trials) < 1.0


def test_a_grid_is_gone_through_once() -> None:
    space = {
        "a": Choice(values=("x", "y")),
        "b": IntegerRange(low=0, high=4, step=2),
        "c": NumberRange(low=0, high=0.3, step=0.1),
    }
    sweep = sweep_of(space=space, sampler="grid")
    points = [choose(sweep, [], number) for number in range(1, grid_size(space) + 1)]
    assert len(points) == 2 * 3 * 4
    assert len({tuple(point.items()) for point in points}) == len(points)
    assert points[0] == {"a": "x", "b": 0, "c": 0.0}
    assert points[-1]["a"] == "y"
    assert math.isclose(points[-1]["c"], 0.3)  # type: ignore[arg-type]


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_a_trial_worse_than_the_middle_is_hopeless(goal: str) -> None:
    sweep = sweep_of(
        space={"x": NumberRange(low=0, high=1)}, pruner="median", objective=Objective(metric="m", goal=goal)
    )
    sign = 1 if goal == "minimize" else -1
    done = [
        make_trial(number=n, parameters={"x": n / 10}, state=TrialState.SUCCEEDED, value=sign * float(n))
        for n in range(1, 8)
    ]
    curves = {trial.id: {step: sign * float(trial.number) for step in range(5)} for trial in done}
    bad, good = make_trial(number=8, parameters={"x": 0.8}), make_trial(number=9, parameters={"x": 0.9})
    curves[bad.id], curves[good.id] = {0: sign * 9.0, 1: sign * 9.0}, {0: sign * 1.5, 1: sign * 1.0}
    everyone = [*done, bad, good]
    assert is_hopeless(sweep, everyone, bad, curves)
    assert not is_hopeless(sweep, everyone, good, curves)
    assert not is_hopeless(sweep, everyone, make_trial(number=10), curves), "nothing was reported yet"
    assert not is_hopeless(sweep.evolve(pruner="none"), everyone, bad, curves)
