"""How fast metrics come in, how fast they are folded, what they take on disk and in memory, and when a point is seen.

    python benchmarks/ingest.py [--rows N] [--writers N] [--peers-python PYTHON] [--output FILE]

Starts a server of its own (one process, SQLite) and ships rows of ten metrics from several writers over HTTP, in bodies as
trackers send them: zstd, 4 MiB raw at most. Reports JSON:

- points accepted durably a second, and the server's peak memory meanwhile (its folding process apart);
- points folded a second by one process on one core, from stream bytes to a durable commit, and the same a second of
  processor time (what it would be if nothing else ran);
- bytes on disk a point, everything included (steps, times, statistics, tables), for a loss curve of float32 values and for
  full float64 values, one metric a row;
- seconds from sending one point to finding it in a chart;
- with --peers-python: points a second of MLflow's log_batch into its own SQLite store, in the same run, if that interpreter
  can import mlflow.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

import headway
from headway.domain.base import now
from headway.domain.runs import Stream
from headway.journal.compression import compress
from headway.journal.frames import MAGIC
from headway.server.folding.folder import Folder
from headway.storage.segments.files import FileSegments
from headway.storage.series.sqlite import SqliteSeries
from headway.testing.series import many_rows, schema_frame
from headway.testing.server import ServerProcess

METRICS = 10
BODY = 4 << 20

PEER = """
import json, sys, tempfile, time
try:
    import mlflow
except ImportError:
    print(json.dumps(None)); sys.exit()
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
with tempfile.TemporaryDirectory() as place:
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    run = client.create_run(client.create_experiment("benchmark")).info.run_id
    began, points = time.perf_counter(), 0
    while points < 50_000 and time.perf_counter() - began < 30:
        step = points // 10
        batch = [Metric(f"m{n % 10}", 0.5 * n, 1_700_000_000_000 + n, step + n // 10) for n in range(1000)]
        client.log_batch(run, metrics=batch)
        points += 1000
    print(json.dumps({"version": mlflow.__version__, "points_per_second": points / (time.perf_counter() - began)}))
"""


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-") as directory:
        place = Path(directory)
        result = {
            "benchmark": "ingest and folding of metrics",
            "headway": headway.__version__,
            "machine": machine(),
            "writers": options.writers,
            "metrics_a_row": METRICS,
            **over_http(place, options),
            **folded(place),
            "bytes_a_point": {kind: bytes_a_point(place / kind, kind) for kind in ("float32", "float64")},
            "mlflow_log_batch": peer(options.peers_python),
        }
    text = json.dumps(result, indent=2)
    print(text)
    if options.output:
        Path(options.output).write_text(text + "\n")


def machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def curves(rows: int, first: int, columns: int, *, short: bool) -> list[np.ndarray]:
    """Loss curves with noise: every value exactly a float32 (``short``), or a full float64."""
    chance = np.random.default_rng(first)
    trend = np.exp(-np.arange(first, first + rows) / 100_000)
    found = [trend + 0.05 * chance.standard_normal(rows) for _ in range(columns)]
    return [curve.astype(np.float32).astype(np.float64) for curve in found] if short else found


def stream_bytes(rows: int, columns: int = METRICS, *, short: bool = True) -> bytes:
    """A stream as a training loop writes it: a row about every tenth of a second."""
    parts = [MAGIC + schema_frame(1, [(f"m{n}", "f") for n in range(columns)])]
    chance, moment = np.random.default_rng(rows), 1_700_000_000_000
    for first in range(0, rows, 50_000):
        count = min(50_000, rows - first)
        times = moment + np.cumsum(chance.integers(90, 130, count))
        moment = int(times[-1])
        values = curves(count, first, columns, short=short)
        parts.append(many_rows(1, values, first_sequence=first + 1, step=np.arange(first, first + count), time=times))
    return b"".join(parts)


def bodies_of(data: bytes) -> list[tuple[int, bytes]]:
    """Offset and body of each request."""
    return [(offset, compress(data[offset : offset + BODY])) for offset in range(0, len(data), BODY)]


def over_http(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    data = stream_bytes(options.rows)
    bodies = bodies_of(data)
    with ServerProcess(place / "server") as server:
        client = httpx.Client(base_url=f"{server.url}/api/v1", headers=authorised(server), timeout=120, trust_env=False)
        with client:
            client.post("/projects", json={"name": "benchmark"}).raise_for_status()
            created = client.post("/runs", json={"project": "benchmark", "name": "ingest"}).raise_for_status().json()
            run = created.get("run", created)["id"]
            seconds, peak = shipped(server, run, bodies, options.writers)
            began = time.perf_counter()
            wait_until_folded(client, run)
            drained = time.perf_counter() - began
            seen = [visible(client, run, number) for number in range(10)]
    points = options.rows * METRICS * options.writers
    return {
        "points": points,
        "accepted_points_per_second": round(points / seconds),
        "seconds_until_the_rest_was_folded": round(drained, 2),
        "server_peak_mb": peak[0],
        "folding_process_peak_mb": peak[1],
        "seconds_until_a_point_is_in_a_chart": {
            "median": round(statistics.median(seen), 4),
            "worst": round(max(seen), 4),
        },
    }


def authorised(server: ServerProcess) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.token}"}


def ship(url: str, token: str, run: str, rank: int, bodies: list[tuple[int, bytes]], go: Any) -> None:
    """One writer, a process of its own as a trainer is."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/zstd"}
    with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=120, trust_env=False) as client:
        client.get("/me").raise_for_status()
        go.wait()
        for offset, body in bodies:
            parameters = {"offset": offset, "writer": "a", "replica": f"rank{rank}"}
            client.put(f"/runs/{run}/streams/metrics/rank{rank}-a", params=parameters, content=body).raise_for_status()


