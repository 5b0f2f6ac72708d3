"""The model server as a process: TensorFlow Serving's REST API, its errors, its end."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time

import pytest
import requests


@pytest.fixture(scope="module")
def replica(start_replica, predictor_dir):
    return start_replica(predictor_dir, "--version", "3", name="my model")


@pytest.fixture(scope="module")
def digits(start_replica, digits_dir):
    return start_replica(digits_dir, name="digits")


def predict(process, body, path="/model-serving/any:predict", **kwargs):
    return requests.post(process.url + path, json=body, timeout=20, **kwargs)


def test_a_digit_is_classified_in_column_form(digits):
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    answer = predict(digits, {"inputs": images[:20].tolist()})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    outputs = answer.json()["outputs"]
    right = sum(found == label for found, label in zip(outputs["classes"], labels[:20].tolist(), strict=True))
    assert right >= 18
    assert [len(row) for row in outputs["probabilities"]] == [10] * 20
    assert sum(outputs["probabilities"][0]) == pytest.approx(1)


def test_a_digit_is_classified_in_row_form(digits):
    answer = predict(digits, {"instances": [[0.0] * 64, [0.5] * 64]}, "/v1/models/digits:predict").json()
    assert [sorted(row) for row in answer["predictions"]] == [["classes", "probabilities"]] * 2


def test_a_vector_of_the_wrong_length_is_400_with_scikit_learns_words(digits):
    answer = predict(digits, {"inputs": [[0.0] * 63]})
    assert answer.status_code == 400
    assert "63 features" in answer.json()["error"]


def test_the_user_gets_the_value_as_it_was_sent_and_columns_become_rows_for_instances(replica):
    assert predict(replica, {"inputs": {"echo": [1, "x", None]}}).json()["outputs"]["got"] == [1, "x", None]
    assert predict(replica, {"inputs": ["a", "bb"]}).json() == {"outputs": {"size": [1, 2]}}
    assert predict(replica, {"instances": ["a", "bb"]}).json() == {"predictions": [{"size": 1}, {"size": 2}]}
    assert predict(replica, {"inputs": {"echo": 1}, "signature_name": "serving_default"}).status_code == 200
    assert predict(replica, {"inputs": [{"b64": "YWJj"}]}).json() == {"outputs": {"size": [len(str(b"abc"))]}}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/my%20model:predict", 200),
        ("/v1/models/my%20model%3Apredict", 200),
        ("/v1/models/my%20model/versions/3:predict", 200),
        ("/v1/models/my%20model/versions/4:predict", 404),
        ("/v1/models/my%20model/versions/99999999999999999999:predict", 404),
        ("/v1/models/my%20model/labels/stable:predict", 404),
        ("/v1/models/other:predict", 404),
        ("/v1/models/my%20model:classify", 400),
        ("/model-serving/whatever:predict", 200),
        ("/v1/models/my%20model/versions/x:predict", 404),
        ("/v2/nothing", 404),
        ("/", 404),
    ],
)
def test_addresses(replica, path, status):
    answer = predict(replica, {"inputs": {}}, path)
    assert answer.status_code == status
    assert status == 200 or list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: "),
        (b"[" * 100_000, "JSON Parse error: "),
        (b"[1]", "JSON Value: "),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"inputs":[1],"instances":[1]}', "only one of 'inputs' or 'instances'"),
        (b'{"instances":{"a":1}}', "Expecting 'instances' to be a list/array"),
        (b'{"instances":[]}', "No values in 'instances' array"),
        (b'{"inputs":[1],"signature_name":5}', "'signature_name' key must be a string value"),
        (b'{"inputs":{"b64":"*"}}', "Unable to base64 decode"),
    ],
)
def test_bodies_that_are_no_request_are_400_as_tensorflow_serving_says_it(replica, body, said):
    headers = {"Content-Type": "application/json"}
    answer = requests.post(replica.url + "/v1/models/my%20model:predict", data=body, headers=headers, timeout=10)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(("kind", "status"), [("value", 400), ("type", 400), ("key", 500), ("exit", 500)])
def test_what_the_users_code_raises_is_said_without_a_traceback(replica, kind, status):
    answer = predict(replica, {"inputs": {"raise": kind}})
    assert answer.status_code == status
    assert "the reason" in answer.json()["error"]
    assert "Traceback" not in answer.text
    if kind == "key":
        assert answer.json()["error"].startswith("KeyError")
        assert "Traceback" in replica.log.read_text()
    assert predict(replica, {"inputs": {"echo": 1}}).status_code == 200


def test_answers_that_json_cannot_hold(replica):
    body = predict(replica, {"inputs": {"answer": "nan"}})
    assert body.json() == {"outputs": {"x": ["NaN", "Infinity", "-Infinity", 1.0, None]}}
    assert b"NaN," not in body.content
    numbers = predict(replica, {"inputs": {"answer": "numpy"}}).json()["outputs"]
    assert numbers == {"a": [0, 1, 2], "b": 1.5, "c": ["NaN", 1.0]}
    assert predict(replica, {"inputs": {"answer": "bytes"}}).json() == {"outputs": {"b": {"b64": "YWJj"}}}
    broken = predict(replica, {"inputs": {"answer": "object"}})
    assert broken.status_code == 500 and "no JSON form" in broken.json()["error"]


def test_the_model_is_loaded_and_called_in_one_thread(replica):
    assert predict(replica, {"inputs": {"answer": "same_thread"}}).json() == {"outputs": True}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/octet-stream",
        "application/x-pickle",
        "application/vnd.x+pickle",
        "text/plain",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
    ],
)
def test_any_body_but_json_is_415(replica, content_type):
    answer = requests.post(
        replica.url + "/model-serving/x:predict",
        data=b'{"inputs":1}',
        headers={"Content-Type": content_type},
        timeout=5,
    )
    assert answer.status_code == 415
    assert "error" in answer.json()


def test_json_may_be_unnamed_or_have_a_charset_and_no_compression(replica, tools):
    body = b'{"inputs":{"echo":1}}'
    unnamed = tools.post("/model-serving/x:predict", body, "Connection: close").replace(
        b"Content-Type: application/json\r\n", b""
    )
    assert b" 200 " in tools.raw(replica.port, unnamed)
    url = replica.url + "/model-serving/x:predict"
    named = {"Content-Type": "Application/JSON; Charset=UTF-8"}
    assert requests.post(url, data=body, headers=named, timeout=5).status_code == 200
    zipped = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert requests.post(url, data=body, headers=zipped, timeout=5).status_code == 415


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
def test_a_foreign_origin_or_host_is_refused(replica, headers):
    assert predict(replica, {"inputs": {}}, headers=headers).status_code == 421
    assert requests.get(replica.url + "/metrics", headers=headers, timeout=5).status_code == 421


def test_methods(replica):
    url = replica.url + "/v1/models/my%20model"
    assert requests.get(url + ":predict", timeout=5).status_code == 405
    assert requests.delete(url + ":predict", timeout=5).headers["Allow"] == "POST"
    assert requests.post(url, json={}, timeout=5).status_code == 405
    assert requests.head(replica.url + "/health", timeout=5).status_code == 200


def test_status_and_metadata(replica, digits):
    status = requests.get(replica.url + "/v1/models/my%20model", timeout=5).json()
    assert status == {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    assert requests.get(replica.url + "/v1/models/other", timeout=5).status_code == 404
    metadata = requests.get(digits.url + "/v1/models/digits/metadata", timeout=5).json()
    assert metadata["model_spec"] == {"name": "digits", "signature_name": "", "version": "1"}
    assert metadata["metadata"]["estimator"] == "LinearDiscriminantAnalysis"


def test_health_answers_while_the_model_works_and_metrics_count_it(replica, tmp_path, tools):
    started, go = tmp_path / "started", tmp_path / "go"
    work = threading.Thread(target=predict, args=(replica, {"inputs": {"wait_for": str(go), "started": str(started)}}))
    work.start()
    tools.wait_until(started.exists)
    assert requests.get(replica.url + "/health", timeout=2).json() == {
        "status": "ok",
        "model": "my model",
        "version": 3,
    }
    metrics = requests.get(replica.url + "/metrics", timeout=2)
    go.touch()
    work.join(10)
    assert 'headway_model_requests_in_flight{protocol="any"} 1\n' in metrics.text
    after = requests.get(replica.url + "/metrics", timeout=2)
    assert after.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.rsplit(" ", 1) for line in after.text.splitlines() if not line.startswith("#"))
    assert int(lines['headway_model_requests_total{protocol="any",code="200"}']) > 0
    for protocol in ("any", "tensorflow"):
        label = f'protocol="{protocol}"'
        codes = sum(int(lines[key]) for key in lines if key.startswith(f"headway_model_requests_total{{{label}"))
        assert codes == int(lines[f"headway_model_request_seconds_count{{{label}}}"])
        assert codes == int(lines[f'headway_model_request_seconds_bucket{{{label},le="+Inf"}}'])
    assert int(lines["headway_model_batch_rows_count"]) == int(lines['headway_model_batch_rows_bucket{le="+Inf"}']) > 0
    assert lines['headway_model_execution{where="thread"}'] == "1"
    assert lines['headway_model_execution{where="loop"}'] == "0"


def test_a_body_of_many_megabytes(replica):
    text = "x" * 30_000_000
    answer = predict(replica, {"inputs": {"echo": text}})
    assert answer.json()["outputs"]["got"] == text
    too_large = requests.post(
        replica.url + "/model-serving/x:predict",
        data=b" " * (64 * 1024 * 1024 + 1),
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert too_large.status_code == 413


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "predict.py",
            "class Predictor:\n    def load(self):\n        raise OSError('no weights\\nhere')",
            "predict.py:3: OSError: no weights here",
        ),
        ("model.onnx", "", "model.onnx could not be read by ONNX Runtime"),
        ("notes.txt", "", "Nothing in the model directory can be served"),
    ],
)
def test_a_model_that_cannot_be_loaded_ends_with_3_and_one_line(start_replica, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    process = start_replica(tmp_path)
    assert process.wait() == 3
    assert process.line == ""
    lines = process.log.read_text().splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_a_port_in_use_ends_with_1_and_one_line(start_replica, predictor_dir, replica):
    process = start_replica(predictor_dir, "--port", str(replica.port))
    assert process.wait() == 1
    assert f"cannot listen on 127.0.0.1:{replica.port}" in process.log.read_text()


def test_options_come_from_the_environment(spawn, predictor_dir):
    environment = {
        "HEADWAY_MODEL_DIR": str(predictor_dir),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "HEADWAY_MODEL_NAME": "env",
        "HEADWAY_MODEL_VERSION": "9",
    }
    process = spawn("headway.serving", environment=environment)
    assert requests.get(process.url + "/health", timeout=5).json()["model"] == "env"
    assert requests.get(process.url + "/v1/models/env/versions/9", timeout=5).status_code == 200


def test_while_it_loads_it_says_so(spawn, tmp_path, tools):
    began, go = tmp_path / "began", tmp_path / "go"
    text = f"import os, time\nopen({str(began)!r}, 'w').close()\n"
    text += f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
    model = tmp_path / "model"
    model.mkdir()
    (model / "predict.py").write_text(text + "class Predictor:\n    def predict(self, x): return x")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = []
    starting = threading.Thread(
        target=lambda: found.append(spawn("headway.serving", "--model-dir", str(model), "--port", str(port)))
    )
    starting.start()
    tools.wait_until(began.exists)
    assert requests.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 503
    early = requests.post(f"http://127.0.0.1:{port}/model-serving/x:predict", json={"inputs": 1}, timeout=5)
    assert early.status_code == 503 and "Retry-After" in early.headers
    go.touch()
    starting.join(20)
    assert requests.get(found[0].url + "/health", timeout=5).status_code == 200


def test_sigterm_finishes_what_was_begun_and_then_ends_with_0(start_replica, predictor_dir, tmp_path, tools):
    process = start_replica(predictor_dir)
    started, go = tmp_path / "started", tmp_path / "go"
    answers = []
    body = {"inputs": {"wait_for": str(go), "started": str(started)}}
    work = threading.Thread(target=lambda: answers.append(predict(process, body)))
    work.start()
    tools.wait_until(started.exists)
    idle = socket.create_connection(("127.0.0.1", process.port), timeout=10)
    process.signal(signal.SIGTERM)
    tools.wait_until(lambda: requests.get(process.url + "/health", timeout=2).status_code == 503)
    idle.sendall(tools.post("/v1/models/m:classify", b"{}"))
    late = tools.read_all(idle)
    assert late.startswith(b"HTTP/1.1 400") and b"connection: close" in late
    idle.close()
    go.touch()
    work.join(20)
    assert answers[0].status_code == 200
    assert process.wait() == 0


def test_sigterm_with_nobody_there_ends_at_once_and_a_stuck_prediction_ends_after_the_grace(
    start_replica, predictor_dir, tmp_path, tools
):
    quick = start_replica(predictor_dir)
    began = time.monotonic()
    quick.signal(signal.SIGTERM)
    assert quick.wait() == 0
    assert time.monotonic() - began < 5
    stuck = start_replica(predictor_dir, "--grace", "0.5")
    started = tmp_path / "started"
    with socket.create_connection(("127.0.0.1", stuck.port), timeout=10) as connection:
        body = json.dumps({"inputs": {"wait_for": str(tmp_path / "never"), "started": str(started)}}).encode()
        connection.sendall(tools.post("/model-serving/x:predict", body))
        tools.wait_until(started.exists)
        stuck.signal(signal.SIGTERM)
        assert stuck.wait() == 0
