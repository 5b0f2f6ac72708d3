"""How fast a monitor that is added afterwards goes through a stored log.

    python benchmarks/monitors.py [--lines 1000000] [--repetitions 3] [--output FILE]

Starts a server of its own, ships a log of so many lines (about 80 bytes each) to it once, and then makes monitors one after
the other: measured is the time from the request that makes one until the server says that it has read all, with its points
durable. The lines of a training program that reports a loss now and then are looked through for that loss, in a log of which
one line in 100 reports it, one in 10, every one, and none; the medians of interleaved rounds are reported as lines a second,
beside a plain loop over the same lines with Python's ``re``, which has neither a server nor a disk. Aim: 500,000 lines a
second for the log of which one line in 100 matches.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import headway
from headway.domain.monitors import MonitorState
from headway.testing.logs import ship_log
from headway.testing.server import ServerProcess

REGEX = r"loss = (\S+), step = (\d+)"
AIM = 500_000
SHARES = {"1 in 100": 100, "1 in 10": 10, "every line": 1, "none": 0}
"""How a log is called to how many lines apart those are that match."""


def lines(count: int, apart: int) -> Iterator[bytes]:
    for number in range(count):
        if apart and number % apart == 0:
            yield b"2026-01-01 00:00:00 INFO trainer: epoch 3 of 10, loss = %r, step = %d" % (1 / (number + 1), number)
        else:
            yield b"2026-01-01 00:00:00 INFO loader: batch %08d read from shard-%04d in 3.1 ms" % (number, number % 997)


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-") as directory:
        with (
            ServerProcess(Path(directory) / "data") as server,
            headway.Client(server.url, server.token, project="benchmark") as client,
        ):
            client.projects.create("benchmark")
            runs = {share: client.runs.create(f"log {apart}").id for share, apart in SHARES.items()}
            sizes = {
                share: ship_log(server, runs[share], lines(options.lines, apart)) for share, apart in SHARES.items()
            }
            measure(client, runs["none"], options.lines, 0)  # the first one starts the process that reads
            seconds: dict[str, list[float]] = {share: [] for share in SHARES}
            for _ in range(options.repetitions):
                for share, run in runs.items():
                    seconds[share].append(measure(client, run, options.lines, SHARES[share]))
    text = json.dumps(report(options, sizes, seconds), indent=2)
    print(text)
    if options.output:
        Path(options.output).write_text(text + "\n")


def measure(client: headway.Client, run: str, count: int, apart: int) -> float:
    """Seconds from the request until all was read; the monitor is removed again."""
    began = time.perf_counter()
    made = client.monitors.create("loss", REGEX, run=run)
    while (found := client.monitors.get(made.id, run=run)).state is MonitorState.SCANNING:
        time.sleep(0.01)
    took = time.perf_counter() - began
    expected = len(range(0, count, apart)) if apart else 0
    assert (found.lines, found.points) == (count, expected), f"{found.lines} lines, {found.points} points"
    client.monitors.delete(made.id, run=run)
    return took


def plain_loop(count: int, apart: int) -> float:
    """Lines a second of a loop over the same lines in memory, without keeping a point."""
    text = b"\n".join(lines(min(count, 200_000), apart))
    expression = re.compile(REGEX.encode())
    began = time.perf_counter()
    number = 0
    for line in text.split(b"\n"):
        number += 1
        found = expression.search(line)
        if found is not None:
            float(found.group(1)), int(found.group(2))
    return number / (time.perf_counter() - began)


def report(options: argparse.Namespace, sizes: dict[str, int], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """The result, and the machine that it was measured on."""
    results = {}
    for share, taken in seconds.items():
        median = statistics.median(taken)
        results[share] = {
            "lines_per_second": round(options.lines / median),
            "megabytes_per_second": round(sizes[share] / median / 1e6, 1),
            "seconds": [round(each, 3) for each in taken],
            "python_re_lines_per_second": round(plain_loop(options.lines, SHARES[share])),
        }
    reached = results["1 in 100"]["lines_per_second"]
    return {
        "benchmark": "retroactive monitor",
        "headway": headway.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_average": [round(number, 1) for number in os.getloadavg()],
        "lines": options.lines,
        "repetitions": options.repetitions,
        "regex": REGEX,
        "results": results,
        "aim": {"what": "lines a second, 1 in 100 matches", "aim": AIM, "reached": reached, "met": reached >= AIM},
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure monitors over a stored log.")
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of each log")
    parser.add_argument("--repetitions", type=int, default=3, help="rounds")
    parser.add_argument("--output", help="also write the JSON to this file")
    options = parser.parse_args()
    if options.lines < 1 or options.repetitions < 1:
        parser.error("lines and repetitions count from 1")
    return options


if __name__ == "__main__":
    try:
        main()
    except headway.HeadwayError as error:
        sys.exit(f"monitors: {error}")
