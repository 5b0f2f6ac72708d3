"""What one call of a tracker's ``log`` costs the training loop: Headway beside its peers.

    python benchmarks/log.py [--seconds 3] [--output FILE]
    python benchmarks/log.py --peers                     # installs the peers into build/peers-venv and measures them, too
    python benchmarks/log.py --peers-python VENV/bin/python

Every tracker runs in a process of its own, in one go, in the way that its documentation recommends for a script, on this
machine's disk and without a network. Measured are calls with ten float metrics and a step, and calls with ten thousand,
one after the other as fast as they return; at the end, how long the tracker takes to finish. Rounds are interleaved and the
median round is reported, so that a busy machine disturbs all alike. The clock's own cost is measured and not taken off.

====================  ===============================================================================================
headway writer        ``MetricsWriter.log``: what ``run.log`` stands on
headway               ``headway.init(mode="offline")``, ``run.log(metrics, step)``; on the disk when it returns
wandb                 ``wandb.init(mode="offline")``, ``run.log(metrics, step=)``; queued to another process
trackio               ``trackio.init``, ``trackio.log(metrics, step=)``; queued to a thread
swanlab               ``swanlab.init(mode="offline")``, ``swanlab.log(metrics, step=)``
aim                   ``Run(repo=, system_tracking_interval=None)``, ``run.track(metrics, step=)``
mlflow                ``sqlite:///`` as tracking URI, ``mlflow.log_metrics(metrics, step=)``, in batches of 1,000
====================  ===============================================================================================
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

Log = Callable[[dict[str, float], int], object]
Tracker = Callable[[Path], tuple[Log, Callable[[], object]]]
"""From an empty directory to the call that is measured, and the one that finishes."""

HERE = Path(__file__).resolve().parent
FEW, MANY = 10, 10_000
WARM_CALLS = 100
MOST_CALLS = 200_000


def headway_writer(directory: Path) -> tuple[Log, Callable[[], object]]:
    from headway.domain.base import now
    from headway.journal.codec import JournalHeader
    from headway.journal.metrics import MetricsWriter

    header = JournalHeader(run="bench", stream="metrics/rank0-a", writer="a", created=now())
    writer = MetricsWriter(directory / "metrics-rank0-a.hwj", header)
    return writer.log, writer.close


def headway_run(directory: Path) -> tuple[Log, Callable[[], object]]:
    import headway

    run = headway.init(project="bench", mode="offline", dir=directory)
    return run.log, run.finish


def wandb_run(directory: Path) -> tuple[Log, Callable[[], object]]:
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=str(directory), settings=wandb.Settings(silent=True))
    return lambda metrics, step: run.log(metrics, step=step), run.finish


def trackio_run(directory: Path) -> tuple[Log, Callable[[], object]]:
    os.environ["TRACKIO_DIR"] = str(directory)
    import trackio

    trackio.init(project="bench")
    return lambda metrics, step: trackio.log(metrics, step=step), trackio.finish


def swanlab_run(directory: Path) -> tuple[Log, Callable[[], object]]:
    import swanlab

    swanlab.init(project="bench", mode="offline", logdir=str(directory))
    return lambda metrics, step: swanlab.log(metrics, step=step), swanlab.finish


def aim_run(directory: Path) -> tuple[Log, Callable[[], object]]:
    from aim import Run

    run = Run(repo=str(directory), system_tracking_interval=None, log_system_params=False)
    return lambda metrics, step: run.track(metrics, step=step), run.close


def mlflow_run(directory: Path) -> tuple[Log, Callable[[], object]]:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{directory / 'mlflow.db'}")
    mlflow.set_experiment("bench")
    mlflow.start_run()

    def log(metrics: dict[str, float], step: int) -> None:
        names = list(metrics)
        for start in range(0, len(names), 1000):  # the most that its store takes at once
            mlflow.log_metrics({name: metrics[name] for name in names[start : start + 1000]}, step=step)

    return log, mlflow.end_run


OWN: dict[str, Tracker] = {"headway writer": headway_writer, "headway": headway_run}
PEERS: dict[str, Tracker] = {
    "trackio": trackio_run,
    "swanlab": swanlab_run,
    "wandb": wandb_run,
    "aim": aim_run,
    "mlflow": mlflow_run,
}


def measure(name: str, seconds: float) -> dict[str, Any]:
    """One round of one tracker in this process: microseconds of a call, and of finishing."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        log, finish = {**OWN, **PEERS}[name](Path(directory))
        found: dict[str, Any] = {"calls_of_10": time_calls(log, FEW, seconds, 0)}
        found["calls_of_10000"] = time_calls(log, MANY, seconds, MOST_CALLS + WARM_CALLS)
        began = time.perf_counter()
        finish()
        found["finish_seconds"] = round(time.perf_counter() - began, 3)
        return found


