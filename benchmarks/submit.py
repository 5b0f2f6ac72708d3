"""How long from submitting a job to its first line of output, on the local engine.

    python benchmarks/submit.py [--repetitions N] [--replicas N] [--output FILE]

Starts a server of its own with a fresh data directory, submits one job after the other, and prints JSON: for each job the
seconds from just before `jobs.create` until its first row arrives in `jobs.logs(follow=True)`, and their median and 90th
percentile. The first job is not counted: it warms the server up.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import headway
from headway.testing.server import ServerProcess

COMMAND = "echo first line"


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-") as directory:
        with ServerProcess(Path(directory) / "data") as server, headway.Client(server.url, server.token) as client:
            project = client.projects.create("benchmark").id
            measure(client, project, options.replicas)
            seconds = [measure(client, project, options.replicas) for _ in range(options.repetitions)]
    text = json.dumps(report(options, seconds), indent=2)
    print(text)
    if options.output:
        Path(options.output).write_text(text + "\n")


def measure(client: headway.Client, project: str, replicas: int) -> float:
    """Seconds from submission to the first row; returns once the job is over, so that the next one has the machine."""
    began = time.perf_counter()
    job = client.jobs.create("first line", COMMAND, project=project, count=replicas)
    rows = client.jobs.logs(job.id, follow=True)
    next(rows)
    took = time.perf_counter() - began
    client.jobs.wait(job.id, timeout=60)
    return took


def report(options: argparse.Namespace, seconds: list[float]) -> dict[str, Any]:
    """The result, and the machine that it was measured on."""
    return {
        "benchmark": "submit to first line",
        "headway": headway.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "replicas": options.replicas,
        "repetitions": len(seconds),
        "median_seconds": round(statistics.median(seconds), 4),
        "p90_seconds": round(percentile(seconds, 0.9), 4),
        "seconds": [round(each, 4) for each in seconds],
    }


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure submit to first line of output on the local engine.")
    parser.add_argument("--repetitions", type=int, default=20, help="jobs that count")
    parser.add_argument("--replicas", type=int, default=1, help="replicas of each job")
    parser.add_argument("--output", help="also write the JSON to this file")
    options = parser.parse_args()
    if options.repetitions < 1 or options.replicas < 1:
        parser.error("repetitions and replicas count from 1")
    return options


if __name__ == "__main__":
    try:
        main()
    except headway.HeadwayError as error:
        sys.exit(f"submit: {error}")
