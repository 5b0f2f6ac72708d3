"""Keras, TensorFlow, XGBoost and LightGBM: answers as their own, signatures, and files that are not what they seem."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import TensorSpec
from headway.serving.runtimes.registry import load_model

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("default"),  # the frameworks' own
]

POINTS = np.random.default_rng(1).normal(size=(40, 4))
CLASSES = (POINTS[:, 0] > 0).astype(int) + (POINTS[:, 1] > 0)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def boosted(directory, name="model.ubj", labels=None, **settings):
    import xgboost

    data = xgboost.DMatrix(POINTS, CLASSES if labels is None else labels)
    data.feature_names = settings.pop("names", None)
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3, "max_depth": 2, **settings}, data, 5)
    booster.save_model(directory / name)
    return booster


@pytest.mark.parametrize("name", ["model.ubj", "model.json", "forest.xgb"])
def test_xgboost_answers_as_xgboost(tmp_path, name):
    import xgboost

    boosted(tmp_path, "source.ubj" if name.endswith("xgb") else name)
    if name.endswith("xgb"):
        (tmp_path / "source.ubj").rename(tmp_path / name)
    booster = xgboost.Booster(model_file=tmp_path / name)
    model = load_model(tmp_path)
    assert model.signature.inputs == (TensorSpec("inputs", "float32", (None, 4)),)
    assert model.signature.outputs == (TensorSpec("predictions", "float32", (None, 3)),)
    assert model.signature.rows
    given = POINTS.astype(np.float32)
    given[3, 1] = np.nan
    for rows in (1, 40):
        expected = booster.predict(xgboost.DMatrix(given[:rows]))
        assert np.allclose(model.predict({"inputs": given[:rows]})["predictions"], expected)


def test_xgboost_knows_its_columns(tmp_path):
    boosted(tmp_path, names=["a", "b", "c", "d"])
    model = load_model(tmp_path)
    assert model.signature.inputs[0].columns == ("a", "b", "c", "d")
    assert model.predict({"inputs": POINTS.astype(np.float32)})["predictions"].shape == (40, 3)


def test_xgboost_that_stopped_early_predicts_with_its_best_iteration(tmp_path):
    import xgboost

    noise = np.random.default_rng(0).integers(0, 2, 40)
    estimator = xgboost.XGBClassifier(n_estimators=40, early_stopping_rounds=3)
    estimator.fit(POINTS[:30], noise[:30], eval_set=[(POINTS[30:], noise[30:])], verbose=False)
    estimator.save_model(tmp_path / "model.ubj")
    assert estimator.best_iteration < 36
    answer = load_model(tmp_path).predict({"inputs": POINTS.astype(np.float32)})["predictions"]
    assert np.allclose(answer, estimator.predict_proba(POINTS)[:, 1])


def grown(directory, name="model.txt", **settings):
    import lightgbm

    names = settings.pop("names", "auto")
    data = lightgbm.Dataset(POINTS, CLASSES, feature_name=names)
    parameters = {"objective": "multiclass", "num_class": 3, "min_data_in_leaf": 2, "verbose": -1, **settings}
    booster = lightgbm.train(parameters, data, 5)
    booster.save_model(directory / name)
    return booster


@pytest.mark.parametrize("name", ["model.txt", "forest.lgb", "forest.lightgbm"])
def test_lightgbm_answers_as_lightgbm(tmp_path, name):
    booster = grown(tmp_path, name)
    model = load_model(tmp_path)
    assert model.signature.inputs == (TensorSpec("inputs", "float64", (None, 4)),)
    assert model.signature.outputs == (TensorSpec("predictions", "float64", (None, 3)),)
    for rows in (1, 40):
        assert np.allclose(model.predict({"inputs": POINTS[:rows]})["predictions"], booster.predict(POINTS[:rows]))


def test_lightgbm_knows_its_columns(tmp_path):
    grown(tmp_path, names=["a", "b", "c", "d"])
    assert load_model(tmp_path).signature.inputs[0].columns == ("a", "b", "c", "d")


def network():
    import keras

    keras.utils.set_random_seed(0)
    first, second = keras.Input((4,), name="measured"), keras.Input((2,), name="given")
    joined = keras.layers.Dense(8, activation="relu")(keras.layers.Concatenate()([first, second]))
    outputs = [
        keras.layers.Dense(3, activation="softmax", name="kind")(joined),
        keras.layers.Dense(1, name="size")(joined),
    ]
    return keras.Model([first, second], outputs)


def test_keras_answers_as_keras(tmp_path):
    source = network()
    source.save(tmp_path / "model.keras")
    model = load_model(tmp_path)
    assert model.signature.inputs == (
        TensorSpec("measured", "float32", (None, 4)),
        TensorSpec("given", "float32", (None, 2)),
    )
    assert model.signature.outputs == (
        TensorSpec("kind", "float32", (None, 3)),
        TensorSpec("size", "float32", (None, 1)),
    )
    assert model.signature.rows
    first, second = POINTS.astype("float32"), POINTS[:, :2].astype("float32")
    for rows in (1, 3, 40):
        answer = model.predict({"measured": first[:rows], "given": second[:rows]})
        expected = source.predict([first[:rows], second[:rows]], verbose=0)
        assert np.allclose(answer["kind"], expected[0], atol=1e-5)
        assert np.allclose(answer["size"], expected[1], atol=1e-5)


def test_a_keras_layer_that_carries_code_is_refused(tmp_path):
    import keras

    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs)).save(tmp_path / "model.keras")
    with pytest.raises(ModelLoadError, match=r"(?i)model\.keras could not be read by Keras: .*lambda"):
        load_model(tmp_path)


def test_a_keras_class_of_the_users_own_is_refused(tmp_path):
    import keras

    class Doubled(keras.layers.Layer):
        def call(self, x):
            return x * 2

    inputs = keras.Input((4,))
    keras.Model(inputs, Doubled()(inputs)).save(tmp_path / "model.keras")
    with pytest.raises(ModelLoadError, match=r"model\.keras could not be read by Keras: .*Doubled"):
        load_model(tmp_path)


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("config.json", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
    with pytest.raises(ModelLoadError, match="would unpack"):
        load_model(tmp_path)


BINARY = b"\x00\x01\x02garbage\xff" * 40
FORMATS = ["model.ubj", "model.json", "model.txt", "model.keras"]


def whole(name, directory):
    """A good file of that name, as bytes."""
    if name.endswith(".txt"):
        grown(directory, name)
    elif name.endswith(".keras"):
        network().save(directory / name)
    else:
        boosted(directory, name)
    return (directory / name).read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_files_that_are_not_what_their_name_says_are_refused_with_the_reason(tmp_path, name):
    good = whole(name, tmp_path)
    harmful = Harmful(tmp_path / "owned")
    files = {
        "a pickle": pickle.dumps(harmful),
        "an old pickle": pickle.dumps(harmful, protocol=0),
        "nothing": b"",
        "garbage": BINARY,
        "an empty object": b"{}",
        "a tenth of one": good[: len(good) // 10],
        "half of one": good[: len(good) // 2],
        "all but the end": good[: int(len(good) * 0.98)],
    }
    for what, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelLoadError, match=name) as caught:
            load_model(tmp_path)
        assert "\n" not in str(caught.value), what
    assert not (tmp_path / "owned").exists()


def test_a_keras_archive_without_its_weights_is_not_served_with_random_ones(tmp_path):
    import h5py

    network().save(tmp_path / "good.keras")
    empty = io.BytesIO()
    h5py.File(empty, "w").close()
    with zipfile.ZipFile(tmp_path / "good.keras") as good, zipfile.ZipFile(tmp_path / "model.keras", "w") as bad:
        for member in good.namelist():
            bad.writestr(member, empty.getvalue() if member.endswith(".h5") else good.read(member))
    (tmp_path / "good.keras").unlink()
    with pytest.raises(ModelLoadError, match=r"model\.keras could not be read by Keras"):
        load_model(tmp_path)


def test_a_pickle_within_a_keras_archive_is_not_unpickled(tmp_path):
    network().save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as good, zipfile.ZipFile(tmp_path / "model.keras", "w") as bad:
        for member in good.namelist():
            content = good.read(member)
            if member.endswith(".h5"):
                buffer = io.BytesIO()
                np.savez(buffer, np.array([Harmful(tmp_path / "owned")], dtype=object), allow_pickle=True)
                member, content = "model.weights.npz", buffer.getvalue()
            bad.writestr(member, content)
    (tmp_path / "good.keras").unlink()
    with pytest.raises(ModelLoadError):
        load_model(tmp_path)
    assert not (tmp_path / "owned").exists()


TENSORFLOW = """
import sys
import numpy as np
import pytest
import tensorflow as tf
from pathlib import Path
from headway.errors import ModelLoadError
from headway.serving.runtimes.base import TensorSpec
from headway.serving.runtimes.registry import load_model

