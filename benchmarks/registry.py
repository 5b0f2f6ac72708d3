"""How long a page of the registry takes: lists and searches over many model versions, and how quickly versions are made.

    python benchmarks/registry.py [--versions N] [--models N] [--database URL] [--output FILE]
                                  [--peers-python PYTHON] [--peer-versions N]

Fills a database (a new SQLite file, or the PostgreSQL database at URL, which must be empty) with versions of five files,
a signature, ten parameters, ten metrics and three labels each, starts a server on it, and asks for a page of 100 of each
search, over HTTP, as bytes. Prints JSON: for each search the first time (with whatever the server had not read yet), median
and 90th percentile in milliseconds, how many bytes came and how many versions. Then registers versions of one model, one
after the other and by 50 clients at once.

With the interpreter of an environment that has MLflow, the same questions go to its model registry over its own SQLite
store, in this process as its clients do without a server (so without HTTP), with as many versions as --peer-versions says.
"""

from __future__ import annotations

import argparse
import hashlib
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

import headway
from headway.domain.base import new_id, now
from headway.domain.files import FileEntry, manifest_digest
from headway.domain.models import GitInfo, Model, ModelSignature, ModelVersion, TensorSpec
from headway.domain.projects import Project
from headway.storage import open_storage
from headway.testing.server import ServerProcess

PAGE = 100
A_SESSION = 500
CLIENTS = 50
STAGES = ["dev", "dev", "dev", "staging", "production"]
SEARCHES: dict[str, dict[str, str]] = {
    "newest": {},
    "of one model": {"model": "model-7"},
    "part of the name": {"name": "el-77"},
    "part that nobody has": {"name": "nothing"},
    "label of every fifth": {"label": "stage:production"},
    "label of one": {"label": "ticket:4711"},
    "alias": {"alias": "champion"},
    "alias of one": {"alias": "chosen"},
    "version name": {"version_name": "1.0.3"},
    "name, label and alias": {"name": "model-1", "label": "stage:production", "alias": "champion"},
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
        headers = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=120) as http:
            searches = {name: ask(http, options.repetitions, query) for name, query in SEARCHES.items()}
            models = ask(http, options.repetitions, {"contains": "el-77"}, path="/api/v1/models")
            walking = walk(http)
            resolving = timed(lambda: get(http, "/api/v1/model-versions/resolve", ref="model-7@champion"), 50)
        registering = register(server)
    return {
        "filled_seconds": round(filling, 1),
        "database_bytes": 0 if options.database else (data / "headway.db").stat().st_size,
        "all_pages_seconds": walking,
        "searches": searches,
        "models by part of the name": models,
        "resolve an alias": resolving,
        "register": registering,
    }


