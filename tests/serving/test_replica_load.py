"""A replica under many requests at once: batches, deadlines, overload, and an end that loses nothing."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import requests

from headway.serving.__main__ import QUIET_SECONDS

PATH = "/v1/models/m:predict"

ROWS = """
class Predictor:
    batch = True

    def __init__(self):
        self.sizes = []

    def predict(self, rows):
        self.sizes.append(len(rows))
        if "sizes" in rows:
            return [self.sizes] * len(rows)
        if "bad" in rows:
            raise ValueError("a bad row")
        if "worse" in rows:
            raise RuntimeError("worse")
        return [row.upper() for row in rows]
"""


def answers_in(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Status, head and body of each answer."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        found.append((int(head[9:12]), head, rest[:length]))
        data = rest[length:]
    return found


def pipelined(tools, port, bodies, path=PATH, *headers):
    """Send all at once on one connection; the answers in order."""
    data = [tools.post(path, json.dumps(body).encode(), *headers) for body in bodies[:-1]]
    data.append(tools.post(path, json.dumps(bodies[-1]).encode(), "Connection: close", *headers))
    return answers_in(tools.raw(port, b"".join(data), seconds=30.0))


def metrics_of(process):
    text = requests.get(process.url + "/metrics", timeout=10).text
    return {key: float(value) for key, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")}


@pytest.fixture(scope="module")
def digits(start_replica, digits_dir):
    return start_replica(digits_dir)


@pytest.fixture(scope="module")
def rows(start_replica, tmp_path_factory):
    directory = tmp_path_factory.mktemp("rows")
    (directory / "predict.py").write_text(ROWS)
    return start_replica(directory)


@contextmanager
def busy(process, tmp_path, tools):
    """The model's thread works until the block ends."""
    started, go = tmp_path / "started", tmp_path / "go"
    body = {"inputs": {"wait_for": str(go), "started": str(started)}}
    work = threading.Thread(target=lambda: requests.post(process.url + PATH, json=body, timeout=60))
    work.start()
    tools.wait_until(started.exists)
    try:
        yield
    finally:
        go.touch()
        work.join(30)


def test_a_quick_model_is_called_on_the_loop_and_says_so(digits, tools):
    def moved():
        body = {"instances": [[0.0] * 64]}
        assert requests.post(digits.url + PATH, json=body, timeout=10).status_code == 200
        metadata = requests.get(digits.url + "/v1/models/m/metadata", timeout=10).json()["metadata"]
        return metadata["execution"] == "loop"

    tools.wait_until(moved, 30)
    assert metrics_of(digits)['headway_model_execution{where="loop"}'] == 1


def test_together_or_alone_the_answers_are_the_same_and_one_misfit_is_refused_alone(digits, tools):
    from sklearn.datasets import load_digits

    images = load_digits(return_X_y=True)[0]
    bodies = [{"instances": images[n : n + 1 + n % 3].tolist()} for n in range(50)]
    alone = [requests.post(digits.url + PATH, json=body, timeout=10).json()["predictions"] for body in bodies]
    before = metrics_of(digits)
    together = pipelined(tools, digits.port, [*bodies[:20], {"instances": [[1.0] * 63]}, *bodies[20:]])
    assert [status for status, _, _ in together] == [200] * 20 + [400] + [200] * 30
    del together[20]
    for (_, _, body), expected in zip(together, alone, strict=True):
        found = json.loads(body)["predictions"]
        assert [row["classes"] for row in found] == [row["classes"] for row in expected]
        for row, other in zip(found, expected, strict=True):
            assert row["probabilities"] == pytest.approx(other["probabilities"], abs=1e-9)
    after = metrics_of(digits)
    predicted = {
        key: after[key] - before[key] for key in ("headway_model_batch_rows_sum", "headway_model_batch_rows_count")
    }
    assert predicted["headway_model_batch_rows_sum"] == sum(len(body["instances"]) for body in bodies)
    assert predicted["headway_model_batch_rows_count"] < 50


