"""How much longer `Estimator.fit` takes than the script by hand, and what a sweep costs a trial beside bare Optuna.

    python benchmarks/fit.py [--repetitions N] [--trials N] [--output FILE]

Starts a server of its own with a fresh data directory. In turns it runs a script that prints one number: by hand
(`python train.py`), and through `Estimator.fit(wait=True)`; the aim is at most 1 s more. Then as many trials of it as a
sweep, one at a time and two at a time, and beside it Optuna alone with the same sampler, which starts the script as a
process for each trial; the aim is at most 0.5 s more a trial.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna

import headway
from headway.testing.server import ServerProcess

TRAIN = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, default=0.5)
print(f"loss = {(parser.parse_args().x - 0.3) ** 2}")
"""
MONITOR = {"name": "loss", "regex": r"loss = (\S+)", "sample": "loss = 0.3"}
SPACE = {"x": {"low": 0.0, "high": 1.0}}


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-") as directory:
        code = Path(directory) / "code"
        code.mkdir()
        (code / "train.py").write_text(TRAIN)
        with ServerProcess(Path(directory) / "data") as server:
            with headway.Client(server.url, server.token) as administrator:
                administrator.projects.create("benchmark")
            with headway.Client(server.url, server.token, project="benchmark") as client:
                found = {"fit": fits(client, code, options.repetitions), "sweep": sweeps(client, code, options.trials)}
    text = json.dumps({**machine(), **found}, indent=2)
    print(text)
    if options.output:
        Path(options.output).write_text(text + "\n")


def fits(client: headway.Client, code: Path, repetitions: int) -> dict[str, Any]:
    """Seconds of both ways, in turns; the first pair warms up and does not count."""
    by_hand, by_fit = [], []
    estimator = headway.Estimator(framework="python", entry_point="train.py", source_dir=code, client=client)
    for number in range(repetitions + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "train.py"], cwd=code, check=True, capture_output=True)
        between = time.perf_counter()
        estimator.fit(logs=False)
        if number:
            by_hand.append(between - began)
            by_fit.append(time.perf_counter() - between)
    more = statistics.median(by_fit) - statistics.median(by_hand)
    return {
        "by_hand_seconds": median(by_hand),
        "fit_seconds": median(by_fit),
        "more_seconds": round(more, 3),
        "aim": 1.0,
    }


def sweeps(client: headway.Client, code: Path, trials: int) -> list[dict[str, Any]]:
    """Seconds a trial, one and two at a time."""
    return [one_sweep(client, code, trials, parallel) for parallel in (1, 2)]


def one_sweep(client: headway.Client, code: Path, trials: int, parallel: int) -> dict[str, Any]:
    job = {
        "command": [sys.executable, "train.py"],
        "workspace": code,
        "parameter_arguments": True,
        "monitors": [MONITOR],
    }
    began = time.perf_counter()
    made = client.sweeps.create(f"by {parallel}", job, SPACE, metric="loss", trials=trials, parallel=parallel, seed=1)
    done = client.sweeps.wait(made.id, timeout=600)
    ours = (time.perf_counter() - began) / trials
    theirs = bare(code, trials, parallel)
    return {
        "parallel": parallel,
        "trials": trials,
        "state": done.state.value,
        "headway_seconds_a_trial": round(ours, 3),
        "optuna_seconds_a_trial": round(theirs, 3),
        "more_seconds_a_trial": round(ours - theirs, 3),
        "aim": 0.5,
    }


def bare(code: Path, trials: int, parallel: int) -> float:
    """Seconds a trial of Optuna alone: a process a trial, its last line is the value."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1, constant_liar=parallel > 1))

    def run(_number: int) -> None:
        trial = study.ask()
        command = [sys.executable, "train.py", "--x", str(trial.suggest_float("x", 0.0, 1.0))]
        printed = subprocess.run(command, cwd=code, check=True, capture_output=True, text=True).stdout
        study.tell(trial, float(printed.rpartition(" = ")[2]))

    began = time.perf_counter()
    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(run, range(trials)))
    return (time.perf_counter() - began) / trials


def median(seconds: list[float]) -> float:
    return round(statistics.median(seconds), 3)


def machine() -> dict[str, Any]:
    return {
        "benchmark": "fit and sweeps",
        "headway": headway.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what fit and sweeps cost beside the bare script.")
    parser.add_argument("--repetitions", type=int, default=8, help="fits that count")
    parser.add_argument("--trials", type=int, default=12, help="trials of each sweep")
    parser.add_argument("--output", help="also write the JSON to this file")
    options = parser.parse_args()
    if options.repetitions < 1 or options.trials < 1:
        parser.error("repetitions and trials count from 1")
    return options


if __name__ == "__main__":
    try:
        main()
    except headway.HeadwayError as error:
        sys.exit(f"fit: {error}")
