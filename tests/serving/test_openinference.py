"""The Open Inference Protocol: the examples of its documents, every datatype, JSON and binary, and its errors."""

from __future__ import annotations

import json
import struct
from importlib.metadata import version

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headway.serving.protocols.base import ModelState
from headway.serving.protocols.tensors import DATATYPES, DTYPES
from headway.serving.runtimes.base import Signature, TensorSpec
from headway.testing.protocols import FunctionModel, ask

LENGTH = "Inference-Header-Content-Length"
ECHO = FunctionModel(lambda inputs: inputs)
PAIR = FunctionModel(
    lambda inputs: {"output0": np.arange(6, dtype=np.float32).reshape(3, 2), "seen": np.array([True])},
    Signature(
        (TensorSpec("input0", "uint32", (2, 2)), TensorSpec("input1", "bool", (None,))),
        (TensorSpec("output0", "float32", (3, 2)), TensorSpec("seen", "bool", (None,))),
        rows=False,
    ),
)
DOCUMENTED = {
    "id": "42",
    "inputs": [
        {"name": "input0", "shape": [2, 2], "datatype": "UINT32", "data": [1, 2, 3, 4]},
        {"name": "input1", "shape": [1], "datatype": "BOOL", "data": [True]},
    ],
    "outputs": [{"name": "output0"}],
}


def tensor(name="x", datatype="FP32", shape=(1,), **more):
    return {"name": name, "datatype": datatype, "shape": list(shape), **more}


def infer(model, body, tail=b"", headers=None):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = {LENGTH: str(len(text)), "Content-Type": "application/octet-stream"} if tail or headers else {}
    return ask(model, "/v2/models/m/infer", text + tail, {**found, **(headers or {})})


def post(model, body, tail=b"", headers=None):
    response = infer(model, body, tail, headers)
    return response.status, json.loads(response.body)


def outputs_of(response):
    """Name to array, read as the documents say, independently of the code."""
    headers = dict(response.headers)
    length = int(headers.get(LENGTH, len(response.body)))
    document, tail = json.loads(response.body[:length]), response.body[length:]
    assert (LENGTH in headers) == (response.content_type == "application/octet-stream") == bool(tail)
    found, start = {}, 0
    for output in document["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = [
                float(value) if value in ("NaN", "Infinity", "-Infinity") and output["datatype"] != "BYTES" else value
                for value in output["data"]
            ]
            array = np.array(values, dtype=DTYPES[output["datatype"]])
        else:
            array = unpacked(output["datatype"], tail[start : start + size])
            start += size
        found[output["name"]] = array.reshape(output["shape"])
    assert start == len(tail)
    return found


def unpacked(datatype, data):
    if datatype != "BYTES":
        return np.frombuffer(data, dtype=np.dtype(DTYPES[datatype]).newbyteorder("<"))
    found, start = [], 0
    while start < len(data):
        (size,) = struct.unpack_from("<I", data, start)
        found.append(data[start + 4 : start + 4 + size])
        start += 4 + size
    return np.array([*found, None], dtype=object)[:-1]


def packed(array):
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    return b"".join(struct.pack("<I", len(item)) + item for item in array.ravel())


def test_the_documented_request_gets_the_documented_answer():
    status, answer = post(PAIR, DOCUMENTED)
    assert status == 200
    assert answer == {
        "model_name": "m",
        "model_version": "3",
        "id": "42",
        "outputs": [{"name": "output0", "datatype": "FP32", "shape": [3, 2], "data": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]}],
    }


def test_the_documented_binary_request_mixes_binary_and_json():
    model = FunctionModel(lambda inputs: {"output0": inputs["input0"].astype(np.float32), "output1": inputs["input1"]})
    raw = np.array([[1, 2], [3, 4]], dtype="<u4")
    request = {
        "inputs": [
            tensor("input0", "UINT32", (2, 2), parameters={"binary_data_size": 16}),
            tensor("input1", "BOOL", (3,), parameters={"binary_data_size": 3}),
        ],
        "outputs": [
            {"name": "output0", "parameters": {"binary_data": True}},
            {"name": "output1", "parameters": {"binary_data": False}},
        ],
    }
    response = infer(model, request, raw.tobytes() + b"\x01\x00\x01")
    assert response.status == 200
    length = int(dict(response.headers)[LENGTH])
    described = json.loads(response.body[:length])["outputs"]
    assert described[0] == tensor("output0", "FP32", (2, 2), parameters={"binary_data_size": 16})
    assert described[1] == tensor("output1", "BOOL", (3,), data=[True, False, True])
    assert response.body[length:] == raw.astype("<f4").tobytes()


