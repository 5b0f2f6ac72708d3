"""What the two processes of this folder do alike when they start and end."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys


def configure_logging() -> None:
    """Warnings and errors of ours, and what a model logs, to stderr."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def raise_descriptor_limit() -> None:
    """Use as many connections as this account may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            logging.getLogger(__name__).warning("The limit of open files stays at %d", soft)


def stop_event() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def say(line: str) -> None:
    """One line on stdout, seen at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def complain(line: str) -> None:
    """One line on stderr, whatever the text holds."""
    sys.stderr.write(" ".join(line.split()) + "\n")
    sys.stderr.flush()


def address_url(host: str, port: int) -> str:
    """``http://host:port`` by which this machine reaches what listens on ``host``.

    >>> address_url("0.0.0.0", 80), address_url("::1", 80)
    ('http://127.0.0.1:80', 'http://[::1]:80')
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