home = Path(sys.argv[1])

class Net(tf.Module):
    def __init__(self):
        self.w = tf.Variable(np.random.default_rng(0).normal(size=(4, 3)).astype("float32"))

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, "x"), tf.TensorSpec((None,), tf.string, "name")])
    def serve(self, x, name):
        return {"y": tf.nn.softmax(x @ self.w), "hello": tf.strings.join(["hi ", name]), "raw_bytes": name}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, "x")])
    def centred(self, x):
        return {"y": x - tf.reduce_mean(x, axis=0)}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, "x")])
    def writes(self, x):
        tf.io.write_file(str(home / "written"), "x")
        return {"y": x}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, "x")])
    def python(self, x):
        return {"y": tf.py_function(lambda v: v, [x], tf.float32)}

net = Net()
points = np.random.default_rng(1).normal(size=(5, 4)).astype("float32")

tf.saved_model.save(net, str(home / "a" / "1"), signatures=net.serve)
model = load_model(home / "a")
assert model.signature.inputs == (TensorSpec("name", "object", (None,)), TensorSpec("x", "float32", (None, 4)))
assert [(spec.name, spec.dtype) for spec in model.signature.outputs] == [
    ("hello", "object"), ("raw_bytes", "object"), ("y", "float32")
]
assert model.signature.rows
answer = model.predict({"x": points, "name": np.array(["a", b"b", "c", "d", "e"], dtype=object)})
assert np.allclose(answer["y"], tf.nn.softmax(points @ net.w).numpy(), atol=1e-6)
assert list(answer["hello"][:2]) == ["hi a", "hi b"], answer["hello"]
assert list(answer["raw_bytes"][:1]) == [b"a"]
with pytest.raises(ValueError, match="(?i)matrix size-incompatible"):
    model.predict({"x": points[:, :2], "name": np.array(["a"] * 5, dtype=object)})

