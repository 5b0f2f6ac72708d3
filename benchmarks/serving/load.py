"""The client of the measurements: raw bytes over kept-alive connections, in a process of its own.

    python benchmarks/serving/load.py ADDRESS REQUESTS --connections 64 --seconds 3 [--rate 500]

REQUESTS is a file of prebuilt requests (a JSON list of texts), sent in turn. Without ``--rate`` every connection has one
request in flight and sends the next when the answer is whole (a closed loop). With it requests fall due at random (Poisson)
moments at that rate and wait for an idle connection; their latency counts from when they fell due, to the resolution of the
loop's timer (1 ms). It prints one line of JSON. An answer is followed only as far as its status and length, so that the
client costs much less than any server.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import time
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

import uvloop

WARM_SECONDS = 0.3
TICK_SECONDS = 0.001
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Measurement:
    """What all connections of one run share."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[None]) -> None:
        self.requests = requests
        self.done = done
        self.latencies = array("d")
        self.sent = 0
        self.began = 0.0
        self.began_cpu = 0.0
        self.ended = 0.0

    def next_request(self) -> bytes:
        self.sent += 1
        return self.requests[self.sent % len(self.requests)]

    def count_from_now(self) -> None:
        """What was measured until now was the warming up."""
        self.latencies = array("d")
        self.began, self.began_cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        self.ended = time.perf_counter()
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, reason: str) -> None:
        if not self.done.done() and not self.ended:
            self.done.set_exception(SystemExit(reason))

    def report(self) -> dict[str, float]:
        latencies = sorted(self.latencies)
        if not latencies:
            raise SystemExit("no request was answered")
        found = {
            f"p{name}_ms": round(latencies[int(share * (len(latencies) - 1))] * 1000, 4)
            for name, share in (("50", 0.5), ("95", 0.95), ("99", 0.99), ("999", 0.999))
        }
        return {
            "requests_per_second": round(len(latencies) / (self.ended - self.began), 1),
            **found,
            "answers": len(latencies),
            "sent": self.sent,
            "client_cpu_us": round((time.process_time() - self.began_cpu) * 1e6 / len(latencies), 2),
        }


class Connection(asyncio.Protocol):
    """One kept-alive connection; ``idle`` is called when an answer is whole."""

    def __init__(self, measurement: Measurement, idle: Callable[[Connection], None]) -> None:
        self.measurement, self.idle = measurement, idle
        self.transport: asyncio.WriteTransport
        self.due = 0.0
        self.missing = 0
        self.partial = b""
        self.length_header = b""
        self.chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def ask(self, due: float) -> None:
        self.due = due
        self.transport.write(self.measurement.next_request())

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self.missing -= len(data)
            if self.missing > 0:
                return
            self.missing = 0
        elif not self._began(data):
            return
        self.measurement.latencies.append(time.perf_counter() - self.due)
        self.idle(self)

    def _began(self, data: bytes) -> bool:
        """Follow the beginning of an answer; whether it is whole already."""
        if self.partial:
            data, self.partial = self.partial + data, b""
        end = data.find(HEAD_END)
        if end < 0 or (self.chunked and not data.endswith(LAST_CHUNK)):
            self.partial = data
            return False
        if data[9:12] != b"200":
            self.measurement.fail(f"not 200: {data[:600].decode('latin-1')}")
            return False
        if self.chunked:
            return True
        if not self.length_header:
            return self._learn(data, end)
        at = data.index(self.length_header, 0, end + 2) + len(self.length_header)
        self.missing = end + 4 + int(data[at : data.index(b"\r\n", at)]) - len(data)
        if self.missing > 0:
            return False
        self.missing = 0
        return True

    def _learn(self, data: bytes, end: int) -> bool:
        """How this server writes the length of its answers, from its first one."""
        at = data[:end].lower().find(b"\r\ncontent-length:")
        if at >= 0:
            self.length_header = data[at : at + len(b"\r\ncontent-length:")]
        else:
            self.chunked = True
        return self._began(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.measurement.fail(f"the server closed a connection: {error}")


async def connect(
    address: str, count: int, measurement: Measurement, idle: Callable[[Connection], None]
) -> list[Connection]:
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    return [
        (await loop.create_connection(lambda: Connection(measurement, idle), host, int(port)))[1] for _ in range(count)
    ]


async def closed_loop(address: str, requests: list[bytes], connections: int, seconds: float) -> Measurement:
    """Every connection asks again as soon as it was answered."""
    loop = asyncio.get_running_loop()
    measurement = Measurement(requests, loop.create_future())

    def again(connection: Connection) -> None:
        if not measurement.ended:
            connection.ask(time.perf_counter())

    opened = await connect(address, connections, measurement, again)
    for connection in opened:
        again(connection)
    loop.call_later(WARM_SECONDS, measurement.count_from_now)
    loop.call_later(WARM_SECONDS + seconds, measurement.end)
    await measurement.done
    return measurement


async def open_loop(address: str, requests: list[bytes], connections: int, seconds: float, rate: float) -> Measurement:
    """Requests fall due whether or not earlier ones were answered."""
    loop = asyncio.get_running_loop()
    measurement = Measurement(requests, loop.create_future())
    chance = random.Random(1)
    waiting: deque[float] = deque()
    idle: deque[Connection] = deque()

    def answered(connection: Connection) -> None:
        if waiting:
            connection.ask(waiting.popleft())
        else:
            idle.append(connection)

    idle.extend(await connect(address, connections, measurement, answered))
    next_due = time.perf_counter()

    def tick() -> None:
        nonlocal next_due
        if measurement.ended:
            return
        moment = time.perf_counter()
        while next_due <= moment:
            if idle:
                idle.popleft().ask(moment)
            else:
                waiting.append(moment)
            next_due += chance.expovariate(rate)
        loop.call_later(TICK_SECONDS, tick)

    tick()
    loop.call_later(WARM_SECONDS, measurement.count_from_now)
    loop.call_later(WARM_SECONDS + seconds, measurement.end)
    await measurement.done
    return measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("requests", type=Path)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=0.0)
    options = parser.parse_args()
    requests = [text.encode() for text in json.loads(options.requests.read_text())]
    gc.disable()
    common = (options.address, requests, options.connections, options.seconds)
    measured = uvloop.run(open_loop(*common, options.rate) if options.rate else closed_loop(*common))
    print(json.dumps(measured.report()))


if __name__ == "__main__":
    main()
