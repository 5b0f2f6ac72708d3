"""Models that bring their own program: started, waited for, passed through to, and ended with the replica."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headway.errors import ModelLoadError
from headway.kinship import process_table, wait_ended
from headway.ports import lease_port
from headway.serving.passthrough import inner_path
from headway.serving.runtimes.command import ServingCommand, read_command

SERVER = """
import json, os, signal, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/wait":
            open("waiting", "w").close()
            while not os.path.exists("go"): time.sleep(0.01)
        if self.path == "/die": os._exit(7)
        if self.path == "/healthz" and os.path.exists("sick"): status = 500
        elif self.path == "/teapot": status = 418
        elif self.path == "/strange": status = 799
        else: status = 200
        if self.path == "/garbage":
            self.wfile.write(b"this is no answer\\r\\n\\r\\n")
            self.close_connection = True
            return
        said = {"method": self.command, "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()},
                "body": body.decode("latin-1"), "pid": os.getpid(), "arguments": sys.argv[1:], "port": os.environ["PORT"],
                "python": sys.executable, "directory": os.getcwd()}
        data = json.dumps(said).encode()
        self.send_response(status, "strange")
        self.send_header("Content-Type", "application/vnd.mine+json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Mine", "yes")
        self.end_headers()
        self.wfile.write(data)
    do_GET = do_POST = do_PUT = do_DELETE = answer

while os.path.exists("not-yet"): time.sleep(0.01)
if "--stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "--child" in sys.argv:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    open("child", "w").write(str(child.pid))
open("pid", "w").write(str(os.getpid()))
ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "server.py").write_text(SERVER)
    write(directory, command=["python", "server.py", "{host}", "{port}", "at={model_dir}"], health="/healthz")
    return directory


def write(directory, **settings):
    (directory / "serving.yaml").write_text(json.dumps(settings))
    return directory


def ask(replica, path, method="GET", body=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=30)
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response, text


def said(replica, path, **more):
    response, text = ask(replica, path, **more)
    assert response.status == 200, text
    return json.loads(text)


def start(spawn, model, *arguments):
    return spawn("headway.serving", "--model-dir", str(model), "--name", "mine", "--version", "4", *arguments)


def alive(pid):
    entry = process_table().get(pid)
    return entry is not None and not entry.zombie


def test_a_request_reaches_the_program_as_it_is(model, spawn):
    replica = start(spawn, model)
    response, text = ask(
        replica,
        "/own/path%20x?q=1&q=2",
        "PUT",
        b"\x00\xffbytes",
        {"X-Own": "a", "Content-Type": "image/x", "Cookie": "c=1"},
    )
    got = json.loads(text)
    assert (got["method"], got["path"], got["body"]) == ("PUT", "/own/path%20x?q=1&q=2", "\x00ÿbytes")
    assert got["headers"]["x-own"] == "a"
    assert got["headers"]["content-type"] == "image/x"
    assert got["headers"]["cookie"] == "c=1"
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/vnd.mine+json"
    assert response.headers["X-Mine"] == "yes"


def test_the_program_is_started_as_the_file_says(model, spawn):
    replica = start(spawn, model)
    got = said(replica, "/")
    assert got["arguments"] == ["127.0.0.1", got["port"], f"at={model}"]
    assert int(got["port"]) != replica.port
    assert got["directory"] == str(model)
    assert Path(got["python"]).parent == Path(sys.executable).parent


def test_answers_come_back_with_their_status(model, spawn):
    response, text = ask(start(spawn, model), "/teapot", "POST", b"")
    assert (response.status, json.loads(text)["path"]) == (418, "/teapot")


def test_health_is_that_of_the_program(model, spawn):
    replica = start(spawn, model)
    response, text = ask(replica, "/health")
    assert (response.status, json.loads(text)) == (200, {"status": "ok", "model": "mine", "version": 4})
    (model / "sick").touch()
    response, text = ask(replica, "/health")
    assert (response.status, json.loads(text)["status"]) == (503, "unhealthy")
    (model / "sick").unlink()
    assert ask(replica, "/health")[0].status == 200
    said(replica, "/x")
    assert b'headway_model_requests_total{code="200"} 1' in ask(replica, "/metrics")[1]


