"""scikit-learn: what fits and scores tell a run, and that nothing about them changes."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headway.journal.reader import read_frames
from headway.journal.rows import RowDecoder
from headway.tracking.integrations.sklearn import autolog, track
from headway.tracking.local import LocalRun, find_local


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


@pytest.fixture
def logged(remembering) -> Iterator[Any]:
    autolog(remembering)
    yield remembering
    autolog(disable=True)


def logistic(**options: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500, **options)


class TestTrack:
    def test_a_fit_records_parameters_time_and_scores(self, remembering, data) -> None:
        with track(logistic(C=0.5), remembering) as model:
            assert model.fit(*data) is model
            score = model.score(*data)
        parameters = remembering.config["LogisticRegression"]
        assert (parameters["C"], parameters["max_iter"]) == (0.5, 500)
        assert (parameters["samples"], parameters["features"]) == (150, 4)
        (fit,), (test,) = remembering.of("train"), remembering.of("test")
        assert fit.step == test.step == 0
        assert fit.metrics["LogisticRegression/score"] == pytest.approx(score)
        assert 0 < fit.metrics["LogisticRegression/fit_seconds"] < 60
        assert fit.metrics["LogisticRegression/n_iter"] == model.n_iter_[0]
        assert test.metrics == {"LogisticRegression/score": score}

    def test_fits_of_one_estimator_are_counted(self, remembering, data) -> None:
        with track(logistic(), remembering) as model:
            for _ in range(3):
                model.fit(*data)
        assert [row.step for row in remembering.rows] == [0, 1, 2]

    def test_outside_nothing_is_recorded_and_nothing_is_left(self, remembering, data) -> None:
        with track(logistic(), remembering) as model:
            pass
        model.fit(*data)
        assert remembering.rows == []
        assert "fit" not in vars(model)

    def test_another_estimator_is_not_recorded(self, remembering, data) -> None:
        from sklearn.base import clone

        with track(logistic(), remembering) as model:
            clone(model).fit(*data)
            logistic().fit(*data)
        assert remembering.rows == []

    def test_without_a_training_score_nothing_is_predicted(self, remembering, data) -> None:
        with track(logistic(), remembering, training_score=False) as model:
            model.fit(*data)
        assert "LogisticRegression/score" not in remembering.rows[0].metrics

    def test_keywords_of_a_fit_are_recorded_without_their_data(self, remembering, data) -> None:
        import numpy

        with track(logistic(), remembering) as model:
            model.fit(X=data[0], y=data[1], sample_weight=numpy.ones(150))
        assert remembering.config["LogisticRegression"]["fit_keywords"] == {"sample_weight": "array(150,)"}
        assert "LogisticRegression/score" in remembering.rows[0].metrics

    def test_an_error_of_the_fit_is_the_programs(self, remembering, data) -> None:
        with track(logistic(C=-1), remembering) as model, pytest.raises(ValueError, match="C"):
            model.fit(*data)
        assert remembering.rows == []
        with track(logistic(), remembering) as model:  # and the next fit is an outermost one again
            model.fit(*data)
        assert len(remembering.rows) == 1

    def test_copies_and_pickles_made_meanwhile_are_plain(self, remembering, data) -> None:
        with track(logistic(), remembering) as model:
            model.fit(*data)
            for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
                assert copied.predict(data[0]).tolist() == model.predict(data[0]).tolist()
                copied.fit(*data)
        assert len(remembering.rows) == 1

    def test_fit_goes_on_when_the_run_fails(self, broken, data, caplog) -> None:
        with caplog.at_level(logging.WARNING, "headway"), track(logistic(), broken) as model:
            assert model.fit(*data).score(*data) > 0.9
        assert "the disk is on fire" in caplog.text


class TestAutolog:
    def test_a_pipeline_is_one_fit_with_the_parameters_of_its_parts(self, logged, data) -> None:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        pipeline = make_pipeline(StandardScaler(), logistic(C=2.0)).fit(*data)
        pipeline.score(*data)
        assert list(logged.config) == ["Pipeline"]
        assert logged.config["Pipeline"]["logisticregression__C"] == 2.0
        assert [row.stage for row in logged.rows] == ["train", "test"]
        assert set(logged.rows[0].metrics) == {"Pipeline/fit_seconds", "Pipeline/score"}

    def test_several_estimators_of_a_class_are_told_apart(self, logged, data) -> None:
        first, second = logistic(C=1.0), logistic(C=2.0)
        for model in (first, second, first):
            model.fit(*data)
        names = [sorted(row.metrics)[0].split("/")[0] for row in logged.rows]
        assert names == ["LogisticRegression", "LogisticRegression_2", "LogisticRegression"]
        assert [row.step for row in logged.rows] == [0, 0, 1]
        assert logged.config["LogisticRegression_2"]["C"] == 2.0

    def test_transformers_and_clusterers(self, logged, data) -> None:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA

        PCA(2).fit_transform(data[0])
        KMeans(3, n_init=1, random_state=0).fit_predict(data[0])
        assert set(logged.config) == {"PCA", "KMeans"}
        assert logged.rows[1].metrics["KMeans/score"] < 0

    @pytest.mark.parametrize("jobs", [None, 2])
    def test_a_search_is_one_fit_with_a_table_of_its_candidates(self, logged, data, jobs) -> None:
        import joblib
        from sklearn.model_selection import GridSearchCV

        search = GridSearchCV(logistic(), {"C": [0.01, 1.0]}, cv=3, n_jobs=jobs)
        with joblib.parallel_backend("threading"):
            search.fit(*data)
        assert list(logged.config) == ["GridSearchCV"]
        assert logged.config["GridSearchCV"]["best_params"] == search.best_params_
        train, best, table = logged.rows
        assert "GridSearchCV/fit_seconds" in train.metrics
        assert best.metrics == {"GridSearchCV/best_score": pytest.approx(search.best_score_)}
        assert list(table.metrics) == ["GridSearchCV/cv_results"]

    def test_functions_that_fit_copies_in_threads_are_not_disturbed(self, logged, data) -> None:
        from sklearn.model_selection import cross_val_score

        assert len(cross_val_score(logistic(), *data, cv=3)) == 3

    def test_classes_made_later_are_heard_too(self, logged, data) -> None:
        from sklearn.linear_model import LogisticRegression

        class Mine(LogisticRegression):
            def fit(self, X: Any, y: Any) -> Any:
                return super().fit(X, y)

        Mine(max_iter=500).fit(*data)
        assert list(logged.config) == ["Mine"]
        assert len(logged.rows) == 1

    def test_disabled_it_records_nothing(self, logged, data) -> None:
        autolog(disable=True)
        logistic().fit(*data)
        assert logged.rows == []

    def test_methods_look_as_before(self, logged) -> None:
        from sklearn.utils.validation import has_fit_parameter

        model = logistic()
        assert list(inspect.signature(model.fit).parameters) == ["X", "y", "sample_weight"]
        assert has_fit_parameter(model, "sample_weight")
        assert model.fit.__self__ is model
        assert inspect.isfunction(type(model).fit)

    def test_a_fit_in_each_of_two_threads_one_after_the_other(self, logged, data) -> None:
        for _ in range(2):
            thread = threading.Thread(target=lambda: logistic().fit(*data))
            thread.start()
            thread.join()
        assert len(logged.rows) == 2

    def test_fit_goes_on_when_the_run_fails(self, broken, data) -> None:
        autolog(broken)
        try:
            assert logistic().fit(*data).score(*data) > 0.9
        finally:
            autolog(disable=True)


class TestRealRun:
    def test_a_search_is_kept_with_its_table(self, tracked, data) -> None:
        from sklearn.model_selection import GridSearchCV

        with track(GridSearchCV(logistic(), {"C": [0.01, 1.0]}, cv=3), tracked) as search:
            search.fit(*data)
        tracked.finish()
        run = find_local(str(tracked.directory))
        assert run.metrics("GridSearchCV/best_score", "val").values == [search.best_score_]
        assert run.config["GridSearchCV"]["best_params"] == {"C": 1.0}
        (entry,) = media(run)
        assert (entry["name"], entry["type"], entry["stage"]) == ("GridSearchCV/cv_results", "table", "val")
        assert entry["details"]["rows"] == 2
        assert "mean_test_score" in entry["details"]["columns"]

    def test_without_a_run_the_one_begun_last_is_taken(self, tracked, data) -> None:
        with track(logistic()) as model:
            model.fit(*data)
        tracked.finish()
        assert find_local(str(tracked.directory)).config["LogisticRegression"]["max_iter"] == 500


def media(run: LocalRun) -> list[dict[str, Any]]:
    found = []
    for path in run.path.glob("metrics-*.hwj"):
        decoder = RowDecoder()
        list(decoder.feed(read_frames(path)))
        found += [entry.document for entry in decoder.entries]
    return found
