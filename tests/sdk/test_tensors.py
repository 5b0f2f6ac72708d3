"""Large arrays travel as binary tensors: the same answers, to the bit, from a real replica behind a real gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LogisticRegression

from headway import Client
from headway.domain.base import new_id
from headway.errors import InvalidRequestError, PlatformError
from headway.sdk.tensors import (
    DATATYPES,
    LENGTH_HEADER,
    KnownTensor,
    TensorSignature,
    decode_tensors,
    is_large,
    tensor_request,
)
from headway.sdk.transport import HttpTransport, MockTransport, Request, Response
from headway.serving.protocols.tensors import SentTensor, binary_data
from headway.testing.server import ServerProcess

WAIT = 90.0
ROWS = 8192
FITTED = LogisticRegression().fit([[1.0, 2.0], [2.0, 1.0], [5.0, 9.0], [9.0, 5.5]], [0, 0, 1, 1])


class Recorded:
    """The real transport, with what was posted to endpoints."""

    def __init__(self, url: str) -> None:
        self._transport = HttpTransport(url)
        self.posted: list[Request] = []

    def send(self, request: Request) -> Response:
        if "/model-serving/" in request.url and request.method == "POST":
            self.posted.append(request)
        return self._transport.send(request)

    def close(self) -> None:
        self._transport.close()

    @property
    def types(self) -> list[str]:
        found, self.posted = [request.headers["Content-Type"] for request in self.posted], []
        return found


JSON, OCTETS = "application/json", "application/octet-stream"


@pytest.fixture(scope="module")
def recorded(running_server: ServerProcess) -> Recorded:
    return Recorded(running_server.url)


@pytest.fixture(scope="module")
def client(
    running_server: ServerProcess, recorded: Recorded, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """A project with the deployments ``flowers`` (scikit-learn, two features) and ``echo`` (a predict.py)."""
    name, folder = new_id("project"), tmp_path_factory.mktemp("models")
    skops.io.dump(FITTED, folder / "model.skops")
    (folder / "predict.py").write_text("class Predictor:\n    def predict(self, inputs):\n        return inputs\n")
    with Client(running_server.url, running_server.token, project=name, transport=recorded) as found:
        found.projects.create(name)
        for model, file in (("flowers", "model.skops"), ("echo", "predict.py")):
            found.models.register(model, folder / file)
            found.deployments.create(model, model)
        for model in ("flowers", "echo"):
            found.deployments.wait(model, timeout=WAIT)
        yield found


def test_large_arrays_travel_as_tensors_and_are_answered_to_the_bit(client: Client, recorded: Recorded) -> None:
    flowers = client.deployments.predictor("flowers")
    large = np.random.default_rng(1).uniform(0, 10, (ROWS, 2))
    assert recorded.types == []
    found = flowers.ask(large)
    assert recorded.types == [OCTETS]
    assert found.version == "v1"
    assert np.array_equal(found.value["probabilities"], FITTED.predict_proba(large))
    assert found.value["classes"].dtype == FITTED.predict(large).dtype
    assert np.array_equal(found.value["classes"], FITTED.predict(large))
    found.value["classes"][0] = 7  # the answer is the caller's own
    small = flowers.predict(large[:3])
    assert recorded.types == [JSON]
    assert np.allclose(small["probabilities"], FITTED.predict_proba(large[:3]))
    pinned = flowers.predict({"inputs": np.asfortranarray(large)}, version=1)
    assert recorded.types == [OCTETS]
    assert np.array_equal(pinned["probabilities"], FITTED.predict_proba(large))


def test_what_is_no_tensor_of_the_model_travels_as_json(client: Client, recorded: Recorded) -> None:
    echo = client.deployments.predictor("echo")
    large = np.arange(ROWS * 2.0)
    recorded.types  # noqa: B018  # forgets those of other tests
    assert np.array_equal(echo.predict(large), large)
    assert np.array_equal(echo.predict({"a": large})["a"], large)
    assert recorded.types == [JSON, JSON], "a predict.py has no signature"
    flowers = client.deployments.predictor("flowers")
    with pytest.raises(InvalidRequestError, match="features"):
        flowers.predict(large.reshape(-1, 4))
    with pytest.raises(InvalidRequestError, match="inputs"):
        flowers.predict({"pixels": large})
    assert recorded.types == [JSON, JSON], "the endpoint says what is wrong, as ever"


def test_another_version_with_another_signature_is_asked_in_json(records: Any) -> None:
    """The signature was told by v1; v2, which the weights chose, refuses it."""
    described = {
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1]}],
        "outputs": [{"name": "y", "datatype": "FP64"}],
    }
    posted: list[str] = []

    def handle(request: Request) -> Response:
        if "/api/v1/" in request.url:
            return Response(200, {}, json.dumps(records.deployment()).encode())
        if request.method == "GET":
            return Response(200, {"X-Headway-Version": "v1"}, json.dumps(described).encode())
        posted.append(request.url.partition("dep1")[2])
        if request.url.endswith("/infer"):
            return Response(400, {"X-Headway-Version": refusing}, b'{"error": "unknown input"}')
        return Response(200, {}, b'{"outputs": [1.5]}')

    with Client("http://mock", "hw_x", "p", transport=MockTransport(handle)) as client:
        refusing = "v2"
        assert client.deployments.predictor("d").predict(np.zeros(ROWS)).tolist() == [1.5]
        assert posted == ["/v2/models/dep1/infer", ":predict"]
        refusing = "v1"
        with pytest.raises(InvalidRequestError, match="unknown input"):
            client.deployments.predictor("d").predict(np.zeros(ROWS))
        assert posted[2:] == ["/v2/models/dep1/infer"], "who knows the signature and refuses is not asked twice"


numbers = arrays.arrays(
    st.sampled_from([np.dtype(name) for name in DATATYPES]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(numbers)
def test_the_bits_survive_both_ways(sent: np.ndarray[Any, Any]) -> None:
    known = KnownTensor(sent.dtype.name, tuple(-1 for _ in sent.shape))
    request = tensor_request(sent, TensorSignature({"x": known}, "v1"))
    assert request is not None
    length = int(request.headers[LENGTH_HEADER])
    (described,) = json.loads(request.body[:length])["inputs"]
    read = SentTensor(described).from_binary(memoryview(request.body)[length:])
    assert (read.dtype, read.shape, read.tobytes()) == (sent.dtype, sent.shape, np.ascontiguousarray(sent).tobytes())
    data = bytes(binary_data(sent))
    output = {"name": "y", "datatype": described["datatype"], "shape": list(sent.shape)}
    text = json.dumps({"outputs": [{**output, "parameters": {"binary_data_size": len(data)}}]}).encode()
    found = decode_tensors(text + data, {LENGTH_HEADER.lower(): str(len(text))}, "it")
    assert (found.dtype, found.shape, found.tobytes()) == (sent.dtype, sent.shape, np.ascontiguousarray(sent).tobytes())


def test_numbers_are_made_narrower_only_as_json_would() -> None:
    signature = TensorSignature({"x": KnownTensor("float32", (-1,))}, "v1")
    for fitting in (np.array([0.1, np.nan, np.inf]), np.array([1, 255], np.uint8), np.array([0.5], np.float16)):
        assert tensor_request(fitting, signature) is not None
    for other in (np.array([1e300]), np.array([2**40]), np.array([[0.1]]), np.array([1j]), {"y": np.array([0.1])}):
        assert tensor_request(other, signature) is None, other
    whole = TensorSignature({"x": KnownTensor("int64", ())}, "v1")
    assert tensor_request(np.array([1.5]), whole) is None


def test_only_large_arrays_of_numbers_are_worth_it() -> None:
    assert is_large(np.zeros(ROWS))
    assert is_large({"a": np.zeros(ROWS // 2), "b": np.zeros(ROWS // 2)})
    for other in (np.zeros(10), [0.0] * ROWS, {"a": np.zeros(ROWS), "b": 1}, np.full(ROWS, "text"), {}, "x" * ROWS * 8):
        assert not is_large(other)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"outputs": 1}',
        b'{"outputs": [{"name": "y", "datatype": "FP64", "shape": [9], "parameters": {}}]}',
    ],
)
def test_an_answer_that_is_no_tensors_is_refused(content: bytes) -> None:
    with pytest.raises(PlatformError, match="no tensors"):
        decode_tensors(content, {}, "it")


def test_outputs_of_texts_are_read_too() -> None:
    data = bytes(binary_data(np.array([["a", "ü"]], dtype=object)))
    output = {"name": "y", "datatype": "BYTES", "shape": [1, 2], "parameters": {"binary_data_size": len(data)}}
    text = json.dumps({"outputs": [output]}).encode()
    found = decode_tensors(text + data, {LENGTH_HEADER.lower(): str(len(text))}, "it")
    assert found.tolist() == [["a", "ü"]]
