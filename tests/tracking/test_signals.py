"""How programs end, and what their runs say of it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from headway.domain.runs import RunState
from headway.testing.faults import repetitions
from headway.testing.trainers import QUIET, only_run, started, steps, train

BEGIN = f"""
import os, signal, sys, threading, headway
signal.signal(signal.SIGINT, signal.default_int_handler)
run = headway.init({QUIET})
"""
LOOP = (
    BEGIN
    + """
step = 0
while True:
    run.log({"x": step}, step=step)
    step += 1
    if step % 100 == 0:
        print(step, flush=True)
"""
)


def ended(directory: Path) -> tuple[str, str | None]:
    run = only_run(directory)
    return run.state.value, run.reason


@pytest.mark.parametrize(
    ("rest", "code", "state", "reason"),
    [
        ("run.log({'x': 1})", 0, "complete", None),
        ("sys.exit()", 0, "complete", None),
        ("sys.exit(3)", 3, "error", "exit code 3"),
        ("sys.exit('no data')", 1, "error", "no data"),
        ("1 / 0", 1, "error", "ZeroDivisionError: division by zero"),
        ("raise KeyboardInterrupt", -2, "error", "KeyboardInterrupt"),
        ("os._exit(0)", 0, "lost", None),
        ("os.kill(os.getpid(), 9)", -9, "lost", None),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15, "lost", None),
        ("run.finish('error', 'gave up'); sys.exit(1)", 1, "error", "gave up"),
        ("t = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join()", 0, "complete", None),
    ],
)
def test_a_run_says_how_its_program_ended(tmp_path: Path, rest: str, code: int, state: str, reason: str | None) -> None:
    train(BEGIN + rest, tmp_path / "runs", code_expected=code)
    assert ended(tmp_path / "runs") == (state, reason)


@pytest.mark.parametrize(("number", "state"), [(signal.SIGINT, "error"), (signal.SIGTERM, "lost")])
def test_what_was_logged_before_a_signal_is_there(tmp_path: Path, number: signal.Signals, state: str) -> None:
    for turn in range(repetitions(2, 100)):
        directory = tmp_path / str(turn)
        with started(LOOP, directory) as process:
            assert process.stdout is not None
            for _ in range(turn % 5 + 1):
                seen = int(process.stdout.readline())
            process.send_signal(number)
            rest, err = process.communicate(timeout=30)
        assert process.returncode == -number, err
        acknowledged = max([seen, *map(int, rest.split())])
        found = steps(only_run(directory), "x")
        assert found == list(range(len(found))) and len(found) >= acknowledged
        assert ended(directory)[0] == state


def test_handlers_of_the_user_stay(tmp_path: Path) -> None:
    code = f"""
import signal, sys, time, headway
def handler(*_):
    run.log({{"handled": 1}})
    sys.exit(7)
signal.signal(signal.SIGTERM, handler)
hook = lambda *error: print("the user's hook", error[0].__name__)
sys.excepthook = hook
run = headway.init({QUIET})
assert signal.getsignal(signal.SIGTERM) is handler
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""
    with started(code, tmp_path / "runs") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 7
    assert ended(tmp_path / "runs") == ("error", "exit code 7")
    assert len(only_run(tmp_path / "runs").metrics("handled")) == 1


WAITING = f"""
import signal, time, headway
signal.signal(signal.SIGINT, signal.default_int_handler)
run = headway.init(url="http://127.0.0.1:9", token="hw_x", {QUIET})
run.log({{"x": 1}}, step=1)
print("ready", flush=True)
while True:
    time.sleep(0.05)  # signal.pause() would miss an interrupt that came just before it
"""


def test_a_second_interrupt_ends_the_waiting(tmp_path: Path) -> None:
    """The first one is the program's; the run's end then waits for a server that is not there."""
    with started(WAITING, tmp_path / "runs") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        for line in process.stderr:
            if "KeyboardInterrupt" in line:
                break
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() - begun < 20:
            process.send_signal(signal.SIGINT)  # from the moment on that it waits, one of these is the second
            time.sleep(0.2)
        rest = process.stderr.read()
    # 1 instead, when a thread was importing something just then: CPython forgets the reason at the next exec of a text.
    assert process.returncode in (-signal.SIGINT, 1)
    assert time.monotonic() - begun < 20
    assert "headway sync" in rest
    run = only_run(tmp_path / "runs")
    assert (run.state, run.synced, steps(run, "x")) == (RunState.ERROR, False, [1])
