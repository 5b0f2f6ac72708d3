"""The upper bound: httptools, uvloop, orjson, one predict call for each turn of the loop, and nothing else.

No checks, no limits, no metrics, no errors: what the road costs when only the road is there.
"""

import asyncio
import sys
from typing import cast

import httptools
import orjson
import uvloop

from serving.models import load

kind, directory, port = sys.argv[1:4]
model = load(kind, directory)
arrived: list[tuple[asyncio.WriteTransport, bytes]] = []


def predict_all() -> None:
    """Everything that has arrived in this turn; each request has one row."""
    calls = arrived.copy()
    arrived.clear()
    columns = model([orjson.loads(body)["instances"][0] for _, body in calls])
    for number, (transport, _) in enumerate(calls):
        answer = orjson.dumps({name: column[number : number + 1] for name, column in columns.items()})
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
        transport.write(head + answer)


class Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.parser, self.body = httptools.HttpRequestParser(self), b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if not arrived:
            asyncio.get_running_loop().call_soon(predict_all)
        arrived.append((self.transport, self.body))
        self.body = b""


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", int(port))
    await server.serve_forever()


uvloop.run(main())
