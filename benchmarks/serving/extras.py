"""What is measured of Headway alone: memory, the way from deploy to the first answer, a gateway with many deployments."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from headway import Client
from headway.testing.server import ServerProcess
from serving import models
from serving.contenders import gateway_server, replica_server, route
from serving.measure import PATH, Found, ask

BUSY = 5
TURNS = 4
"""Into which each round over gateways is cut."""
SAME = "5 again"
BARE = {
    "digits": "import numpy, sklearn, skops.io; from sklearn.discriminant_analysis import LinearDiscriminantAnalysis",
    "mlp": "import numpy, onnxruntime",
}
LOADED = "from serving.models import load; load(sys.argv[1], sys.argv[2])([[0.0] * 64])"
RSS = "import psutil; print(psutil.Process().memory_info().rss / 1e6)"


def bare_memory(kind: str, model: Path) -> dict[str, float]:
    """Megabytes (RSS) of a Python that imported NumPy and the model's library, and of one that predicted with it."""
    found = {}
    for name, code in {"bare": BARE[kind], "bare with model": f"{BARE[kind]}; {LOADED}"}.items():
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; {code}; {RSS}", kind, str(model)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        )
        found[name] = round(float(done.stdout), 1)
    return found


def many_deployments(home: Path, model: Path, count: int, seconds: float, rounds: int) -> dict[str, Any]:
    """p50 in milliseconds through a gateway that knows 5 busy deployments, and through one that knows ``count`` in all.

    A second gateway with 5 says how much two that are the same differ in this run. The turns are short and many, each round
    in the other direction, so that what else the machine does in between meets all three.
    """
    rows = models.rows()
    paths = [PATH.format(f"busy{number}") for number in range(BUSY)]
    with ExitStack() as stack:
        replica = stack.enter_context(replica_server(model, rows, home))
        busy = [route(f"busy{number}", [replica.address]) for number in range(BUSY)]
        idle = [route(f"idle{number}", [replica.address]) for number in range(count - BUSY)]
        gateways = {
            str(BUSY): stack.enter_context(gateway_server(busy, paths, rows, home)),
            str(count): stack.enter_context(gateway_server([*idle, *busy], paths, rows, home)),
            SAME: stack.enter_context(gateway_server(busy, paths, rows, home)),
        }
        seen: dict[str, list[Found]] = {name: [] for name in gateways}
        for number in range(rounds * TURNS):
            for name in list(gateways) if number % 2 else reversed(gateways):
                seen[name].append(ask(gateways[name], BUSY, seconds / TURNS))
    p50 = {name: _median(found, "p50_ms") for name, found in seen.items()}
    return {
        "same_again_p50_ms": p50.pop(SAME),
        "p50_ms": p50,
        "server_cpu_us": {name: _median(found, "server_cpu_us") for name, found in seen.items()},
        "rounds": {name: [each["p50_ms"] for each in found] for name, found in seen.items()},
    }


def _median(found: list[Found], key: str) -> float:
    return round(statistics.median(each[key] for each in found), 4)


def first_answers(home: Path, model: Path, repetitions: int) -> dict[str, Any]:
    """Seconds from ``deployments.create`` to the first answer; the first deployment also starts the gateway."""
    body = {"instances": [models.rows()[0]]}
    taken = []
    with ServerProcess(home / "server") as server, Client(server.url, server.token, project="bench") as client:
        client.projects.create("bench")
        client.models.register("digits", model)
        for number in range(repetitions + 1):
            began = time.perf_counter()
            deployment = client.deployments.create(f"digits{number}", "digits", public=True)
            await_prediction(deployment.endpoint, body)
            taken.append(round(time.perf_counter() - began, 3))
            client.deployments.delete(deployment.id)
    return {"with_start_of_gateway": taken[0], "seconds": taken[1:], "median_seconds": statistics.median(taken[1:])}


def await_prediction(url: str, body: dict[str, Any]) -> None:
    deadline = time.monotonic() + 60
    with httpx.Client(trust_env=False, timeout=60) as client:
        while time.monotonic() < deadline:
            try:
                if client.post(url, json=body).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.01)
    raise SystemExit("the deployment did not answer within a minute")
