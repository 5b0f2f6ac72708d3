"""ONNX models: what they say of themselves, answers as ONNX Runtime's own, and files that are not what they seem."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import TensorSpec
from headway.serving.runtimes.onnx_files import external_files
from headway.serving.runtimes.reading import threads
from headway.serving.runtimes.registry import load_model

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
POINTS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)


def network(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def linear(rows="batch", node="MatMul", answered=None):
    return network(
        [helper.make_node(node, ["x", "w"], ["y"])],
        [value("x", [rows, 4])],
        [value("y", [answered if answered is not None else rows, 3])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )


def save(directory, model, name="model.onnx"):
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(model, directory / name)
    return directory


@pytest.mark.parametrize("rows", ["batch", "", None], ids=["named", "empty", "nameless"])
def test_a_free_first_axis_counts_rows(tmp_path, rows):
    model = load_model(save(tmp_path, linear(rows)))
    assert model.signature.inputs == (TensorSpec("x", "float32", (None, 4)),)
    assert model.signature.outputs == (TensorSpec("y", "float32", (None, 3)),)
    assert model.signature.rows
    for count in (1, 6):
        assert np.allclose(model.predict({"x": POINTS[:count]})["y"], POINTS[:count] @ WEIGHTS, atol=1e-6)
    assert model.metadata["runtime"] == "onnx"


def test_answers_are_those_of_onnx_runtime(tmp_path):
    model = load_model(save(tmp_path, linear()))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert np.array_equal(model.predict({"x": POINTS})["y"], session.run(None, {"x": POINTS})[0])


def test_a_model_made_for_one_row_is_asked_row_by_row(tmp_path):
    model = load_model(save(tmp_path, linear(rows=1)))
    assert model.signature.inputs == (TensorSpec("x", "float32", (None, 4)),)
    assert model.signature.outputs == (TensorSpec("y", "float32", (None, 3)),)
    assert model.signature.rows
    assert np.allclose(model.predict({"x": POINTS})["y"], POINTS @ WEIGHTS, atol=1e-6)


def test_a_fixed_number_of_rows_is_no_axis_to_join_along(tmp_path):
    model = load_model(save(tmp_path, linear(rows=6)))
    assert model.signature.inputs == (TensorSpec("x", "float32", (6, 4)),)
    assert not model.signature.rows
    assert np.allclose(model.predict({"x": POINTS})["y"], POINTS @ WEIGHTS, atol=1e-6)


def test_rows_that_mix_are_not_joined(tmp_path):
    """A sum along the first axis, subtracted from each row: the shapes look like rows and are none."""
    mixed = network(
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["y"]),
        ],
        [value("x", ["batch", 4])],
        [value("y", ["batch", 4])],
    )
    assert not load_model(save(tmp_path, mixed)).signature.rows


def test_an_answer_without_rows_is_not_joined(tmp_path):
    total = network(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], [value("x", ["batch", 4])], [value("y", [])]
    )
    model = load_model(save(tmp_path, total))
    assert not model.signature.rows
    assert model.predict({"x": POINTS})["y"] == pytest.approx(POINTS.sum(), abs=1e-4)


def test_texts_and_several_inputs(tmp_path):
    both = network(
        [helper.make_node("Identity", ["text"], ["said"]), helper.make_node("Add", ["a", "b"], ["sum"])],
        [
            value("text", ["n"], TensorProto.STRING),
            value("a", ["n"], TensorProto.INT64),
            value("b", ["n"], TensorProto.INT64),
        ],
        [value("said", ["n"], TensorProto.STRING), value("sum", ["n"], TensorProto.INT64)],
    )
    model = load_model(save(tmp_path, both))
    assert [(spec.name, spec.dtype) for spec in model.signature.inputs] == [
        ("text", "object"),
        ("a", "int64"),
        ("b", "int64"),
    ]
    answer = model.predict({"text": np.array(["hé", "b"], dtype=object), "a": np.array([1, 2]), "b": np.array([3, 4])})
    assert answer["said"].tolist() == ["hé", "b"]
    assert answer["sum"].tolist() == [4, 6]


def test_dictionaries_of_a_converted_classifier_become_a_matrix(tmp_path):
    mapped = helper.make_graph(
        [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[3, 5])],
        "graph",
        [value("x", ["n", 2])],
        [helper.make_value_info("y", helper.make_sequence_type_proto(helper.make_map_type_proto(
            TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))))],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = load_model(save(tmp_path, helper.make_model(mapped, opset_imports=imports, ir_version=8)))
    given = np.array([[0.25, 0.75], [1.0, 0.0]], dtype=np.float32)
    assert model.predict({"x": given})["y"].tolist() == given.tolist()
    assert model.signature.rows


def test_a_shape_that_does_not_fit_is_a_value_error(tmp_path):
    model = load_model(save(tmp_path, linear()))
    with pytest.raises(ValueError, match="invalid dimensions"):
        model.predict({"x": POINTS[:, :2]})
    with pytest.raises(ValueError, match="data type"):
        model.predict({"x": POINTS.astype(np.float64)})


def save_outside(directory, location):
    model = linear()
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    onnx.external_data_helper.set_external_data(tensor, location, length=len(data))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    return data


@pytest.mark.parametrize("place", ["weights.bin", "deep/weights.bin"])
def test_weights_beside_the_model_are_read(tmp_path, place):
    data = save_outside(tmp_path, place)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(data)
    assert external_files(tmp_path / "model.onnx") == [place]
    assert np.allclose(load_model(tmp_path).predict({"x": POINTS})["y"], POINTS @ WEIGHTS, atol=1e-6)


@pytest.mark.parametrize("way", ["up", "absolute", "link"])
def test_weights_outside_of_the_model_are_not_read(tmp_path, way):
    outside = tmp_path / "secret.bin"
    location = {"up": "../secret.bin", "absolute": str(outside), "link": "weights.bin"}[way]
    outside.write_bytes(save_outside(tmp_path / "model", location))
    if way == "link":
        (tmp_path / "model" / "weights.bin").symlink_to(outside)
    with pytest.raises(ModelLoadError, match=r"leads out of|lies outside of"):
        load_model(tmp_path / "model")


def test_weights_that_are_missing_are_named(tmp_path):
    save_outside(tmp_path, "weights.bin")
    with pytest.raises(ModelLoadError, match=r"keeps weights in 'weights\.bin', which is missing"):
        load_model(tmp_path)


def test_weights_are_found_wherever_a_tensor_can_be(tmp_path):
    def outside(location):
        tensor = numpy_helper.from_array(np.zeros(3, np.float32), "t")
        onnx.external_data_helper.set_external_data(tensor, location, length=12)
        return tensor

    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=outside("in/a/branch"))], "inner", [], [value("c", [3])]
    )
    branch = helper.make_node("If", ["k"], ["y"], then_branch=inner, else_branch=inner)
    function = helper.make_function(
        "own", "f", [], ["o"], [helper.make_node("Constant", [], ["o"], value=outside("in/a/function"))], []
    )
    graph = helper.make_graph([branch], "graph", [], [value("y", [3])], [outside("in/a/graph")])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph, functions=[function]).SerializeToString())
    assert external_files(tmp_path / "m.onnx") == ["in/a/branch", "in/a/function", "in/a/graph"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 60))
def test_whatever_the_bytes_are_they_are_looked_through_or_called_damaged(noise, place, removed):
    whole = linear().SerializeToString()
    place = min(place, len(whole))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "m.onnx"
        path.write_bytes(whole[:place] + noise + whole[place + removed :])
        try:
            found = external_files(path)
        except ValueError:
            return
        assert all(isinstance(location, str) for location in found)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_files_that_are_no_onnx_models_are_refused_with_the_reason(tmp_path):
    whole = linear().SerializeToString()
    files = {
        "a pickle": pickle.dumps(Harmful(tmp_path / "owned")),
        "an old pickle": pickle.dumps(Harmful(tmp_path / "owned"), protocol=0),
        "nothing": b"",
        "text": b"not a model",
        "half of one": whole[: len(whole) // 2],
        "a graph alone": linear().graph.SerializeToString(),
        "random bytes": np.random.default_rng(0).bytes(4096),
    }
    for name, content in files.items():
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(ModelLoadError, match=r"model\.onnx") as caught:
            load_model(tmp_path)
        assert "\n" not in str(caught.value), name
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("said", "counted"), [("1", 1), ("2", 2), ("16", 2), ("no number", None)])
def test_a_prediction_uses_the_processors_that_it_is_given(monkeypatch, said, counted):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads() == (counted or min(2, len(os.sched_getaffinity(0))))