def time_calls(log: Log, width: int, seconds: float, first_step: int) -> dict[str, float]:
    """Call for ``seconds``, each time with a new dict of ``width`` other values, as a training loop does."""
    clock = time.perf_counter_ns
    names = [f"metric_{number}" for number in range(width)]
    taken: list[int] = []
    step = first_step
    warm = first_step + (WARM_CALLS if width == FEW else 1)
    least = 30 if width == FEW else 3
    until = 0
    while len(taken) < MOST_CALLS and (len(taken) < least or clock() < until):
        if step == warm:
            until = clock() + int(seconds * 1e9)
        metrics = dict(zip(names, [(step + number) / 7 for number in range(width)], strict=True))
        began = clock()
        log(metrics, step)
        ended = clock()
        if step >= warm:
            taken.append(ended - began)
        step += 1
    taken.sort()
    share = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99}
    cuts = {key: round(taken[int(part * (len(taken) - 1))] / 1000, 2) for key, part in share.items()}
    return {"calls": len(taken), **cuts, "max_us": round(taken[-1] / 1000, 1)}


def clock_cost() -> float:
    """Microseconds between two looks at the clock."""
    clock = time.perf_counter_ns
    return statistics.median(clock() * -1 + clock() for _ in range(10_000)) / 1000


def write_cost() -> float:
    """Microseconds of one unbuffered write of as many bytes as a row of ten metrics has, in the same file system."""
    clock = time.perf_counter_ns
    with tempfile.TemporaryFile(buffering=0) as file:
        taken = []
        for _ in range(50_000):
            began = clock()
            os.write(file.fileno(), b"x" * 126)
            taken.append(clock() - began)
    return statistics.median(taken) / 1000


def run_process(python: str, name: str, seconds: float) -> dict[str, Any]:
    """A round in a process of its own; ``{"error": …}`` when the tracker does not work."""
    command = [python, str(Path(__file__).resolve()), "--measure", name, "--seconds", str(seconds)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        quiet = {"HOME": home, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "MLFLOW_DISABLE_TELEMETRY": "true"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=600, cwd=home, env={**os.environ, **quiet}, check=False
        )
    for line in reversed(done.stdout.splitlines()):
        if line.startswith('{"calls_of_10"'):
            return dict(json.loads(line))
    return {"error": (done.stderr or done.stdout).strip().splitlines()[-1:]}


def installed(python: str) -> dict[str, str]:
    """Which peers an interpreter has, and their versions."""
    code = f"""
import importlib.metadata, importlib.util, json
found = {{name: importlib.metadata.version(name) for name in {list(PEERS)!r} if importlib.util.find_spec(name)}}
print(json.dumps(found))
"""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return dict(json.loads(done.stdout))


def install_peers() -> str:
    """The interpreter of a virtual environment that has the peers."""
    directory = HERE.parent / "build" / "peers-venv"
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(HERE / "requirements.txt")]
    subprocess.run(command, check=True)
    return str(python)


def median_round(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The round in the middle by the median call; an error when every round had one."""
    worked = [found for found in rounds if "error" not in found]
    if not worked:
        return rounds[0]
    return sorted(worked, key=lambda found: found["calls_of_10"]["p50_us"])[len(worked) // 2]


def compare(peers_python: str | None, seconds: float, rounds: int) -> dict[str, Any]:
    """Every tracker, round after round."""
    python = dict.fromkeys(OWN, sys.executable)
    versions = {name: importlib.metadata.version("headway") for name in OWN}
    if peers_python is not None:
        there = installed(peers_python)
        python.update({name: peers_python for name in PEERS if name in there})
        versions.update(there)
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in python}
    for _ in range(rounds):
        for name, interpreter in python.items():
            seen[name].append(run_process(interpreter, name, seconds))
    return {name: {"version": versions[name], **median_round(found)} for name, found in seen.items()}


def show(results: dict[str, Any]) -> None:
    print(
        f"{'microseconds a call':22} {'10: p50':>9} {'p90':>9} {'p99':>9} {'max':>10} {'10,000: p50':>12} {'finish s':>9}"
    )
    for name, found in results.items():
        label = f"{name} {found['version']}"
        if "error" in found:
            print(f"{label:22} {found['error']}")
            continue
        few, many = found["calls_of_10"], found["calls_of_10000"]
        figures = f"{few['p50_us']:9.2f} {few['p90_us']:9.2f} {few['p99_us']:9.2f} {few['max_us']:10.1f}"
        print(f"{label:22} {figures} {many['p50_us']:12.1f} {found['finish_seconds']:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None, help="also write the results to this file")
    parser.add_argument("--peers", action="store_true", help="install the peers and measure them, too")
    parser.add_argument("--peers-python", default=None, help="an interpreter that has some of the peers")
    parser.add_argument("--measure", choices=[*OWN, *PEERS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        found = measure(options.measure, options.seconds)
        print(json.dumps(found), flush=True)
        os._exit(0)  # what a tracker keeps running is not measured
    peers_python = install_peers() if options.peers else options.peers_python
    report = {
        "benchmark": "log",
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "seconds": options.seconds,
        "rounds": options.rounds,
        "load_average_before": os.getloadavg()[0],
        "clock_us": round(clock_cost(), 3),
        "one_write_us": round(write_cost(), 3),
        "results": compare(peers_python, options.seconds, options.rounds),
    }
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=2) + "\n")
    show(report["results"])
    print(
        f"one write {report['one_write_us']} us; the clock {report['clock_us']} us; load {report['load_average_before']}"
    )


if __name__ == "__main__":
    main()
