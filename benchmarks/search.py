"""How long a page of a search takes: filter, sort and page over many runs with many hyperparameters and metrics.

    python benchmarks/search.py [--runs N] [--params N] [--metrics N] [--database URL] [--output FILE]
                                [--peers-python PYTHON] [--peer-runs N]

Fills a database (a new SQLite file, or the PostgreSQL database at URL, which must be empty), starts a server on it, and
asks for the first page of 100 runs of each search, over HTTP, as bytes. Prints JSON: for each search the first time (with
whatever the server had not read yet), median and 90th percentile in milliseconds, and how many bytes came.

With the interpreter of an environment that has MLflow, the same questions go to `mlflow.search_runs` over its own SQLite
store, with as many runs as --peer-runs says: at 10,000 it takes minutes to fill.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

import headway
from headway.domain.base import new_id, now
from headway.domain.metrics import SeriesSummary
from headway.domain.projects import Project
from headway.domain.runs import Run, RunState
from headway.storage import open_storage
from headway.testing.server import ServerProcess

PAGE = 100
RUNS_A_SESSION = 200
SEARCHES: dict[str, dict[str, str]] = {
    "newest": {},
    "one metric, sorted by another": {
        "filter": "metrics.val.metric_3.min < 0.3",
        "order_by": "metrics.val.metric_30",
    },
    "param and metric, sorted by metric": {
        "filter": "params.param_3 < 0.5 and metrics.val.metric_3.min < 0.3",
        "order_by": "-metrics.val.metric_3.last",
    },
    "six fields": {
        "filter": "(params.param_3 < 0.5 or params.param_4 > 0.9) and params.name like 'a%'"
        " and metrics.val.metric_7.mean < 0.6 and not metrics.val.metric_8 > 0.9 and state != 'error'",
        "order_by": "metrics.val.metric_3.max",
    },
    "sorted by a param": {"order_by": "params.param_9"},
    "text that nobody has": {"filter": "params.name like '%nothing%' or description contains 'nothing'"},
    "sorted by name": {"order_by": "name"},
}


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-") as directory:
        data = Path(directory) / "data"
        found = report(options, measure(options, data))
        if options.peers_python:
            found["mlflow"] = measure_mlflow(options, Path(directory))
    text = json.dumps(found, indent=2)
    print(text)
    if options.output:
        Path(options.output).write_text(text + "\n")


def measure(options: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Fill a database and ask a server on it."""
    data.mkdir(mode=0o700)
    url = options.database or f"sqlite:///{data / 'headway.db'}"
    began = time.perf_counter()
    fill(url, options)
    filling = time.perf_counter() - began
    arguments = ("--database-url", options.database) if options.database else ()
    with ServerProcess(data, arguments=arguments) as server:
        with httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=120
        ) as http:
            searches = {
                f"{name}{', with summaries' if summary else ''}": ask(http, options.repetitions, query, summary=summary)
                for summary in (False, True)
                for name, query in SEARCHES.items()
            }
            walking = walk(http)
    size = 0 if options.database else (data / "headway.db").stat().st_size
    return {
        "filled_seconds": round(filling, 1),
        "database_bytes": size,
        "all_pages_seconds": walking,
        "searches": searches,
    }


def fill(url: str, options: argparse.Namespace) -> None:
    chooser = random.Random(1)
    storage = open_storage(url)
    project = Project(id=new_id("prj"), name="benchmark", created_at=now(), created_by="usr1")
    with storage.write() as session:
        session.projects.add(project)
    runs = generated(project.id, options, chooser)
    for _ in range(math.ceil(options.runs / RUNS_A_SESSION)):
        with storage.write() as session:
            for _, (run, summaries) in zip(range(RUNS_A_SESSION), runs, strict=False):
                session.runs.add(run)
                session.run_metrics.put(run.id, summaries)
    storage.close()


def generated(
    project_id: str, options: argparse.Namespace, chooser: random.Random
) -> Iterator[tuple[Run, list[SeriesSummary]]]:
    words = ["adam", "adagrad", "sgd", "rmsprop"]
    for number in range(options.runs):
        config: dict[str, Any] = {f"param_{place}": chooser.random() for place in range(options.params - 1)}
        run = Run(
            id=new_id("run"),
            project_id=project_id,
            name=f"run {chooser.randrange(options.runs)}",
            state=chooser.choice(list(RunState)),
            config={**config, "name": f"{chooser.choice(words)} {number}"},
            created_at=now(),
            created_by="usr1",
        )
        summaries = [
            SeriesSummary(
                name=f"metric_{place}",
                stage="val",
                count=1000,
                last=chooser.random(),
                last_step=999,
                min=chooser.random(),
                max=chooser.random(),
                mean=chooser.random(),
            )
            for place in range(options.metrics)
        ]
        yield run, summaries


