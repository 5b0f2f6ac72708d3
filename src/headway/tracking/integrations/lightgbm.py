"""LightGBM: ``lightgbm.train(..., valid_sets=[…], callbacks=[RoundCallback(run)])``; ``fit`` and ``cv`` take it, too."""

from __future__ import annotations

from typing import Any

from headway.tracking.integrations.guard import Tracked, guarded, numbers, recorded


class RoundCallback:
    """Records, after every round, one row for each evaluated data set, with its name as the stage and the round as the
    step, and the parameters as ``lightgbm`` in the run's config.

    ``lightgbm.cv`` gives means over the folds, recorded under the metric's name, and standard deviations (``l2-std``).

    Args:
        run: What records.
    """

    order = 25
    """Among LightGBM's callbacks: after those that print and record, before the one that stops early (30), which ends
    the round by an exception."""
    before_iteration = False

    def __init__(self, run: Tracked) -> None:
        self.run = run

    @guarded
    def __call__(self, env: Any) -> None:
        if env.iteration == env.begin_iteration:
            self.run.config.update({"lightgbm": recorded(env.params)})
        rows: dict[str, dict[str, Any]] = {}
        for data, metric, value, _higher_is_better, *deviation in env.evaluation_result_list or ():
            row = rows.setdefault(data, {})
            row[metric] = value
            if deviation:
                row[f"{metric}-std"] = deviation[0]
        for data, row in rows.items():
            if metrics := numbers(row):
                self.run.log(metrics=metrics, type=data, step=env.iteration)
