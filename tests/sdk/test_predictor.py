"""Predictor: the same kind of thing comes back, from a real replica behind a real gateway."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LogisticRegression

import headway
from headway import Client, Predictor
from headway.domain.base import new_id
from headway.errors import (
    ConflictError,
    HeadwayError,
    InvalidRequestError,
    NotFoundError,
    PlatformError,
    RateLimitedError,
    UnavailableError,
)
from headway.sdk.forms import decode_answer, form_of
from headway.testing.server import ServerProcess

ECHO = """
class Predictor:
    def predict(self, inputs):
        if inputs == "wrong":
            raise ValueError("not that one")
        return inputs
"""
WAIT = 90.0
NAMES = ["length", "width"]


@pytest.fixture(scope="module")
def client(running_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A project with two deployments: ``echo`` (predict.py) and ``flowers`` (scikit-learn, two named features)."""
    name = new_id("project")
    with Client(running_server.url, running_server.token, project=name) as found:
        found.projects.create(name)
        folder = tmp_path_factory.mktemp("echo")
        (folder / "predict.py").write_text(ECHO)
        found.models.register("echo", folder)
        flowers = tmp_path_factory.mktemp("flowers") / "model.skops"
        skops.io.dump(estimator(), flowers)
        found.models.register("flowers", flowers)
        for model in ("echo", "flowers"):
            found.deployments.create(model, model)
        for model in ("echo", "flowers"):
            found.deployments.wait(model, timeout=WAIT)
        yield found


def estimator() -> LogisticRegression:
    return LogisticRegression().fit(table(), [0, 0, 1, 1])


def table() -> pd.DataFrame:
    return pd.DataFrame([[1.0, 2.0], [2.0, 1.0], [5.0, 9.0], [9.0, 5.5]], columns=NAMES, index=["a", "b", "c", "d"])


def test_an_array_is_answered_with_an_array(client: Client) -> None:
    echo = client.deployments.predictor("echo")
    for sent in (np.arange(6).reshape(2, 3), np.array([[0.1, 1e300]]), np.array([True, False]), np.empty((0, 3))):
        found = echo.predict(sent)
        assert isinstance(found, np.ndarray)
        assert np.array_equal(found, sent.reshape(found.shape))
    assert echo.predict(np.array([["a", "ü"]])).tolist() == [["a", "ü"]]
    assert echo.predict({"x": np.array([1, 2])})["x"].dtype.kind == "i"


def test_numbers_that_json_lacks_go_there_and_back(client: Client) -> None:
    echo = client.deployments.predictor("echo")
    for sent in (np.array([[1.0, np.nan], [np.inf, -np.inf]]), np.array([np.nan]), np.array([np.nan], "float32")):
        found = echo.predict(sent)
        assert found.dtype == np.float64
        assert np.array_equal(found, sent, equal_nan=True)
        assert np.array_equal(echo.predict({"x": sent})["x"], sent, equal_nan=True)
    assert echo.predict(np.array(["NaN", "Infinity"])).tolist() == ["NaN", "Infinity"], "texts stay texts"
    assert echo.predict(np.array(["NaN", "a"])).tolist() == ["NaN", "a"]
    assert client.deployments.predict("echo", instances=[1.5, float("nan")]).predictions == [1.5, "NaN"]


def test_lists_and_dicts_are_answered_as_they_were_sent(client: Client) -> None:
    echo = client.deployments.predictor("echo")
    assert echo.predict([1, 2.5, "c", None]) == [1, 2.5, "c", None]
    assert echo.predict((1, 2)) == [1, 2]
    assert echo.predict({"x": [1, 2], "y": "z"}) == {"x": [1, 2], "y": "z"}
    assert echo.predict([b"\x00\xff", {"b": b""}]) == [b"\x00\xff", {"b": b""}]
    assert echo.predict("a text") == "a text"
    assert echo.predict(5) == 5
    assert echo([np.array([1, 2]), np.array([3, 4])]) == [[1, 2], [3, 4]]