def test_until_the_program_answers_the_replica_is_loading(model, tmp_path, tools):
    (model / "not-yet").touch()
    port = lease_port("127.0.0.1")
    replica = subprocess.Popen(
        [sys.executable, "-m", "headway.serving", "--model-dir", str(model), "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        answer = tools.wait_until(lambda: answer_of(port, "/health"), 60, "the replica's port")
        assert answer == (503, {"status": "loading", "model": "model", "version": 1})
        assert answer_of(port, "/x") == (503, {"error": "The model is being loaded."})
        (model / "not-yet").unlink()
        assert replica.stdout.readline().startswith("Serving model")
        assert answer_of(port, "/health")[0] == 200
    finally:
        replica.terminate()
        assert replica.wait(30) == 0
        replica.stdout.close()


def test_a_replica_that_is_stopped_while_its_program_starts_takes_it_along(model, tools):
    (model / "not-yet").touch()
    write(
        model,
        command=[
            "python",
            "-c",
            "import os; open('early', 'w').write(str(os.getpid())); exec(open('server.py').read())",
        ],
    )
    replica = subprocess.Popen([sys.executable, "-m", "headway.serving", "--model-dir", str(model)])
    pid = int(tools.wait_until(lambda: (model / "early").exists() and (model / "early").read_text(), 60, "the program"))
    replica.terminate()
    assert replica.wait(30) == 0
    assert not alive(pid)


def answer_of(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except ConnectionError:
        return None
    finally:
        connection.close()


def test_when_the_program_ends_the_replica_ends_with_the_reason(model, spawn):
    replica = start(spawn, model)
    response, text = ask(replica, "/die")
    assert response.status == 502
    assert "did not answer" in json.loads(text)["error"]
    assert replica.wait() == 3
    assert "The model is served no longer: The command ended with exit code 7." in replica.log.read_text()


@pytest.mark.parametrize("stubborn", [False, True], ids=["polite", "stubborn"])
def test_the_program_and_its_children_end_with_the_replica(model, spawn, stubborn):
    more = ["--child", "--stubborn"] if stubborn else ["--child"]
    write(model, command=["python", "server.py", "{host}", "{port}", *more], health="/healthz")
    replica = start(spawn, model, "--grace", "1" if stubborn else "30")
    pids = [int((model / name).read_text()) for name in ("pid", "child")]
    assert all(map(alive, pids))
    replica.signal(signal.SIGTERM)
    assert replica.wait() == 0
    assert not any(map(alive, pids))


def test_a_killed_replica_leaves_no_program_behind(model, spawn):
    replica = start(spawn, model)
    pid = int((model / "pid").read_text())
    table = process_table()
    replica.signal(signal.SIGKILL)
    replica.wait()
    wait_ended([table[pid]], 30)
    assert not alive(pid)


def test_a_request_under_way_is_finished_before_the_program_ends(model, spawn, tools):
    replica = start(spawn, model)
    got = []
    thread = threading.Thread(target=lambda: got.append(said(replica, "/wait")))
    thread.start()
    tools.wait_until(lambda: (model / "waiting").exists(), 30, "the request")
    replica.signal(signal.SIGTERM)
    (model / "go").touch()
    thread.join(30)
    assert got[0]["path"] == "/wait"
    assert replica.wait() == 0


@pytest.mark.parametrize("path", ["/garbage", "/strange"])
def test_an_answer_that_is_none_is_502_and_the_replica_lives(model, spawn, path):
    replica = start(spawn, model)
    response, text = ask(replica, path)
    assert response.status == 502
    assert json.loads(text)["error"].startswith("The model's program")
    assert said(replica, "/x")["path"] == "/x"


def test_requests_of_foreign_pages_and_hosts_do_not_reach_the_program(model, spawn):
    replica = start(spawn, model)
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert ask(replica, "/x", "POST", b"{}", headers)[0].status == 421


def test_a_head_is_answered_without_a_body(model, spawn):
    replica = start(spawn, model)
    response, text = ask(replica, "/x", "HEAD")
    assert (response.status, text) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("path", "protocol", "inner"),
    [
        ("/own", "plain", "/own"),
        ("/v1/models/x:predict", "tensorflow", "/v1/models/x:predict"),
        ("/model-serving/dep/own/path", "plain", "/own/path"),
        ("/model-serving/dep:predict", "plain", "/predict"),
        ("/model-serving/dep%3Apredict", "plain", "/predict"),
        ("/model-serving/dep:predict", "invocations", "/invocations"),
        ("/model-serving/dep:classify", "tensorflow", "/v1/models/my%20model:classify"),
        ("/model-serving/dep/metadata", "tensorflow", "/metadata"),
        ("/model-serving/dep:predict", "openinference", "/v2/models/my%20model/infer"),
        ("/model-serving/dep", "openinference", "/v2/models/my%20model"),
        ("/model-serving/dep", "plain", "/"),
    ],
)
def test_the_path_of_a_deployment_leads_to_what_the_program_offers(path, protocol, inner):
    assert inner_path(path, protocol, "my model") == inner


def test_what_a_file_says(tmp_path):
    assert read_command(tmp_path) is None
    assert read_command(write(tmp_path, project="digits", url="http://x")) is None
    assert read_command(write(tmp_path, command=["a", 8080])) == ServingCommand(("a", "8080"), "/health", "plain")
    filled = ServingCommand(("x", "--at={host}:{port}", "{model_dir}/w", '{"json": {port}}')).filled("h", 7, tmp_path)
    assert filled == ["x", "--at=h:7", f"{tmp_path}/w", '{"json": 7}']


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"image": "vllm"}, "names an image; serving from a container is not offered"),
        ({"image": "vllm", "command": ["a"]}, "names an image"),
        ({"command": "python server.py"}, "'command' must be a list of words"),
        ({"command": []}, "'command' must be a list"),
        ({"command": [["a"]]}, "'command' must be a list"),
        ({"command": ["a"], "health": "healthz"}, "'health' must be a path"),
        ({"command": ["a"], "health": "/a b"}, "'health' must be a path"),
        ({"command": ["a"], "protocol": "grpc"}, "'protocol' must be one of plain"),
        ({"command": ["a"], "prot": "plain"}, "unknown beside 'command': prot"),
    ],
)
def test_what_a_file_says_wrongly_is_named(tmp_path, settings, reason):
    with pytest.raises(ModelLoadError, match=reason):
        read_command(write(tmp_path, **settings))


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    (tmp_path / "serving.yaml").write_text("command: [a\n")
    with pytest.raises(ModelLoadError, match="not valid YAML"):
        read_command(tmp_path)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["no-such-program-here"], "The command 'no-such-program-here' cannot be started: .*No such file"),
        (["python", "-c", "raise SystemExit(5)"], r"The command ended with exit code 5 before it answered\."),
        (
            ["python", "-c", "import os; os.kill(os.getpid(), 9)"],
            r"The command was ended by SIGKILL before it answered\.",
        ),
    ],
)
def test_a_command_that_does_not_come_up_is_the_reason(tmp_path, command, reason):
    done = subprocess.run(
        [sys.executable, "-m", "headway.serving", "--model-dir", str(write(tmp_path, command=command))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert re.search(f"The model cannot be served: {reason}", done.stderr.splitlines()[-1])


def test_a_file_without_a_command_leaves_the_model_to_its_files(tmp_path, spawn):
    write(tmp_path, project="digits")
    (tmp_path / "predict.py").write_text("class Predictor:\n    def predict(self, x): return x")
    assert (
        said(start(spawn, tmp_path), "/predict", method="POST", body=b"5", headers={"Content-Type": "application/json"})
        == 5
    )
