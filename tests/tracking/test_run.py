"""A run in the program that trains: what may be said of it, and by whom."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

import headway
from headway.domain.runs import RunState
from headway.errors import ConflictError, InvalidRequestError
from headway.journal.codec import KIND_LOG
from headway.journal.reader import read_frames
from headway.testing.faults import repetitions
from headway.testing.trainers import QUIET, environment, only_run, steps, train
from headway.tracking.local import LocalRun
from headway.tracking.media import Text

OFF: dict[str, Any] = {"capture": False, "console": False, "system": False}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADWAY_DIR", str(tmp_path / "runs-of-a-test"))
    return tmp_path / "runs-of-a-test"


def test_both_spellings_of_a_call_are_the_same(base: Path) -> None:
    with headway.init(**OFF) as run:
        run.log(type="train", metrics={"loss": 0.5}, step=1, epoch=1)
        run.log({"loss": 0.25}, step=2, stage="training")
        run.log({"loss": 0.1}, 3, type="train", stage="train")
        run.log({"loss": numpy.array([7.0])})
        with pytest.raises(InvalidRequestError, match="type is 'train' and stage is 'val'"):
            run.log({"loss": 1.0}, type="train", stage="val")
    found = only_run(base)
    assert found.metrics("loss", "training").values == [0.5, 0.25, 0.1]
    assert found.metrics("loss", "train").epochs == [1.0, None, None]
    assert found.metrics("loss").values == [7.0]
    assert found.summary()["train.loss"].last == 0.1


@pytest.mark.parametrize(
    "bad",
    [{"x": "text"}, {"x": [1, 2, 3]}, {"x": None}, {"x": object()}, {"a\0b": 1}, {3: 1}, None, [1], {"y": 1, "x": ""}],
)
def test_what_cannot_be_stored_is_named_and_nothing_is(base: Path, bad: Any) -> None:
    with headway.init(**OFF) as run, pytest.raises(InvalidRequestError):
        run.log(bad, step=1)
    assert only_run(base).series() == []


def test_media_are_entries_beside_numbers(base: Path) -> None:
    with headway.init(**OFF) as run:
        run.log({"loss": 0.5, "note": Text("hello"), "more": [Text("a"), Text("b")]}, step=3, stage="val")
        with pytest.raises(InvalidRequestError):
            run.log({"loss": 0.5, "note": Text("hello"), "x": "text"})
    found = only_run(base)
    assert found.metrics("loss", "val").steps == [3]
    assert len(list((found.path / "blobs" / "sha256").glob("*/*"))) == 3


def test_config_and_identity_may_change_while_it_runs(base: Path) -> None:
    with headway.init(config={"lr": 0.1, "optimizer": {"name": "adam"}}, **OFF) as run:
        run.config["optimizer"]["beta"] = 0.9
        run.hparams.update({"epochs": 3, "bad": float("nan")})
        del run.config["lr"]
        run.set(name="renamed", labels=["x"], description="why")
        with pytest.raises(InvalidRequestError, match="labels"):
            run.set(labels="x")
    found = only_run(base)
    assert found.config == {"optimizer": {"name": "adam", "beta": 0.9}, "epochs": 3, "bad": "NaN"}
    assert (found.name, found.labels, found.description, run.name) == ("renamed", ("x",), "why", "renamed")
    run = headway.load_run(run.id, **OFF)
    run.config = {"only": 1}
    run.finish()
    assert only_run(base).config == {"only": 1} == run.config


def test_after_the_end_nothing_is_taken(base: Path) -> None:
    run = headway.init(**OFF)
    run.finish("error", reason="it diverged")
    run.finish()
    for late in (lambda: run.log({"x": 1}), lambda: run.config.update({"x": 1}), lambda: run.set(name="x")):
        with pytest.raises(ConflictError, match="is finished"):
            late()
    found = only_run(base)
    assert (found.state, found.reason, run.state) == (RunState.ERROR, "it diverged", RunState.ERROR)
    assert run.finished_at is not None and run.config == {}


def test_a_wrong_end_is_refused_and_the_run_goes_on(base: Path) -> None:
    run = headway.init(**OFF)
    with pytest.raises(InvalidRequestError, match=r"'complete' or 'error'.*Did you mean 'complete'"):
        run.finish("completed")
    with pytest.raises(InvalidRequestError, match="timeout"):
        run.finish(timeout=-1)
    run.log({"x": 1})
    run.finish()


def test_a_block_that_raises_ends_in_error(base: Path) -> None:
    with pytest.raises(ZeroDivisionError), headway.init(name="a", **OFF):
        1 / 0  # noqa: B018
    with pytest.raises(SystemExit), headway.init(name="b", **OFF):
        raise SystemExit(0)
    with pytest.raises(SystemExit), headway.init(name="c", **OFF):
        raise SystemExit(3)
    found = {run.name: (run.state, run.reason) for run in headway.local_runs()}
    assert found == {
        "a": (RunState.ERROR, "ZeroDivisionError: division by zero"),
        "b": (RunState.COMPLETE, None),
        "c": (RunState.ERROR, "exit code 3"),
    }


def test_a_run_that_is_let_go_of_is_complete(base: Path) -> None:
    names = [str(number) for number in range(3)]
    for name in names:
        headway.init(name=name, **OFF).log({"x": 1})
    headway.init(name="last", **OFF).finish()
    gc.collect()
    assert {run.name: run.state.value for run in headway.local_runs()} == dict.fromkeys([*names, "last"], "complete")


def test_what_a_run_marks_is_kept_once(base: Path) -> None:
    foreign = SimpleNamespace(kind="Dataset", id="d-1", path="/somebody/data")
    with headway.init(**OFF) as run:
        for _ in range(2):
            run.mark_input("artifact:digits:v3")
            run.mark_input(foreign)
        run.mark_output("models:/digits/1")
        with pytest.raises(InvalidRequestError):
            run.mark_input(3)
    facts = only_run(base).facts
    assert [(mark.kind, mark.name, mark.id) for mark in facts.inputs] == [
        ("artifact", "digits:v3", None),
        ("dataset", "/somebody/data", "d-1"),
    ]
    assert [mark.name for mark in facts.outputs] == ["models:/digits/1"]


def test_it_shows_itself_in_a_notebook(base: Path) -> None:
    with headway.init(name="<b>", **OFF) as run:
        assert "&lt;b&gt;" in run._repr_html_() and "<b>" not in run._repr_html_()
        assert run.id in repr(run)


def test_threads_share_a_run(base: Path) -> None:
    threads, each = repetitions(8, 64), repetitions(500, 10_000)
    with headway.init(**OFF) as run:
        workers = [
            threading.Thread(target=lambda t=t: [run.log({"x": t}, step=t * each + i) for i in range(each)])
            for t in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert steps(only_run(base), "x") == list(range(threads * each))


ASYNC = f"""
import asyncio, headway
async def log(run, first):
    for step in range(first, first + 100):
        run.log({{"x": step}}, step=step)
        await asyncio.sleep(0)
