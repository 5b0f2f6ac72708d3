"""headway deploy against a real server: the page of truth, load that is kept as a run, and what is refused."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway import Client
from headway.cli.deploy_bench import histogram_lines
from headway.cli.deploy_show import alarm_of
from headway.domain.base import new_id
from headway.domain.deployments import Deployment
from headway.domain.latency import bucket_of
from headway.sdk.transport import MockTransport, Request, Response
from headway.testing.faults import until
from headway.testing.server import ServerProcess

Run = Callable[..., subprocess.CompletedProcess[str]]
WAIT = ("--wait", "--timeout", "90")
BELOW = "error: --max-replicas 2 is below --min-replicas 3."
PREDICT = """
class Predictor:
    def predict(self, inputs):
        if inputs == ["wrong"]:
            raise ValueError("not that one")
        return [2 * value for value in inputs]
"""


@pytest.fixture
def project(logged_in: ServerProcess, headway: Run, environment: dict[str, str], tmp_path: Path) -> str:
    """A project with the model ``double`` in it, named in the user's environment."""
    name = new_id("project")
    environment["HEADWAY_PROJECT"] = name
    headway("project", "create", name)
    (tmp_path / "double").mkdir()
    (tmp_path / "double" / "predict.py").write_text(PREDICT)
    done = headway("model", "register", "double", "double")
    assert done.returncode == 0, done.stderr
    return name


def ok(found: subprocess.CompletedProcess[str]) -> str:
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_show_is_the_page_of_truth(project: str, headway: Run) -> None:
    ok(headway("deploy", "create", "d", "--model", "double", "--replicas", "2", "--sticky", "X-User",
               "--guard", "error-rate=0.5,requests=7", *WAIT))  # fmt: skip
    for _ in range(3):
        ok(headway("predict", "d", "--data", '{"instances": [1]}'))

    def counted() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(ok(headway("deploy", "show", "d", "--json")))
        return found if found["traffic"]["total"]["requests"] >= 3 else None

    found = until(counted, 60, "the gateway's report")
    assert (found["revision"], found["pending"], found["pending_revision"]) == (1, None, None)
    assert found["guard"]["minimum_requests"] == 7
    assert [version["weight"] for version in found["versions"]] == [100]
    assert [replica["phase"] for replica in found["replicas"]] == ["running", "running"]
    [version] = found["traffic"]["versions"]
    assert (version["version"], version["error_rate"]) == ("v1", 0)
    assert found["execution"]["v1"] in ("loop", "thread")
    assert 0 < version["p50"] <= version["p95"] <= version["p99"]

    printed = ok(headway("deploy", "show", "d"))
    assert "double:v1" in printed
    assert "X-User" in printed
    assert "errors above 50%" in printed
    [line] = [line for line in printed.splitlines() if line.startswith("v1 ")]
    assert "100%" in line
    assert line.count(" ms") == 3
    assert sum(line.startswith("server-") and "running" in line for line in printed.splitlines()) == 2
    assert not re.search("^(deadline|max waiting|batching|alarm) ", printed, re.MULTILINE), "only what is not usual"

    logged = ok(headway("deploy", "logs", "d")).splitlines()
    assert {line.split(" | ")[0] for line in logged} == {replica["name"] for replica in found["replicas"]}
    second = ok(headway("deploy", "logs", "d", "--replica", "server-2")).splitlines()
    assert {line.split(" | ")[0] for line in second} == {"server-2"}
    assert ok(headway("deploy", "logs", "d", "--replica", "server-2", "--tail", "1")).splitlines() == second[-1:]
    assert headway("deploy", "logs", "d", "--replica", "server-2", "--attempt", "1").returncode == 2

    metrics = json.loads(ok(headway("deploy", "metrics", "d", "--since", "1h", "--json")))
    assert list(metrics["total"]["codes"]) == ["200"]
    assert sum(replica["requests"] for replica in metrics["replicas"]) == metrics["total"]["requests"] >= 3
    assert "codes" in ok(headway("deploy", "metrics", "d"))
    assert "double:v1" in ok(headway("deploy", "list"))


ANY = """
class Predictor:
    def predict(self, inputs):
        return inputs
"""


