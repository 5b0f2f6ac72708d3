"""Keeps the gateway running, on one address for life."""

from __future__ import annotations

import http.client
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from headway.errors import UnavailableError
from headway.paths import private_directory, write_atomic
from headway.ports import lease_port, release_port
from headway.processes import is_alive
from headway.server.actions.users import gateway_token
from headway.server.context import Platform
from headway.serving.gateway.record import read_record

logger = logging.getLogger("headway.workers.gateway")

PORT_SETTING = "gateway.port"
START_SECONDS = 15.0


class GatewayKeeper:
    """Starts the gateway with the first deployment and again whenever it is gone.

    The gateway is a session of its own: it outlives this server, which adopts it by its identity.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._directory = platform.data / "gateway"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def look(self) -> None:
        """The worker's step: nothing while there is no deployment."""
        with self._platform.storage.read() as session:
            needed = bool(session.deployments.all())
        if needed:
            self.ensure()

    def retire(self) -> None:
        """At the server's end: a gateway with nothing to serve ends too; one with deployments goes on."""
        with self._platform.storage.read() as session:
            needed = bool(session.deployments.all())
        record = read_record(self._directory)
        if not needed and record is not None and is_alive(record.identity):
            with suppress(ProcessLookupError):
                os.kill(record.identity.pid, signal.SIGTERM)

    def url(self) -> str:
        """The gateway's address, chosen at the first call and kept for ever."""
        return f"http://{_bracketed(self._platform.host)}:{self._port()}"

    def known_url(self) -> str | None:
        """The gateway's address if one was ever chosen."""
        with self._platform.storage.read() as session:
            kept = session.settings.find(PORT_SETTING)
        return None if kept is None else self.url()

    def ensure(self) -> str:
        """The address of a gateway that listens; starts one if there is none.

        Raises:
            UnavailableError: It does not come up; its log says why.
        """
        with self._lock:
            url = self.url()
            if not self._alive():
                self._start()
                self._await_answer(url)
            return url

    def _port(self) -> int:
        with self._platform.storage.read() as session:
            kept = session.settings.find(PORT_SETTING)
        if kept is not None:
            return int(kept)
        port = lease_port(_probe_host(self._platform.host))
        with self._platform.storage.write() as session:
            kept = session.settings.find(PORT_SETTING)
            if kept is None:
                session.settings.put(PORT_SETTING, str(port))
                return port
        release_port(port)
        return int(kept)

    def _alive(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        # One that was just started may not have replaced the record of the one before it.
        record = read_record(self._directory)
        return self._process is not None or (record is not None and is_alive(record.identity))

    def _start(self) -> None:
        private_directory(self._directory)
        token = self._directory / "token"
        if not token.exists():
            write_atomic(token, gateway_token(self._platform).encode())
        arguments = ["--directory", str(self._directory), "--host", self._platform.host, "--port", str(self._port())]
        with self._log().open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headway.serving.gateway", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")},
                start_new_session=True,
            )

    def _await_answer(self, url: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            if _answers(url):
                return
            self._platform.wakeups.wait_blocking(self._platform.wakeups.generation, 0.05)
        raise UnavailableError(f"The gateway does not answer at {url}: {self._last_words()}")

    def _log(self) -> Path:
        return self._directory / "gateway.log"

    def _last_words(self) -> str:
        try:
            lines = self._log().read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it left no word"


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _bracketed(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _probe_host(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host