async def main():
    with headway.init({QUIET}) as run:
        await asyncio.gather(*(log(run, 100 * n) for n in range(10)))
asyncio.run(main())
"""

FORKED = f"""
import os, sys, headway
run = headway.init({QUIET})
run.log({{"x": 0}}, step=0)
children = []
for child in range(1, 5):
    pid = os.fork()
    if not pid:
        for step in range(100):
            run.log({{"x": child}}, step=child * 100 + step)
        if child % 2:
            os._exit(0)
        sys.exit(0)
    children.append(pid)
for step in range(1, 100):
    run.log({{"x": 0}}, step=step)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
run.log({{"after": 1}})
"""

WORKERS = f"""
import multiprocessing, sys, headway
def work(run, child):
    for step in range(100):
        run.log({{"x": child}}, step=child * 100 + step)
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with headway.init({QUIET}) as run:
        workers = [context.Process(target=work, args=(run, child)) for child in range(4)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
        assert [worker.exitcode for worker in workers] == [0] * 4
"""


def test_coroutines_share_a_run(tmp_path: Path) -> None:
    train(ASYNC, tmp_path / "runs")
    assert steps(only_run(tmp_path / "runs"), "x") == list(range(1000))


def test_forked_children_write_streams_of_their_own(tmp_path: Path) -> None:
    for number in range(repetitions(2, 50)):
        train(FORKED, tmp_path / str(number), timeout=30)
        found = only_run(tmp_path / str(number))
        assert steps(found, "x") == list(range(500))
        assert (found.state, len(found.metrics("after"))) == (RunState.COMPLETE, 1)
        assert len(found.journals("metrics")) == 5
        assert len(found.journals("facts")) == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing_log_into_the_run(tmp_path: Path, method: str) -> None:
    script = tmp_path / "program.py"
    script.write_text(WORKERS)
    run_script(script, tmp_path / "runs", method)
    found = only_run(tmp_path / "runs")
    assert steps(found, "x") == list(range(400))
    assert found.state is RunState.COMPLETE


def run_script(script: Path, directory: Path, *arguments: str) -> None:
    """As a file, since spawned processes import it again."""
    command = [sys.executable, str(script), *arguments]
    ended = subprocess.run(command, env=environment(directory), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


FINALIZER = f"""
import atexit, signal, os, headway
run = headway.init({QUIET})
class Late:
    def __del__(self): run.log({{"del": 1}})
atexit.register(lambda: run.log({{"atexit": 1}}))
signal.signal(signal.SIGUSR1, lambda *_: run.log({{"signal": 1}}))
for step in range(200):
    os.kill(os.getpid(), signal.SIGUSR1)
    Late()
    run.log({{"x": step}}, step=step)
"""


def test_signal_handlers_finalizers_and_atexit_may_log(tmp_path: Path) -> None:
    train(FINALIZER, tmp_path / "runs")
    found = only_run(tmp_path / "runs")
    counts = {name: len(found.metrics(name)) for name in found.series()}
    assert counts == {"del": 200, "atexit": 1, "signal": 200, "x": 200}


def test_a_local_run_says_what_it_lacks(base: Path) -> None:
    with headway.init(**OFF) as run:
        run.log({"loss": 1.0})
    assert run.directory is not None
    with pytest.raises(headway.NotFoundError, match="Did you mean 'loss'"):
        LocalRun.at(run.directory).metrics("los")


def test_the_log_of_a_run_that_fails_in_its_with_block_holds_the_traceback(
    tmp_path: Path,
) -> None:
    code = "import headway\nwith headway.init(dir='.headway', capture=False):\n    raise RuntimeError('boom')\n"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=False)
    (run,) = headway.local_runs(tmp_path / ".headway")
    (journal,) = run.path.glob("logs-*.hwj")
    lines = [line for frame in read_frames(journal) if frame.kind == KIND_LOG for line in frame.payload.split(b"\n")]
    assert any(line.endswith(b"RuntimeError: boom") for line in lines)
    assert any(b"Traceback" in line for line in lines)
    assert run.reason == "RuntimeError: boom"