def test_predict_sends_whatever_the_endpoint_speaks(project: str, headway: Run, tmp_path: Path) -> None:
    (tmp_path / "any").mkdir()
    (tmp_path / "any" / "predict.py").write_text(ANY)
    ok(headway("model", "register", "any", "any"))
    ok(headway("deploy", "create", "d", "--model", "any", *WAIT))

    def asked(*arguments: str, **more: str) -> Any:
        return json.loads(ok(headway("predict", "d", *arguments, **more)))

    assert asked("--data", "[1, 2.5]") == [1, 2.5]
    assert asked("--data", "[1]", "--protocol", "plain") == [1]
    assert asked("--data", '{"instances": [123456789012345678]}') == {"predictions": [123456789012345678]}
    assert asked("--data", '{"inputs": 1}', "--protocol", "tensorflow") == {"outputs": 1}
    assert asked("--data", '{"dataframe_records": [{"a": 1}]}') == {"predictions": [{"a": 1}]}
    (tmp_path / "table.CSV").write_text("a,b\n1,x\n2.5,y\n")
    rows = [{"a": 1, "b": "x"}, {"a": 2.5, "b": "y"}]
    assert asked("--file", "table.CSV") == {"predictions": rows}
    assert asked("--csv", "--file", "-", input="a,b\n1,x\n2.5,y\n") == {"predictions": rows}
    tensors = json.dumps({"inputs": [{"name": "x", "shape": [2], "datatype": "INT64", "data": [1, 2]}]})
    for arguments in ((), ("--protocol", "openinference"), ("--version", "v1"), ("--version", "1")):
        answer = asked("--data", tensors, *arguments)
        assert [tensor["data"] for tensor in answer["outputs"]] == [[1, 2]], arguments
    refused = headway("predict", "d", "--data", tensors, "--protocol", "invocations", "--version", "1")
    assert refused.returncode == 2
    wrong = headway("predict", "d", "--data", "[1]", "--protocol", "invocations")
    assert (wrong.returncode, "must be an object" in wrong.stderr) == (2, True), wrong.stderr


def test_settings_are_shown_where_they_are_not_usual(project: str, headway: Run) -> None:
    ok(headway("deploy", "create", "d", "--model", "double", "--no-start", "--deadline", "7", "--max-waiting", "9",
               "--batching", "rows=8,wait-ms=2.5"))  # fmt: skip
    printed = ok(headway("deploy", "show", "d"))
    for said in (r"deadline\s+7 s", r"max waiting\s+9", r"batching\s+8 rows, waits 2.5 ms"):
        assert re.search(f"^{said}$", printed, re.MULTILINE), printed
    ok(headway("deploy", "update", "d", "--sticky", "X-User", "--guard", "none"))
    ok(headway("deploy", "update", "d", "--env", "A=1", "--rollout", "recreate", "--hedge-after", "0.2",
               "--reason", "because"))  # fmt: skip
    assert re.search(r"^hedge after\s+0.2 s$", ok(headway("deploy", "show", "d")), re.MULTILINE)
    assert re.search(r"^rollout\s+recreate$", ok(headway("deploy", "show", "d")), re.MULTILINE)
    refused = headway("deploy", "update", "d", "--rollout", "sideways")
    assert (refused.returncode, "rollout" in refused.stderr) == (2, True), refused.stderr
    rows = ok(headway("deploy", "revisions", "d")).splitlines()
    assert "CHANGED" in rows[0]
    assert "environment" in rows[1]
    assert "sticky, guard" in rows[2]
    assert not re.search("environment|sticky|guard", rows[3])
    [_, newest] = ok(headway("deploy", "revisions", "d", "--limit", "1")).splitlines()
    assert "environment" in newest, "also told from one that is not shown"


def test_an_alarm_of_the_guard_is_shown_with_its_reason() -> None:
    """Over a mock: nothing was taken back, for there was nothing to go back to."""
    time = "2026-01-02T03:04:05.678Z"
    record = {"id": "dep1", "project_id": "p", "name": "d", "run_id": "r", "versions": [], "endpoint": "http://e",
              "created_at": time, "created_by": "u", "state_changed_at": time, "revision": 2}  # fmt: skip
    revision = {"deployment_id": "dep1", "number": 2, "spec": {"versions": []}, "state": "live",
                "reason": "v1 answered 9% with errors", "created_at": time, "created_by": "u"}  # fmt: skip
    alarmed = {"sequence": 1, "time": time, "type": "deployment.guard_alarm", "subject_id": "dep1"}

    def shown(number: int) -> str | None:
        def handle(request: Request) -> Response:
            found: object = revision if "/revisions/2" in request.url else record
            if "/events" in request.url:
                assert "type=deployment.guard_alarm" in request.url
                assert "subject=dep1" in request.url
                found = {"items": [{**alarmed, "data": {"revision": number}}]}
            return Response(200, {}, json.dumps(found).encode())

        with Client("http://mock", "hw_x", "p", transport=MockTransport(handle)) as client:
            return alarm_of(client, Deployment.model_validate(record))

    assert shown(2) == "v1 answered 9% with errors"
    assert shown(1) is None, "an alarm of an earlier revision"


SLOW_START = """
import os, time
while not os.path.exists({gate!r}):
    time.sleep(0.05)
class Predictor:
    def predict(self, inputs):
        return [3 * value for value in inputs]
"""