ARRAYS = st.sampled_from([dtype for dtype in DATATYPES if dtype != "object"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
) | hnp.arrays(object, hnp.array_shapes(max_dims=3, max_side=3), elements=st.binary(max_size=6))


@settings(deadline=None)
@given(st.lists(ARRAYS, min_size=1, max_size=4), st.data())
def test_every_array_of_every_type_comes_back_whichever_way_it_goes(arrays, data):
    inputs, tail, sent = [], b"", {}
    for number, array in enumerate(arrays):
        name, datatype = f"t{number}", DATATYPES[array.dtype.name]
        sent[name] = array
        as_json = datatype != "BYTES" and data.draw(st.booleans())
        described = tensor(name, datatype, array.shape)
        if as_json:
            listed = array.reshape(-1).tolist() if data.draw(st.booleans()) else array.tolist()
            described["data"] = spelled(listed if isinstance(listed, list) else [listed])
        else:
            part = packed(array)
            described["parameters"] = {"binary_data_size": len(part)}
            tail += part
        inputs.append(described)
    response = infer(ECHO, {"inputs": inputs, "parameters": {"binary_data_output": True}}, tail, {})
    assert response.status == 200, response.body
    if not any(array.size for array in arrays):
        return
    found = outputs_of(response)
    for name, array in sent.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def spelled(value):
    if isinstance(value, list):
        return [spelled(item) for item in value]
    if isinstance(value, float) and value != value:
        return "NaN"
    return {np.inf: "Infinity", -np.inf: "-Infinity"}.get(value, value) if isinstance(value, float) else value


@settings(deadline=None)
@given(hnp.arrays(st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]), hnp.array_shapes(max_side=4)))
def test_answers_in_json_hold_what_is_not_finite(array):
    part = packed(array)
    request = {
        "inputs": [tensor("x", DATATYPES[array.dtype.name], array.shape, parameters={"binary_data_size": len(part)})]
    }
    np.testing.assert_array_equal(outputs_of(infer(ECHO, request, part))["x"], array)


def test_texts_are_json_texts_and_bytes_that_are_none_must_be_asked_for_as_binary():
    request = {"inputs": [tensor("x", "BYTES", (2,), data=["é", ""])]}
    assert post(ECHO, request)[1]["outputs"] == [tensor("x", "BYTES", (2,), data=["é", ""])]
    raw = struct.pack("<I", 2) + b"\xff\xfe"
    request = {"inputs": [tensor("x", "BYTES", parameters={"binary_data_size": len(raw)})]}
    status, answer = post(ECHO, request, raw)
    assert (status, answer) == (400, {"error": "the output 'x' is not text; ask for it as binary data"})
    request["parameters"] = {"binary_data_output": True}
    assert outputs_of(infer(ECHO, request, raw))["x"].tolist() == [b"\xff\xfe"]


def test_numbers_lie_where_they_were_sent_unless_they_are_out_of_line():
    seen = []
    spec = TensorSpec("x", "float64", (None,))
    model = FunctionModel(lambda inputs: seen.append(inputs["x"]) or inputs, Signature((spec,)))
    array = np.arange(1000, dtype=np.float64)
    for padding in range(8):
        request = {"id": "i" * padding, "inputs": [tensor("x", "FP64", (1000,), parameters={"binary_data_size": 8000})]}
        assert infer(model, request, array.tobytes()).status == 200
        np.testing.assert_array_equal(seen[-1], array)
        assert seen[-1].flags.aligned
    assert any(not array.flags.owndata for array in seen)


def test_a_model_of_the_users_own_may_write_into_what_it_gets():
    def predict(inputs):
        inputs["x"] += 1
        return inputs

    part = np.array([1.5], dtype=np.float32).tobytes()
    request = {"inputs": [tensor("x", parameters={"binary_data_size": 4})]}
    assert outputs_of(infer(FunctionModel(predict), request, part))["x"].tolist() == [2.5]


def test_a_model_with_a_signature_is_asked_by_it():
    model = FunctionModel(
        lambda inputs: {"y": inputs["x"].sum(axis=1)},
        Signature((TensorSpec("x", "float64", (None, 2)),), (TensorSpec("y", "float64", (None,)),)),
    )
    request = {"inputs": [tensor("x", "FP32", (2, 2), data=[[1, 2], [3, 4.5]])]}
    assert post(model, request)[1]["outputs"] == [tensor("y", "FP64", (2,), data=[3.0, 7.5])]
    flat = {"inputs": [tensor("x", "INT32", (1, 2), data=[1, 2])]}
    assert post(model, flat)[1]["outputs"] == [tensor("y", "FP64", (1,), data=[3.0])]


