"""The upper bound of a gateway: bytes passed on over kept-alive connections, and nothing else.

``python -m serving.peers.sketch_gateway UPSTREAM_PORT PORT``. Requests are taken to arrive in one piece, as ``load.py``
sends them.
"""

import asyncio
import sys
from typing import cast

import httptools
import uvloop

upstream_port, port = (int(argument) for argument in sys.argv[1:3])
idle: "list[Upstream]" = []


class Upstream(asyncio.Protocol):
    """One connection to the replica, and who waits for its answer."""

    client: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.parser = httptools.HttpResponseParser(self)

    def ask(self, client: asyncio.WriteTransport, request: bytes) -> None:
        self.client = client
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.client.write(data)
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        idle.append(self)

    def connection_lost(self, _: "Exception | None") -> None:
        if self in idle:
            idle.remove(self)


class Client(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        if idle:
            idle.pop().ask(self.transport, data)
        else:
            self.task = asyncio.ensure_future(self._connect(data))

    async def _connect(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(Upstream, "127.0.0.1", upstream_port)
        upstream.ask(self.transport, data)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", port)
    await server.serve_forever()


uvloop.run(main())