def test_a_new_version_comes_up_beside_the_old_one(
    project: str, headway: Run, tmp_path: Path, logged_in: ServerProcess
) -> None:
    def answer() -> list[int]:
        found: list[int] = json.loads(ok(headway("predict", "d", "--data", '{"instances": [1]}')))["predictions"]
        return found

    def register(text: str) -> None:
        (tmp_path / "double" / "predict.py").write_text(text)
        ok(headway("model", "register", "double", "double"))

    gate = tmp_path / "gate"
    ok(headway("deploy", "create", "d", "--model", "double", *WAIT))
    register(SLOW_START.format(gate=str(gate)))
    assert "revision 2 pending" in ok(headway("deploy", "update", "d", "--traffic", "v1=75,v2=25"))
    late = headway("deploy", "update", "d", "--traffic", "v1=50,v2=50", "--wait", "--timeout", "0.5")
    assert (late.returncode, "Revision 3" in late.stderr) == (5, True), late.stderr
    found = json.loads(ok(headway("deploy", "show", "d", "--json")))
    assert (found["revision"], found["pending"], found["pending_revision"]["state"]) == (1, 3, "pending")
    assert "3: double:v1 50%, double:v2 50%" in ok(headway("deploy", "show", "d"))
    assert answer() == [2]

    gate.touch()
    with Client(logged_in.url, logged_in.token, project=project) as client:
        assert client.deployments.wait("d", revision=3, timeout=90).revision == 3
    changed = json.loads(ok(headway("deploy", "update", "d", "--model", "double:v2", *WAIT, "--json")))
    assert (changed["revision"], [version["version"] for version in changed["versions"]]) == (4, [2])
    assert answer() == [3]

    register("raise RuntimeError('no such weights')")
    broken = headway("deploy", "update", "d", "--model", "double:v3", *WAIT)
    assert broken.returncode == 1
    assert "Revision 5 of deployment 'd' failed" in broken.stderr
    assert "no such weights" in broken.stderr
    assert "Revision 4 still has the traffic" in broken.stderr
    assert answer() == [3]

    assert "revision 6 live: double:v1" in ok(headway("deploy", "rollback", "d", "--to", "1", *WAIT))
    assert answer() == [2]
    history = json.loads(ok(headway("deploy", "revisions", "d", "--json")))["items"]
    assert [(each["number"], each["state"]) for each in history][:3] == [
        (6, "live"),
        (5, "failed"),
        (4, "rolled_back"),
    ]
    assert "double:v1 75%, double:v2 25%" in ok(headway("deploy", "revisions", "d"))
    gone = headway("deploy", "rollback", "d", "--to", "99")
    assert (gone.returncode, gone.stdout) == (4, ""), gone.stderr


def test_bench_counts_every_request_and_is_kept_as_a_run(
    project: str, headway: Run, logged_in: ServerProcess, tmp_path: Path
) -> None:
    ok(headway("deploy", "create", "d", "--model", "double", *WAIT))
    (tmp_path / "body.json").write_text('{"instances": [1, 2]}')
    arguments = ("deploy", "bench", "d", "--rate", "30", "--seconds", "2", "--connections", "4", "--timeout", "60")
    done = headway(*arguments, "--data", "body.json", "--json")
    report = json.loads(ok(done))
    assert (report["requests"], report["answered"], report["errors"]) == (60, 60, 0)
    assert (report["codes"], report["versions"]) == ({"200": 60}, {"v1": 60})
    assert 0 < report["p50"] <= report["p95"] <= report["p99"] <= report["greatest"]
    assert done.stderr.count("is tracked at") == 1
    assert "\x1b" not in done.stdout + done.stderr

    with Client(logged_in.url, logged_in.token, project=project) as client:
        run = client.runs.get(report["run_id"])
        until(lambda: client.runs.get(run.id).state.value == "complete", 60, "the run's end")
        assert run.labels == ("bench", "d")
        config = run.config
        assert (config["deployment"], config["rate"], config["seconds"], config["serves"]) == ("d", 30, 2, "double:v1")
        assert config["body_bytes"] == len('{"instances": [1, 2]}')
        summary = {series.key: series.last for series in client.runs.summary(run.id)}
        for name in ("p50", "p95", "p99", "mean"):
            assert summary[name] == pytest.approx(report[name])
        assert (summary["answered"], summary["errors"]) == (60, 0)
        assert summary["rate"] == pytest.approx(report["rate"])
        assert sum(run.metrics("rate", stage="second").values) == 60
        [histogram] = run.entries(name="latency")
        assert json.loads(histogram.read())["count"] == 60

    printed = headway(*arguments, "--data", '{"instances": [1]}', "--version", "v1", "--no-keep")
    assert "60 due at 30/s for 2 s" in ok(printed)
    assert "100.0%" in printed.stdout
    assert "is tracked at" not in printed.stderr