def test_results_of_models_without_signature():
    def answer(result):
        return post(FunctionModel(lambda _: result), {"inputs": [tensor(data=[1])]})

    assert answer([1, 2])[1]["outputs"] == [tensor("output", "INT64", (2,), data=[1, 2])]
    assert answer(1.5)[1]["outputs"] == [tensor("output", "FP64", (), data=[1.5])]
    assert answer({"a": ["x"]})[1]["outputs"] == [tensor("a", "BYTES", (1,), data=["x"])]
    for result, said in (
        ([[1], [2, 3]], "ragged"),
        ({"a": [None, "x"]}, "other things than texts"),
        ([{"a": 1}], "list of objects"),
        (np.array([1j]), "complex128"),
    ):
        status, error = answer(result)
        assert status == 500 and said in error["error"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"", "The document is empty"),
        (b"[" * 100_000, "cannot be read"),
        (b"[]", "must be an object with 'inputs'"),
        ({}, "must have 'inputs'"),
        ({"inputs": []}, "must have 'inputs'"),
        ({"inputs": [1]}, "each input must be an object"),
        ({"inputs": [tensor(name=1, data=[1])]}, "must have a 'name'"),
        ({"inputs": [tensor(name="n" * 2000, data=[1])]}, "must have a 'name'"),
        ({"inputs": [tensor(datatype="BF16", data=[1])]}, "input 'x': BF16 is not taken; send FP32"),
        ({"inputs": [tensor(datatype="FP31", data=[1])]}, "unknown datatype 'FP31', did you mean 'FP3"),
        ({"inputs": [tensor(datatype=["FP32"], data=[1])]}, "'datatype' must be a text, found a list"),
        ({"inputs": [tensor(shape=[-1], data=[1])]}, "'shape' must be a list of numbers from 0"),
        ({"inputs": [tensor(shape=[True], data=[1])]}, "'shape' must be a list of numbers from 0"),
        ({"inputs": [tensor(shape=[2**70], data=[1])]}, "'shape' must be a list of numbers from 0"),
        ({"inputs": [tensor(shape=[1] * 33, data=[1])]}, "more than 32 axes"),
        ({"inputs": [tensor(shape=[2**62, 2**62], data=[1])]}, "data of the shape [1]"),
        ({"inputs": [tensor()]}, "has neither 'data' nor 'binary_data_size'"),
        ({"inputs": [tensor(shape=[3], data=[1, 2])]}, "the shape [3] and data of the shape [2]"),
        ({"inputs": [tensor(shape=[4], data=[[1, 2], [3, 4]])]}, "the shape [4] and data of the shape [2, 2]"),
        ({"inputs": [tensor(data=["1"])]}, """input 'x' at [0]: expected a number (float32), found "1\""""),
        ({"inputs": [tensor(datatype="INT64", data=[1.5])]}, "expected a whole number (int64), found 1.5"),
        ({"inputs": [tensor(datatype="BYTES", data=[1])]}, "expected a text, found 1"),
        ({"inputs": [tensor(datatype="UINT8", data=[256])]}, "256 is beyond the range of uint8"),
        ({"inputs": [tensor(data=[1]), tensor(data=[1])]}, "the input 'x' is there twice"),
        ({"inputs": [tensor(data=[1])], "id": 5}, "'id' must be a text"),
        ({"inputs": [tensor(data=[1])], "outputs": {"a": 1}}, "'outputs' must be a list"),
        ({"inputs": [tensor(data=[1])], "outputs": [1]}, "each requested output must be an object"),
        ({"inputs": [tensor(data=[1])], "outputs": [{"name": "y"}]}, "unknown output 'y'"),
        (
            {"inputs": [tensor(data=[1])], "outputs": [{"name": "x", "parameters": {"classification": 3}}]},
            "classification and shared memory are not offered",
        ),
        ({"inputs": [tensor(data=[1])], "outputs": [{"name": "x", "parameters": 3}]}, "'parameters' must be an object"),
        ({"inputs": [tensor(data=[1])], "parameters": 3}, "'parameters' must be an object"),
        ({"inputs": [tensor(data=[1], parameters=3)]}, "'parameters' must be an object"),
        ({"inputs": [tensor(data=[1])], "parameters": {"binary_data_output": 1}}, "must be true or false"),
        ({"inputs": [tensor(parameters={"shared_memory_region": "r"})]}, "shared memory is not offered"),
        ({"inputs": [tensor(parameters={"binary_data_size": -1})]}, "'binary_data_size' must be a number from 0"),
        ({"inputs": [tensor(parameters={"binary_data_size": 4})]}, "the body ends before its binary data does"),
    ],
)
def test_requests_that_are_refused(request_, said):
    status, answer = post(ECHO, request_)
    assert status == 400 and list(answer) == ["error"] and said in answer["error"], answer
    assert len(answer["error"]) < 500


