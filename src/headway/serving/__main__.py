"""``python -m headway.serving``: the process of one serving replica."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import uvloop

from headway.errors import HeadwayError
from headway.serving.protocols.base import Served
from headway.serving.replica import Replica
from headway.serving.runtimes.command import read_command
from headway.serving.screening import is_loopback
from headway.serving.startup import (
    address_url,
    complain,
    configure_logging,
    raise_descriptor_limit,
    say,
    stop_event,
)

if TYPE_CHECKING:
    from headway.serving.passthrough import Passthrough

SWITCH_SECONDS = 0.0005
"""How long the model's thread may keep the loop from running, and the other way round, where both run Python."""
COLLECT_AFTER = (10_000, 20, 50)
"""A request leaves no cycles behind, so that looking for them more rarely costs nothing."""
EXIT_CANNOT_LISTEN = 1
EXIT_CANNOT_LOAD = 3
QUIET_SECONDS = 1.0


def parse(argv: Sequence[str] | None, environment: Mapping[str, str]) -> argparse.Namespace:
    """The options; what is not given comes from the environment, as ``docs/internals/serving.md`` lists it."""
    parser = argparse.ArgumentParser(prog="headway serve-model", description="Serve one model over HTTP.")
    parser.add_argument("--model-dir", type=Path, default=environment.get("HEADWAY_MODEL_DIR"))
    parser.add_argument("--host", default=environment.get("HOST") or "127.0.0.1")
    parser.add_argument("--port", type=int, default=environment.get("PORT") or "0")
    parser.add_argument("--name", default=environment.get("HEADWAY_MODEL_NAME") or "model")
    parser.add_argument("--version", type=int, default=environment.get("HEADWAY_MODEL_VERSION") or "1")
    labels = environment.get("HEADWAY_MODEL_LABELS", "")
    parser.add_argument("--labels", type=_labels, default=labels, help="names of this version, comma separated")
    batching = environment.get("HEADWAY_BATCHING") or "{}"
    parser.add_argument("--batching", type=read_batching, default=batching, help='{"max_rows": 256, "max_wait_ms": 0}')
    parser.add_argument("--grace", type=float, default=30.0, help="seconds to finish requests after SIGTERM")
    options = parser.parse_args(argv)
    if options.model_dir is None:
        parser.error("no model: give --model-dir or set HEADWAY_MODEL_DIR")
    return options


def _labels(text: str) -> tuple[str, ...]:
    return tuple(label for label in text.split(",") if label)


def read_batching(text: str) -> dict[str, float]:
    """The JSON of a :class:`headway.domain.deployments.Batching`, as arguments of a :class:`Replica`.

    It is read by hand: the record's own module would take a replica 20 MB and a fifth of a second.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        given = orjson.loads(text)
        rows, wait = given.get("max_rows", 256), given.get("max_wait_ms", 0.0)
        if type(rows) is int and type(wait) in (int, float) and 1 <= rows <= 65_536 and 0 <= wait <= 1_000:
            return {"max_rows": rows, "max_wait_ms": wait}
    except (ValueError, AttributeError):
        pass
    raise argparse.ArgumentTypeError(f"{text[:100]!r} is not how requests are batched")


async def serve(options: argparse.Namespace) -> int:
    """Load, listen, predict until SIGTERM. Answers the exit code."""
    stop = stop_event()
    replica = make_replica(options)
    server = replica.server
    try:
        port = await server.start(options.host, options.port)
    except OSError as error:
        complain(f"The model server cannot listen on {options.host}:{options.port}: {error.strerror or error}.")
        return EXIT_CANNOT_LISTEN
    if not await _loaded(replica, stop):
        await server.drain(quiet=0.0, grace=0.0)
        await replica.close(options.grace)
        return EXIT_CANNOT_LOAD if not stop.is_set() else 0
    gc.collect()
    gc.freeze()
    say(f"Serving model {options.name} version {options.version} on {address_url(options.host, port)}")
    failed = await _failed(replica, stop)
    replica.draining = True
    await server.drain(quiet=0.0 if failed else QUIET_SECONDS, grace=options.grace)
    await replica.close(options.grace)
    return EXIT_CANNOT_LOAD if failed else 0


def make_replica(options: argparse.Namespace) -> Replica | Passthrough:
    """What serves the model: this process, or a program that the model brings.

    Raises:
        ModelLoadError: The model says wrongly how it is served.
    """
    served = Served(options.name, options.version, options.labels)
    loopback = is_loopback(options.host)
    command = read_command(options.model_dir)
    if command is None:
        return Replica(options.model_dir, served, only_loopback=loopback, **options.batching)
    from headway.serving.passthrough import Passthrough  # brings 20 MB that others have no use for

    return Passthrough(command, options.model_dir, served, only_loopback=loopback)


async def _failed(replica: Replica | Passthrough, stop: asyncio.Event) -> bool:
    """Wait until this process is to end; True when what serves the model has ended by itself."""
    stopping = asyncio.ensure_future(stop.wait())
    failing = asyncio.ensure_future(replica.failure())
    await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        complain(f"The model is served no longer: {failing.result()}")
    failing.cancel()
    return not stopping.done()


async def _loaded(replica: Replica | Passthrough, stop: asyncio.Event) -> bool:
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
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*COLLECT_AFTER)
    try:
        if (options.model_dir / "requirements.txt").is_file():
            from headway.serving.environments import enter_environment  # few models need what it imports

            enter_environment(options.model_dir, sys.argv[1:] if argv is None else argv)
        return int(uvloop.run(serve(options)))
    except HeadwayError as error:
        complain(f"The model cannot be served: {error}")
        return EXIT_CANNOT_LOAD


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a prediction that does not return must not hold up the end
