"""A changed expression over a large stored log: bounded memory, and the points of a scan from the start, none twice."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from headway import Client
from headway.domain.monitors import MonitorState
from headway.testing.faults import repetitions, until
from headway.testing.logs import ship_log
from headway.testing.server import ServerProcess

LINES = repetitions(250_000, 12_500_000)
"""Of 80 bytes: 20 MB, or 1 GB."""
APART = 50
MOST_MEMORY = 400 << 20
"""Bytes of the scanning process; an interpreter with what it needs has a quarter of that."""


def lines() -> Iterator[bytes]:
    for number in range(LINES):
        if number % APART:
            yield b"2026-01-01 00:00:00 INFO loader: batch %09d read from shard %05d in 3.1 ms" % (number, number % 997)
        else:
            yield b"2026-01-01 00:00:00 INFO trainer: loss = %d, acc = %d, step = %d of the run" % (
                number,
                -number,
                number,
            )


def peak_memory(server: ServerProcess) -> int:
    """Bytes that the scanning process had at most, as the kernel counts."""
    assert server.process is not None
    for child in psutil.Process(server.process.pid).children():
        if "headway.server.scanning" in child.cmdline():
            with open(f"/proc/{child.pid}/status") as status:
                return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
    raise AssertionError("no scanning process runs")


@pytest.mark.timeout(3600 if repetitions(0, 1) else 300)
def test_a_changed_expression_over_a_large_log_gives_the_points_of_a_scan_from_the_start(
    own_server: ServerProcess,
) -> None:
    with Client(own_server.url, own_server.token, project="large") as client:
        client.projects.create("large")
        run = client.runs.create("log").id
        size = ship_log(own_server, run, lines())
        assert size > 75 * LINES
        client.monitors.create("value", r"loss = (\S+),.*step = (\d+)", run=run)
        until(lambda: client.monitors.get("value", run=run).points, 120, "the first points", pause=0.05)
        # Changed while it reads, or right after.
        client.monitors.update("value", run=run, regex=r"acc = (\S+), step = (\d+)")

        def read() -> bool:
            return client.monitors.get("value", run=run).state is not MonitorState.SCANNING

        until(read, 3000, "the log is read", pause=0.2)
        memory = peak_memory(own_server)
        found = client.monitors.get("value", run=run)
        assert (found.revision, found.lines, found.points) == (2, LINES, len(range(0, LINES, APART)))
        series = client.runs.metrics(run, "value")
        assert series.steps == list(range(0, LINES, APART))
        assert series.values == [-float(number) for number in range(0, LINES, APART)]
        assert memory < MOST_MEMORY, f"{memory >> 20} MiB for a log of {size >> 20} MiB"
        print(f"{memory >> 20} MiB for a log of {size >> 20} MiB")
        everything = {series.name for series in client.runs.series(run)}
        assert everything == {"value"}
