"""What does not fit, what is malicious and what is broken: refused with the reason, and the replica lives."""

from __future__ import annotations

import json
import pickle
import socket
import statistics
import threading
import time
from pathlib import Path

import pytest
import requests
from sklearn.datasets import load_digits

from headway.domain.deployments import RouteTable
from headway.testing.faults import FULL, repetitions

SOON_SECONDS = 0.1
"""Within which what is wrong is answered, as a median; told only with full counts, since a machine may be busy."""
IMAGES = load_digits(return_X_y=True)[0]
ROW = IMAGES[0].tolist()
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def digits(start_replica, digits_dir):
    return start_replica(digits_dir, name="digits")


@pytest.fixture(scope="module")
def gateway(spawn, tools, digits, tmp_path_factory):
    """In front of that replica, with its routes from a file."""
    return gateway_before(spawn, tmp_path_factory.mktemp("server"), tools.route("dep1", (1, 1, {"a": digits.address})))


def gateway_before(spawn, root, *routes):
    directory = root / "gateway"
    directory.mkdir(mode=0o700)
    (directory / "routes.json").write_text(RouteTable(version=1, routes=routes).model_dump_json())
    return spawn("headway.serving.gateway", "--directory", str(directory))


@pytest.fixture(scope="module", params=["replica", "gateway"])
def door(request, digits, gateway):
    """Where a client knocks: at the replica itself, and at the gateway in front of it."""
    return digits if request.param == "replica" else gateway


def post(door, data, path="/model-serving/dep1:predict", **headers):
    return requests.post(door.url + path, data=data, headers={**JSON, **headers}, timeout=30)


def lives(door, digits):
    assert digits.popen.poll() is None
    answer = post(door, json.dumps({"instances": [ROW]}))
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["classes"] == 0


def refused(door, digits, data, statuses=(400,), path="/model-serving/dep1:predict", **headers):
    """The reason in words; and the same process predicts afterwards."""
    answer = post(door, data, path, **headers)
    assert answer.status_code in statuses, answer.text[:300]
    error = answer.json()["error"]
    assert error and "Traceback" not in error
    lives(door, digits)
    return error


# What does not fit the model.


@pytest.mark.parametrize(
    ("instances", "said"),
    [
        ([ROW[:63]], "64"),
        ([[*ROW, 1.0]], "64"),
        ([ROW, ROW[:10]], ""),
        ([[ROW]], ""),
        (ROW, ""),
        ([], ""),
        ([["a"] * 64], ""),
        ([[None] * 64], ""),
        ([[{"b64": "AAAA"}] * 64], ""),
        ([{"nothing": ROW}], "nothing"),
        ("text", ""),
        (7, ""),
        (None, ""),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_shape_type_or_name_is_400_with_the_reason(door, digits, instances, said):
    assert said in refused(door, digits, json.dumps({"instances": instances}))


@pytest.mark.parametrize("body", [{}, {"instances": [ROW], "inputs": [ROW]}, {"instances": [ROW], "signature_name": 3}])
def test_a_body_of_a_wrong_form_is_400(door, digits, body):
    refused(door, digits, json.dumps(body))


# What is no JSON, and too much of it.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"instances": [[NaN]]}',
        b'{"instances": [[Infinity]]}',
        b'{"instances": [[-Infinity]]}',
        b'{"instances": [[nan]]}',
        b'{"instances": [[1e999]]}',
        b'{"instances": [["\xff\xfe"]]}',
        b'{"instances": ["\\ud800"]}',
        b'{"instances": [[01]]}',
        b'{"instances": [[1,]]}',
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.",
        b"\x00" * 1000,
        b"[" * 100_000,
        b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"instances": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"instances": [[' + b"9" * 100_000 + b"]]}",
        b'{"instances": [[' + b"1" * 5_000 + b'e-5000, "x"]]}',
    ],
    ids=lambda data: f"{len(data)} bytes {data[:24]!r}",
)
def test_what_is_no_json_or_no_number_is_400_however_deep(door, digits, data):
    refused(door, digits, data)


def test_a_body_of_100_megabytes_without_a_length_is_413(door, digits, tools):
    head = tools.post("/model-serving/dep1:predict", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as connection:
        try:
            connection.sendall(head)
            for _ in range(100):
                connection.sendall(chunk)
        except ConnectionError:
            pass  # it does not read what it has refused
        else:
            connection.sendall(b"0\r\n\r\n")
        assert tools.read_all(connection)[:13] in (b"HTTP/1.1 413 ", b"")
    lives(door, digits)


@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "1e999", "x", "9" * 400])
def test_a_deadline_that_is_none_is_400(door, digits, value):
    refused(door, digits, json.dumps({"instances": [ROW]}), **{"X-Request-Timeout": value})


def test_a_request_id_that_could_forge_a_header_or_a_line_of_the_log_is_replaced(gateway, digits, tools):
    long = "x" * 129
    for identity in (long, "a b", "ä"):
        headers = {"X-Request-Id": identity.encode("utf-8")}
        answer = requests.post(
            gateway.url + "/model-serving/dep1:predict", json={"instances": [ROW]}, headers=headers, timeout=30
        )
        assert answer.status_code == 200
        assert answer.headers["X-Request-Id"] not in ("", identity)
    kept = post(gateway, json.dumps({"instances": [ROW]}), **{"X-Request-Id": "my-id"})
    assert kept.headers["X-Request-Id"] == "my-id"
    lives(gateway, digits)


# Models that are attacks.


class Touch:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["model.skops", "model.pkl", "model.joblib", "model.pt", "model.pickle", "model.onnx"])
def test_a_model_that_is_a_pickle_is_refused_in_one_line_and_never_loaded(start_replica, tmp_path, name):
    model, mark = tmp_path / "model", tmp_path / "mark"
    model.mkdir()
    (model / name).write_bytes(pickle.dumps(Touch(mark)))
    process = start_replica(model)
    assert process.wait() == 3
    lines = process.log.read_text().splitlines()
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    assert not mark.exists()


