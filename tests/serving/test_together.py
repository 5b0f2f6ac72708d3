"""Requests that arrive together are answered as if each had come alone: whatever the model, their sizes and their order."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from headway.domain.deployments import RouteTable

IMAGES = load_digits(return_X_y=True)[0][:16]
PATH = "/model-serving/dep1:predict"
SECONDS = 60
TAKES_MANY = """
import numpy as np

WEIGHTS = np.random.default_rng(7).normal(size=(64, 10))

class Predictor:
    batch = True

    def predict(self, rows):
        scores = np.tanh(np.array(rows) @ WEIGHTS)
        return {"best": scores.argmax(axis=1).tolist(), "scores": scores.tolist()}
"""
MISFIT = [0.0] * 63
"""A row that no model takes."""

Call = Sequence[int]
"""Numbers of images; an empty one stands for a misfit."""


def save_mlp(directory: Path) -> Path:
    """64 → 32 → 10 in float32, whose sums depend on how many rows are multiplied at once."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    chance = np.random.default_rng(7)
    weights = [
        numpy_helper.from_array(chance.normal(size=shape).astype(np.float32), name)
        for name, shape in (("first", (64, 32)), ("second", (32, 10)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["sums"]),
        helper.make_node("Tanh", ["sums"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 10])]
    graph = helper.make_graph(nodes, "mlp", inputs, outputs, weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), directory / "model.onnx"
    )
    return directory


@pytest.fixture(scope="module", params=["scikit-learn", "onnx", "python"])
def replica(request, start_replica, digits_dir, tmp_path_factory):
    if request.param == "scikit-learn":
        return start_replica(digits_dir)
    directory = tmp_path_factory.mktemp("model")
    if request.param == "python":
        (directory / "predict.py").write_text(TAKES_MANY)
        return start_replica(directory)
    return start_replica(save_mlp(directory))


@pytest.fixture(scope="module")
def gateway(spawn, tools, replica, tmp_path_factory):
    """In front of that replica, with its routes from a file."""
    directory = tmp_path_factory.mktemp("server") / "gateway"
    directory.mkdir(mode=0o700)
    route = tools.route("dep1", (1, 1, {"a": replica.address}))
    (directory / "routes.json").write_text(RouteTable(version=1, routes=[route]).model_dump_json())
    return spawn("headway.serving.gateway", "--directory", str(directory))


@pytest.fixture(scope="module", params=["replica", "gateway"])
def port(request, replica, gateway) -> int:
    return replica.port if request.param == "replica" else gateway.port


@pytest.fixture(scope="module")
def alone(replica) -> list[Any]:
    """The answer to each image by itself."""
    found = []
    for image in IMAGES:
        answer = requests.post(replica.url + PATH, json={"instances": [image.tolist()]}, timeout=SECONDS)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["predictions"][0])
    return found


def request_of(tools, call: Call) -> bytes:
    rows = [IMAGES[number].tolist() for number in call] or [MISFIT]
    return tools.post(PATH, json.dumps({"instances": rows}).encode())


def read_answer(reader) -> tuple[int, Any]:
    """Status and document of the next answer."""
    status, length = int(reader.readline().split()[1]), 0
    while (line := reader.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, json.loads(reader.read(length))


def check(answer: tuple[int, Any], call: Call, alone: list[Any]) -> None:
    status, document = answer
    assert status == (200 if call else 400), document
    if call:
        found = document["predictions"]
        assert len(found) == len(call)
        for row, number in zip(found, call, strict=True):
            check_equal(row, alone[number])


def check_equal(found: Any, wanted: Any) -> None:
    """Equal within what floating point leaves open."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            check_equal(found[key], value)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def asked(tools, port: int, calls: Sequence[Sequence[Call]], order: Sequence[int], alone: list[Any]) -> None:
    """Send each connection's calls at once, connection after connection, and check every answer."""
    with ExitStack() as stack:
        opened = {
            number: stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SECONDS))
            for number in order
        }
        for number in order:
            opened[number].sendall(b"".join(request_of(tools, call) for call in calls[number]))
        for number in order:
            with opened[number].makefile("rb") as reader:
                for call in calls[number]:
                    check(read_answer(reader), call, alone)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(st.lists(st.integers(0, 15), min_size=0, max_size=7), min_size=1, max_size=12),
    connections=st.integers(1, 4),
    chance=st.randoms(use_true_random=False),
)
def test_what_arrives_together_is_answered_as_what_comes_alone(tools, port, alone, calls, connections, chance):
    """Many row counts, in any order, over a few connections, so that batches of every make-up come about."""
    sent: list[list[Call]] = [[] for _ in range(connections)]
    for call in calls:
        sent[chance.randrange(connections)].append(call)
    order = [number for number, queue in enumerate(sent) if queue]
    chance.shuffle(order)
    asked(tools, port, sent, order, alone)


def test_these_are_batches(tools, replica, alone):
    """Else the test above would compare nothing with nothing."""
    before = batches(replica)
    calls = [[random.Random(number).randrange(16)] for number in range(64)]
    asked(tools, replica.port, [calls], [0], alone)
    rows, count = (after - earlier for after, earlier in zip(batches(replica), before, strict=True))
    assert rows == 64
    assert count < 64


def batches(replica) -> tuple[float, float]:
    """How many rows were predicted, in how many batches."""
    text = requests.get(replica.url + "/metrics", timeout=SECONDS).text
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return float(found["headway_model_batch_rows_sum"]), float(found["headway_model_batch_rows_count"])
