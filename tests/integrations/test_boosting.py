"""XGBoost and LightGBM: a row a round and data set, and the parameters."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.frameworks

ROUNDS = 5


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    import numpy

    random = numpy.random.default_rng(0)
    x = random.random((80, 4))
    return x, x.sum(axis=1) + random.normal(0, 0.01, 80)


class TestXGBoost:
    @pytest.fixture
    def sets(self, data) -> tuple[Any, Any]:
        import xgboost

        x, y = data
        return xgboost.DMatrix(x[:60], y[:60]), xgboost.DMatrix(x[60:], y[60:])

    @pytest.fixture
    def callback(self, remembering) -> Any:
        from headway.tracking.integrations.xgboost import RoundCallback

        return RoundCallback(remembering)

    def test_train_logs_every_round_of_every_set(self, remembering, callback, sets) -> None:
        import xgboost

        results: dict[str, Any] = {}
        xgboost.train(
            {"eta": 0.25, "eval_metric": ["rmse", "mae"]},
            sets[0],
            ROUNDS,
            evals=[(sets[0], "train"), (sets[1], "validation")],
            evals_result=results,
            callbacks=[callback],
            verbose_eval=False,
        )
        for stage in ("train", "validation"):
            rows = remembering.of(stage)
            assert [row.step for row in rows] == list(range(ROUNDS))
            for metric in ("rmse", "mae"):
                assert [row.metrics[metric] for row in rows] == results[stage][metric]

    def test_parameters_are_recorded_as_the_booster_has_them(self, remembering, callback, sets) -> None:
        import xgboost

        xgboost.train({"eta": 0.25, "max_depth": 3}, sets[0], 1, callbacks=[callback])
        found = remembering.config["xgboost"]
        assert found["objective"] == "reg:squarederror"
        assert found["eta"] == pytest.approx(0.25)
        assert found["max_depth"] == 3
        assert found["booster"] == "gbtree"

    def test_early_stopping_leaves_its_best_round(self, remembering, callback, sets) -> None:
        import xgboost

        stop = xgboost.callback.EarlyStopping(rounds=1, min_delta=1e9)
        booster = xgboost.train(
            {}, sets[0], ROUNDS, evals=[(sets[1], "val")], callbacks=[stop, callback], verbose_eval=False
        )
        assert remembering.config["best_iteration"] == booster.best_iteration == 0
        assert remembering.config["best_score"] == pytest.approx(booster.best_score)

    def test_cross_validation_logs_means_and_deviations(self, remembering, callback, sets) -> None:
        import xgboost

        found = xgboost.cv({}, sets[0], ROUNDS, nfold=2, callbacks=[callback], as_pandas=False)
        rows = remembering.of("test")
        assert [row.metrics["rmse"] for row in rows] == pytest.approx(found["test-rmse-mean"])
        assert [row.metrics["rmse-std"] for row in rows] == pytest.approx(found["test-rmse-std"])

    def test_the_interface_of_scikit_learn(self, remembering, callback, data) -> None:
        import xgboost

        xgboost.XGBRegressor(n_estimators=ROUNDS, callbacks=[callback]).fit(*data, eval_set=[data], verbose=False)
        assert [row.step for row in remembering.of("validation_0")] == list(range(ROUNDS))

    def test_training_goes_on_when_the_run_fails(self, broken, sets) -> None:
        import xgboost

        from headway.tracking.integrations.xgboost import RoundCallback

        booster = xgboost.train(
            {}, sets[0], ROUNDS, evals=[(sets[1], "val")], callbacks=[RoundCallback(broken)], verbose_eval=False
        )
        assert booster.num_boosted_rounds() == ROUNDS


class TestLightGBM:
    PARAMETERS = {"objective": "regression", "metric": ["l2", "l1"], "learning_rate": 0.25, "verbose": -1}

    @pytest.fixture
    def sets(self, data) -> tuple[Any, Any]:
        import lightgbm

        x, y = data
        train = lightgbm.Dataset(x[:60], y[:60], params={"verbose": -1}, free_raw_data=False)
        return train, lightgbm.Dataset(x[60:], y[60:], reference=train, free_raw_data=False)

    @pytest.fixture
    def callback(self, remembering) -> Any:
        from headway.tracking.integrations.lightgbm import RoundCallback

        return RoundCallback(remembering)

    def test_train_logs_every_round_of_every_set(self, remembering, callback, sets) -> None:
        import lightgbm

        results: dict[str, Any] = {}
        lightgbm.train(
            self.PARAMETERS,
            sets[0],
            ROUNDS,
            valid_sets=list(sets),
            valid_names=["train", "val"],
            callbacks=[callback, lightgbm.record_evaluation(results)],
        )
        for stage, name in (("train", "training"), ("val", "val")):
            rows = remembering.of(stage) or remembering.of(name)
            recorded = results.get(stage) or results[name]
            assert [row.step for row in rows] == list(range(ROUNDS))
            for metric in ("l1", "l2"):
                assert [row.metrics[metric] for row in rows] == recorded[metric]

    def test_parameters_are_recorded(self, remembering, callback, sets) -> None:
        import lightgbm

        lightgbm.train(self.PARAMETERS, sets[0], 1, callbacks=[callback])
        assert remembering.config["lightgbm"]["learning_rate"] == 0.25
        assert remembering.config["lightgbm"]["metric"] == ["l2", "l1"]

    def test_the_round_that_stops_early_is_recorded(self, remembering, callback, sets) -> None:
        import lightgbm

        stop = lightgbm.early_stopping(1, min_delta=1e9, verbose=False)
        lightgbm.train(self.PARAMETERS, sets[0], ROUNDS, valid_sets=[sets[1]], callbacks=[stop, callback])
        assert [row.step for row in remembering.rows] == [0, 1]

    def test_cross_validation_logs_means_and_deviations(self, remembering, callback, sets) -> None:
        import lightgbm

        found = lightgbm.cv(self.PARAMETERS, sets[0], ROUNDS, nfold=2, stratified=False, callbacks=[callback])
        rows = remembering.rows
        assert [row.metrics["l2"] for row in rows] == pytest.approx(found["valid l2-mean"])
        assert [row.metrics["l2-std"] for row in rows] == pytest.approx(found["valid l2-stdv"])

    def test_the_interface_of_scikit_learn(self, remembering, callback, data) -> None:
        import lightgbm

        model = lightgbm.LGBMRegressor(n_estimators=ROUNDS, verbose=-1)
        model.fit(*data, eval_X=data[0], eval_y=data[1], callbacks=[callback])
        assert [row.step for row in remembering.rows] == list(range(ROUNDS))
        assert remembering.config["lightgbm"]["objective"] == "regression"

    def test_training_goes_on_when_the_run_fails(self, broken, sets) -> None:
        import lightgbm

        from headway.tracking.integrations.lightgbm import RoundCallback

        booster = lightgbm.train(
            self.PARAMETERS, sets[0], ROUNDS, valid_sets=[sets[1]], callbacks=[RoundCallback(broken)]
        )
        assert booster.num_trees() == ROUNDS
