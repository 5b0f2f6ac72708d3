"""Clients that nobody here wrote, against replicas with an ONNX model, a scikit-learn model and a ``predict.py``."""

from __future__ import annotations

import http.client
import json
import subprocess

import numpy as np
import pytest
import requests

httpclient = pytest.importorskip("tritonclient.http")

PREDICTOR = """
class Predictor:
    def predict(self, inputs):
        if isinstance(inputs, dict) and "raise" in inputs:
            raise ValueError("no such thing")
        return {"kind": type(inputs).__name__, "n": len(inputs)} if isinstance(inputs, (list, str)) else inputs
"""
SECONDS = 60


@pytest.fixture(scope="module")
def graph_dir(tmp_path_factory):
    """total = sum of pixels by row (float32), doubled = 2 * count (int64), shout = words as they are (texts)."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    inputs = [
        helper.make_tensor_value_info("pixels", kinds.FLOAT, [None, 4]),
        helper.make_tensor_value_info("count", kinds.INT64, [None]),
        helper.make_tensor_value_info("words", kinds.STRING, [None, 1]),
    ]
    outputs = [
        helper.make_tensor_value_info("total", kinds.FLOAT, [None]),
        helper.make_tensor_value_info("doubled", kinds.INT64, [None]),
        helper.make_tensor_value_info("said", kinds.STRING, [None, 1]),
    ]
    nodes = [
        helper.make_node("ReduceSum", ["pixels", "axis"], ["total"], keepdims=0),
        helper.make_node("Add", ["count", "count"], ["doubled"]),
        helper.make_node("Identity", ["words"], ["said"]),
    ]
    axis = helper.make_tensor("axis", kinds.INT64, [1], [1])
    graph = helper.make_graph(nodes, "mixed", inputs, outputs, [axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    directory = tmp_path_factory.mktemp("graph")
    onnx.save(model, directory / "model.onnx")
    return directory


@pytest.fixture(scope="module")
def graph(start_replica, graph_dir):
    return start_replica(graph_dir, "--version", "7", name="graph")


@pytest.fixture(scope="module")
def digits(start_replica, digits_dir):
    return start_replica(digits_dir, name="digits")


@pytest.fixture(scope="module")
def echo(start_replica, tmp_path_factory):
    directory = tmp_path_factory.mktemp("echo")
    (directory / "predict.py").write_text(PREDICTOR)
    return start_replica(directory, name="echo")


@pytest.fixture(scope="module")
def images():
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


@pytest.fixture
def triton(graph):
    with httpclient.InferenceServerClient(graph.address, network_timeout=SECONDS) as client:
        yield client


@pytest.fixture
def triton_digits(digits):
    with httpclient.InferenceServerClient(digits.address, network_timeout=SECONDS) as client:
        yield client


def sent(name, array, datatype, *, binary):
    found = httpclient.InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array, binary_data=binary)
    return found


def graph_inputs(rows, *, binary):
    pixels = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)
    words = np.array([[f"wörd {n}".encode()] for n in range(rows)], dtype=object)
    return (
        sent("pixels", pixels, "FP32", binary=binary),
        sent("count", np.arange(rows, dtype=np.int64) + 2**60, "INT64", binary=binary),
        sent("words", words, "BYTES", binary=binary),
    ), pixels.sum(axis=1)


# tritonclient


def test_triton_sees_health_and_metadata(triton):
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.is_model_ready("graph") and triton.is_model_ready("graph", "7")
    assert not triton.is_model_ready("other") and not triton.is_model_ready("graph", "8")
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    metadata = triton.get_model_metadata("graph")
    assert metadata["versions"] == ["7"] and metadata["platform"] == "onnx"
    assert metadata["inputs"] == [
        {"name": "pixels", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "count", "datatype": "INT64", "shape": [-1]},
        {"name": "words", "datatype": "BYTES", "shape": [-1, 1]},
    ]


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "json in"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "json out"])
@pytest.mark.parametrize("rows", [1, 5])
def test_triton_infers_whichever_way_tensors_go(triton, binary_in, binary_out, rows):
    inputs, totals = graph_inputs(rows, binary=binary_in)
    outputs = [httpclient.InferRequestedOutput(n, binary_data=binary_out) for n in ("said", "total", "doubled")]
    result = triton.infer("graph", inputs, outputs=outputs, request_id="42", model_version="7")
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("42", "graph", "7")
    np.testing.assert_allclose(result.as_numpy("total"), totals)
    assert result.as_numpy("doubled").tolist() == [2 * (n + 2**60) for n in range(rows)]
    said = [item if isinstance(item, str) else item.decode() for item in result.as_numpy("said").ravel()]
    assert said == [f"wörd {n}" for n in range(rows)]
    assert result.as_numpy("said").shape == (rows, 1)


def test_triton_mixes_both_and_asks_for_everything(triton):
    inputs, totals = graph_inputs(2, binary=True)
    inputs[1].set_data_from_numpy(np.array([1, 2], dtype=np.int64), binary_data=False)
    result = triton.infer("graph", inputs)
    np.testing.assert_allclose(result.as_numpy("total"), totals)
    assert result.as_numpy("doubled").tolist() == [2, 4]


def test_triton_hears_why_it_was_refused(triton):
    inputs, _ = graph_inputs(2, binary=True)
    other = httpclient.InferInput("pixel", [2, 4], "FP32")
    other.set_data_from_numpy(np.zeros((2, 4), dtype=np.float32))
    wide = sent("pixels", np.zeros((2, 4)), "FP64", binary=True)
    short = sent("pixels", np.zeros((2, 3), dtype=np.float32), "FP32", binary=True)
    for first, said in ((other, "unknown input 'pixel'"), (wide, "expected float32"), (short, "rows of 3 features")):
        with pytest.raises(httpclient.InferenceServerException, match=said) as caught:
            triton.infer("graph", (first, *inputs[1:]))
        assert caught.value.status() == "400"
    with pytest.raises(httpclient.InferenceServerException, match="unknown output 'sum'"):
        triton.infer("graph", inputs, outputs=[httpclient.InferRequestedOutput("sum")])
    with pytest.raises(httpclient.InferenceServerException, match="Servable not found"):
        triton.infer("graph", inputs, model_version="8")
    with pytest.raises(httpclient.InferenceServerException, match="classification"):
        triton.infer("graph", inputs, outputs=[httpclient.InferRequestedOutput("total", class_count=1)])
    assert triton.infer("graph", inputs).as_numpy("doubled") is not None


def test_triton_classifies_digits_as_scikit_learn_does(triton_digits, digits_dir, images):
    import skops.io

    pixels, _ = images
    estimator = skops.io.load(digits_dir / "model.skops")
    name = triton_digits.get_model_metadata("digits")["inputs"][0]["name"]
    for binary in (True, False):
        result = triton_digits.infer("digits", [sent(name, pixels[:50], "FP64", binary=binary)])
        assert result.as_numpy("classes").tolist() == estimator.predict(pixels[:50]).tolist()
        np.testing.assert_allclose(result.as_numpy("probabilities"), estimator.predict_proba(pixels[:50]), atol=1e-12)


def test_triton_sends_many_at_once(graph):
    with httpclient.InferenceServerClient(graph.address, concurrency=8, network_timeout=SECONDS) as client:
        asked = []
        for rows in range(1, 41):
            inputs, totals = graph_inputs(rows, binary=rows % 2 == 0)
            asked.append((totals, client.async_infer("graph", inputs)))
        for totals, pending in asked:
            np.testing.assert_allclose(pending.get_result().as_numpy("total"), totals)


# requests


def post(process, path, body, **kwargs):
    return requests.post(process.url + path, json=body, timeout=SECONDS, **kwargs)


def test_one_row_has_one_answer_in_every_protocol(digits, images):
    row = images[0][0].tolist()
    expected = post(digits, "/v1/models/digits:predict", {"instances": [row]}).json()["predictions"][0]
    columns = post(digits, "/v1/models/digits:predict", {"inputs": [row]}).json()["outputs"]
    plain = post(digits, "/predict", [row]).json()
    assert columns == plain == {name: [value] for name, value in expected.items()}
    names = [f"pixel_{n}" for n in range(64)]
    for body in (
        {"dataframe_split": {"columns": names, "data": [row]}},
        {"dataframe_records": [dict(zip(names, row, strict=True))]},
        {"instances": [row]},
    ):
        assert post(digits, "/invocations", body).json() == {"predictions": [expected]}
    text = ",".join(names) + "\n" + ",".join(map(str, row)) + "\n"
    answer = requests.post(
        digits.url + "/invocations", data=text, headers={"Content-Type": "text/csv"}, timeout=SECONDS
    )
    assert answer.json() == {"predictions": [expected]}
    tensor = {"name": "inputs", "shape": [1, 64], "datatype": "FP64", "data": row}
    outputs = post(digits, "/v2/models/digits/infer", {"inputs": [tensor]}).json()["outputs"]
    assert {output["name"]: output["data"] for output in outputs} == {
        "classes": [expected["classes"]],
        "probabilities": expected["probabilities"],
    }


def test_a_pandas_frame_goes_as_mlflows_clients_send_it(digits, images):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(images[0][:3], columns=[f"p{n}" for n in range(64)])
    split = {"dataframe_split": json.loads(frame.to_json(orient="split"))}
    records = {"dataframe_records": json.loads(frame.to_json(orient="records"))}
    csv = requests.post(
        digits.url + "/invocations",
        data=frame.to_csv(index=False),
        headers={"Content-Type": "text/csv"},
        timeout=SECONDS,
    )
    by_split, by_records = post(digits, "/invocations", split), post(digits, "/invocations", records)
    assert by_split.status_code == 200
    assert by_split.json() == by_records.json() == csv.json()
    assert len(by_split.json()["predictions"]) == 3


def test_the_endpoint_speaks_all_of_them(echo):
    path = "/model-serving/any:predict"
    assert post(echo, path, {"instances": ["a"]}).json() == {"predictions": {"kind": "list", "n": 1}}
    assert post(echo, path, {"inputs": {"a": 1}}).json() == {"outputs": {"a": 1}}
    assert post(echo, path, {"dataframe_records": [{"a": 1}]}).json() == {"predictions": {"kind": "list", "n": 1}}
    assert post(echo, path, "text").json() == {"kind": "str", "n": 4}
    tensor = {"name": "t", "shape": [2], "datatype": "INT8", "data": [1, 2]}
    assert post(echo, path, {"inputs": [tensor]}).json()["outputs"] == [tensor]
    assert post(echo, path, {"inputs": {"raise": 1}}).json() == {"error": "no such thing"}
    refused = post(echo, "/invocations", {"inputs": {"raise": 1}})
    assert (refused.status_code, refused.json()) == (400, {"error_code": "BAD_REQUEST", "message": "no such thing"})


def test_mlflows_health_and_version(digits):
    assert requests.get(digits.url + "/ping", timeout=SECONDS).status_code == 200
    assert requests.get(digits.url + "/health", timeout=SECONDS).status_code == 200
    assert requests.get(digits.url + "/version", timeout=SECONDS).headers["Content-Type"].startswith("text/plain")
    assert requests.get(digits.url + "/invocations", timeout=SECONDS).status_code == 405
    assert requests.post(digits.url + "/ping", json={}, timeout=SECONDS).status_code == 405


def test_many_rows_in_one_request(digits, images):
    rows = np.tile(images[0][:1000], (20, 1))
    name = "inputs"
    with httpclient.InferenceServerClient(digits.address, network_timeout=SECONDS) as client:
        result = client.infer("digits", [sent(name, rows, "FP64", binary=True)])
    assert result.as_numpy("classes").shape == (20_000,)


# http.client


def test_one_connection_speaks_every_protocol_in_turn(digits, images):
    row = images[0][0]
    connection = http.client.HTTPConnection("127.0.0.1", digits.port, timeout=SECONDS)
    head = json.dumps(
        {
            "inputs": [
                {"name": "inputs", "shape": [1, 64], "datatype": "FP64", "parameters": {"binary_data_size": 512}}
            ],
            "outputs": [{"name": "classes", "parameters": {"binary_data": True}}],
        }
    ).encode()
    binary = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    classes = []
    for _ in range(3):
        connection.request("POST", "/model-serving/d:predict", head + row.astype("<f8").tobytes(), binary)
        answer = connection.getresponse()
        body, length = answer.read(), int(answer.headers["Inference-Header-Content-Length"])
        assert answer.status == 200 and answer.headers["Content-Type"] == "application/octet-stream"
        classes.append(int(np.frombuffer(body[length:], dtype="<i8")[0]))
        connection.request("POST", "/predict", json.dumps([row.tolist()]), {"Content-Type": "application/json"})
        classes.append(json.loads(connection.getresponse().read())["classes"][0])
        connection.request("POST", "/predict", b"[", {"Content-Type": "application/json"})
        refused = connection.getresponse()
        assert refused.status == 400 and refused.read()
    assert len(set(classes)) == 1
    connection.close()


# curl


@pytest.mark.system
def test_curl_as_the_documents_call_it(graph, echo):
    def curl(*arguments):
        done = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body)

    json_type = ("-H", "Content-Type: application/json")
    body = '{"instances": [{"pixels": [1, 2, 3, 4.5], "count": 4, "words": ["hi"]}]}'
    assert curl("-d", body, "-X", "POST", *json_type, graph.url + "/v1/models/graph:predict") == (
        200,
        {"predictions": [{"total": 10.5, "doubled": 8, "said": ["hi"]}]},
    )
    assert curl(graph.url + "/v1/models/graph/versions/7")[1]["model_version_status"][0]["state"] == "AVAILABLE"
    status, metadata = curl(graph.url + "/v1/models/graph/metadata")
    dtypes = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    assert status == 200 and [dtypes[name]["dtype"] for name in dtypes] == ["DT_FLOAT", "DT_INT64", "DT_STRING"]
    assert curl(*json_type, "-d", '{"instances": [1]}', graph.url + "/v1/models/half:predict") == (
        404,
        {"error": "Servable not found for request: Latest(half)"},
    )
    status, refused = curl("-d", body, graph.url + "/v1/models/graph:predict")
    assert status == 415 and "Content-Type: application/json" in refused["error"]
    assert curl(*json_type, "-d", '{"inputs": [[1, 2], [3, 4], [5, 6]]}', echo.url + "/invocations") == (
        200,
        {"predictions": {"kind": "list", "n": 3}},
    )
    assert curl("-H", "Content-Type:text/csv", "--data-binary", "a,b\n1,2\n", echo.url + "/invocations")[0] == 200


# Through a gateway


def test_every_client_gets_through_a_gateway_by_id_and_by_name(graph, home, tools):
    route = tools.route("dep1", (7, 1, {"r0": graph.address}), name="graph", labels={7: ("champion",)})
    home.feed.publish(route)
    gateway = home.start()
    tools.wait_until(lambda: requests.get(gateway.url + "/health", timeout=5).json()["routes_version"], 30)
    inputs, totals = graph_inputs(3, binary=True)
    for base, model in (("/model-serving/dep1", "any"), ("/model-serving/graph", "any"), ("", "graph"), ("", "dep1")):
        with httpclient.InferenceServerClient(gateway.address + base, network_timeout=SECONDS) as client:
            assert client.is_server_live() and client.is_model_ready(model)
            for version in ("", "7"):
                result = client.infer(model, inputs, model_version=version)
                np.testing.assert_allclose(result.as_numpy("total"), totals)
            with pytest.raises(httpclient.InferenceServerException) as caught:
                client.infer(model, inputs, model_version="8")
            assert caught.value.status() == "404"
            with pytest.raises(httpclient.InferenceServerException, match="unknown output 'sum'"):
                client.infer(model, inputs, outputs=[httpclient.InferRequestedOutput("sum")])
    row = {"pixels": [1, 2, 3, 4.5], "count": 4, "words": ["hi"]}
    expected = {"total": 10.5, "doubled": 8, "said": ["hi"]}
    for path in (
        "/model-serving/dep1:predict",
        "/model-serving/graph/v1/models/any:predict",
        "/v1/models/graph:predict",
        "/v1/models/graph/versions/7:predict",
        "/v1/models/graph/labels/champion:predict",
        "/model-serving/dep1/invocations",
    ):
        answer = post(gateway, path, {"instances": [row]})
        assert answer.json() == {"predictions": [expected]}, path
        assert answer.headers["X-Headway-Version"] == "v7"
    assert post(gateway, "/model-serving/dep1/predict", [row]).json() == [expected]
    csv = {"Content-Type": "text/csv"}
    refused = requests.post(
        gateway.url + "/model-serving/dep1/invocations", data="a\n1\n", headers=csv, timeout=SECONDS
    )
    assert refused.status_code == 400 and refused.json()["error_code"] == "BAD_REQUEST"
    assert (
        requests.get(gateway.url + "/model-serving/dep1/metadata", timeout=SECONDS).json()["model_spec"]["version"]
        == "7"
    )