def test_a_table_is_answered_with_a_table_of_the_same_index(client: Client) -> None:
    flowers, frame = client.deployments.predictor("flowers"), table()
    for sent in (frame, frame[["width", "length"]]):  # the order of the columns does not matter where they have names
        found = flowers.predict(sent)
        assert isinstance(found, pd.DataFrame)
        assert found.index.tolist() == ["a", "b", "c", "d"]
        assert found["classes"].tolist() == estimator().predict(frame).tolist()
        assert np.allclose(np.stack(found["probabilities"]), estimator().predict_proba(frame))
    rows = client.deployments.predictor("echo").predict(pd.DataFrame({"t": ["x", None], "n": [1, 2]}, index=[7, 9]))
    assert rows.index.tolist() == [7, 9]
    assert rows["n"].tolist() == [1, 2]
    assert rows["t"][7] == "x"
    assert pd.isna(rows["t"][9])


def test_numbers_that_json_lacks_stay_numbers_in_tables(client: Client) -> None:
    echo = client.deployments.predictor("echo")
    sent = pd.DataFrame({"x": [1.5, np.nan, -np.inf], "n": [1, 2, 3]}, index=[5, 6, 7])
    found = echo.predict(sent)
    assert found.dtypes.tolist() == sent.dtypes.tolist()
    pd.testing.assert_frame_equal(found, sent)
    nothing = pd.DataFrame({"x": [np.nan, np.nan]})
    pd.testing.assert_frame_equal(echo.predict(nothing), nothing)
    pd.testing.assert_frame_equal(echo.predict(nothing, version=1), nothing)
    series = pd.Series([np.nan, 1.0, np.inf], index=["a", "b", "c"])
    pd.testing.assert_series_equal(echo.predict(series), series, check_names=False)
    mixed = pd.DataFrame({"t": ["NaN", "a"], "n": pd.array([1, None], "Int64")})
    found = echo.predict(mixed)
    assert found["t"].tolist() == ["NaN", "a"], "texts stay texts"
    assert found["n"][0] == 1
    assert pd.isna(found["n"][1])


def test_nan_and_what_is_missing_are_two_things_to_a_model() -> None:
    body = form_of(pd.DataFrame({"x": [np.nan, 1.0], "t": ["a", None]})).encode()
    assert b'"data":[[NaN,"a"],[1.0,null]]' in body
    assert b"[NaN,2.0]" in form_of(pd.Series([np.nan, 2.0])).encode()
    assert b"[null,2.0]" in form_of(pd.Series([None, 2.0], dtype="Float64")).encode()


def test_a_series_is_answered_with_a_series_of_the_same_index(client: Client) -> None:
    found = client.deployments.predictor("echo").predict(pd.Series([1.5, 2.5], index=["x", "y"]))
    assert isinstance(found, pd.Series)
    assert found.to_dict() == {"x": 1.5, "y": 2.5}


def test_one_version_can_be_asked(client: Client) -> None:
    for version in (1, "1", "v1"):
        pinned = client.deployments.predictor("flowers", version=version)
        free = client.deployments.predictor("flowers").ask(table(), version=version)
        assert (free.version, free.value["classes"].tolist()) == ("v1", estimator().predict(table()).tolist())
        assert pinned.predict(table().to_numpy())["classes"].tolist() == estimator().predict(table()).tolist()
        assert pinned.predict(table())["classes"].tolist() == estimator().predict(table()).tolist()
        assert client.deployments.predict("echo", instances=[4], version=version).predictions == [4]
    with pytest.raises(NotFoundError):
        client.deployments.predictor("flowers", version=7).predict(table())
    with pytest.raises(NotFoundError):
        client.deployments.predictor("flowers", version=1).predict(table(), version=7)
    with pytest.raises(InvalidRequestError, match="no version"):
        client.deployments.predict("echo", [1], version=True)