def ask(http: httpx.Client, repetitions: int, query: dict[str, str], *, summary: bool) -> dict[str, Any]:
    more = {"include": "summary"} if summary else {}
    size = 0

    def page() -> None:
        nonlocal size
        answer = http.get("/api/v1/runs", params={"project": "benchmark", "limit": PAGE, **query, **more})
        answer.raise_for_status()
        size = len(answer.content)

    return {**timed(page, repetitions), "bytes": size}


def walk(http: httpx.Client) -> float:
    """Seconds for every page of a sorted search, one after the other."""
    began = time.perf_counter()
    cursor: str | None = None
    while True:
        query = {"project": "benchmark", "limit": PAGE, "order_by": "metrics.val.metric_3"}
        answer = http.get("/api/v1/runs", params={**query, **({"cursor": cursor} if cursor else {})}).json()
        cursor = answer["next_cursor"]
        if cursor is None:
            return round(time.perf_counter() - began, 2)


def timed(action: Callable[[], None], repetitions: int) -> dict[str, float]:
    """Milliseconds: the first time, and the median and 90th percentile of those after it."""
    taken = []
    for _ in range(repetitions + 1):
        began = time.perf_counter()
        action()
        taken.append((time.perf_counter() - began) * 1000)
    first, rest = taken[0], sorted(taken[1:])
    p90 = rest[math.ceil(0.9 * len(rest)) - 1]
    return {"first_ms": round(first, 1), "median_ms": round(statistics.median(rest), 1), "p90_ms": round(p90, 1)}


MLFLOW = """
import json, random, sys, time, statistics
import mlflow
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

place, runs, params, metrics, repetitions = sys.argv[1], *map(int, sys.argv[2:])
mlflow.set_tracking_uri("sqlite:///" + place)
client = MlflowClient()
experiment = client.create_experiment("benchmark")
chooser = random.Random(1)
began = time.perf_counter()
for number in range(runs):
    run = client.create_run(experiment).info.run_id
    values = [Metric(f"metric_{n}", chooser.random(), 0, 0) for n in range(metrics)]
    given = [Param(f"param_{n}", str(chooser.random())) for n in range(params - 1)]
    client.log_batch(run, metrics=values, params=given + [Param("name", chooser.choice(["adam", "sgd"]))])
filled = time.perf_counter() - began
searches = {
    "newest": ("", None),
    "one metric, sorted by another": ("metrics.metric_3 < 0.3", ["metrics.metric_30 ASC"]),
    "param and metric, sorted by metric": ("params.name LIKE 'a%' and metrics.metric_3 < 0.3", ["metrics.metric_3 DESC"]),
}
found = {}
for name, (text, order) in searches.items():
    taken = []
    for _ in range(repetitions + 1):
        began = time.perf_counter()
        client.search_runs([experiment], text, max_results=100, order_by=order)
        taken.append((time.perf_counter() - began) * 1000)
    found[name] = {"first_ms": round(taken[0], 1), "median_ms": round(statistics.median(taken[1:]), 1)}
answer = {"version": mlflow.__version__, "runs": runs, "filled_seconds": round(filled, 1), "searches": found}
print("RESULT " + json.dumps(answer))
"""


def measure_mlflow(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """MLflow over its SQLite store, in its own process and without HTTP between."""
    numbers = (options.peer_runs, options.params, options.metrics, min(options.repetitions, 5))
    command = [options.peers_python, "-c", MLFLOW, str(directory / "mlflow.db"), *map(str, numbers)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in finished.stdout.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    return {"missing": finished.stderr.strip().splitlines()[-1:] or f"exit code {finished.returncode}"}


def report(options: argparse.Namespace, measured: dict[str, Any]) -> dict[str, Any]:
    """The result, and the machine that it was measured on."""
    return {
        "benchmark": "a page of a search",
        "headway": headway.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "database": "postgresql" if options.database else "sqlite",
        "runs": options.runs,
        "params": options.params,
        "metrics": options.metrics,
        "page": PAGE,
        "repetitions": options.repetitions,
        **measured,
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure a page of a search over many runs.")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--params", type=int, default=50, help="hyperparameters of each run")
    parser.add_argument("--metrics", type=int, default=50, help="series of each run")
    parser.add_argument("--repetitions", type=int, default=10, help="of each search, after the first")
    parser.add_argument("--database", help="an empty PostgreSQL database (postgresql://…) instead of SQLite")
    parser.add_argument("--peers-python", help="an interpreter that has MLflow")
    parser.add_argument("--peer-runs", type=int, default=300, help="runs that MLflow is filled with")
    parser.add_argument("--output", help="also write the JSON to this file")
    options = parser.parse_args()
    if min(options.runs, options.repetitions, options.params, options.peer_runs) < 1 or options.metrics < 0:
        parser.error("runs, repetitions and params count from 1")
    return options


if __name__ == "__main__":
    try:
        main()
    except headway.HeadwayError as error:
        sys.exit(f"search: {error}")