@pytest.mark.parametrize(
    ("described", "tail", "said"),
    [
        (tensor(parameters={"binary_data_size": 3}), b"abc", "[1] of FP32 is 4 bytes; 'binary_data_size' is 3"),
        (tensor(parameters={"binary_data_size": 4}), b"abcdefgh", "4 bytes of the body belong to no input"),
        (tensor(data=[1]), b"a", "1 bytes of the body belong to no input"),
        (tensor("x", "BYTES", parameters={"binary_data_size": 3}), b"abc", "ends within the length of an element"),
        (tensor("x", "BYTES", parameters={"binary_data_size": 5}), b"\x02\x00\x00\x00a", "of 2 bytes is longer than"),
        (
            tensor("x", "BYTES", parameters={"binary_data_size": 8}),
            b"\x00" * 8,
            "1 elements were promised, 2 are there",
        ),
        (tensor("x", "BYTES", (2**40,), parameters={"binary_data_size": 4}), b"\x00" * 4, "promised, 1 are there"),
        (
            tensor("x", "FP64", (2**60,), parameters={"binary_data_size": 4}),
            b"\x00" * 4,
            "bytes; 'binary_data_size' is",
        ),
    ],
)
def test_binary_data_that_is_refused(described, tail, said):
    status, answer = post(ECHO, {"inputs": [described]}, tail)
    assert status == 400 and said in answer["error"], answer


@pytest.mark.parametrize("length", ["-1", "x", "", "999999", "9" * 30, "1.0"])
def test_a_length_of_the_json_that_is_none(length):
    status, answer = post(ECHO, DOCUMENTED, b"", {LENGTH: length})
    assert status == 400 and LENGTH in answer["error"]


def test_wrong_names_and_types_for_a_signature():
    def error(*inputs, **more):
        status, answer = post(PAIR, {"inputs": list(inputs), **more})
        assert status == 400
        return answer["error"]

    first, second = DOCUMENTED["inputs"]
    assert "missing input 'input1'" in error(first)
    assert "unknown input 'inputl'" in error(first, {**second, "name": "inputl"})
    assert "input 'input0': expected uint32, found int32" in error({**first, "datatype": "INT32"}, second)
    assert "expected the shape [2, 2], found [4]" in error({**first, "shape": [4]}, second)
    assert "unknown output 'output1', did you mean 'output0'?" in error(first, second, outputs=[{"name": "output1"}])


def test_health_and_metadata():
    def get(path, state=ModelState.AVAILABLE):
        response = ask(PAIR, path, state=state)
        return response.status, json.loads(response.body)

    status, server = get("/v2")
    assert status == 200
    assert server == {"name": "headway", "version": version("headway"), "extensions": ["binary_tensor_data"]}
    assert get("/v2/health/live", ModelState.LOADING) == (200, {"live": True})
    assert get("/v2/health/ready") == (200, {"live": True, "ready": True})
    assert get("/v2/health/ready", ModelState.LOADING) == (503, {"live": True, "ready": False})
    assert get("/v2/models/m/ready") == (200, {"name": "m", "ready": True})
    assert get("/v2/models/m/versions/3/ready", ModelState.LOADING) == (503, {"name": "m", "ready": False})
    assert get("/v2/models/m") == (
        200,
        {
            "name": "m",
            "versions": ["3"],
            "platform": "function",
            "inputs": [tensor("input0", "UINT32", (2, 2)), tensor("input1", "BOOL", (-1,))],
            "outputs": [tensor("output0", "FP32", (3, 2)), tensor("seen", "BOOL", (-1,))],
        },
    )
    assert get("/v2/models/m", ModelState.LOADING)[0] == 503


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_are_answered_or_refused(body, length):
    response = ask(ECHO, "/v2/models/m/infer", body, {LENGTH: str(length)})
    assert response.status in (200, 400)
