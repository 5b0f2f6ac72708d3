"""XGBoost: ``xgboost.train(..., evals=[(train, "train"), (test, "test")], callbacks=[RoundCallback(run)])``.

With the scikit-learn interface: ``XGBClassifier(callbacks=[RoundCallback(run)])`` and ``fit(..., eval_set=[…])``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headway.tracking.integrations.adapters import Adapter
from headway.tracking.integrations.guard import Tracked, guarded, numbers


class RoundCallback(Adapter):
    """Records, after every round, one row for each evaluated data set, with its name as the stage and the round as the
    step; the booster's parameters as ``xgboost`` in the run's config; and ``best_iteration`` and ``best_score`` there
    when training stopped early.

    ``xgboost.cv`` gives means over the folds, recorded under the metric's name, and standard deviations (``rmse-std``).

    Args:
        run: What records.
    """

    @classmethod
    def framework_bases(cls) -> tuple[type, ...]:
        import xgboost

        return (xgboost.callback.TrainingCallback,)

    def __init__(self, run: Tracked) -> None:
        super().__init__()
        self.run = run

    def before_training(self, model: Any) -> Any:
        self._record_parameters(model)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> bool:
        self._record_round(epoch, evals_log)
        return False

    def after_training(self, model: Any) -> Any:
        self._record_best(model)
        return model

    @guarded
    def _record_parameters(self, model: Any) -> None:
        boosters = [fold.bst for fold in getattr(model, "cvfolds", ())] or [model]
        self.run.config.update({"xgboost": parameters(boosters[0].save_config())})

    @guarded
    def _record_round(self, epoch: int, evaluations: Mapping[str, Mapping[str, Any]]) -> None:
        for data, metrics in evaluations.items():
            latest = {name: history[-1] for name, history in metrics.items() if len(history)}
            if row := numbers(_spread(latest)):
                self.run.log(metrics=row, type=data, step=epoch)

    @guarded
    def _record_best(self, model: Any) -> None:
        attributes = getattr(model, "attributes", None)
        found = attributes() if attributes is not None else {}
        best = {name: json.loads(found[name]) for name in ("best_iteration", "best_score") if name in found}
        if best:
            self.run.config.update(best)


def parameters(configuration: str) -> dict[str, Any]:
    """The parameters in what ``Booster.save_config`` gives, under their names; numbers as numbers.

    >>> parameters('{"learner": {"objective": {"name": "reg:squarederror"}, "learner_train_param": {"booster": "gbtree"}}}')
    {'objective': 'reg:squarederror', 'booster': 'gbtree'}
    """
    found: dict[str, Any] = {}
    _collect(json.loads(configuration).get("learner", {}), found)
    return found


def _collect(tree: Mapping[str, Any], found: dict[str, Any]) -> None:
    for key, value in tree.items():
        if key == "objective" and isinstance(value, Mapping):
            found["objective"] = value.get("name")
        elif key == "metrics" and isinstance(value, list):
            found["eval_metric"] = [item.get("name") for item in value if isinstance(item, Mapping)]
        elif isinstance(value, Mapping):
            _collect(value, found)
        elif isinstance(value, str):
            found.setdefault(key, _number(value))


def _number(text: str) -> Any:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _spread(values: Mapping[str, Any]) -> dict[str, Any]:
    """Pairs of mean and standard deviation as two metrics."""
    spread: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, tuple):
            spread[name], spread[f"{name}-std"] = value
        else:
            spread[name] = value
    return spread