def fill(url: str, options: argparse.Namespace) -> None:
    chooser = random.Random(1)
    storage = open_storage(url)
    project = Project(id=new_id("prj"), name="benchmark", created_at=now(), created_by="usr1")
    per_model = max(1, options.versions // options.models)
    start = now() - timedelta(seconds=options.versions)
    made: list[tuple[Model, list[ModelVersion]]] = []
    for number in range(options.models):
        aliases = {"champion": per_model, **({"chosen": 1} if number == options.models // 2 else {})}
        model = Model(
            id=new_id("mdl"),
            project_id=project.id,
            name=f"model-{number}",
            latest_version=per_model,
            aliases=aliases,
            created_at=start,
        )
        at = start + timedelta(seconds=number * per_model)
        versions = [version_of(model, place, chooser, at) for place in range(1, per_model + 1)]
        if number == options.models // 3:
            versions[0] = versions[0].evolve(labels={**versions[0].labels, "ticket": "4711"})
        made.append((model, versions))
    with storage.write() as session:
        session.projects.add(project)
    waiting: list[ModelVersion] = []
    for model, versions in made:
        with storage.write() as session:
            session.models.add(model)
        waiting += versions
        while len(waiting) >= A_SESSION or (waiting and model is made[-1][0]):
            with storage.write() as session:
                for version in waiting[:A_SESSION]:
                    session.model_versions.add(version)
            del waiting[:A_SESSION]
    storage.close()


def version_of(model: Model, number: int, chooser: random.Random, start: Any) -> ModelVersion:
    files = tuple(
        FileEntry(path=f"part{place}.bin", digest=hashlib.sha256(chooser.randbytes(16)).hexdigest(), size=1000)
        for place in range(5)
    )
    labels = {"stage": chooser.choice(STAGES), "team": chooser.choice("abc"), "build": str(chooser.randrange(10**6))}
    return ModelVersion(
        id=new_id("mv"),
        model_id=model.id,
        project_id=model.project_id,
        name=model.name,
        version=number,
        version_name=f"1.0.{number}",
        model_type="sklearn",
        runtime="sklearn",
        size=5000,
        digest=manifest_digest(files),
        files=files,
        run_id=new_id("run"),
        job_id=new_id("job"),
        signature=ModelSignature(inputs=(TensorSpec(name="x", dtype="float64", shape=(None, 64)),)),
        git=GitInfo(url="https://example.org/code.git", commit="c0ffee" * 6, branch="main", dirty=False),
        parameters={f"param_{place}": chooser.random() for place in range(10)},
        metrics={f"metric_{place}": chooser.random() for place in range(10)},
        labels=labels,
        created_at=start + timedelta(seconds=number),
        created_by="usr1",
    )


def get(http: httpx.Client, path: str, **query: Any) -> httpx.Response:
    answer = http.get(path, params={"project": "benchmark", **query})
    answer.raise_for_status()
    return answer


def ask(
    http: httpx.Client, repetitions: int, query: dict[str, str], path: str = "/api/v1/model-versions"
) -> dict[str, Any]:
    last: list[httpx.Response] = []

    def page() -> None:
        last[:] = [get(http, path, limit=PAGE, **query)]

    taken = timed(page, repetitions)
    return {**taken, "bytes": len(last[0].content), "items": len(last[0].json()["items"])}


def walk(http: httpx.Client) -> float:
    """Seconds for every page of all versions, one after the other."""
    began = time.perf_counter()
    cursor: str | None = None
    while True:
        more = {"cursor": cursor} if cursor else {}
        cursor = get(http, "/api/v1/model-versions", limit=PAGE, **more).json()["next_cursor"]
        if cursor is None:
            return round(time.perf_counter() - began, 2)


def register(server: ServerProcess) -> dict[str, Any]:
    """Versions of one model of a file that is there already, one after the other and by many clients at once."""
    content = b"content"
    entry = {"path": "model.bin", "digest": hashlib.sha256(content).hexdigest(), "size": len(content)}
    headers = {"Authorization": f"Bearer {server.token}"}
    body = {"project": "benchmark", "files": [entry]}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as http:
        place = f"/api/v1/projects/benchmark/blobs/{entry['digest']}"
        octets = {"Content-Type": "application/octet-stream"}
        http.put(place, content=content, headers=octets).raise_for_status()
        alone = timed(lambda: http.post("/api/v1/models", json={**body, "name": "alone"}).raise_for_status(), 100)

    def one(_: int) -> int:
        with httpx.Client(base_url=server.url, headers=headers, timeout=120) as mine:
            answer = mine.post("/api/v1/models", json={**body, "name": "together"})
            answer.raise_for_status()
            return int(answer.json()["version"])

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        numbers = list(pool.map(one, range(CLIENTS)))
    together = time.perf_counter() - began
    return {"alone": alone, "clients": CLIENTS, "together_seconds": round(together, 2), "distinct": len(set(numbers))}


def timed(action: Callable[[], Any], repetitions: int) -> dict[str, float]:
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
import json, random, statistics, sys, time
import mlflow
from mlflow.tracking import MlflowClient

place, versions, models, repetitions = sys.argv[1], *map(int, sys.argv[2:])
client = MlflowClient(tracking_uri="sqlite:///" + place, registry_uri="sqlite:///" + place)
chooser = random.Random(1)
per_model = max(1, versions // models)
began = time.perf_counter()
for number in range(models):
    name = f"model-{number}"
    client.create_registered_model(name)
    for one in range(1, per_model + 1):
        tags = {"stage": chooser.choice(["dev", "dev", "dev", "staging", "production"]), "team": chooser.choice("abc")}
        client.create_model_version(name, "file:///tmp/model", tags=tags)
    client.set_registered_model_alias(name, "champion", str(per_model))
filled = time.perf_counter() - began
searches = {
    "newest": "",
    "of one model": "name = 'model-7'",
    "part of the name": "name LIKE '%el-77%'",
    "part that nobody has": "name LIKE '%nothing%'",
    "label of every fifth": "tags.stage = 'production'",
}
found = {}
for title, text in searches.items():
    taken = []
    for _ in range(repetitions + 1):
        began = time.perf_counter()
        page = client.search_model_versions(text, max_results=100)
        taken.append((time.perf_counter() - began) * 1000)
    found[title] = {
        "first_ms": round(taken[0], 1), "median_ms": round(statistics.median(taken[1:]), 1), "items": len(page)
    }
taken = []
for _ in range(50):
    began = time.perf_counter()
    client.get_model_version_by_alias("model-7", "champion")
    taken.append((time.perf_counter() - began) * 1000)
made = []
for _ in range(100):
    began = time.perf_counter()
    client.create_model_version("model-7", "file:///tmp/model")
    made.append((time.perf_counter() - began) * 1000)
print("RESULT " + json.dumps({
    "version": mlflow.__version__, "versions": versions, "filled_seconds": round(filled, 1), "searches": found,
    "resolve an alias": {"median_ms": round(statistics.median(taken), 1)},
    "register": {"alone": {"median_ms": round(statistics.median(made), 1)}},
}))
"""


def measure_mlflow(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    numbers = [options.peer_versions, options.models, options.repetitions]
    command = [options.peers_python, "-c", MLFLOW, str(directory / "mlflow.db"), *map(str, numbers)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    return {"failed": done.stderr[-2000:]}


def report(options: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any]:
    load = os.getloadavg()[0]
    machine = {"cpus": os.cpu_count(), "load": round(load, 1), "python": platform.python_version()}
    return {
        "benchmark": "registry",
        "headway": headway.__version__,
        "machine": machine,
        "database": "postgresql" if options.database else "sqlite",
        "versions": options.versions,
        "models": options.models,
        "page": PAGE,
        "repetitions": options.repetitions,
        **found,
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--database", help="an empty PostgreSQL database; a new SQLite file without it")
    parser.add_argument("--output", help="where to write the JSON, too")
    parser.add_argument("--peers-python", default="", help="an interpreter that has MLflow")
    parser.add_argument("--peer-versions", type=int, default=10_000)
    options = parser.parse_args()
    if not 1 <= options.models <= options.versions:
        sys.exit("There must be at least one version a model.")
    return options


if __name__ == "__main__":
    main()
