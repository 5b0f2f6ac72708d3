"""Every example runs by itself against a server and prints what it promises."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import headway
from headway.testing.server import ServerProcess

ROOT = Path(__file__).parents[2]
Script = Callable[..., str]


def test_track_needs_no_server(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")}
    command = [sys.executable, str(ROOT / "examples" / "track.py"), "--epochs", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^run \w+: 40 steps, accuracy 0\.\d+$", done.stdout, re.MULTILINE)
    (run,) = headway.local_runs(tmp_path / ".headway")
    assert run.config["epochs"] == 2
    assert len(run.metrics("accuracy", stage="val").values) == 2
    assert run.state.value == "complete"


def test_submit_and_follow(script: Script) -> None:
    printed = script("examples/submit_and_follow.py")

    assert "worker-0   1 | step 1 of 3" in printed
    assert "worker-1   3 | step 3 of 3" in printed
    assert "succeeded; it left [" in printed
    assert "report.txt" in printed.splitlines()[-1]


def test_watch_states(script: Script) -> None:
    printed = script("examples/watch_states.py")

    moves = re.findall(r"^\d\d:\d\d:\d\d (.+?) -> (.+?)  ", printed, re.MULTILINE)
    assert [move[1] for move in moves][-2:] == ["running", "succeeded"]
    assert moves[0][0] == "created"


def test_register_deploy_and_predict(script: Script) -> None:
    printed = script("examples/register_and_deploy.py")
    assert "served by the sklearn runtime" in printed
    asked, answered = re.findall(r"\[(.*?)\]", printed.splitlines()[-1])
    assert asked == answered

    name = re.search(r"^(digits-regression-v\d+) is running", printed, re.MULTILINE)
    assert name
    for arguments in ((), (name[1],)):
        printed = script("examples/predict.py", *arguments)
        assert f"{name[1]} sees a 5" in printed
        assert "HTTP 200: " in printed


def test_a_canary_gets_its_share_and_is_taken_back(script: Script) -> None:
    first, asked, switched, back, *revisions = script("examples/canary.py").splitlines()

    seen = re.fullmatch(r"of 300 requests (\d+) went to the canary v\d+", first)
    assert seen
    assert 5 <= int(seen[1]) <= 70, "a tenth, give or take five standard deviations"
    assert asked.endswith("says 21")
    assert (switched, back) == ("now all say 21", "rolled back, and all say 14")
    assert [line.split(":")[0] for line in revisions] == [f"revision {number}" for number in (4, 3, 2, 1)]
    assert "(live)" in revisions[0]
    assert revisions[0].endswith("not what was meant")


def test_git_workspace(script: Script) -> None:
    printed = script("examples/git_workspace.py").splitlines()

    assert printed[0] == "this is the first commit"
    assert printed[1].endswith(" first")
    assert printed[-1] == "succeeded"


def test_the_job_file_of_the_digits_works_from_the_command_line(example_server: ServerProcess, tmp_path: Path) -> None:
    with headway.Client(example_server.url, example_server.token) as client:
        project = client.projects.create("digits from the command line")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")},
        "HEADWAY_URL": example_server.url,
        "HEADWAY_TOKEN": example_server.token,
        "HEADWAY_PROJECT": project.id,
    }

    def headway_command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "headway", *arguments],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    digits = ROOT / "examples" / "digits"
    job = json.loads(headway_command("job", "submit", "-f", str(digits / "job.yaml"), "--json"))["id"]
    assert "epoch 30/30" in headway_command("job", "logs", "-f", job)
    headway_command("deploy", "create", "digits", "--model", "digits", "--replicas", "2")
    answer = json.loads(headway_command("predict", "digits", "--file", str(digits / "digit.json")))
    assert answer["outputs"]["classes"] == [5]


class Demo:
    """The demo as a process of its own, with its data directory where the test can look for leftovers."""

    def __init__(self, tmp_path: Path) -> None:
        self.temporary = tmp_path / "tmp"
        self.temporary.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")}
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(ROOT / "examples" / "demo.py")],
            cwd=tmp_path,
            env={**kept, "TMPDIR": str(self.temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def leftovers(self) -> list[list[str]]:
        """Command lines of processes that belong to the demo's directory."""
        found = []
        for process in psutil.process_iter():
            try:
                about = " ".join(process.cmdline()) + " ".join(process.environ().values())
                if str(self.temporary) in about:
                    found.append(process.cmdline())
            except psutil.Error:
                continue
        return found


def test_the_demo_goes_the_whole_way_and_leaves_nothing(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    printed, complaints = demo.process.communicate(timeout=200)

    assert (demo.process.returncode, complaints) == (0, ""), printed
    states = re.findall(r"^     state > (.+?)  ", printed, re.MULTILINE)
    assert states == [
        *(
            "created",
            "queued",
            "provisioning",
            "provisioned",
            "network setting up",
            "network setup",
            "running",
            "succeeded",
        ),
    ]
    for replica in ("worker-0", "worker-1", "ps-0"):
        assert re.search(rf"^ +{replica} \| ", printed, re.MULTILINE)
    assert printed.count("hw_") == 1
    assert "\x1b" not in printed
    assert "models:/digits/1" in printed
    assert "predicted 5, true 5" in printed
    assert demo.leftovers() == []
    assert [path for path in demo.temporary.iterdir() if path.name.startswith("headway-demo-")] == []


@pytest.mark.parametrize(("sign", "moment"), [(signal.SIGINT, "state > running"), (signal.SIGTERM, "is starting")])
def test_an_interrupted_demo_leaves_nothing_either(tmp_path: Path, sign: signal.Signals, moment: str) -> None:
    demo = Demo(tmp_path)
    assert demo.process.stdout is not None
    for line in demo.process.stdout:
        if moment in line:
            break
    demo.process.send_signal(sign)
    demo.process.communicate(timeout=100)

    assert demo.process.returncode in (130, 143)
    assert demo.leftovers() == []
    assert [path for path in demo.temporary.iterdir() if path.name.startswith("headway-demo-")] == []


def test_the_submit_benchmark_writes_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "submit.py"), "--repetitions", "2", "--output", "result.json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert json.loads(done.stdout) == result
    assert len(result["seconds"]) == 2
    assert 0 < result["median_seconds"] <= result["p90_seconds"]
