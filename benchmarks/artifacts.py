"""A large artifact up to a server and down again, beside a plain copy of the same file.

    python benchmarks/artifacts.py [--gibibytes N] [--files N] [--repetitions N] [--directory DIR] [--output FILE]

Starts a server of its own, makes a file of random bytes, and prints JSON: for each repetition the seconds of `cp` (once as
it is, once until the copy is durable, as every upload is when it is answered), of `client.artifacts.upload` and of
`client.artifacts.download`, the rates, the share of the durable copy's rate, and the most memory that client and server took
meanwhile. With --files also the time for that many small files. Everything happens on one disk; the kernel's cache is not
emptied or avoided, for any of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

import headway
from headway.testing.server import ServerProcess

MIB = 1 << 20


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-", dir=options.directory) as directory:
        result = measure(options, Path(directory))
    text = json.dumps(result, indent=2)
    print(text)
    if options.output:
        Path(options.output).write_text(text + "\n")


def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    size = int(options.gibibytes * (1 << 30))
    source = directory / "source"
    with ServerProcess(directory / "data") as server, headway.Client(server.url, server.token) as client:
        client.projects.create("benchmark")
        rounds = []
        for number in range(options.repetitions):
            write_random(source, size)
            rounds.append(one_round(client, server, source, directory, number))
        small = small_files(client, directory, options.files) if options.files else None
    return {**report(options, size, rounds), **({"small_files": small} if small else {})}


def one_round(
    client: headway.Client, server: ServerProcess, source: Path, directory: Path, number: int
) -> dict[str, float]:
    copy, target = directory / "copy", directory / "target"
    found = {"copy_seconds": timed(lambda: run_copy(source, copy, durable=False))}
    copy.unlink()
    found["durable_copy_seconds"] = timed(lambda: run_copy(source, copy, durable=True))
    copy.unlink()
    name = f"large-{number}"
    with watched(server) as memory:
        found["upload_seconds"] = timed(lambda: client.artifacts.upload(name, source, project="benchmark"))
        found["download_seconds"] = timed(lambda: client.artifacts.download(name, target, project="benchmark"))
    check_equal(source, target / source.name)
    shutil.rmtree(target)
    return {**found, **memory}


def small_files(client: headway.Client, directory: Path, count: int) -> dict[str, float]:
    """Seconds for many files of 1 KiB."""
    folder = directory / "small"
    folder.mkdir()
    for number in range(count):
        (folder / str(number)).write_bytes(os.urandom(1024))
    up = timed(lambda: client.artifacts.upload("small", folder, project="benchmark"))
    down = timed(lambda: client.artifacts.download("small", directory / "small-down", project="benchmark"))
    return {"files": count, "upload_seconds": round(up, 3), "download_seconds": round(down, 3)}


def write_random(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for offset in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - offset)))
        os.fsync(file.fileno())


def run_copy(source: Path, target: Path, *, durable: bool) -> None:
    subprocess.run(["cp", str(source), str(target)], check=True)
    if durable:
        with target.open("rb") as file:
            os.fsync(file.fileno())


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


@contextmanager
def watched(server: ServerProcess) -> Iterator[dict[str, float]]:
    """The most resident memory of this process and the server's while the block runs, in MiB."""
    assert server.process is not None
    processes = {"client_mib": psutil.Process(), "server_mib": psutil.Process(server.process.pid)}
    most: dict[str, float] = dict.fromkeys(processes, 0.0)
    ends = threading.Event()

    def watch() -> None:
        while not ends.wait(0.02):
            for side, process in processes.items():
                most[side] = max(most[side], round(process.memory_info().rss / MIB, 1))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        ends.set()
        watcher.join()


def check_equal(one: Path, other: Path) -> None:
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            data = first.read(MIB)
            assert data == second.read(MIB)
            if not data:
                return


def report(options: argparse.Namespace, size: int, rounds: list[dict[str, float]]) -> dict[str, Any]:
    """The result, and the machine that it was measured on."""
    middle = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    rates = {
        key.replace("_seconds", "_mb_per_second"): round(size / 1e6 / middle[key], 1)
        for key in middle
        if key.endswith("_seconds")
    }
    shares = {
        f"{way}_share_of_durable_copy": round(middle["durable_copy_seconds"] / middle[f"{way}_seconds"], 3)
        for way in ("upload", "download")
    }
    return {
        "benchmark": "artifact up and down",
        "headway": headway.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "gibibytes": options.gibibytes,
        "repetitions": len(rounds),
        **rates,
        **shares,
        "client_mib": max(each["client_mib"] for each in rounds),
        "server_mib": max(each["server_mib"] for each in rounds),
        "rounds": [{key: round(value, 3) for key, value in each.items()} for each in rounds],
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure a large artifact up and down beside a plain copy.")
    parser.add_argument("--gibibytes", type=float, default=5.0, help="size of the file")
    parser.add_argument("--files", type=int, default=0, help="also this many small files")
    parser.add_argument("--repetitions", type=int, default=3, help="rounds; the medians count")
    parser.add_argument("--directory", help="where to put everything; the system's temporary directory without it")
    parser.add_argument("--output", help="also write the JSON to this file")
    options = parser.parse_args()
    if options.gibibytes <= 0 or options.repetitions < 1 or options.files < 0:
        sys.exit("--gibibytes and --repetitions must be above 0")
    return options


if __name__ == "__main__":
    main()
