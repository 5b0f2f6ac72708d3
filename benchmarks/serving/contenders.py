"""Who is measured: how each is started, what it is sent, and how its processes are found again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from headway.domain.deployments import DeploymentState, Route, RouteReplica, RouteTable, RouteToken, RouteVersion
from headway.domain.users import token_digest

BENCHMARKS = Path(__file__).resolve().parents[1]
VENVS = BENCHMARKS.parent / "build" / "serving-venvs"
TOKEN = "hw_" + "b" * 43
START_SECONDS = 120.0
Row = list[float]


def as_instances(row: Row) -> dict[str, Any]:
    return {"instances": [row]}


def as_inputs(row: Row) -> dict[str, Any]:
    return {"inputs": [row]}


def as_tensors(row: Row) -> dict[str, Any]:
    return {"inputs": [{"name": "pixels", "shape": [1, len(row)], "datatype": "FP64", "data": row}]}


@dataclass(frozen=True)
class Peer:
    """A server that is not ours. ``venv`` names its virtual environment; None stands for the one that runs this."""

    module: str
    venv: str | None
    path: str = "/predict"
    body: Callable[[Row], dict[str, Any]] = as_instances
    heavy: bool = False
    """Whether it does something while nobody asks, or takes much memory: it runs only while it is measured."""

    @property
    def python(self) -> str:
        return sys.executable if self.venv is None else str(VENVS / self.venv / "bin" / "python")


BY_HAND = {
    "sketch": Peer("sketch", None),
    "fastapi": Peer("fastapi_app", None),
    "starlette": Peer("starlette_app", None),
    "granian+orjson": Peer("granian_app", "granian"),
}
FRAMEWORKS = {
    "litserve": Peer("litserve_app", "litserve", heavy=True),
    "bentoml": Peer("bentoml_app", "bentoml", heavy=True),
    "ray serve": Peer("ray_app", "ray", heavy=True),
    "mlflow": Peer("mlflow_app", "mlflow", "/invocations", as_inputs, heavy=True),
    "mlserver": Peer("mlserver_app", "mlserver", "/v2/models/bench/infer", as_tensors, heavy=True),
}


@dataclass
class Server:
    """A server that answers, and what to send it."""

    process: subprocess.Popen[bytes]
    address: str
    requests: Path
    """Prebuilt, for ``load.py``."""

    def family(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.Error:
            return []

    def cpu_seconds(self) -> float:
        """Of all its processes, as far as they live."""
        total = 0.0
        for process in self.family():
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system
        return total

    def rss_mb(self) -> float:
        """The resident memory of its processes."""
        return float(sum(process.memory_info().rss for process in self.family()) / 1e6)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def build_request(path: str, body: dict[str, Any], address: str, token: str | None = None) -> str:
    """One request as text."""
    payload = json.dumps(body)
    lines = [f"POST {path} HTTP/1.1", f"Host: {address}", "Content-Type: application/json"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, f"Content-Length: {len(payload)}", "", payload])


class StartError(Exception):
    """A contender did not answer; the text is the end of what it said."""


@contextmanager
def started(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own; it and all its descendants end with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": str(BENCHMARKS), **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_family(process)


def end_family(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM for the process and SIGKILL for what is left of it and its descendants."""
    family = []
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        pass
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for left in family:
        try:
            left.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(family, timeout=10)


def await_answer(url: str, body: bytes, token: str | None, process: subprocess.Popen[bytes], log: Path) -> bytes:
    """The first answer 200; StartError with the end of the log when none comes."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    deadline, last = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < deadline and process.poll() is None:
        try:
            request = urllib.request.Request(url, body, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            last = f"{error.code} {error.read()[:300].decode(errors='replace')}"
        except OSError as error:
            last = str(error)
        time.sleep(0.02)
    raise StartError(f"{last} {log.read_text(errors='replace')[-600:]}".strip())


@contextmanager
def answering(
    name: str,
    command: list[str],
    port: int,
    bodies: list[dict[str, Any]],
    path: str,
    home: Path,
    token: str | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Server]:
    """A server that has answered once."""
    address, slug = f"127.0.0.1:{port}", hashlib.sha256(f"{name} {port}".encode()).hexdigest()[:8]
    log = home / f"{slug}.log"
    requests = home / f"{slug}.json"
    requests.write_text(json.dumps([build_request(path, body, address, token) for body in bodies]))
    with started(command, log, environment) as process:
        await_answer(f"http://{address}{path}", json.dumps(bodies[0]).encode(), token, process, log)
        yield Server(process, address, requests)


def peer_server(name: str, peer: Peer, kind: str, model: Path, rows: list[Row], home: Path) -> Any:
    """A context manager of a peer that serves the model."""
    port = free_port()
    command = [peer.python, "-m", f"serving.peers.{peer.module}", kind, str(model), str(port)]
    return answering(name, command, port, [peer.body(row) for row in rows], peer.path, home)


def replica_server(model: Path, rows: list[Row], home: Path) -> Any:
    """A context manager of a Headway replica, asked without a gateway."""
    port = free_port()
    command = [sys.executable, "-m", "headway.serving", "--model-dir", str(model), "--name", "bench"]
    path = "/model-serving/bench:predict"
    return answering("headway", [*command, "--port", str(port)], port, [as_instances(row) for row in rows], path, home)


def sketched_gateway(replica: Server, rows: list[Row], home: Path) -> Any:
    """A context manager of the least that a gateway can be, before a replica."""
    port = free_port()
    command = [sys.executable, "-m", "serving.peers.sketch_gateway", replica.address.rpartition(":")[2], str(port)]
    path = "/model-serving/bench:predict"
    return answering("sketch gateway", command, port, [as_instances(row) for row in rows], path, home)


def gateway_server(routes: list[Route], paths: list[str], rows: list[Row], home: Path) -> Any:
    """A context manager of a gateway with these routes from its file, without a server; requests go to ``paths`` in turn."""
    port = free_port()
    directory = home / f"gateway-{port}"
    directory.mkdir(mode=0o700)
    (directory / "routes.json").write_text(RouteTable(version=1, routes=tuple(routes)).model_dump_json())
    command = [sys.executable, "-m", "headway.serving.gateway", "--directory", str(directory), "--port", str(port)]
    return _with_paths(
        answering("gateway", command, port, [as_instances(row) for row in rows], paths[0], home, TOKEN), paths
    )


@contextmanager
def _with_paths(server: Any, paths: list[str]) -> Iterator[Server]:
    with server as found:
        texts = json.loads(found.requests.read_text())
        count = max(len(texts), len(paths))
        chosen = [texts[n % len(texts)].replace(paths[0], paths[n % len(paths)], 1) for n in range(count)]
        found.requests.write_text(json.dumps(chosen))
        yield found


def route(name: str, addresses: list[str]) -> Route:
    """A private deployment that :data:`TOKEN` may ask."""
    replicas = tuple(RouteReplica(id=f"{name}-r{n}", address=address) for n, address in enumerate(addresses))
    return Route(
        deployment_id=f"id-{name}",
        name=name,
        public=False,
        desired=DeploymentState.RUNNING,
        state=DeploymentState.RUNNING,
        versions=(RouteVersion(model="m", version=1, weight=100, replicas=replicas),),
        tokens=(RouteToken(digest=token_digest(TOKEN)),),
    )
