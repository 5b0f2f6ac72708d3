"""Loading models: files decide, nothing is unpickled, and what is wrong is said with the user's own words."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from headway.errors import MissingExtraError, ModelLoadError
from headway.serving.protocols.tensorflow import as_rows
from headway.serving.runtimes import registry
from headway.serving.runtimes.registry import load_model

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 5)
Y = np.array([0, 0, 1, 1] * 5)


@pytest.fixture(autouse=True)
def import_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def write(directory, text, name="predict.py"):
    (directory / name).write_text(text)
    return directory


def save(directory, estimator, name="model.skops"):
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    skops.io.dump(estimator, directory / name)
    return directory


@pytest.mark.parametrize(
    "text",
    [
        "class Predictor:\n    def __init__(self, model_dir): self.d = model_dir\n    def predict(self, x): return self.d",
        "class Model:\n    def __init__(self, anything): self.d = anything\n    def predict(self, x): return self.d",
        "class Model:\n    def __init__(self, model_dir=''): self.d = model_dir\n    def predict(self, _): return self.d",
    ],
)
def test_a_class_that_asks_for_the_directory_gets_it(tmp_path, text):
    assert load_model(write(tmp_path, text)).predict(1, columns=True) == str(tmp_path)


@pytest.mark.parametrize(
    "init", ["", "    def __init__(self): pass\n", "    def __init__(self, device='cpu'): assert device == 'cpu'\n"]
)
def test_a_class_that_does_not_ask_is_made_without(tmp_path, init):
    text = (
        f"class Predictor:\n{init}    def load(self): self.factor = 2\n    def predict(self, x): return x * self.factor"
    )
    assert load_model(write(tmp_path, text)).predict(21, columns=False) == 42


def test_files_beside_predict_can_be_imported_and_a_foreign_model_class_is_not_taken(tmp_path):
    write(tmp_path, "class Model:\n    def predict(self, x): return 'wrong'\n", "some_framework.py")
    write(
        tmp_path, "from some_framework import Model\nclass Predictor(Model):\n    def predict(self, x): return 'right'"
    )
    assert load_model(tmp_path).predict(1, columns=True) == "right"
    (tmp_path / "predict.py").write_text("from some_framework import Model")
    with pytest.raises(ModelLoadError, match="no class Predictor or Model"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import module_that_is_missing",
            r"predict\.py:1: ModuleNotFoundError: No module named 'module_that_is_missing'",
        ),
        ("\nx = (", r"predict\.py:2: SyntaxError"),
        (
            "class Predictor:\n    def __init__(self):\n        open('/no/such/file')",
            r"predict\.py:3: FileNotFoundError",
        ),
        (
            "class Predictor:\n    def load(self):\n        raise RuntimeError('too hot')",
            r"Predictor\.load failed at predict\.py:3: RuntimeError: too hot",
        ),
        ("raise SystemExit('bye')", r"predict\.py:1: SystemExit: bye"),
        ("class Predictor: pass", "no method predict"),
        ("class Predictor:\n    async def predict(self, x): pass", "asynchronous"),
        ("class Predictor:\n    def __init__(self, a, b): pass", "needs 2 arguments"),
        ("x = 1", "no class Predictor or Model"),
    ],
)
def test_what_is_wrong_with_predict_py_is_said_with_its_line(tmp_path, text, said):
    with pytest.raises(ModelLoadError, match=said):
        load_model(write(tmp_path, text))


def test_classifiers_answer_classes_and_probabilities(tmp_path):
    model = load_model(save(tmp_path, LogisticRegression().fit(X, Y)))
    answer = model.predict([[1.0, 0.0], [0.0, 0.0]], columns=True)
    assert answer["classes"].tolist() == [1, 0]
    assert answer["probabilities"].shape == (2, 2)
    assert as_rows(answer)[0]["classes"] == 1
    assert len(as_rows(answer)) == 2


def test_a_classifier_without_probabilities_answers_classes(tmp_path):
    assert list(load_model(save(tmp_path, LinearSVC().fit(X, Y))).predict(X.tolist(), columns=True)) == ["classes"]


def test_several_outputs_have_a_row_each(tmp_path):
    estimator = MultiOutputClassifier(LogisticRegression()).fit(X, np.stack([Y, 1 - Y], axis=1))
    rows = as_rows(load_model(save(tmp_path, estimator)).predict(X[:3].tolist(), columns=False))
    assert len(rows) == 3
    assert [len(row["probabilities"]) for row in rows] == [2, 2, 2]


def test_regressors_clusters_and_transformers_answer_an_array(tmp_path):
    regression = load_model(save(tmp_path / "a", LinearRegression().fit(X, Y)))
    assert regression.predict([[1.0, 0.0]], columns=True) == pytest.approx([1.0])
    clusters = load_model(save(tmp_path / "b", KMeans(2, n_init=1).fit(X)))
    assert clusters.predict(X.tolist(), columns=True).shape == (20,)
    scaled = load_model(save(tmp_path / "c", StandardScaler().fit(X)))
    assert scaled.predict([[0.5, 0.5]], columns=True).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        ([[1, 0]], True),
        ([["1.0", "0"]], True),
        ({"x": [[1, 0]]}, True),
        ([{"x": [1, 0]}], False),
    ],
)
def test_one_matrix_may_be_sent_in_several_shapes(tmp_path, value, columns):
    model = load_model(save(tmp_path, LogisticRegression().fit(X, Y)))
    assert model.predict(value, columns=columns)["classes"].tolist() == [1]


def test_named_features_come_in_any_order_and_wrong_ones_are_named(tmp_path):
    estimator = LogisticRegression().fit(X, Y)
    estimator.feature_names_in_ = np.array(["first", "second"], dtype=object)
    model = load_model(save(tmp_path, estimator))
    assert model.predict({"second": [0, 0], "first": [1, 0]}, columns=True)["classes"].tolist() == [1, 0]
    assert model.predict([{"second": 0, "first": 1}], columns=False)["classes"].tolist() == [1]
    assert model.predict([[1, 0]], columns=False)["classes"].tolist() == [1]
    with pytest.raises(ValueError, match="'third'"):
        model.predict({"third": [0], "first": [1]}, columns=True)
    with pytest.raises(ValueError, match="instance 1"):
        model.predict([{"first": 0, "second": 1}, {"first": 0}], columns=False)


@pytest.mark.parametrize(
    "value", [[1, 0], [[1]], [[1, 0], [1]], [["x", "y"]], [[None, 1]], {"a": [1], "b": [2]}, "text"]
)
def test_values_that_do_not_fit_are_value_errors(tmp_path, value):
    model = load_model(save(tmp_path, LogisticRegression().fit(X, Y)))
    with pytest.raises((ValueError, TypeError)):
        model.predict(value, columns=True)


def test_untrusted_types_are_named_and_not_loaded(tmp_path):
    save(tmp_path, make_pipeline(FunctionTransformer(write), LogisticRegression().fit(X, Y)))
    with pytest.raises(ModelLoadError, match=r"not trusted: .*write"):
        load_model(tmp_path)


def test_a_forest_is_served(tmp_path):
    forest = RandomForestClassifier(n_estimators=3, random_state=0).fit(X, Y)
    model = load_model(save(tmp_path, forest))
    assert model.predict(X, columns=True)["classes"].tolist() == forest.predict(X).tolist()


def test_a_pickle_behind_the_right_name_is_not_unpickled(tmp_path):
    payload = b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR."
    (tmp_path / "model.skops").write_bytes(payload)
    with pytest.raises(ModelLoadError, match="could not be read by skops"):
        load_model(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_of_several_models_the_one_called_model_is_served(tmp_path):
    save(tmp_path, LogisticRegression().fit(X, Y), "a.skops")
    save(tmp_path, LogisticRegression().fit(X, Y), "deep/b.skops")
    with pytest.raises(ModelLoadError, match=r"a\.skops, deep/b\.skops"):
        load_model(tmp_path)
    save(tmp_path, LogisticRegression().fit(X, Y), "deep/model.skops")
    assert load_model(tmp_path).metadata["estimator"] == "LogisticRegression"


def test_files_decide_what_serves_them(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ModelLoadError, match="'tensorflow' cannot be served yet by this version"):
        load_model(tmp_path)
    write(tmp_path, "class Predictor:\n    def predict(self, x): return x")
    assert load_model(tmp_path).predict(5, columns=True) == 5


def test_no_model_at_all(tmp_path):
    with pytest.raises(ModelLoadError, match="Nothing in the model directory"):
        load_model(tmp_path)
    with pytest.raises(ModelLoadError, match="does not exist"):
        load_model(tmp_path / "missing")


def test_a_missing_framework_is_said_with_the_command(tmp_path, monkeypatch):
    (tmp_path / "model.skops").touch()
    monkeypatch.delitem(sys.modules, "headway.serving.runtimes.sklearn", raising=False)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'headway\[sklearn\]'"):
        load_model(tmp_path)


def test_every_runtime_that_is_promised_is_there():
    from headway.domain.models import SERVED_RUNTIMES

    assert set(registry.RUNTIMES) == SERVED_RUNTIMES
