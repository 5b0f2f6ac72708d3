"""``python -m headway.serving``: the process of one serving replica."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from headway.serving.replica import Replica
from headway.serving.screening import is_loopback
from headway.serving.startup import (
    address_url,
    complain,
    configure_logging,
    raise_descriptor_limit,
    say,
    stop_event,
)

EXIT_CANNOT_LISTEN = 1
EXIT_CANNOT_LOAD = 3
QUIET_SECONDS = 1.0


def parse(argv: Sequence[str] | None, environment: Mapping[str, str]) -> argparse.Namespace:
    """The options; what is not given comes from HEADWAY_MODEL_DIR, HOST, PORT, HEADWAY_MODEL_NAME and _VERSION."""
    parser = argparse.ArgumentParser(prog="headway serve-model", description="Serve one model over HTTP.")
    parser.add_argument("--model-dir", type=Path, default=environment.get("HEADWAY_MODEL_DIR"))
    parser.add_argument("--host", default=environment.get("HOST") or "127.0.0.1")
    parser.add_argument("--port", type=int, default=environment.get("PORT") or "0")
    parser.add_argument("--name", default=environment.get("HEADWAY_MODEL_NAME") or "model")
    parser.add_argument("--version", type=int, default=environment.get("HEADWAY_MODEL_VERSION") or "1")
    parser.add_argument("--grace", type=float, default=30.0, help="seconds to finish requests after SIGTERM")
    options = parser.parse_args(argv)
    if options.model_dir is None:
        parser.error("no model: give --model-dir or set HEADWAY_MODEL_DIR")
    return options


async def serve(options: argparse.Namespace) -> int:
    """Load, listen, predict until SIGTERM. Answers the exit code."""
    stop = stop_event()
    replica = Replica(options.model_dir, options.name, options.version, only_loopback=is_loopback(options.host))
    server = replica.server
    try:
        port = await server.start(options.host, options.port)
    except OSError as error:
        complain(f"The model server cannot listen on {options.host}:{options.port}: {error.strerror or error}.")
        return EXIT_CANNOT_LISTEN
    if not await _loaded(replica, stop):
        await server.drain(quiet=0.0, grace=0.0)
        return EXIT_CANNOT_LOAD if not stop.is_set() else 0
    gc.collect()
    gc.freeze()
    say(f"Serving model {options.name} version {options.version} on {address_url(options.host, port)}")
    await stop.wait()
    replica.draining = True
    await server.drain(quiet=QUIET_SECONDS, grace=options.grace)
    return 0


async def _loaded(replica: Replica, stop: asyncio.Event) -> bool:
    """Whether the model is there; False when it cannot be loaded or the process was asked to end meanwhile."""
    loading = asyncio.ensure_future(replica.load())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        loading.cancel()
        return False
    stopping.cancel()
    error = loading.exception()
    if error is not None:
        complain(f"The model cannot be served: {error or type(error).__name__}")
    return error is None


def main(argv: Sequence[str] | None = None) -> int:
    """Run; answers 0 after SIGTERM, 1 when the address is taken, 3 when the model cannot be loaded."""
    options = parse(argv, os.environ)
    configure_logging()
    raise_descriptor_limit()
    return int(uvloop.run(serve(options)))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a prediction that does not return must not hold up the end
