"""Latency and throughput of predictions: gateway + server beside the bare model server and a hand-written FastAPI endpoint.

    python benchmarks/serving.py [--seconds 3] [--output FILE]

Everything runs on this machine in one go, each server as its own process, asked one after the other by the same client: raw
asyncio over kept-alive connections, one request at a time on each. Two models: ``echo``, a predict.py that does nothing
(what the road costs), and ``digits``, a scikit-learn classifier (what a user sees). Rounds are interleaved and the median
round is reported, so that a busy machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop

from headway.domain.deployments import DeploymentState, Route, RouteReplica, RouteTable, RouteVersion

ECHO = "class Predictor:\n    def predict(self, inputs):\n        return inputs\n"

FASTAPI = """
import sys
import uvicorn
from fastapi import FastAPI

app = FastAPI()
kind, directory = sys.argv[1:3]
if kind == "digits":
    import numpy, skops.io
    model = skops.io.load(directory + "/model.skops")

@app.post("/predict")
def predict(body: dict):
    if kind == "echo":
        return {"outputs": body["inputs"]}
    matrix = numpy.asarray(body["inputs"], dtype=float)
    return {"outputs": {"classes": model.predict(matrix).tolist(), "probabilities": model.predict_proba(matrix).tolist()}}

@app.get("/health")
def health():
    return {}

server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", access_log=False))
started = server.startup
async def startup(*arguments, **keywords):
    await started(*arguments, **keywords)
    port = server.servers[0].sockets[0].getsockname()[1]
    print(f"FastAPI on http://127.0.0.1:{port}", flush=True)
server.startup = startup
server.run()
"""


@contextmanager
def running(*command: str) -> Iterator[str]:
    """A server's ``host:port``, taken from the line that it prints when it is ready."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "http://" not in line:
            raise SystemExit(f"{command} did not start")
        yield line.strip().rpartition("http://")[2]
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def save_models(directory: Path) -> dict[str, tuple[Path, Any]]:
    """The two models and a request for each."""
    import skops.io
    from sklearn.datasets import load_digits
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    images, labels = load_digits(return_X_y=True)
    echo, digits = directory / "echo", directory / "digits"
    echo.mkdir()
    digits.mkdir()
    (echo / "predict.py").write_text(ECHO)
    skops.io.dump(LinearDiscriminantAnalysis(solver="lsqr").fit(images, labels), digits / "model.skops")
    vector = images[0].tolist()
    return {"echo": (echo, {"inputs": [vector]}), "digits": (digits, {"inputs": [vector]})}


def gateway_directory(root: Path, name: str, addresses: list[str]) -> Path:
    """A directory from which a gateway starts with one public deployment, without a server."""
    directory = root / name / "gateway"
    directory.mkdir(parents=True, mode=0o700)
    replicas = tuple(RouteReplica(id=f"r{n}", address=address) for n, address in enumerate(addresses))
    route = Route(
        deployment_id="bench",
        name="bench",
        public=True,
        desired=DeploymentState.RUNNING,
        state=DeploymentState.RUNNING,
        versions=(RouteVersion(model="m", version=1, weight=100, replicas=replicas),),
    )
    (directory / "routes.json").write_text(RouteTable(version=1, routes=(route,)).model_dump_json())
    return directory


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> None:
    """One request and its whole answer."""
    writer.write(message)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"not 200: {head.decode('latin-1')}")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))


async def client(address: str, message: bytes, until: float, latencies: list[float]) -> None:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        while time.perf_counter() < until:
            began = time.perf_counter()
            await ask(reader, writer, message)
            latencies.append(time.perf_counter() - began)
    finally:
        writer.close()


async def measure(address: str, path: str, body: Any, connections: int, seconds: float) -> dict[str, float]:
    """Requests a second, and latency in milliseconds."""
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    message = f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload
    latencies: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(client(address, message, began + seconds, latencies) for _ in range(connections)))
    taken = time.perf_counter() - began
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "requests_per_second": round(len(latencies) / taken, 1),
        "p50_ms": round(cuts[49] * 1000, 3),
        "p99_ms": round(cuts[98] * 1000, 3),
    }


def median_round(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The round in the middle by throughput."""
    return sorted(rounds, key=lambda found: found["requests_per_second"])[len(rounds) // 2]


def compare(
    servers: dict[str, tuple[str, str]], body: Any, seconds: float, rounds: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Every server at one and at 16 connections, round after round."""
    seen: dict[str, dict[str, list[dict[str, float]]]] = {name: {"1": [], "16": []} for name in servers}
    for address, path in servers.values():
        uvloop.run(measure(address, path, body, 4, min(seconds, 0.5)))  # warm
    for _ in range(rounds):
        for name, (address, path) in servers.items():
            for connections in (1, 16):
                found = uvloop.run(measure(address, path, body, connections, seconds))
                seen[name][str(connections)].append(found)
    return {name: {count: median_round(found) for count, found in by.items()} for name, by in seen.items()}


def run(seconds: float, rounds: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as root:
        script = Path(root) / "fastapi_peer.py"
        script.write_text(FASTAPI)
        for kind, (directory, body) in save_models(Path(root)).items():
            with ExitStack() as servers:
                enter = servers.enter_context
                replicas = [enter(running("-m", "headway.serving", "--model-dir", str(directory))) for _ in range(2)]
                one = gateway_directory(Path(root), f"{kind}-1", replicas[:1])
                two = gateway_directory(Path(root), f"{kind}-2", replicas)
                path = "/model-serving/bench:predict"
                addresses = {
                    "model server": (replicas[0], path),
                    "gateway + 1 replica": (
                        enter(running("-m", "headway.serving.gateway", "--directory", str(one))),
                        path,
                    ),
                    "gateway + 2 replicas": (
                        enter(running("-m", "headway.serving.gateway", "--directory", str(two))),
                        path,
                    ),
                    "fastapi": (enter(running(str(script), kind, str(directory))), "/predict"),
                }
                results[kind] = compare(addresses, body, seconds, rounds)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None, help="also write the results to this file")
    options = parser.parse_args()
    report = {
        "benchmark": "serving",
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "seconds": options.seconds,
        "rounds": options.rounds,
        "load_average_before": os.getloadavg()[0],
        "results": run(options.seconds, options.rounds),
    }
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")
    for kind, servers in report["results"].items():
        print(f"{kind:8} {'':22} {'connections':>11} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8}")
        for name, by_connections in servers.items():
            for count, found in by_connections.items():
                figures = f"{found['requests_per_second']:9.0f} {found['p50_ms']:8.3f} {found['p99_ms']:8.3f}"
                print(f"{'':8} {name:22} {count:>11} {figures}")


if __name__ == "__main__":
    main()