def test_rows_of_several_requests_go_to_a_predict_py_that_takes_many_and_bad_ones_fail_alone(rows, tools):
    words = [f"word {n}" for n in range(40)]
    words[7], words[21] = "bad", "worse"
    found = pipelined(tools, rows.port, [{"instances": [word]} for word in words])
    for word, (status, _, body) in zip(words, found, strict=True):
        expected = {"bad": (400, {"error": "a bad row"}), "worse": (500, {"error": "RuntimeError: worse"})}
        assert (status, json.loads(body)) == expected.get(word, (200, {"predictions": [word.upper()]}))
    sizes = requests.post(rows.url + PATH, json={"instances": ["sizes"]}, timeout=10).json()["predictions"][0]
    assert max(sizes) > 1


def test_a_large_body_is_answered_like_a_small_one_and_refused_like_one(digits, rows):
    row = [float(n % 17) for n in range(64)]
    small = requests.post(digits.url + PATH, json={"instances": [row]}, timeout=30).json()["predictions"][0]
    large = requests.post(digits.url + PATH, json={"instances": [row] * 3000}, timeout=60).json()["predictions"]
    assert len(large) == 3000
    for found in (large[0], large[-1]):
        assert found["classes"] == small["classes"]
        assert found["probabilities"] == pytest.approx(small["probabilities"], abs=1e-9)
    misfit = requests.post(digits.url + PATH, json={"instances": [row] * 3000 + [row[1:]]}, timeout=60)
    assert misfit.status_code == 400 and misfit.json()["error"]
    deep = requests.post(rows.url + PATH, data=b"[" * 300_000, headers={"Content-Type": "application/json"}, timeout=30)
    assert deep.status_code == 400 and "JSON" in deep.json()["error"]
    words = ["x" * 1000] * 500
    answer = requests.post(rows.url + PATH, json={"instances": words}, headers={"X-Request-Id": "big"}, timeout=30)
    assert answer.json() == {"predictions": [word.upper() for word in words]}
    assert answer.headers["X-Request-Id"] == "big"


def test_a_request_id_comes_back_if_it_is_one_and_a_timeout_is_a_number(rows):
    def headers(given):
        return requests.post(rows.url + PATH, json={"instances": ["a"]}, headers=given, timeout=10)

    for name in ("7f-1", "x" * 128):
        assert headers({"X-Request-Id": name}).headers["X-Request-Id"] == name
    for name in ("a b", "x" * 129, "\xe4"):
        assert "X-Request-Id" not in headers({"X-Request-Id": name.encode("latin-1")}).headers
    assert headers({"X-Request-Timeout": "20.5"}).status_code == 200
    for wrong in ("soon", "-1", "0", "nan", "inf"):
        answer = headers({"X-Request-Timeout": wrong, "X-Request-Id": "me"})
        assert answer.status_code == 400 and "X-Request-Timeout" in answer.json()["error"]
        assert answer.headers["X-Request-Id"] == "me"


def test_a_deadline_that_passes_while_the_model_works_is_504_then_and_is_never_predicted(
    start_replica, predictor_dir, tmp_path, tools
):
    process = start_replica(predictor_dir)
    never = tmp_path / "never"
    with busy(process, tmp_path, tools):
        body = {"inputs": {"wait_for": str(tmp_path / "go"), "started": str(never)}}
        late = requests.post(process.url + PATH, json=body, headers={"X-Request-Timeout": "0.1"}, timeout=30)
        assert late.status_code == 504 and "deadline" in late.json()["error"]
        connection = socket.create_connection(("127.0.0.1", process.port), timeout=10)
        connection.sendall(tools.post(PATH, json.dumps(body).encode()))
        tools.wait_until(lambda: metrics_of(process)['headway_model_requests_in_flight{protocol="tensorflow"}'] == 2)
        connection.close()
        left = 'headway_model_requests_total{protocol="tensorflow",code="499"}'
        tools.wait_until(lambda: metrics_of(process).get(left) == 1)
    assert requests.post(process.url + PATH, json={"inputs": {"echo": 1}}, timeout=30).status_code == 200
    assert not never.exists()


