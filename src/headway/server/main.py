"""``headway up``: bind, assemble, announce, serve."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from headway.domain.base import parse_request
from headway.errors import ConfigurationError
from headway.paths import private_directory, write_atomic
from headway.server.actions import users
from headway.server.app import Server, create_app
from headway.server.settings import ServerSettings
from headway.server.wakeups import Wakeups

GRACEFUL_SECONDS = 3
LOG_BYTES, LOG_FILES = 10 << 20, 5


def serve(settings: ServerSettings | dict[str, object]) -> None:
    """Run a server until SIGTERM or Ctrl-C. Jobs, deployments and the gateway go on without it.

    Raises:
        ConfigurationError: A port in use, a host that is not here, or an exposure that was not asked for.
    """
    if not isinstance(settings, ServerSettings):
        settings = parse_request(ServerSettings, settings, what="The server's settings")
    check_exposure(settings)
    signal.signal(signal.SIGTERM, _end)
    os.umask(0o077)  # the database and logs make files by themselves, and so does what this process starts
    private_directory(settings.data)
    _log_to(private_directory(settings.data / "log") / "server.log")
    listener = bind(settings)
    url = server_url(settings.host, listener.getsockname()[1])
    server = create_app(settings, url)
    try:
        announce(settings, server, url)
        config = uvicorn.Config(
            server.app,
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
            timeout_keep_alive=30,
            h11_max_incomplete_event_size=64 << 10,
        )
        _HttpServer(config, server.platform.wakeups).run(sockets=[listener])
    finally:
        server.close()
        listener.close()


def _end(*_: object) -> None:
    """SIGTERM ends the server by the way on which everything is closed; uvicorn raises it again when it is done."""
    raise SystemExit(0)


class _HttpServer(uvicorn.Server):
    """Ends long polls and event streams before it waits for requests, so that it need not wait for those."""

    def __init__(self, config: uvicorn.Config, wakeups: Wakeups) -> None:
        super().__init__(config)
        self._wakeups = wakeups

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._wakeups.close()
        await super().shutdown(sockets)


def check_exposure(settings: ServerSettings) -> None:
    """ConfigurationError for a host beyond this machine that was not explicitly allowed."""
    if not settings.loopback and not settings.allow_remote:
        raise ConfigurationError(
            f"The host {settings.host!r} can be reached from other machines, and whoever has a token runs code here.",
            hint="Put a TLS proxy in front and repeat with --allow-remote, or keep 127.0.0.1.",
        )


def bind(settings: ServerSettings) -> socket.socket:
    """A listening socket, or one clear error."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}.",
            hint="Choose another with --port; 0 takes any free one.",
        ) from error
    return listener


def server_url(host: str, port: int) -> str:
    """The address under which this machine reaches a server that listens on ``host``."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def announce(settings: ServerSettings, server: Server, url: str) -> None:
    """Tell people on the terminal, and agents and the gateway by file, where the server is."""
    facts = {"url": url, "pid": os.getpid(), "instance": server.platform.instance}
    write_atomic(server.platform.address_file, json.dumps(facts).encode())
    say(f"url: {url}")
    say(f"data: {settings.data}")
    say(f"engine: {settings.engine}, containers: {settings.containers} (jobs run as plain processes of this account)")

    def show(token: str) -> None:
        say(f"token: {token}")
        say(f"This admin token is shown once. In another terminal: headway login {url}")

    users.first_token(server.platform, show)


def say(line: str) -> None:
    """A line on the terminal, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _JsonLines(logging.Formatter):
    """One JSON object a line, so that nothing a peer sends can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name}
        entry["message"] = record.getMessage()
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _log_to(path: Path) -> None:
    path.touch(mode=0o600)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
