"""Granian's own interface (RSGI) and orjson: about the fastest that is written by hand with a server from the shelf."""

import os
import sys
from typing import Any

import orjson

from serving.models import load

if __name__ == "__main__":
    from granian import Granian
    from granian.constants import Interfaces, Loops

    os.environ["BENCH_KIND"], os.environ["BENCH_DIRECTORY"] = sys.argv[1:3]
    Granian(
        "serving.peers.granian_app:app",
        address="127.0.0.1",
        port=int(sys.argv[3]),
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,
        log_access=False,
        log_enabled=False,
    ).serve()
else:
    model = load(os.environ["BENCH_KIND"], os.environ["BENCH_DIRECTORY"])


async def app(scope: Any, protocol: Any) -> None:
    if scope.path != "/predict":
        protocol.response_empty(404, [])
        return
    body = orjson.loads(await protocol())
    protocol.response_bytes(200, [("content-type", "application/json")], orjson.dumps(model(body["instances"])))
