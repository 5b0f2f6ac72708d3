"""How long a chart takes: 1,000 pixels of one series of 100 thousand, a million and 100 million points.

    python benchmarks/charts.py [--sizes N,N,…] [--repetitions N] [--peers-python PYTHON] [--output FILE]

Puts series of those lengths into the metric store of a server of its own (one process, SQLite; a value, a step and a time
each), and asks for charts over HTTP as a browser does. Reports JSON, for each length the median and the worst of

- ``warm``: the server has answered such a request before;
- ``cold``: the first request to a server that has just started, its database put out of the system's file cache;
- ``window``: the middle third of the series.

With --peers-python MLflow's get_metric_history of 100,000 points from its SQLite store is measured in the same run, if that
interpreter can import mlflow.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import headway
from headway.domain.runs import Stream
from headway.journal.compression import compress
from headway.journal.frames import MAGIC
from headway.storage.series.axes import Axes
from headway.storage.series.payloads import HEAD, Schema
from headway.storage.series.rows import Decoded, Rows
from headway.storage.series.sqlite import SqliteSeries
from headway.storage.series.streams import key_of
from headway.testing.series import schema_frame
from headway.testing.server import ServerProcess

PIXELS = 1000
BATCH = 1 << 20

PEER = """
import json, statistics, sys, tempfile, time
try:
    import mlflow
except ImportError:
    print(json.dumps(None)); sys.exit()
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
with tempfile.TemporaryDirectory() as place:
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    run = client.create_run(client.create_experiment("benchmark")).info.run_id
    for first in range(0, 100_000, 1000):
        client.log_batch(run, metrics=[Metric("loss", 1 / (n + 1), n, n) for n in range(first, first + 1000)])
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        assert len(client.get_metric_history(run, "loss")) == 100_000
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"version": mlflow.__version__, "milliseconds": 1000 * statistics.median(seconds)}))
"""


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-") as directory:
        data = Path(directory) / "data"
        server = ServerProcess(data)
        try:
            runs = prepared(server, options.sizes)
            found = {str(size): measured(server, run, size, options.repetitions) for size, run in runs.items()}
        finally:
            server.close()
    result = {
        "benchmark": f"chart of {PIXELS} pixels",
        "headway": headway.__version__,
        "machine": {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "repetitions": options.repetitions,
        "milliseconds": found,
        "mlflow_history_of_100000": peer(options.peers_python),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.output:
        Path(options.output).write_text(text + "\n")


def prepared(server: ServerProcess, sizes: list[int]) -> dict[int, str]:
    """A run for each size. Their streams are known to the server; the points go into its store while it is down."""
    server.start()
    streams: dict[int, Stream] = {}
    with client_of(server) as client:
        client.post("/projects", json={"name": "benchmark"}).raise_for_status()
        for size in sizes:
            created = client.post("/runs", json={"project": "benchmark", "name": f"{size}"}).raise_for_status().json()
            streams[size] = begun(client, created.get("run", created)["id"])
    server.stop()
    series = SqliteSeries(server.data / "series.db")
    try:
        for size, stream in streams.items():
            fill(series, stream, size)
    finally:
        series.close()
    return {size: stream.run_id for size, stream in streams.items()}


def begun(client: httpx.Client, run: str) -> Stream:
    """A stream of the run with nothing but its schema, folded."""
    client.put(
        f"/runs/{run}/streams/metrics/rank0-a",
        params={"offset": 0, "writer": "a", "replica": "rank0"},
        content=compress(MAGIC + schema_frame(1, [("loss", "f")])),
        headers={"Content-Type": "application/zstd"},
    ).raise_for_status()
    while True:
        (found,) = client.get(f"/runs/{run}/streams").raise_for_status().json()["items"]
        if found["folded"] == found["committed"]:
            return Stream.model_validate(found)
        time.sleep(0.05)


def fill(series: SqliteSeries, stream: Stream, size: int) -> None:
    state, chance, moment = series.open(key_of(stream)), np.random.default_rng(size), 1_700_000_000_000
    schema = Schema(1, None, (("loss", "f"),))
    for first in range(0, size, BATCH):
        count = min(BATCH, size - first)
        step = np.arange(first, first + count)
        time_ms = moment + np.cumsum(chance.integers(90, 130, count))
        moment = int(time_ms[-1])
        values = np.exp(-step / (size / 5)) + 0.05 * chance.standard_normal(count)
        frames = np.zeros((count, HEAD + 8), np.uint8)
        frames[:, HEAD:] = values.astype(np.float32).astype(np.float64).view(np.uint8).reshape(count, 8)
        given, none = np.ones(count, np.bool_), np.zeros(count, np.bool_)
        axes = Axes(step + 1, time_ms, step, given, np.zeros(count), none)
        decoded = Decoded([Rows(schema, axes, frames)], end=state.folded, sequence=first + count)
        state = series.fold(state, decoded)


def measured(server: ServerProcess, run: str, size: int, repetitions: int) -> dict[str, Any]:
    cold = []
    for _ in range(min(3, repetitions)):
        server.stop()
        forget(server.data)
        server.start()
        with client_of(server) as client:
            client.get("/me").raise_for_status()
            cold.append(chart(client, run, size))
    with client_of(server) as client:
        warm = [chart(client, run, size) for _ in range(repetitions)]
        window = [chart(client, run, size, start=size / 3, end=size * 2 / 3) for _ in range(repetitions)]
    server.stop()
    return {"warm": told(warm), "cold": told(cold), "window": told(window)}


def forget(data: Path) -> None:
    """Put the store's files out of the system's cache."""
    for path in data.glob("*.db*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def chart(client: httpx.Client, run: str, size: int, **window: float) -> float:
    began = time.perf_counter()
    answer = client.get(f"/runs/{run}/metrics", params={"name": "loss", "points": PIXELS, **window})
    took = time.perf_counter() - began
    (line,) = answer.raise_for_status().json()["lines"]
    if not window and line["total"] != size:
        raise SystemExit(f"the chart shows {line['total']} points of {size}")
    return took * 1000


def told(milliseconds: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(milliseconds), 1), "worst": round(max(milliseconds), 1)}


def client_of(server: ServerProcess) -> httpx.Client:
    headers = {"Authorization": f"Bearer {server.token}"}
    return httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, timeout=120, trust_env=False)


def peer(python: str | None) -> Any:
    if python is None:
        return None
    ended = subprocess.run([python, "-c", PEER], capture_output=True, text=True, check=False)
    return json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 and ended.stdout else None


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure charts of long series.")
    parser.add_argument("--sizes", default="100000,1000000,100000000", help="points of each series")
    parser.add_argument("--repetitions", type=int, default=20, help="requests that count")
    parser.add_argument("--peers-python", help="an interpreter that may have mlflow")
    parser.add_argument("--output", help="also write the JSON to this file")
    options = parser.parse_args()
    try:
        options.sizes = [int(size) for size in options.sizes.split(",")]
    except ValueError:
        parser.error("sizes are whole numbers with commas between")
    if min(options.sizes) < 1 or options.repetitions < 1:
        parser.error("sizes and repetitions count from 1")
    return options


if __name__ == "__main__":
    main()