# Replicas that answer garbage.


class Impostor:
    """Listens as a replica does; well when it is asked for its health, and else as it was told."""

    def __init__(self, answer: bytes, *, linger: bool) -> None:
        self.answer, self.linger, self.asked = answer, linger, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self._answer(connection):
                    pass
            except OSError:
                return

    def _answer(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return False
            data += part
        if data.startswith((b"GET /health", b"HEAD /health")):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
            return True
        self.asked += 1
        connection.sendall(self.answer)
        if self.linger:
            connection.recv(1)
        return self.linger

    def close(self) -> None:
        self._listener.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GARBAGE = {
    "nothing": b"",
    "no HTTP": b"\x00\xff garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "half a status": b"HTTP/1.1 2",
    "no status": b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "half a head": OK + b"Content-Le",
    "half a body": OK + b"Content-Length: 100\r\n\r\n{}",
    "a wrong length": OK + b"Content-Length: x\r\n\r\n{}",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "wrong chunks": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "half of the chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "a header without end": OK + b"X: " + b"x" * 2_000_000,
    "a NUL in a header": OK + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "a folded header": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "another protocol after 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=list(GARBAGE))
def test_a_replica_that_answers_garbage_costs_its_own_request_and_no_other(spawn, tools, digits, tmp_path, garbage):
    impostor = Impostor(garbage, linger=False)
    bad = tools.route("bad", (1, 1, {"x": impostor.address}), name="bad")
    good = tools.route("dep1", (1, 1, {"a": digits.address}))
    gateway = gateway_before(spawn, tmp_path, bad, good)
    waited = []
    with requests.Session() as session:
        for _ in range(repetitions(2, 20)):
            url, began = f"{gateway.url}/model-serving/bad:predict", time.perf_counter()
            answer = session.post(url, json={"instances": [1]}, headers={"X-Request-Timeout": "5"}, timeout=30)
            waited.append(time.perf_counter() - began)
            assert answer.status_code in (502, 503), answer.text[:300]
            assert answer.json()["error"]
            good = session.post(f"{gateway.url}/model-serving/dep1:predict", json={"instances": [ROW]}, timeout=30)
            assert good.status_code == 200
            assert good.json()["predictions"][0]["classes"] == 0
    print(f"502 after {statistics.median(waited) * 1000:.1f} ms, at most {max(waited) * 1000:.1f} ms")
    assert impostor.asked >= 1
    assert not FULL or statistics.median(waited) <= SOON_SECONDS
    assert gateway.popen.poll() is None
    impostor.close()


def test_an_answer_that_was_not_asked_for_is_given_to_nobody(spawn, tools, tmp_path):
    """A second answer behind the first must not become the answer to the next request on that connection."""
    first = OK + b"Content-Length: 5\r\n\r\nfirst"
    second = OK + b"Content-Length: 6\r\n\r\nstolen"
    impostor = Impostor(first + second, linger=True)
    gateway = gateway_before(spawn, tmp_path, tools.route("dep1", (1, 1, {"x": impostor.address})))
    with requests.Session() as session:
        for _ in range(5):
            answer = session.post(f"{gateway.url}/model-serving/dep1:predict", json={"instances": [1]}, timeout=30)
            assert b"stolen" not in answer.content
            assert answer.content == b"first" or answer.status_code in (502, 503)
    impostor.close()