def test_overload_is_refused_at_once_and_what_was_taken_is_answered(start_replica, predictor_dir, tmp_path, tools):
    process = start_replica(predictor_dir)
    each, clients = 60, []
    with busy(process, tmp_path, tools):
        request = tools.post(PATH, b'{"inputs":{"echo":1}}')
        for _ in range(20):
            clients.append(socket.create_connection(("127.0.0.1", process.port), timeout=60))
            clients[-1].sendall(request * each)
        code = 'headway_model_requests_total{protocol="tensorflow",code="503"}'
        tools.wait_until(lambda: metrics_of(process).get(code) == 20 * each - 1023, 30)
        assert metrics_of(process)['headway_model_requests_in_flight{protocol="tensorflow"}'] == 1024
        assert requests.get(process.url + "/health", timeout=10).status_code == 200
    statuses = []
    for client in clients:
        data = b""
        while data.count(b"HTTP/1.1 ") < each or not data.endswith(b"}"):
            part = client.recv(1 << 20)
            assert part
            data += part
        client.close()
        for status, head, _ in answers_in(data):
            statuses.append(status)
            assert status == 200 or b"Retry-After" in head
    assert (statuses.count(200), statuses.count(503)) == (1023, 20 * each - 1023)


def test_sigterm_under_load_loses_no_request(start_replica, digits_dir, tools):
    process = start_replica(digits_dir)
    going, failures, served = threading.Event(), [], []

    def client() -> None:
        session = requests.Session()
        answered = time.monotonic()
        try:
            while True:
                answer = session.post(process.url + PATH, json={"instances": [[1.0] * 64]}, timeout=30)
                assert answer.status_code == 200
                answered = time.monotonic()
                served.append(1)
                if len(served) > 100:
                    going.set()
                if answer.headers.get("Connection") == "close":
                    return
        except (AssertionError, requests.RequestException) as error:
            # An idle connection is kept for a second after SIGTERM; who was kept from its turn for longer finds it closed.
            if isinstance(error, AssertionError) or time.monotonic() - answered < QUIET_SECONDS:
                failures.append(error)
        finally:
            session.close()

    clients = [threading.Thread(target=client) for _ in range(6)]
    for each in clients:
        each.start()
    assert going.wait(60)
    process.signal(signal.SIGTERM)
    for each in clients:
        each.join(60)
    assert failures == []
    assert process.wait(60) == 0


def test_labels_and_batching_come_from_the_environment(spawn, tmp_path, tools):
    (tmp_path / "predict.py").write_text(ROWS)
    environment = {
        "HEADWAY_MODEL_DIR": str(tmp_path),
        "HEADWAY_MODEL_NAME": "m",
        "HEADWAY_MODEL_LABELS": "stable,best",
        "HEADWAY_BATCHING": '{"max_rows": 1, "max_wait_ms": 0.0}',
    }
    process = spawn("headway.serving", environment=environment)
    found = pipelined(tools, process.port, [{"instances": ["a"]}] * 20, "/v1/models/m/labels/best:predict")
    assert [status for status, _, _ in found] == [200] * 20
    sizes = requests.post(process.url + PATH, json={"instances": ["sizes"]}, timeout=10).json()["predictions"][0]
    assert set(sizes) == {1} and len(sizes) == 21
    other = requests.post(process.url + "/v1/models/m/labels/old:predict", json={}, timeout=10)
    assert other.status_code == 404 and "old" in other.json()["error"]
    below = requests.post(
        process.url + "/model-serving/d/v1/models/x/labels/new:predict", json={"instances": ["a"]}, timeout=10
    )
    assert below.json() == {"predictions": ["A"]}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"max_rows": 0}', '{"max_rows": true}', '{"max_wait_ms": 1e9}', '{"max_wait_ms": "1"}']
)
def test_batching_that_is_none_is_said_at_the_start(spawn, predictor_dir, text):
    process = spawn("headway.serving", "--model-dir", str(predictor_dir), "--batching", text)
    assert process.wait() == 2
    assert "is not how requests are batched" in process.log.read_text()
