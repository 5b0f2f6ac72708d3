"""Rounds of load over all contenders of one model, one after the other and again."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from serving import models
from serving.contenders import (
    BY_HAND,
    FRAMEWORKS,
    Peer,
    Server,
    StartError,
    gateway_server,
    peer_server,
    replica_server,
    route,
    sketched_gateway,
)

CONNECTIONS = (1, 8, 64)
PATH = "/model-serving/{}:predict"
Found = dict[str, Any]


def ask(server: Server, connections: int, seconds: float, rate: float = 0.0) -> Found:
    """What ``load.py`` measured, and the server's own time on the processor for each answer."""
    script = str(Path(__file__).with_name("load.py"))
    options = ["--connections", str(connections), "--seconds", str(seconds), "--rate", str(rate)]
    before = server.cpu_seconds()
    done = subprocess.run(
        [sys.executable, script, server.address, str(server.requests), *options],
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    if done.returncode != 0:
        raise StartError(done.stderr.strip()[-600:])
    found: Found = json.loads(done.stdout)
    found["server_cpu_us"] = round((server.cpu_seconds() - before) * 1e6 / found["sent"], 1)
    return found


class Rounds:
    """Measures every contender of one model in turn, ``rounds`` times."""

    def __init__(self, kind: str, model: Path, home: Path, seconds: float) -> None:
        self.kind, self.model, self.home, self.seconds = kind, model, home, seconds
        self.rows = models.rows()
        self.seen: dict[str, dict[str, list[Found]]] = {}
        self.errors: dict[str, str] = {}
        self._light: dict[str, Server] = {}
        self._heavy: dict[str, Peer] = {}

    def start(self, stack: ExitStack, peers: dict[str, Peer]) -> None:
        """Start our own and all peers that are quiet while nobody asks."""
        replicas = [stack.enter_context(replica_server(self.model, self.rows, self.home)) for _ in range(2)]
        self._light["headway replica"] = replicas[0]
        for count in (1, 2):
            routes = [route("bench", [replica.address for replica in replicas[:count]])]
            self._light[f"headway gateway + {count}"] = stack.enter_context(
                gateway_server(routes, [PATH.format("bench")], self.rows, self.home)
            )
        self._light["sketch gateway + 1"] = stack.enter_context(sketched_gateway(replicas[0], self.rows, self.home))
        for name, peer in peers.items():
            if peer.heavy:
                self._heavy[name] = peer
                continue
            try:
                self._light[name] = stack.enter_context(
                    peer_server(name, peer, self.kind, self.model, self.rows, self.home)
                )
            except (StartError, OSError) as error:
                self.errors[name] = str(error)

    def run_once(self) -> None:
        for name, server in self._light.items():
            self._measure(name, server)
        self._half_load()
        for name, peer in self._heavy.items():
            if name in self.errors:
                continue
            try:
                with peer_server(name, peer, self.kind, self.model, self.rows, self.home) as server:
                    self._measure(name, server)
            except (StartError, OSError) as error:
                self.errors[name] = str(error)

    def _measure(self, name: str, server: Server) -> None:
        try:
            for connections in CONNECTIONS:
                self._keep(name, str(connections), ask(server, connections, self.seconds))
        except StartError as error:
            self.errors[name] = str(error)

    def _half_load(self) -> None:
        """Replica and gateway at half of what the gateway just carried, at random moments."""
        carried = self.seen["headway gateway + 1"]["64"][-1]["requests_per_second"]
        for name in ("headway replica", "headway gateway + 1"):
            self._keep(name, "half", ask(self._light[name], 64, self.seconds, rate=carried / 2))

    def _keep(self, name: str, what: str, found: Found) -> None:
        self.seen.setdefault(name, {}).setdefault(what, []).append(found)

    def results(self) -> dict[str, Any]:
        """The median round of each by throughput, and the throughput of all rounds."""
        found: dict[str, Any] = {
            name: {what: median_round(rounds) for what, rounds in by.items()} for name, by in self.seen.items()
        }
        return {**found, **{name: {"error": error} for name, error in self.errors.items()}}

    def memory(self) -> dict[str, float]:
        return {name: round(server.rss_mb(), 1) for name, server in self._light.items()}


def median_round(rounds: list[Found]) -> Found:
    """The round in the middle by throughput; latencies are the medians over all rounds."""
    middle = dict(sorted(rounds, key=lambda found: found["requests_per_second"])[len(rounds) // 2])
    for key in ("p50_ms", "p95_ms", "p99_ms", "p999_ms", "server_cpu_us"):
        middle[key] = round(statistics.median(found[key] for found in rounds), 4)
    middle["rounds"] = [found["requests_per_second"] for found in rounds]
    return middle


def compare(home: Path, seconds: float, rounds: int, with_frameworks: bool, kinds: tuple[str, ...]) -> dict[str, Any]:
    """All contenders with each model: results, and memory after the load."""
    peers = {**BY_HAND, **(FRAMEWORKS if with_frameworks else {})}
    usable = {name: peer for name, peer in peers.items() if Path(peer.python).exists()}
    directories, found = models.save(home), {}
    for kind in kinds:
        measured = Rounds(kind, directories[kind], home, seconds)
        with ExitStack() as stack:
            measured.start(stack, usable)
            for number in range(rounds):
                print(f"{kind}: round {number + 1} of {rounds}", file=sys.stderr)
                measured.run_once()
            found[kind] = {"servers": measured.results(), "memory_mb": measured.memory()}
    return found
