"""``python -m headway.serving.gateway``: the process in front of all deployments."""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from headway.paths import private_directory
from headway.processes import identify
from headway.serving.gateway.record import GatewayRecord, remove_record, write_record
from headway.serving.gateway.service import Gateway
from headway.serving.startup import (
    address_url,
    complain,
    configure_logging,
    raise_descriptor_limit,
    say,
    stop_event,
)

EXIT_CANNOT_LISTEN = 1
QUIET_SECONDS = 1.0
COLLECT_AFTER = (10_000, 20, 50)
"""A request leaves no cycles behind, and looking through the routes of a thousand deployments for them would hold all
requests up: it is done more rarely, and never through what was there at the start."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headway gateway", description="Route predictions to deployments.")
    parser.add_argument("--directory", type=Path, required=True, help="token, saved routes, gateway.json")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--grace", type=float, default=30.0, help="seconds to finish requests after SIGTERM")
    parser.add_argument("--id", type=_identifier, default="gateway", help="its name in what the server is told")
    parser.add_argument("--no-access-log", action="store_true", help="write no line for each request")
    return parser.parse_args(argv)


def _identifier(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,48}", text):
        raise argparse.ArgumentTypeError("an id has 1 to 48 letters, digits, '.', '_' or '-'")
    return text


async def serve(options: argparse.Namespace) -> int:
    """Route until SIGTERM. Answers the exit code."""
    stop = stop_event()
    directory = private_directory(options.directory.absolute())
    # Counts are absolute within their window: a process that is started anew must not replace those of the one before.
    identifier = f"{options.id}-{secrets.token_hex(4)}"
    gateway = Gateway(directory, identifier, access_log=not options.no_access_log)
    gateway.feed.load_saved()
    gc.collect()
    gc.freeze()
    try:
        port = await gateway.server.start(options.host, options.port)
    except OSError as error:
        complain(f"The gateway cannot listen on {options.host}:{options.port}: {error.strerror or error}.")
        return EXIT_CANNOT_LISTEN
    record = _announce(directory, address_url(options.host, port))
    following = asyncio.ensure_future(gateway.feed.run())
    reporting = asyncio.ensure_future(gateway.reporter.run())
    await stop.wait()
    await gateway.server.drain(quiet=QUIET_SECONDS, grace=options.grace)
    following.cancel()
    reporting.cancel()
    await asyncio.wait({following, reporting})
    await gateway.reporter.last_words()
    await gateway.close()
    remove_record(directory, record)
    return 0


def _announce(directory: Path, url: str) -> GatewayRecord:
    identity = identify()
    assert identity is not None
    record = GatewayRecord(identity=identity, url=url)
    write_record(directory, record)
    say(f"Gateway on {url}")
    return record


def main(argv: Sequence[str] | None = None) -> int:
    """Run; answers 0 after SIGTERM, 1 when the address is taken."""
    options = parse(argv)
    configure_logging()
    raise_descriptor_limit()
    gc.set_threshold(*COLLECT_AFTER)
    return int(uvloop.run(serve(options)))


if __name__ == "__main__":
    sys.exit(main())