tf.saved_model.save(net, str(home / "a" / "2"), signatures=net.centred)
model = load_model(home / "a")
assert not model.signature.rows
assert np.allclose(model.predict({"x": points})["y"], points - points.mean(axis=0), atol=1e-6)

for name, signatures, said in [
    ("b", {"own": net.centred, "other": net.serve}, "no signature 'serving_default'"),
    ("c", net.writes, "operations that are not served: WriteFile"),
    ("d", net.python, "operations that are not served: EagerPyFunc"),
]:
    tf.saved_model.save(net, str(home / name), signatures=signatures)
    with pytest.raises(ModelLoadError, match=said):
        load_model(home / name)
tf.saved_model.save(net, str(home / "e"), signatures={"own": net.centred})
assert load_model(home / "e").signature.inputs[0].name == "x"
assert not (home / "written").exists()

good = (home / "e" / "saved_model.pb").read_bytes()
for content in (b"\\x80\\x04garbage", b"", b"text", good[: len(good) // 2]):
    (home / "e" / "saved_model.pb").write_bytes(content)
    with pytest.raises(ModelLoadError, match="saved_model.pb"):
        load_model(home / "e")
print("all is well")
"""


def test_tensorflow(tmp_path):
    """In a process of its own: TensorFlow and JAX in one are more than the frameworks promise."""
    pytest.importorskip("tensorflow")
    done = subprocess.run(
        [sys.executable, "-c", TENSORFLOW, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.stdout.strip().endswith("all is well"), done.stderr[-4000:]