def shipped(
    server: ServerProcess, run: str, bodies: list[tuple[int, bytes]], writers: int
) -> tuple[float, tuple[int, int]]:
    """Seconds until every writer's last byte was accepted durably, and the peak memory of server and folding process."""
    context = multiprocessing.get_context("fork")
    go = context.Barrier(writers + 1)
    processes = [
        context.Process(target=ship, args=(server.url, server.token, run, rank, bodies, go)) for rank in range(writers)
    ]
    for process in processes:
        process.start()
    watch = Watch(server)
    go.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - began
    if any(process.exitcode for process in processes):
        raise SystemExit("a writer failed")
    return seconds, watch.stop()


class Watch(threading.Thread):
    """The largest resident memory of the server and of its folding process, in MB, looked at all the time."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        assert server.process is not None
        self._process = psutil.Process(server.process.pid)
        self._peak, self._over = [0, 0], threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.05):
            self._peak[0] = max(self._peak[0], self._process.memory_info().rss)
            for child in self._process.children():
                try:
                    self._peak[1] = max(self._peak[1], child.memory_info().rss)
                except psutil.Error:
                    continue

    def stop(self) -> tuple[int, int]:
        self._over.set()
        self.join()
        return self._peak[0] // 10**6, self._peak[1] // 10**6


def wait_until_folded(client: httpx.Client, run: str) -> None:
    while True:
        streams = client.get(f"/runs/{run}/streams").raise_for_status().json()["items"]
        if all(stream["folded"] == stream["committed"] for stream in streams):
            return
        time.sleep(0.05)


def visible(client: httpx.Client, run: str, number: int) -> float:
    """Seconds from sending one point to a chart that shows it."""
    name = f"metrics/live-{number}"
    data = MAGIC + schema_frame(1, [("live", "f")]) + many_rows(1, [np.array([1.0 * number])], step=np.array([number]))
    began = time.perf_counter()
    client.put(
        f"/runs/{run}/streams/{name}",
        params={"offset": 0, "writer": "a", "replica": f"live{number}"},
        content=compress(data),
        headers={"Content-Type": "application/zstd"},
    ).raise_for_status()
    while True:
        wanted = {"name": "live", "points": 100, "replica": f"live{number}"}
        if client.get(f"/runs/{run}/metrics", params=wanted).raise_for_status().json()["lines"]:
            return time.perf_counter() - began


def folded(place: Path) -> dict[str, Any]:
    """Points folded a second by this process alone."""
    wall, cpu = {}, {}
    for columns, rows in ((METRICS, 600_000), (1, 2_000_000), (1000, 6000)):
        seconds, busy, _ = fold(place / f"fold-{columns}", stream_bytes(rows, columns))
        wall[f"rows_of_{columns}"] = round(rows * columns / seconds)
        cpu[f"rows_of_{columns}"] = round(rows * columns / busy)
    return {"folded_points_per_second": wall, "folded_points_per_second_of_processor": cpu}


def fold(place: Path, data: bytes) -> tuple[float, float, int]:
    """Seconds of folding, seconds of processor time in it, and bytes on disk afterwards."""
    segments, moment = FileSegments(place / "segments"), now()
    stream = Stream(
        run_id="run", name="metrics/rank0-a", writer_id="a", committed=len(data), created_at=moment, updated_at=moment
    )
    for offset in range(0, len(data), BODY):
        segments.write("run", stream.name, offset, data[offset : offset + BODY])
    series = SqliteSeries(place / "series.db")
    folder = Folder(series, segments)
    began, busy = time.perf_counter(), time.process_time()
    while folder.fold(stream).folded < len(data):
        pass
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    series.close()
    return seconds, busy, sum(path.stat().st_size for path in place.glob("series.db*"))


def bytes_a_point(place: Path, kind: str) -> float:
    rows = 1_000_000
    _, _, size = fold(place, stream_bytes(rows, 1, short=kind == "float32"))
    return round(size / rows, 2)


def peer(python: str | None) -> Any:
    if python is None:
        return None
    ended = subprocess.run([python, "-c", PEER], capture_output=True, text=True, check=False)
    return json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 and ended.stdout else None


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure ingest, folding and storage of metrics.")
    parser.add_argument("--rows", type=int, default=300_000, help="rows of ten metrics that each writer ships")
    parser.add_argument("--writers", type=int, default=8, help="writers at once")
    parser.add_argument("--peers-python", help="an interpreter that may have mlflow")
    parser.add_argument("--output", help="also write the JSON to this file")
    options = parser.parse_args()
    if options.rows < 1 or options.writers < 1:
        parser.error("rows and writers count from 1")
    return options


if __name__ == "__main__":
    main()
