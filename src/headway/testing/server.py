"""A real server as a process of its own, for tests, benchmarks and demos."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

import psutil
from typing_extensions import Self

from headway.errors import WaitTimeoutError
from headway.processes import is_alive
from headway.serving.gateway.record import read_record

START_SECONDS = 30.0


class ServerProcess:
    """``headway up`` on a free loopback port with its own data directory.

    >>> with ServerProcess(Path("/tmp/some-empty-directory")) as server:  # doctest: +SKIP
    ...     print(server.url, len(server.token))
    """

    def __init__(self, data: Path, *, port: int = 0, arguments: tuple[str, ...] = ()) -> None:
        self.data, self.port, self.arguments = data, port, arguments
        self.url = ""
        self.token = ""
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Start it and return once it listens. After the first start the port and the token stay the same."""
        command = [sys.executable, "-m", "headway", "up", "--port", str(self.port), "--data", str(self.data)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADWAY_")}
        self.process = subprocess.Popen(
            [*command, *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )
        found: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, found), daemon=True).start()
        self.url = self._await(found, r"^url: (\S+)")
        if not self.token:
            self.token = self._await(found, r"^token: (\S+)")
        self.port = int(self.url.rpartition(":")[2])
        self._await_ready()
        return self

    def _read(self, process: subprocess.Popen[str], found: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.lines.append(line)
                found.put(line)
        found.put(None)

    def _await(self, found: queue.Queue[str | None], pattern: str) -> str:
        while True:
            try:
                line = found.get(timeout=START_SECONDS)
            except queue.Empty:
                line = None
            if line is None:
                raise WaitTimeoutError(f"The server did not print {pattern!r}. It said: {''.join(self.lines)[-2000:]}")
            match = re.search(pattern, line)
            if match:
                return match[1]

    def _await_ready(self) -> None:
        import httpx

        with httpx.Client(
            base_url=self.url, trust_env=False, transport=httpx.HTTPTransport(retries=3), timeout=START_SECONDS
        ) as client:
            client.get("/ready").raise_for_status()

    def kill(self) -> None:
        """SIGKILL: the server gets no chance to say goodbye. Jobs, agents and the gateway go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=20)

    def leftovers(self) -> list[psutil.Process]:
        """Agents, programs and the gateway that belong to this data directory and still run."""
        found = []
        for process in psutil.process_iter():
            try:
                about = " ".join(process.cmdline()) + process.environ().get("HEADWAY_MODEL_DIR", "")
            except psutil.Error:
                continue
            if str(self.data) in about and process.pid != os.getpid():
                found.append(process)
        return found

    def close(self) -> None:
        """End the server and everything that it started."""
        self.stop()
        gateway = read_record(self.data / "gateway")
        if gateway is not None and is_alive(gateway.identity):
            os.kill(gateway.identity.pid, signal.SIGKILL)
        leftovers = self.leftovers()
        for process in leftovers:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(leftovers, timeout=10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