def test_an_answer_says_who_gave_it(client: Client) -> None:
    echo = client.deployments.predictor("echo")
    assert echo.last is None
    found = echo.ask([1])
    assert (found.value, found.version) == ([1], "v1")
    assert found.replica
    assert found.request_id
    assert 0 < found.seconds < 60
    assert echo.last is found
    assert "v1" in found._repr_html_()
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.append(echo.last))
    thread.start()
    thread.join()
    assert others == [None], "the newest answer is that of the thread that asked"
    plain = client.deployments.predict("echo", instances=[1])
    assert (plain.version, plain.replica) == (found.version, found.replica)
    assert plain.request_id != found.request_id


def test_one_predictor_serves_many_threads(client: Client) -> None:
    echo = client.deployments.predictor("echo")
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        answers[number] = [echo.predict([number, step]) for step in range(10)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {number: [[number, step] for step in range(10)] for number in range(8)}


def test_what_is_wrong_is_a_typed_error(client: Client) -> None:
    echo = client.deployments.predictor("echo")
    with pytest.raises(InvalidRequestError, match="not that one") as refused:
        echo.predict("wrong")
    assert refused.value.request_id
    assert refused.value.details["version"] == "v1"
    with pytest.raises(InvalidRequestError):
        client.deployments.predictor("flowers").predict(np.zeros((2, 5)))
    for wrong, named in (
        ({1, 2}, "A set cannot be predicted"),
        (np.array([1j]), "complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "levels"),
        (object(), "An object cannot"),
    ):
        with pytest.raises(InvalidRequestError, match=named):
            echo.predict(wrong)
    with pytest.raises(InvalidRequestError, match="Both inputs= and instances= were given"):
        client.deployments.predict("echo", [1], instances=[1])
    with pytest.raises(InvalidRequestError, match="neither was given"):
        client.deployments.predict("echo")
    with pytest.raises(InvalidRequestError, match="timeout"):
        client.deployments.predictor("echo", timeout=0)
    with pytest.raises(NotFoundError):
        client.deployments.predictor("no such deployment").predict([1])


def test_it_makes_a_client_of_its_own(
    client: Client, running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_URL", running_server.url)
    monkeypatch.setenv("HEADWAY_TOKEN", running_server.token)
    with Predictor("echo", project=client.project) as found:
        assert found.predict([1]) == [1]
        assert repr(found) == "Predictor('echo')"
    with pytest.raises(HeadwayError, match="closed"):
        found.predict([1])
    with Predictor("echo", client=client, project=client.project) as found:
        assert found.predict([2]) == [2]
    assert client.deployments.predict("echo", [3]).outputs == [3]  # a client that was passed in stays open


# Over a mock: what a gateway may say


@pytest.mark.parametrize(
    ("status", "headers", "expected", "pause"),
    [
        (400, {}, InvalidRequestError, None),
        (404, {}, NotFoundError, None),
        (429, {"Retry-After": "3"}, RateLimitedError, 3.0),
        (502, {}, UnavailableError, None),
        (503, {"Retry-After": "1"}, UnavailableError, 1.0),
        (504, {}, UnavailableError, None),
        (500, {}, PlatformError, None),
    ],
)
def test_each_status_is_an_error_of_its_own(
    mock: Any, records: Any, status: int, headers: dict[str, str], expected: type[HeadwayError], pause: float | None
) -> None:
    from headway.sdk.transport import Response

    mock.routes["GET /api/v1/deployments/d"] = records.deployment()
    mock.routes["POST :81/model-serving/dep1:predict"] = lambda _request: Response(
        status, {**headers, "X-Request-Id": "r1"}, b'{"error": "because"}'
    )
    with pytest.raises(expected, match="because") as caught:
        mock.client().deployments.predictor("d").predict([1])
    assert caught.value.details.get("retry_after") == pause
    if isinstance(caught.value, (RateLimitedError, UnavailableError)):
        assert caught.value.retry_after == pause
    assert caught.value.request_id == "r1"
    posts = [request for request in mock.requests if request.method == "POST"]
    assert len(posts) == 1, "a prediction is sent once"


def test_a_timeout_travels_with_the_request(mock: Any, records: Any) -> None:
    mock.routes["GET /api/v1/deployments/d"] = records.deployment(deadline_seconds=7)
    mock.routes["POST :81/model-serving/dep1:predict"] = {"predictions": [1]}
    client = mock.client()
    client.deployments.predictor("d", timeout=0.25).predict([1])
    client.deployments.predictor("d").predict([1])
    limited, free = [request for request in mock.requests if request.method == "POST"]
    assert limited.headers["X-Request-Timeout"] == "0.25"
    assert 0.25 < limited.timeout <= 0.5
    assert "X-Request-Timeout" not in free.headers
    assert free.timeout > 7


def test_a_timeout_bounds_the_whole_answer(scripted: Any, scripted_client: Client, records: Any) -> None:
    """The gateway sends a byte now and then, for ever: only a limit of the whole ends that."""
    ended = threading.Event()

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while not ended.wait(0.1):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    endpoint = f"{scripted.url}/model-serving/dep1:predict"

    def deployment(handler: Any) -> None:
        body = json.dumps(records.deployment(endpoint=endpoint)).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    scripted.script = [deployment, drip]
    try:
        with pytest.raises(UnavailableError, match="no answer in time") as caught:
            scripted_client.deployments.predictor("d", timeout=0.5).predict([1])
    finally:
        ended.set()
    assert endpoint in str(caught.value)
    assert [request.headers.get("x-request-timeout") for request in scripted.requests] == [None, "0.5"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_gateway_that_is_away_is_waited_for(scripted: Any, script: Any, records: Any) -> None:
    """It is back while its caller tries again: the request, which nobody has seen, is answered."""
    port = free_port()
    place = f"http://127.0.0.1:{port}/model-serving/dep1:predict"
    scripted.script = [script.answer(200, records.deployment(endpoint=place))]
    with Client(scripted.url, "hw_secret", "digits", timeout=5) as client:
        predictor = client.deployments.predictor("d")
        with pytest.raises(UnavailableError, match="cannot be reached") as caught:
            predictor.predict([1])
        assert place in str(caught.value)
        assert "headway up" not in f"{caught.value} {caught.value.hint}"
        assert "was not sent" in (caught.value.hint or "")

        class Gateway(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"predictions": [7]}')

            def log_message(self, *_: object) -> None:
                pass

        tried = threading.Event()
        gateways: list[HTTPServer] = []

        def come_back() -> None:
            tried.wait(60)
            gateways.append(HTTPServer(("127.0.0.1", port), Gateway))
            gateways[0].handle_request()

        send = client._session.transport.send

        def watched(request: Any) -> Any:
            try:
                return send(request)
            except HeadwayError:
                tried.set()
                raise

        client._session.transport.send = watched  # type: ignore[method-assign]
        thread = threading.Thread(target=come_back)
        thread.start()
        try:
            assert predictor.predict([1]) == [7]
        finally:
            tried.set()
            thread.join(60)
            gateways[0].server_close()


def test_a_request_that_was_sent_is_not_sent_again(scripted: Any, script: Any, records: Any) -> None:
    place = f"{scripted.url}/model-serving/dep1:predict"
    scripted.script = [script.answer(200, records.deployment(endpoint=place)), script.drop]
    with Client(scripted.url, "hw_secret", "digits", timeout=5) as client:
        with pytest.raises(UnavailableError, match="broke the connection off"):
            client.deployments.predictor("d").predict([1])
    assert [request.method for request in scripted.requests] == ["GET", "POST"]


def test_a_deployment_made_anew_under_its_name_is_found(mock: Any, records: Any) -> None:
    mock.routes["GET /api/v1/deployments/d"] = records.deployment()
    mock.routes["POST :81/model-serving/dep1:predict"] = {"predictions": [1]}
    predictor = mock.client().deployments.predictor("d")
    assert predictor.predict([0]) == [1]
    mock.routes["GET /api/v1/deployments/d"] = records.deployment(
        id="dep2", endpoint="http://mock:81/model-serving/dep2:predict"
    )
    mock.routes["POST :81/model-serving/dep1:predict"] = (404, {"error": "gone"})
    mock.routes["POST :81/model-serving/dep2:predict"] = {"predictions": [2]}
    assert predictor.predict([0]) == [2]


@pytest.mark.parametrize("answer", [{"outputs": 1}, [], "x", {"predictions": [1, 2, 3]}])
def test_an_answer_of_another_shape_is_refused(mock: Any, records: Any, answer: Any) -> None:
    mock.routes["GET /api/v1/deployments/d"] = records.deployment()
    mock.routes["POST :81/model-serving/dep1:predict"] = answer
    with pytest.raises(PlatformError):
        mock.client().deployments.predictor("d").predict(table())


# What is sent is what comes back, whatever it is

names = st.text(max_size=3).filter(lambda name: name != "b64")  # that name stands for bytes, as in TensorFlow Serving
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(names, inner),
    max_leaves=20,
)  # fmt: skip


def echoed(value: Any) -> Any:
    """What a model that answers its input makes of ``value``."""
    form = form_of(value)
    answer = form.encode().replace(b'{"inputs":', b'{"outputs":', 1).replace(b'{"instances":', b'{"predictions":', 1)
    return form.restore(decode_answer(answer, "the endpoint"))


@given(st.lists(values))
def test_lists_survive_the_way(sent: list[Any]) -> None:
    assert echoed(sent) == sent


@given(st.dictionaries(names, values))
def test_dicts_survive_the_way(sent: dict[str, Any]) -> None:
    assert echoed(sent) == sent


@given(
    arrays.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_]),
        arrays.array_shapes(max_dims=3, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_arrays_survive_the_way(sent: np.ndarray[Any, Any]) -> None:
    found = echoed(sent)
    assert found.shape == sent.shape
    assert found.dtype.kind == ("i" if sent.dtype.kind == "u" else sent.dtype.kind)
    assert np.array_equal(found.astype(sent.dtype), sent)


def test_the_light_client_needs_neither_numpy_nor_pandas() -> None:
    code = (
        "import sys, headway; from headway.sdk.forms import form_of; form_of([1]); form_of({'x': 1}); form_of('t');"
        "headway.Predictor; print([m for m in ('numpy', 'pandas') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
    assert headway.Predictor is Predictor


def test_load_needs_no_data_where_the_model_says_what_it_takes(client: Client) -> None:
    report = client.deployments.bench("flowers", rate=20, seconds=0.5, rows=3, timeout=60)
    assert (report.requests, report.answered, report.versions) == (10, 10, {"v1": 10})
    about = client.deployments.describe("flowers", version="v1")
    assert (about["runtime"], about["execution"] in ("loop", "thread")) == ("sklearn", True)
    with pytest.raises(InvalidRequestError, match="does not say what it takes"):
        client.deployments.bench("echo", rate=20, seconds=0.5)


def test_a_conflict_is_not_hidden(client: Client) -> None:
    """Waiting for what was asked to stop is a conflict, as everywhere."""
    client.deployments.create("idle", "echo", start=False)
    with pytest.raises(ConflictError):
        client.deployments.wait("idle", timeout=WAIT)
    with pytest.raises(UnavailableError, match="stopped"):
        client.deployments.predictor("idle").predict([1])
    client.deployments.delete("idle")


def test_folders_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be predicted"):
        form_of(tmp_path)
