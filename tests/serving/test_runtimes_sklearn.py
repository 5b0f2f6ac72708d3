"""scikit-learn through skops: what an estimator says of itself, and answers that are exactly its own."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import Signature, TensorSpec
from headway.serving.runtimes.registry import load_model
from headway.serving.runtimes.sklearn import SklearnModel

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 5)
Y = np.array([0, 0, 1, 1] * 5)
POINTS = np.random.default_rng(1).normal(size=(300, 4))
KINDS = np.array(["low", "middle", "high"])[np.digitize(POINTS[:, 0] + POINTS[:, 1] ** 2, [0.0, 1.5])]


def save(directory, estimator, name="model.skops"):
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    skops.io.dump(estimator, directory / name)
    return directory


def predict(model, value):
    return model.predict({"inputs": np.asarray(value)})


def test_a_classifier_says_what_it_takes_and_answers(tmp_path):
    model = load_model(save(tmp_path, LogisticRegression().fit(X, Y)))
    assert model.signature == Signature(
        (TensorSpec("inputs", "float64", (None, 2)),),
        (TensorSpec("classes", "int64", (None,)), TensorSpec("probabilities", "float64", (None, 2))),
    )
    answer = predict(model, [[1.0, 0.0], [0.0, 0.0]])
    assert answer["classes"].tolist() == [1, 0]
    assert answer["probabilities"].shape == (2, 2)


CLASSIFIERS = [
    LogisticRegression(),
    make_pipeline(StandardScaler(), LogisticRegression()),
    LinearDiscriminantAnalysis(),
    SGDClassifier(loss="modified_huber", random_state=0),
    GaussianNB(),
    RandomForestClassifier(n_estimators=7, random_state=0),
    GradientBoostingClassifier(n_estimators=5, random_state=0),
    HistGradientBoostingClassifier(max_iter=5, random_state=0),
    AdaBoostClassifier(n_estimators=5, random_state=0),
]


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda found: type(found).__name__)
@pytest.mark.parametrize("rows", [1, 300])
def test_answers_are_those_of_the_estimator_to_the_bit(estimator, rows):
    estimator.fit(POINTS, KINDS)
    # Saturated and tied scores are where classes made from probabilities would differ from those made from scores.
    given = np.concatenate([POINTS[:rows], POINTS[:rows] * 1e6, np.zeros((1, 4))])
    model = SklearnModel(estimator)
    for each in (given, *given[:5, None]):
        answer = predict(model, each)
        assert answer["classes"].dtype == object
        assert answer["classes"].tolist() == estimator.predict(each).tolist()
        assert np.array_equal(answer["probabilities"], estimator.predict_proba(each))


def test_a_classifier_whose_classes_are_not_its_likeliest_is_asked_for_both():
    estimator = LogisticRegression().fit(X, Y)

    class Careful(LogisticRegression):
        def predict(self, matrix):
            return np.where(self.predict_proba(matrix)[:, 1] > 0.9, 1, 0)

    careful = Careful().fit(X, Y)
    points = np.array([[0.5, 0.5], [0.7, 0.5], [5.0, 0.0]])
    assert estimator.predict(points).tolist() != careful.predict(points).tolist()
    assert predict(SklearnModel(careful), points)["classes"].tolist() == careful.predict(points).tolist()


def test_a_tie_that_rounding_made_is_decided_by_the_estimator():
    estimator = LogisticRegression().fit(X, Y)
    estimator.coef_ = np.array([[1e-17, 0.0]])
    estimator.intercept_ = np.array([0.0])
    assert estimator.predict_proba([[1.0, 0.0]]).tolist() == [[0.5, 0.5]]
    assert estimator.predict([[1.0, 0.0]]).tolist() == [1]
    assert predict(SklearnModel(estimator), [[1.0, 0.0]])["classes"].tolist() == [1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_the_estimator_refuses_is_refused_still(value):
    model = SklearnModel(LogisticRegression().fit(X, Y))
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        predict(model, [[0.0, 1.0], [value, 0.0]])
    assert predict(model, [[1.0, 0.0]])["classes"].tolist() == [1]


def test_what_the_estimator_makes_of_missing_values_is_answered():
    estimator = make_pipeline(SimpleImputer(), LogisticRegression()).fit(X, Y)
    given = np.array([[np.nan, 1.0], [1.0, np.nan]])
    expected = estimator.predict_proba(given)
    assert np.array_equal(predict(SklearnModel(estimator), given)["probabilities"], expected)


def test_a_classifier_without_probabilities_answers_classes(tmp_path):
    model = load_model(save(tmp_path, LinearSVC().fit(X, Y)))
    assert list(predict(model, X)) == ["classes"]
    assert [output.name for output in model.signature.outputs] == ["classes"]


def test_a_support_vector_machine_keeps_its_own_classes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = SVC(probability=True, random_state=0).fit(POINTS, KINDS)
    answer = predict(SklearnModel(estimator), POINTS)
    assert answer["classes"].tolist() == estimator.predict(POINTS).tolist()


def test_several_outputs_have_a_row_each(tmp_path):
    estimator = MultiOutputClassifier(LogisticRegression()).fit(X, np.stack([Y, 1 - Y], axis=1))
    answer = predict(load_model(save(tmp_path, estimator)), X[:3])
    assert answer["classes"].shape == (3, 2)
    assert answer["probabilities"].shape == (3, 2, 2)
    assert np.array_equal(answer["probabilities"][:, 1], estimator.predict_proba(X[:3])[1])


def test_outputs_with_different_numbers_of_classes_have_a_row_each():
    estimator = MultiOutputClassifier(LogisticRegression()).fit(X, np.stack([Y, np.arange(20) % 3], axis=1))
    probabilities = predict(SklearnModel(estimator), X[:3])["probabilities"]
    assert probabilities.shape == (3,)
    assert [[len(output) for output in row] for row in probabilities] == [[2, 3]] * 3


def test_regressors_clusters_and_transformers_answer_an_array(tmp_path):
    regression = load_model(save(tmp_path / "a", LinearRegression().fit(X, Y)))
    assert predict(regression, [[1.0, 0.0]])["predictions"] == pytest.approx([1.0])
    assert regression.signature.outputs == (TensorSpec("predictions", "float64", (None,)),)
    clusters = load_model(save(tmp_path / "b", KMeans(2, n_init=1).fit(X)))
    assert predict(clusters, X)["predictions"].shape == (20,)
    scaled = load_model(save(tmp_path / "c", StandardScaler().fit(X)))
    assert predict(scaled, [[0.5, 0.5]])["outputs"].tolist() == [[0.0, 0.0]]
    assert scaled.signature.outputs == (TensorSpec("outputs", "float64", (None, 2)),)


def test_the_names_of_features_are_in_the_signature():
    frame = pd.DataFrame(X, columns=["first", "second"])
    model = SklearnModel(LogisticRegression().fit(frame, Y))
    assert model.signature.inputs == (TensorSpec("inputs", "float64", (None, 2), ("first", "second")),)
    assert model.metadata["features"] == ["first", "second"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert predict(model, [[1.0, 0.0]])["classes"].tolist() == [1]


def test_a_model_that_chooses_columns_by_name_gets_a_data_frame():
    frame = pd.DataFrame({"city": ["Oslo", "Rome", "Rome", "Oslo"], "heat": [1.0, 5.0, 6.0, 0.0]})
    chosen = ColumnTransformer([("city", OneHotEncoder(), ["city"]), ("heat", StandardScaler(), ["heat"])])
    estimator = make_pipeline(chosen, LogisticRegression()).fit(frame, [0, 1, 1, 0])
    model = SklearnModel(estimator)
    assert model.signature.inputs == (TensorSpec("inputs", "object", (None, 2), ("city", "heat"), mixed=True),)
    rows = np.array([["Rome", 5.5], ["Oslo", 0.5]], dtype=object)
    answer = model.predict({"inputs": rows})
    assert answer["classes"].tolist() == [1, 0]
    expected = estimator.predict_proba(pd.DataFrame({"city": ["Rome", "Oslo"], "heat": [5.5, 0.5]}))
    assert np.allclose(answer["probabilities"], expected)


def test_a_model_of_categories_takes_texts():
    rows = np.array([["Oslo", "wet"], ["Rome", "dry"]], dtype=object)
    model = SklearnModel(make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, ["cold", "warm"]))
    assert model.signature.inputs == (TensorSpec("inputs", "object", (None, 2), mixed=True),)
    assert model.predict({"inputs": rows})["classes"].tolist() == ["cold", "warm"]


def test_a_model_of_documents_takes_a_list_of_texts():
    texts = np.array(["good work", "bad news", "good news", "bad work"], dtype=object)
    model = SklearnModel(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0]))
    assert model.signature.inputs == (TensorSpec("inputs", "object", (None,)),)
    assert model.predict({"inputs": texts[:2]})["classes"].tolist() == [1, 0]


def test_a_sparse_answer_is_an_array():
    model = SklearnModel(OneHotEncoder().fit([[1.0], [2.0]]))
    assert model.predict({"inputs": np.array([[2.0]], dtype=object)})["outputs"].tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingClassifier(max_iter=5, random_state=0),
        GradientBoostingClassifier(n_estimators=5, random_state=0),
        MLPClassifier((4,), max_iter=400, random_state=0),
        MLPClassifier((4,), solver="sgd", max_iter=400, random_state=0),
        make_pipeline(SimpleImputer(), RandomForestClassifier(5, random_state=0)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_scikit_learn_keeps_beside_its_estimators_is_loaded(tmp_path, estimator):
    estimator.fit(POINTS, KINDS)
    answer = predict(load_model(save(tmp_path, estimator)), POINTS)
    assert answer["classes"].tolist() == estimator.predict(POINTS).tolist()
    np.testing.assert_allclose(answer["probabilities"], estimator.predict_proba(POINTS))


def test_untrusted_types_are_named_and_not_loaded(tmp_path):
    save(tmp_path, make_pipeline(FunctionTransformer(save), LogisticRegression().fit(X, Y)))
    with pytest.raises(ModelLoadError, match=r"not trusted: .*save"):
        load_model(tmp_path)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def rezipped(content, schema):
    """The archive with another description of what is in it."""
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(found, "w") as new:
        for name in old.namelist():
            new.writestr(name, schema if name == "schema.json" else old.read(name))
    return found.getvalue()


def test_files_that_are_no_skops_archives_are_refused_with_the_reason(tmp_path):
    save(tmp_path, LogisticRegression().fit(X, Y))
    good = (tmp_path / "model.skops").read_bytes()
    files = {
        "a pickle": pickle.dumps(Harmful(tmp_path / "owned")),
        "an old pickle": pickle.dumps(Harmful(tmp_path / "owned"), protocol=0),
        "nothing": b"",
        "text": b"not a model",
        "half of one": good[: len(good) // 2],
        "no description": rezipped(good, b""),
        "another description": rezipped(
            good, b'{"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}'
        ),
        "a tree of nothing": rezipped(good, b'{"__class__": "Tree", "__module__": "sklearn.tree._tree"}'),
        "a description of nothing": rezipped(good, b"[]"),
    }
    for name, content in files.items():
        (tmp_path / "model.skops").write_bytes(content)
        with pytest.raises(ModelLoadError, match=r"model\.skops") as caught:
            load_model(tmp_path)
        assert "\n" not in str(caught.value), name
    assert not (tmp_path / "owned").exists()


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("schema.json", "w", force_zip64=True) as member:
            for _ in range(200):
                member.write(bytes(1 << 20))
    with pytest.raises(ModelLoadError, match="would unpack"):
        load_model(tmp_path)


def test_of_several_models_the_one_called_model_is_served(tmp_path):
    save(tmp_path, LogisticRegression().fit(X, Y), "a.skops")
    save(tmp_path, LogisticRegression().fit(X, Y), "deep/b.skops")
    with pytest.raises(ModelLoadError, match=r"a\.skops, deep/b\.skops"):
        load_model(tmp_path)
    save(tmp_path, LogisticRegression().fit(X, Y), "deep/model.skops")
    assert load_model(tmp_path).metadata["estimator"] == "LogisticRegression"


def test_a_link_out_of_the_directory_is_not_followed(tmp_path):
    save(tmp_path / "elsewhere", LogisticRegression().fit(X, Y))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.skops").symlink_to(tmp_path / "elsewhere" / "model.skops")
    with pytest.raises(ModelLoadError, match="leads out of the model's directory"):
        load_model(tmp_path / "model")


def test_the_estimator_of_a_served_model_is_the_one_that_was_saved(tmp_path):
    estimator = LogisticRegression().fit(POINTS, KINDS)
    model = load_model(save(tmp_path, estimator))
    expected = pickle.loads(pickle.dumps(estimator)).predict_proba(POINTS)
    assert np.array_equal(predict(model, POINTS)["probabilities"], expected)


IN_A_PROCESS = """
import json, sys
from pathlib import Path
import numpy as np
from headway.serving.runtimes.registry import load_model
model = load_model(Path(sys.argv[1]))
rows = np.array(json.loads(sys.argv[2]), dtype=model.signature.inputs[0].dtype)
imported = sorted({"pandas", "pytest"} & set(sys.modules))
print(json.dumps([imported, model.predict({"inputs": rows})["classes"].tolist()]))
import pandas
"""


def in_a_process(directory, rows):
    """What of the packages that a replica is spared is imported there, and the classes of ``rows``."""
    command = [sys.executable, "-c", IN_A_PROCESS, str(directory), json.dumps(rows)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def test_a_process_imports_pandas_only_for_a_model_that_needs_it(tmp_path):
    save(tmp_path / "matrix", LogisticRegression().fit(POINTS, KINDS))
    expected = LogisticRegression().fit(POINTS, KINDS).predict(POINTS[:5]).tolist()
    assert in_a_process(tmp_path / "matrix", POINTS[:5].tolist()) == [[], expected]
    table = pd.DataFrame({"city": ["Oslo", "Rome", "Oslo", "Rome"], "heat": [1.0, 5.0, 2.0, 6.0]})
    columns = ColumnTransformer([("where", OneHotEncoder(), ["city"]), ("heat", StandardScaler(), ["heat"])])
    save(tmp_path / "table", make_pipeline(columns, LogisticRegression()).fit(table, [0, 1, 0, 1]))
    assert in_a_process(tmp_path / "table", [["Rome", 5.5], ["Oslo", 0.5]]) == [["pandas"], [1, 0]]