def test_an_interrupted_bench_ends_at_once_and_so_does_its_run(
    project: str, headway: Run, environment: dict[str, str], logged_in: ServerProcess, tmp_path: Path
) -> None:
    ok(headway("deploy", "create", "d", "--model", "double", *WAIT))
    command = [sys.executable, "-m", "headway", "deploy", "bench", "d", "--rate", "5", "--seconds", "3600",
               "--data", '{"instances": [1]}']  # fmt: skip
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stderr is not None
        said = bench.stderr.readline()
        found = re.search(r"\((run\w+)\) is tracked at", said)
        assert found, said
        bench.send_signal(signal.SIGINT)
        printed, complaints = bench.communicate(timeout=120)
    assert (bench.returncode, printed) == (130, ""), complaints
    assert "Traceback" not in complaints
    with Client(logged_in.url, logged_in.token, project=project) as client:
        until(lambda: client.runs.get(found[1]).state.value not in ("running", "created"), 60, "the run's end")


def test_bench_says_what_the_model_refuses_before_any_load(project: str, headway: Run) -> None:
    ok(headway("deploy", "create", "d", "--model", "double", *WAIT))
    short = ("deploy", "bench", "d", "--rate", "10", "--seconds", "1")
    for arguments, code, named in (
        (("--data", '{"instances": ["wrong"]}'), 2, "not that one"),
        (("--data", '{"instances": [1]}', "--version", "v7"), 4, "7"),
        ((), 2, "does not say what it takes. Pass what to send"),
    ):
        found = headway(*short, *arguments)
        assert (found.returncode, found.stdout) == (code, ""), found.stderr
        assert named in found.stderr
        assert "is tracked at" not in found.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("update", "d"), "changes nothing"),
        (("update", "d", "--traffic", "v2"), "'v2' is not NAME=NUMBER. Write --traffic v2=90,v3=10."),
        (("update", "d", "--traffic", "v2=x"), "'v2=x' is not NAME=NUMBER"),
        (("update", "d", "--traffic", "v2=1,v2=2"), "twice"),
        (("update", "d", "--traffic", ""), "--traffic is empty"),
        (("update", "d", "--traffic", "v2=0"), "no version any traffic"),
        (("update", "d", "--traffic", "v2=1", "--model", "m"), "both model= and traffic="),
        (("update", "d", "--replicas", "v2"), "is not NAME=NUMBER"),
        (("update", "d", "--replicas", "0"), "replicas"),
        (("update", "d", "--guard", "eror-rate=1"), "Did you mean 'error-rate'?"),
        (("update", "d", "--guard", "error-rate=2"), "max_error_rate"),
        (("update", "d", "--batching", "row=1"), "Did you mean 'rows'?"),
        (("update", "d", "--trafic", "v2=1"), "--traffic"),
        (("rollback", "d", "--to", "0"), "--to"),
        (("metrics", "d", "--since", "yesterday"), "'yesterday' is no span of time"),
        (("metrics", "d", "--since", "0"), "no span of time"),
        (("bench", "d"), "--rate"),
        (("bench", "d", "--rate", "0"), "rate must be a number above 0"),
        (("bench", "d", "--rate", "10", "--seconds", "-1"), "seconds must be a number above 0"),
        (("bench", "d", "--rate", "1", "--connections", "0"), "connections must be"),
        (("create", "d", "--model", "m", "--replicas", "1", "--max-replicas", "2"), "either replicas= or scaling="),
        (("create", "d", "--model", "m", "--min-replicas", "3", "--max-replicas", "2"), BELOW),
        (("update", "d", "--min-replicas", "3", "--max-replicas", "2"), BELOW),
        (("update", "d", "--traffic", "v1=0.5"), "weights are whole numbers"),
        (("create", "d", "--model", "m", "--sticky", "no header"), "sticky"),
    ],
)
def test_what_is_wrong_is_said_without_a_server(headway: Run, arguments: tuple[str, ...], named: str) -> None:
    """The address leads nowhere: exit code 2 and not 3 shows that nobody was asked."""
    found = headway("deploy", *arguments, HEADWAY_URL="http://127.0.0.1:9", HEADWAY_TOKEN="hw_x", HEADWAY_PROJECT="p")
    assert (found.returncode, found.stdout) == (2, ""), found.stderr
    assert named in found.stderr


def test_a_histogram_is_drawn_in_few_lines() -> None:
    counts = {bucket_of(0.001): 90, bucket_of(0.1): 9, bucket_of(2.0): 1}
    lines = histogram_lines(counts, rows=8)
    assert len(lines) <= 8
    assert [int(line.split()[3]) for line in lines if line.split()[3] != "0"] == [90, 9, 1]
    assert lines[-1].split()[4] == "100.0%"
    assert histogram_lines({5: 3})[0].endswith("█" * 40)
